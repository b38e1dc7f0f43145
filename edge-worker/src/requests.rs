//! How many requests an object answers at a time.

use std::cell::Cell;
use std::rc::Rc;

use pgspan::Error;

use crate::variables::number;

/// 128: their bodies, of 256 KiB at most in pgspan's application, take 32 MiB of the 128 that an isolate has for all its objects.
const DEFAULT: u32 = 128;

/// A bound on the requests that are being answered.
#[derive(Debug)]
pub(crate) struct Requests {
    most: u32,
    answered: Rc<Cell<u32>>,
}

impl Requests {
    /// From `MAX_REQUESTS`.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Requests, Error> {
        number(lookup, "MAX_REQUESTS", DEFAULT, 1..=100_000).map(Requests::most)
    }

    pub(crate) fn most(most: u32) -> Requests {
        Requests { most, answered: Rc::default() }
    }

    /// Lets a request in, until what is given is dropped; none when there are as many as may be.
    pub(crate) fn enter(&self) -> Option<Entered> {
        let answered = self.answered.get();
        (answered < self.most).then(|| {
            self.answered.set(answered + 1);
            Entered(self.answered.clone())
        })
    }
}

impl Default for Requests {
    fn default() -> Requests {
        Requests::most(DEFAULT)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Entered(Rc<Cell<u32>>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_let_in_when_another_has_left() {
        let requests = Requests::read(|_| Some("2".into())).unwrap();
        let (first, second) = (requests.enter(), requests.enter());
        assert!(first.is_some() && second.is_some() && requests.enter().is_none());
        drop(first);
        assert!(requests.enter().is_some());
        assert_eq!(Requests::read(|_| None).unwrap().most, DEFAULT);
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for nonsense in ["0", "-1", "many", "1.5", "99999999999999999999999"] {
            let fault = Requests::read(|_| Some(nonsense.into())).unwrap_err();
            assert!(fault.to_string().contains("MAX_REQUESTS"), "{nonsense}: {fault}");
        }
    }
}
