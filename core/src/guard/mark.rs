//! A mark in front of each request that comes back in front of its answer.
//!
//! The form of an answer does not tell it from that of another request of the same form. So the guard writes two messages of its own in
//! front of each request: Parse, of an empty statement with one parameter, and Describe, which has the server tell that parameter's type. The
//! type is a number that counts the requests. PostgreSQL looks up no type of an empty statement, and gives the number back as it came.
//! The guard compares it and keeps these answers from tokio-postgres.
//!
//! An empty statement can be parsed in any state: outside of a transaction, in one, and in one that failed. It takes no snapshot, runs
//! nothing, and leaves nothing behind but itself as the unnamed statement, which the next one replaces.

use std::io;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

/// The number of a request. It is above the OIDs of types that anyone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u32);

const FIRST: u32 = 1 << 31;

impl Mark {
    /// In front of the first request.
    pub(super) const START: Mark = Mark(FIRST);

    /// That of the request behind.
    pub(super) fn next(self) -> Mark {
        Mark(self.0.checked_add(1).unwrap_or(FIRST))
    }

    pub(super) fn write(self, out: &mut BytesMut) -> io::Result<()> {
        frontend::parse("", "", [self.0], out)?;
        frontend::describe(b'S', "", out)
    }

    /// Whether the body of a ParameterDescription tells it.
    pub(super) fn is_told(self, body: &[u8]) -> bool {
        matches!(body, [0, 1, number @ ..] if *number == self.0.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_told_by_itself_alone() {
        let other = Mark::START.next();
        let told = |Mark(number): Mark| [&[0, 1][..], &number.to_be_bytes()].concat();
        assert!(other.is_told(&told(other)) && !other.is_told(&told(Mark::START)));
        assert!(
            !other.is_told(&[0, 0])
                && !other.is_told(&[])
                && !other.is_told(&[&told(other)[..], &[0]].concat())
        );
        assert_eq!(Mark(u32::MAX).next(), Mark::START);
    }
}
