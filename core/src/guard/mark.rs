//! A mark on each statement that comes back in front of its answer.
//!
//! The form of an answer does not tell it from that of another statement of the same form. So each statement is sent with one parameter
//! more than its text has, which is NULL. Its type says whose answer this is: PostgreSQL tells the types of a statement's parameters
//! before it tells anything else of it, and the guard compares. There are 64 types, taken in turn. Where more statements are in flight on a
//! connection there are two such parameters, which make 4,096 marks.
//!
//! Only queries are marked (SELECT, INSERT …). PostgreSQL takes a snapshot for each statement that has parameters: before LOCK TABLE or
//! SET TRANSACTION that would be too early, and in a transaction that failed COMMIT and ROLLBACK must have none. A prepared statement
//! is sent without a mark, too: its parameters are told when it is prepared, and not when it is run.

use tokio_postgres::types::{Oid, Type};

/// Types that PostgreSQL has since long, and that hardly anyone has parameters of.
static TYPES: [Type; 64] = [
    Type::INT2_VECTOR,
    Type::TID,
    Type::XID,
    Type::CID,
    Type::OID_VECTOR,
    Type::XML_ARRAY,
    Type::POINT,
    Type::LSEG,
    Type::PATH,
    Type::BOX,
    Type::POLYGON,
    Type::LINE,
    Type::LINE_ARRAY,
    Type::CIRCLE,
    Type::CIRCLE_ARRAY,
    Type::MACADDR8,
    Type::MACADDR8_ARRAY,
    Type::REGPROC,
    Type::REGPROC_ARRAY,
    Type::INT2_VECTOR_ARRAY,
    Type::TID_ARRAY,
    Type::XID_ARRAY,
    Type::CID_ARRAY,
    Type::OID_VECTOR_ARRAY,
    Type::POINT_ARRAY,
    Type::LSEG_ARRAY,
    Type::PATH_ARRAY,
    Type::BOX_ARRAY,
    Type::POLYGON_ARRAY,
    Type::ACLITEM,
    Type::ACLITEM_ARRAY,
    Type::MACADDR_ARRAY,
    Type::BIT_ARRAY,
    Type::VARBIT_ARRAY,
    Type::REFCURSOR,
    Type::REFCURSOR_ARRAY,
    Type::REGPROCEDURE,
    Type::REGOPER,
    Type::REGOPERATOR,
    Type::REGCLASS,
    Type::REGTYPE,
    Type::REGPROCEDURE_ARRAY,
    Type::REGOPER_ARRAY,
    Type::REGOPERATOR_ARRAY,
    Type::REGCLASS_ARRAY,
    Type::REGTYPE_ARRAY,
    Type::TXID_SNAPSHOT,
    Type::TXID_SNAPSHOT_ARRAY,
    Type::PG_LSN,
    Type::PG_LSN_ARRAY,
    Type::TS_VECTOR_ARRAY,
    Type::GTS_VECTOR_ARRAY,
    Type::TSQUERY_ARRAY,
    Type::REGCONFIG,
    Type::REGCONFIG_ARRAY,
    Type::REGDICTIONARY,
    Type::REGDICTIONARY_ARRAY,
    Type::REGNAMESPACE,
    Type::REGNAMESPACE_ARRAY,
    Type::REGROLE,
    Type::REGROLE_ARRAY,
    Type::JSONPATH,
    Type::JSONPATH_ARRAY,
    Type::NUM_RANGE_ARRAY,
];

/// The mark of one statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    number: u64,
    is_long: bool,
}

impl Mark {
    /// The mark of the statement of this number, with so many ahead of it that are not answered. It differs from all of theirs.
    pub(super) fn new(number: u64, ahead: u64) -> Mark {
        Mark { number, is_long: ahead >= TYPES.len() as u64 - 1 }
    }

