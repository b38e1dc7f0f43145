//! A mark on each statement that comes back in front of its answer.
//!
//! The form of an answer does not tell it from that of another statement of the same form. So each statement is sent with two parameters
//! more than its text has, which are NULL. Their types say whose answer this is: PostgreSQL tells the types of a statement's parameters
//! before it tells anything else of it, and the guard compares. Two parameters with 64 types to choose from make 4,096 marks, which are
//! taken in turn, so that those of what is in flight on a connection differ.
//!
//! Only queries are marked (SELECT, INSERT …). PostgreSQL takes a snapshot for each statement that has parameters: before LOCK TABLE or
//! SET TRANSACTION that would be too early, and in a transaction that failed COMMIT and ROLLBACK must have none. A prepared statement
//! is sent without a mark, too: its parameters are told when it is prepared, and not when it is run.

use tokio_postgres::types::Type;

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
pub(crate) struct Mark(u64);

impl Mark {
    /// The mark of the statement of this number. It differs from those of the 4,095 before it.
    pub(super) fn new(number: u64) -> Mark {
        Mark(number)
    }

    /// The types of the surplus parameters.
    pub(crate) fn types(self) -> [&'static Type; 2] {
        let all = TYPES.len() as u64;
        let ty = |place: u64| {
            usize::try_from(place % all).ok().and_then(|place| TYPES.get(place)).unwrap_or(&Type::XID)
        };
        [ty(self.0 / all), ty(self.0)]
    }
}

/// The last two types of a statement's parameters, as bytes of a message that ends with them.
pub(super) type Tail = u64;

/// Whether both are marked, and not alike.
pub(super) fn differ(sent: Tail, told: Tail) -> bool {
    sent != told && is_mark(sent) && is_mark(told)
}

fn is_mark(tail: Tail) -> bool {
    [tail >> 32, tail & 0xffff_ffff].iter().all(|oid| TYPES.iter().any(|ty| u64::from(ty.oid()) == *oid))
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

    fn oids(mark: Mark) -> Tail {
        mark.types().iter().fold(0, |tail, ty| tail << 32 | u64::from(ty.oid()))
    }

    #[test]
    fn the_marks_of_what_can_be_in_flight_differ() {
        let marks: HashSet<Tail> = (7..7 + 4096).map(|number| oids(Mark::new(number))).collect();
        assert_eq!(marks.len(), 4096);
        assert_eq!(oids(Mark::new(3)), oids(Mark::new(3 + 4096)));
        assert!(marks.iter().all(|mark| is_mark(*mark)));
    }

    #[test]
    fn only_two_marks_can_be_told_apart() {
        let (one, other, none) = (oids(Mark::new(1)), oids(Mark::new(2)), 20 << 32 | 25);
        assert!(differ(one, other));
        assert!(!differ(one, one) && !differ(one, none) && !differ(none, one) && !differ(0, one));
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
