//! All settings, read at once.

use pgspan::{Error, Result};

use super::given::Given;
use crate::settings::{Arguments, Settings};

/// Makes what a program needs of its own settings.
pub(super) type Read<S> = dyn Fn(&mut Given<'_>) -> Result<S>;

/// All that was given, once it was checked.
pub(super) struct AllSettings<S> {
    pub(super) settings: Settings,
    pub(super) own: S,
    /// What is not wrong, and perhaps not meant.
    pub(super) notes: Vec<String>,
}

impl<S> AllSettings<S> {
    /// Everything that can be wrong, at once.
    pub(super) fn read(
        arguments: &Arguments,
        application_name: &str,
        read: &Read<S>,
    ) -> Result<AllSettings<S>, Vec<Error>> {
        let mut given = Given::new(arguments);
        let own = read(&mut given);
        let (notes, own_faults) = given.end();
        match (arguments.settings(application_name), own) {
            (Ok(settings), Ok(own)) if own_faults.is_empty() => Ok(AllSettings { settings, own, notes }),
            (settings, own) => {
                let faults = settings.err().into_iter().flatten();
                Err(faults.chain(own_faults).chain(own.err()).collect())
            }
        }
    }
}
