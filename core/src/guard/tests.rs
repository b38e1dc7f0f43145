//! Answers in their place and out of it, message by message.

use super::Watch;
use super::frontend::Step;
use super::protocol::Protocol;

const IDLE: (u8, &[u8]) = (b'Z', b"I");

fn logged_in(asked: &[Step]) -> Protocol {
    let mut protocol = Protocol::new(Watch::new());
    protocol.hear(b'Z', b"I").unwrap();
    asked.iter().for_each(|step| protocol.ask(*step));
    protocol
}

/// How many of these messages are in their place.
fn in_place(asked: &[Step], messages: &[(u8, &[u8])]) -> usize {
    let mut protocol = logged_in(asked);
    messages.iter().take_while(|(tag, body)| protocol.hear(*tag, body).is_ok()).count()
}

#[test]
fn a_statement_is_answered_in_its_order_and_with_its_rows() {
    let asked = [Step::Parse, Step::Bind(0), Step::DescribeStatement(0), Step::Execute, Step::Sync];
    let start: [(u8, &[u8]); 4] = [(b'1', b""), (b'2', b""), (b't', b"\0\0"), (b'T', b"\0\x01")];
    let row: (u8, &[u8]) = (b'D', b"\0\x01");
    let done: (u8, &[u8]) = (b'C', b"SELECT 1\0");
    let whole = [&start[..], &[row, done, IDLE]].concat();
    assert_eq!(in_place(&asked, &whole), 7);
    assert_eq!(in_place(&asked, &[&whole[..], &[IDLE]].concat()), 7, "a surplus ReadyForQuery");
    assert_eq!(in_place(&asked, &[&start[..], &[row, row, done]].concat()), 6, "a doubled row");
    assert_eq!(in_place(&asked, &[&start[..], &[done]].concat()), 4, "a missing row");
    assert_eq!(in_place(&asked, &[&start[..], &[(b'D', b"\0\x02")]].concat()), 4, "another's row");
    assert_eq!(in_place(&asked, &[&start[..], &[row, IDLE]].concat()), 5, "a missing CommandComplete");
}

#[test]
fn a_simple_query_does_not_take_the_columns_of_an_earlier_statement_for_its_own() {
    let asked = [Step::Query, Step::Query];
    let first: [(u8, &[u8]); 4] = [(b'T', b"\0\x01"), (b'D', b"\0\x01"), (b'C', b"SELECT 1\0"), IDLE];
    let second: [(u8, &[u8]); 2] = [(b'C', b"SELECT 5\0"), IDLE]; // CREATE TABLE AS gives no rows
    assert_eq!(in_place(&asked, &[&first[..], &second[..]].concat()), 6);
}
