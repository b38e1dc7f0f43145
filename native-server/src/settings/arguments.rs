//! What was given: on the command line and in the environment, by the names of the settings.

use std::collections::BTreeMap;
use std::fmt;

use pgspan::Result;

use super::secret::secret;

/// The values that were given, by the names of their settings.
#[derive(Clone, Default)]
pub(crate) struct Arguments {
    values: BTreeMap<String, Option<String>>,
}

impl Arguments {
    /// `values` has every setting that there is, also those that were not given.
    pub(crate) fn new(values: impl Iterator<Item = (String, Option<String>)>) -> Arguments {
        Arguments { values: values.collect() }
    }

    /// The value of a setting. One that is empty counts as not given.
    pub(crate) fn find(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned().flatten().filter(|value| !value.is_empty())
    }

    /// The same for a secret, which a file may have: `name` with `_FILE` names it.
    ///
    /// # Errors
    ///
    /// If both are given, or the file can't be read: [`Kind::Unavailable`](pgspan::Kind::Unavailable) where it is not there.
    pub(crate) fn find_secret(&self, name: &str) -> Result<Option<String>> {
        secret(name, self.find(name), self.find(&format!("{name}_FILE")))
    }

    /// The names of all settings.
    pub(super) fn names(&self) -> Vec<&str> {
        self.values.keys().map(String::as_str).collect()
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments").finish_non_exhaustive() // some of them are secrets
    }
}
