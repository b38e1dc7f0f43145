//! Settings that are numbers, read by name, and what is wrong with them.

use std::ops::RangeInclusive;
use std::time::Duration;

use pgspan::{Error, Kind, Result};

/// Reads numbers and collects the faults.
pub(crate) struct Numbers<L> {
    pub(crate) lookup: L,
    pub(crate) faults: Vec<Error>,
}

impl<L: Fn(&str) -> Option<String>> Numbers<L> {
    fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = (self.lookup)(name).filter(|value| !value.is_empty())?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, &format!("must be a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    pub(crate) fn millis(&mut self, name: &str, default: Duration, range: RangeInclusive<u64>) -> Duration {
        self.number(name, range).map_or(default, Duration::from_millis)
    }

    pub(crate) fn size(&mut self, name: &str, default: usize, range: RangeInclusive<u64>) -> usize {
        self.number(name, range).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    }

    pub(crate) fn fault(&mut self, name: &str, text: &str) {
        self.faults.push(Error::new(Kind::Config, format!("{name}: {text}")));
    }

    /// What was read, if nothing was wrong with it.
    pub(crate) fn check<T>(self, read: T) -> Result<T, Vec<Error>> {
        match self.faults.is_empty() {
            true => Ok(read),
            false => Err(self.faults),
        }
    }
}
