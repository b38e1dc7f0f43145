//! Which requests a client writes (PostgreSQL documentation, 54.7 "Message Formats").

use super::mark::Mark;

/// What one message asks for, as far as its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// What the guard itself wrote in front of a request.
    Mark(Mark),
    Parse,
    Bind(Name),
    DescribeStatement(Name),
    DescribePortal,
    Execute,
    Close(Name),
    /// The end of a COPY's data.
    CopyEnd,
    Sync,
    Query,
}

/// The name of a prepared statement, as a hash: messages come in pieces, and are not kept. 0 is the unnamed one.
pub(super) type Name = u64;

/// Reads what is written, in whatever pieces it comes.
#[derive(Debug)]
pub(super) struct Frontend {
    state: State,
    /// The next message is the first of a request.
    is_between: bool,
}

/// What a piece of what is written holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Here, so many bytes from the start of the piece, a request of the extended protocol begins.
    Request(usize),
    /// A message was completed.
    Step(Step),
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The start-up message, the only one without a tag: so much of its length was read.
    Startup {
        length: u32,
        read: u8,
    },
    Header {
        tag: u8,
        length: u32,
        read: u8,
    },
    Body {
        tag: u8,
        left: usize,
        part: Part,
    },
}

/// What of a body is looked at.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Describe and Close begin with what is meant: a statement or a portal.
    Kind,
    /// The portal's name, in front of the statement's.
    Portal,
    Name {
        of_statement: bool,
        hash: u64,
    },
    Rest {
        of_statement: bool,
        name: Name,
    },
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Frontend {
    pub(super) fn new() -> Frontend {
        Frontend { state: State::Startup { length: 0, read: 0 }, is_between: true }
    }

    /// Reads a piece, and says what it holds.
    pub(super) fn read(&mut self, whole: &[u8], mut found: impl FnMut(Found)) {
        let mut piece = whole;
        while let Some((&byte, rest)) = piece.split_first() {
            match &mut self.state {
                State::Startup { length, read } => {
                    piece = rest;
                    *length = length.wrapping_shl(8) | u32::from(byte);
                    *read += 1;
                    if *read == 4 {
                        let left = body(*length);
                        self.enter(0, left, &mut found);
                    }
                }
                State::Header { tag, length, read } => {
                    if *read == 0 && self.is_between && matches!(byte, b'P' | b'B' | b'D' | b'C') {
                        self.is_between = false;
                        found(Found::Request(whole.len() - piece.len()));
                    }
                    piece = rest;
                    match *read {
                        0 => *tag = byte,
                        _ => *length = length.wrapping_shl(8) | u32::from(byte),
                    }
                    *read += 1;
                    if *read == 5 {
                        let (tag, left) = (*tag, body(*length));
                        self.enter(tag, left, &mut found);
                    }
                }
                State::Body { tag, left, part } => {
                    let (tag, taken) = (*tag, part.take(piece.get(..*left).unwrap_or(piece)));
                    piece = piece.get(taken..).unwrap_or_default();
                    *left -= taken;
                    if *left == 0 {
                        let step = part.step(tag);
                        self.next(step, &mut found);
                    }
                }
            }
        }
    }

    fn enter(&mut self, tag: u8, left: usize, found: &mut impl FnMut(Found)) {
        let part = match tag {
            b'D' | b'C' => Part::Kind,
            b'B' => Part::Portal,
            _ => Part::Rest { of_statement: false, name: 0 },
        };
        if left > 0 {
            self.state = State::Body { tag, left, part };
        } else {
            self.next(part.step(tag), found);
        }
    }

    fn next(&mut self, step: Option<Step>, found: &mut impl FnMut(Found)) {
        self.state = State::Header { tag: 0, length: 0, read: 0 };
        self.is_between |= matches!(step, Some(Step::Sync | Step::Query));
        step.into_iter().for_each(|step| found(Found::Step(step)));
    }
}

/// The length counts itself.
fn body(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4)
}