    /// The types of the surplus parameters.
    pub(crate) fn types(self) -> impl Iterator<Item = &'static Type> {
        let all = TYPES.len() as u64;
        let ty = move |place: u64| usize::try_from(place % all).ok().and_then(|place| TYPES.get(place));
        let long = ty(self.number / all).filter(|_| self.is_long);
        long.into_iter().chain(ty(self.number))
    }
}

/// The last two types of a statement's parameters, as bytes of a message that ends with them.
pub(super) type Tail = u64;

/// Whether a statement was marked and what was told does not carry its mark. A server that tells no parameters at all is no PostgreSQL, and
/// is left alone.
pub(super) fn differ(sent: Tail, told: Tail) -> bool {
    let (last, told_last) = (oid(sent, 0), oid(told, 0));
    if sent == told || told == 0 || !is_mark(last) {
        return false;
    }
    let (first, told_first) = (oid(sent, 32), oid(told, 32));
    // a caller's parameter of an unknown type may turn out to be of any
    let is_open = first == 0 || first == Type::UNKNOWN.oid();
    let is_other = match is_mark(first) {
        true => first != told_first,
        false => !is_open && is_mark(told_first),
    };
    last != told_last || is_other
}

fn oid(tail: Tail, shift: u32) -> Oid {
    Oid::try_from(tail >> shift & 0xffff_ffff).unwrap_or_default()
}

/// Whether a statement with parameters of these last types is marked.
pub(super) fn is_marked(sent: Tail) -> bool {
    is_mark(oid(sent, 0))
}

fn is_mark(oid: Oid) -> bool {
    TYPES.iter().any(|ty| ty.oid() == oid)
}

/// The last eight bytes of a message, of which the ones before these were read.
pub(super) fn tail(before: Tail, bytes: &[u8]) -> Tail {
    let last = bytes.len().saturating_sub(8);
    bytes.get(last..).unwrap_or_default().iter().fold(before, |tail, byte| tail << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// As the last types of a statement that has an int8 before its mark.
    fn tail_of(mark: Mark) -> Tail {
        mark.types().fold(20, |tail, ty| tail << 32 | u64::from(ty.oid()))
    }

    #[test]
    fn the_marks_of_what_is_in_flight_differ() {
        let tails: Vec<Tail> = (0..4096).map(|ahead| tail_of(Mark::new(7 + ahead, ahead))).collect();
        assert_eq!(tails.iter().collect::<HashSet<_>>().len(), 4096);
        for (number, sent) in tails.iter().enumerate() {
            let told = tails.iter().skip(number.saturating_sub(70)).take(140);
            assert!(told.into_iter().all(|told| differ(*sent, *told) == (sent != told)), "{number}");
        }
    }

    #[test]
    fn one_parameter_does_while_little_is_in_flight() {
        let counts = [0, 62, 63, 4000].map(|ahead| Mark::new(5, ahead).types().count());
        assert_eq!(counts, [1, 1, 2, 2]);
    }

    #[test]
    fn what_was_sent_under_a_mark_must_come_back_under_it() {
        let (one, other) = (tail_of(Mark::new(1, 0)), tail_of(Mark::new(2, 0)));
        assert!(differ(one, other) && differ(one, 20 << 32 | 25));
        assert!(!differ(one, one) && !differ(one, 0) && !differ(20 << 32 | 25, one) && !differ(0, one));
        // the caller's own parameter, whose type the server found out
        let (asked, told) = (Type::UNKNOWN.oid(), Type::POINT.oid());
        let with = |oid: Oid| u64::from(oid) << 32 | one & 0xffff_ffff;
        assert!(!differ(with(asked), with(told)));
    }

    #[test]
    fn a_tail_is_read_in_pieces_of_any_size() {
        let message: Vec<u8> = (1..=40).collect();
        for size in 1..=message.len() {
            let read = message.chunks(size).fold(0, tail);
            assert_eq!(read, u64::from_be_bytes([33, 34, 35, 36, 37, 38, 39, 40]));
        }
    }
}
