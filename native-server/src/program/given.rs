//! What was given for a program's own settings.

use std::str::FromStr;

use pgspan::{Error, Kind, Result};

use crate::settings::Arguments;

/// What was given for the program's own settings. It collects what is wrong with them, so that everything is told at once.
#[derive(Debug)]
pub struct Given<'a> {
    arguments: &'a Arguments,
    notes: Vec<String>,
    faults: Vec<Error>,
}

impl<'a> Given<'a> {
    pub(super) fn new(arguments: &'a Arguments) -> Given<'a> {
        Given { arguments, notes: Vec::new(), faults: Vec::new() }
    }

    /// The value of a setting, by its name in the environment. One that is empty counts as not given.
    pub fn find(&self, name: &str) -> Option<String> {
        self.arguments.find(name)
    }

    /// The value of a [secret](super::Setting::secret), or of the file that has it.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if both are given; [`Kind::Unavailable`] if the file is not there.
    pub fn secret(&self, name: &str) -> Result<Option<String>> {
        self.arguments.find_secret(name)
    }

    /// A value of any type that can be read from text; `default` if it is not given. If it can't be read, `must` is the fault: "must
    /// be a number above 0".
    pub fn parse<T: FromStr>(&mut self, name: &str, default: T, must: &str) -> T {
        match self.find(name).map(|value| value.parse()) {
            Some(Ok(value)) => value,
            None => default,
            Some(Err(_)) => {
                self.fault(name, must);
                default
            }
        }
    }

    /// Whether it is `true`; not given is `false`.
    pub fn is_true(&mut self, name: &str) -> bool {
        self.parse(name, false, "must be true or false")
    }

    /// The setting is wrong. Say what it must be, and not the value, which may be a secret.
    pub fn fault(&mut self, name: &str, must: &str) {
        self.faults.push(Error::new(Kind::Config, format!("{name}: {must}")));
    }

    /// Not wrong, and perhaps not meant: `check` shows it, and `serve` logs it.
    pub fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    pub(super) fn end(self) -> (Vec<String>, Vec<Error>) {
        (self.notes, self.faults)
    }
}