impl Part {
    /// Takes as much as belongs to this part, and goes on to the next; says how much that was.
    fn take(&mut self, piece: &[u8]) -> usize {
        match self {
            Part::Kind => {
                *self = Part::Name { of_statement: piece.first() == Some(&b'S'), hash: 0 };
                1
            }
            Part::Portal => match piece.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    *self = Part::Name { of_statement: true, hash: 0 };
                    end + 1
                }
                None => piece.len(),
            },
            Part::Name { of_statement, hash } => {
                let end = piece.iter().position(|byte| *byte == 0);
                for byte in piece.iter().take(end.unwrap_or(piece.len())) {
                    let begun = if *hash == 0 { FNV_OFFSET } else { *hash };
                    *hash = (begun ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
                }
                match end {
                    Some(end) => {
                        *self = Part::Rest { of_statement: *of_statement, name: *hash };
                        end + 1
                    }
                    None => piece.len(),
                }
            }
            Part::Rest { .. } => piece.len(),
        }
    }

    fn step(self, tag: u8) -> Option<Step> {
        let (of_statement, name) = match self {
            Part::Rest { of_statement, name } => (of_statement, name),
            _ => (false, 0),
        };
        Some(match tag {
            b'P' => Step::Parse,
            b'B' => Step::Bind(name),
            b'D' if of_statement => Step::DescribeStatement(name),
            b'D' => Step::DescribePortal,
            b'E' => Step::Execute,
            b'C' => Step::Close(name),
            b'S' => Step::Sync,
            b'Q' => Step::Query,
            b'c' | b'f' => Step::CopyEnd,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use postgres_protocol::message::frontend;

    use super::*;

    fn written() -> BytesMut {
        let mut out = BytesMut::new();
        frontend::startup_message([("user", "alice")], &mut out).unwrap();
        frontend::parse("s1", "SELECT $1", [20], &mut out).unwrap();
        frontend::describe(b'S', "s1", &mut out).unwrap();
        frontend::sync(&mut out);
        let bound = frontend::bind(
            "",
            "s1",
            [1],
            [b"value".as_slice()],
            |value, out| {
                out.extend_from_slice(value);
                Ok(postgres_protocol::IsNull::No)
            },
            [1],
            &mut out,
        );
        assert!(bound.is_ok());
        frontend::describe(b'P', "", &mut out).unwrap();
        frontend::execute("", 0, &mut out).unwrap();
        frontend::close(b'S', "s1", &mut out).unwrap();
        frontend::sync(&mut out);
        frontend::query("SELECT 1", &mut out).unwrap();
        frontend::copy_done(&mut out);
        out
    }

    fn step(found: Found) -> Option<Step> {
        match found {
            Found::Step(step) => Some(step),
            Found::Request(_) => None,
        }
    }

    #[test]
    fn the_beginnings_of_requests_are_found_in_pieces_of_any_size() {
        let written = written();
        let starts: Vec<usize> = (0..written.len())
            .filter(|at| written[*at..].starts_with(b"P\0\0\0") || written[*at..].starts_with(b"B\0\0\0"))
            .collect();
        assert_eq!(starts.len(), 2, "{written:?}");
        for size in 1..=written.len() {
            let (mut frontend, mut found, mut passed) = (Frontend::new(), Vec::new(), 0);
            for piece in written.chunks(size) {
                frontend.read(piece, |what| match what {
                    Found::Request(at) => found.push(passed + at),
                    Found::Step(_) => {}
                });
                passed += piece.len();
            }
            assert_eq!(found, starts, "in pieces of {size}");
        }
    }

    #[test]
    fn messages_are_found_in_pieces_of_any_size() {
        let written = written();
        for size in 1..=written.len() {
            let (mut frontend, mut steps) = (Frontend::new(), Vec::new());
            written.chunks(size).for_each(|piece| frontend.read(piece, |found| steps.extend(step(found))));
            let [Step::Parse, Step::DescribeStatement(name), Step::Sync, Step::Bind(bound), rest @ ..] =
                &steps[..]
            else {
                panic!("in pieces of {size}: {steps:?}")
            };
            assert!(name == bound && *name != 0, "in pieces of {size}: {steps:?}");
            let expected = [
                Step::DescribePortal,
                Step::Execute,
                Step::Close(*name),
                Step::Sync,
                Step::Query,
                Step::CopyEnd,
            ];
            assert_eq!(rest, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn the_unnamed_statement_is_zero() {
        let mut out = BytesMut::new();
        frontend::startup_message([("user", "alice")], &mut out).unwrap();
        frontend::describe(b'S', "", &mut out).unwrap();
        let (mut frontend, mut steps) = (Frontend::new(), Vec::new());
        frontend.read(&out, |found| steps.extend(step(found)));
        assert_eq!(steps, [Step::DescribeStatement(0)]);
    }
}
