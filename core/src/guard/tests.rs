//! Answers in their place and out of it, message by message.

use super::Watch;
use super::frontend::Step;
use super::mark::Mark;
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

/// Looked for as siblings: the mark of another, none, a mark where none was sent, an error in front of it, behind it, and in the place of one.
#[test]
fn an_answer_without_its_mark_is_noticed_before_anything_of_it() {
    let (mark, other) = (Mark::START.next(), Mark::START);
    let asked = [Step::Mark(mark), Step::Parse, Step::Bind(0), Step::Execute, Step::Sync];
    let (told, others) = (told(mark), told(other));
    let marked = |told: &'static [u8]| [(b'1', &b""[..]), (b't', told), (b'n', &b""[..])];
    let rest: [(u8, &[u8]); 4] = [(b'1', b""), (b'2', b""), (b'C', b"SET\0"), IDLE];
    assert_eq!(in_place(&asked, &[&marked(told)[..], &rest].concat()), 7);
    assert_eq!(in_place(&asked, &[&marked(others)[..], &rest].concat()), 1, "another's");
    assert_eq!(in_place(&asked, &rest), 1, "none");
    assert_eq!(in_place(&asked[1..], &[&marked(told)[..], &rest].concat()), 1, "one that was not sent");
    let failed: [(u8, &[u8]); 2] = [(b'E', b""), IDLE];
    assert_eq!(in_place(&asked, &[&marked(told)[..], &failed].concat()), 5);
    let twice = [&asked[..], &[Step::Mark(mark.next()), Step::Parse, Step::Sync]].concat();
    let doubled = [&marked(told)[..], &failed, &marked(told)[..], &failed].concat();
    assert_eq!(in_place(&twice, &doubled), 6, "an error that came twice");
}

fn told(mark: Mark) -> &'static [u8] {
    let mut written = bytes::BytesMut::new();
    mark.write(&mut written).unwrap();
    // the Parse ends with the number of its parameters and their types, as what is told of it begins
    let end = usize::try_from(u32::from_be_bytes([written[1], written[2], written[3], written[4]])).unwrap();
    Vec::leak(written[end - 5..=end].to_vec())
}

#[test]
fn a_simple_query_does_not_take_the_columns_of_an_earlier_statement_for_its_own() {
    let asked = [Step::Query, Step::Query];
    let first: [(u8, &[u8]); 4] = [(b'T', b"\0\x01"), (b'D', b"\0\x01"), (b'C', b"SELECT 1\0"), IDLE];
    let second: [(u8, &[u8]); 2] = [(b'C', b"SELECT 5\0"), IDLE]; // CREATE TABLE AS gives no rows
    assert_eq!(in_place(&asked, &[&first[..], &second[..]].concat()), 6);
}
