//! Whether each message of the server is one that may come now.
//!
//! A client writes requests and the server answers them in order (PostgreSQL documentation, 54.2.3 "Extended Query"). So the list of
//! what was asked says what the next message can be. A message that is missing, surplus or out of place means that the answers behind
//! it may go to the wrong statements: the connection must end.

use std::collections::{HashMap, VecDeque};

use super::frontend::{Name, Step};
use super::mark::Mark;
use super::watch::Watch;

#[derive(Debug)]
pub(super) struct Protocol {
    watch: Watch,
    logged_in: bool,
    /// What was asked and is not answered, in order.
    steps: VecDeque<Step>,
    /// The server failed a request whose Sync is not written yet: it ignores everything up to that.
    skips_to_sync: bool,
    /// The parameters of the statement that is being described were told.
    parameters_told: bool,
    /// How many of the answers to the mark in front came.
    marked: u8,
    /// Of the statement that is executed now.
    columns: Columns,
    rows: u64,
    copy: Copy,
    /// The columns of the prepared statements.
    described: HashMap<Name, Columns>,
}

/// The columns of a statement's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    Unknown,
    /// It gives no rows.
    None,
    Some(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    No,
    /// Until its data ends the server ignores every Sync.
    In,
    Out,
}

/// A message that may not come now: what it was, in words for the log.
pub(super) type Misplaced = &'static str;

impl Protocol {
    pub(super) fn new(watch: Watch) -> Protocol {
        Protocol {
            watch,
            logged_in: false,
            steps: VecDeque::new(),
            skips_to_sync: false,
            parameters_told: false,
            marked: 0,
            columns: Columns::Unknown,
            rows: 0,
            copy: Copy::No,
            described: HashMap::new(),
        }
    }

    /// Whether the login is over.
    pub(super) fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Whether a message that comes now is an answer to the guard's own question.
    pub(super) fn is_of_mark(&self, tag: u8) -> bool {
        matches!(self.steps.front(), Some(Step::Mark(_))) && !matches!(tag, b'N' | b'S' | b'A' | b'E')
    }

    /// Whether a description that comes now is of a statement, whose types tokio-postgres looks up.
    pub(super) fn describes_statement(&self) -> bool {
        self.steps.front() != Some(&Step::Query)
    }

    /// The client wrote a message.
    pub(super) fn ask(&mut self, step: Step) {
        match step {
            Step::Sync if self.skips_to_sync => self.skips_to_sync = false,
            _ if self.skips_to_sync => return,
            Step::Sync if self.copy == Copy::In => return,
            Step::CopyEnd if self.copy == Copy::In => {
                self.copy = Copy::No;
                if self.steps.front() == Some(&Step::Query) {
                    return; // the query's own answer ends it
                }
            }
            _ => {}
        }
        if matches!(step, Step::Sync | Step::Query) {
            self.watch.count_written();
        }
        self.steps.push_back(step);
    }

    /// The server sent a message: its tag, and the part of its body that is looked at (see [`looked_at`]).
    pub(super) fn hear(&mut self, tag: u8, body: &[u8]) -> Result<(), Misplaced> {
        match tag {
            // a notice or a changed setting can come at any time
            b'S' if body.starts_with(b"standard_conforming_strings\0off") => {
                return Err(
                    "standard_conforming_strings is off, and pgspan reads statements as if it were on",
                );
            }
            b'N' | b'S' => return Ok(()),
            b'R' | b'K' | b'v' | b'E' if !self.logged_in => return Ok(()),
            b'Z' if !self.logged_in => {
                self.logged_in = true;
                self.watch.set_status(status(body)?);
                return Ok(());
            }
            _ if !self.logged_in => return Err("a message that has no place in a login"),
            b'A' => return Ok(()),
            b'E' => {
                self.fail();
                return Ok(());
            }
            _ => {}
        }
        let Some(step) = self.steps.front().copied() else {
            return Err("an answer that nothing was asked for");
        };
        match (tag, step) {
            (_, Step::Mark(mark)) => self.mark(mark, tag, body)?,
            (b'1', Step::Parse) => self.done(),
            (b'2', Step::Bind(name)) => {
                self.rows = 0;
                self.columns = self.described.get(&name).copied().unwrap_or(Columns::Unknown);
                self.done();
            }
            (b't', Step::DescribeStatement(_)) if !self.parameters_told => self.parameters_told = true,
            (b'T' | b'n', Step::DescribeStatement(name)) if self.parameters_told => {
                self.parameters_told = false;
                self.describe(tag, body)?;
                if name != 0 {
                    self.described.insert(name, self.columns);
                }
                self.done();
            }
            (b'T' | b'n', Step::DescribePortal) => {
                self.describe(tag, body)?;
                self.done();
            }
            (b'T', Step::Query) => {
                self.describe(tag, body)?;
                self.rows = 0;
            }
            (b'D', Step::Execute | Step::Query) if self.copy == Copy::No => self.row(body)?,
            (b'C', Step::Execute) if self.copy == Copy::No => {
                self.complete(body)?;
                self.done();
            }
            (b'C', Step::Query) if self.copy == Copy::No => {
                self.complete(body)?;
                self.columns = Columns::None;
            }
            (b'C', Step::CopyEnd) => self.done(),
            (b'I' | b's', Step::Execute) if self.rows == 0 || tag == b's' => self.done(),
            (b'I', Step::Query) => {}
            (b'3', Step::Close(name)) => {
                self.described.remove(&name);
                self.done();
            }
            (b'G', Step::Execute | Step::Query) => self.copy_in(step),
            (b'H', Step::Execute | Step::Query) => self.copy = Copy::Out,
            (b'd', Step::Execute | Step::Query) if self.copy == Copy::Out => {}
            (b'c', Step::Execute | Step::Query) if self.copy == Copy::Out => self.copy = Copy::No,
            (b'Z', Step::Sync | Step::Query) if self.copy == Copy::No => {
                self.done();
                self.columns = Columns::None; // a query's first statement need not have any, though its tag counts rows
                self.watch.count_answered(status(body)?);
            }
            (b'Z', _) => return Err("ReadyForQuery in the middle of an answer"),
            _ => return Err("a message in the wrong place of an answer"),
        }
        Ok(())
    }

    /// ParseComplete, the mark, and that no rows are to be expected.
    fn mark(&mut self, mark: Mark, tag: u8, body: &[u8]) -> Result<(), Misplaced> {
        match (tag, self.marked) {
            (b'1', 0) => self.marked = 1,
            (b't', 1) if mark.is_told(body) => self.marked = 2,
            (b'n', 2) => {
                self.marked = 0;
                self.done();
            }
            _ => return Err("the answer to another statement"),
        }
        Ok(())
    }

    fn done(&mut self) {
        self.steps.pop_front();
    }

    /// An error ends its request: what else was asked in it is not answered. One that nothing was asked for says why the
    /// server ends the connection.
    fn fail(&mut self) {
        let copies = std::mem::replace(&mut self.copy, Copy::No) == Copy::In;
        (self.parameters_told, self.marked) = (false, 0);
        if self.steps.is_empty() && !copies {
            return;
        }
        while !matches!(self.steps.front(), None | Some(Step::Sync | Step::Query)) {
            self.done();
        }
        self.skips_to_sync = self.steps.is_empty();
        self.columns = Columns::None;
        self.rows = 0;
    }

    fn describe(&mut self, tag: u8, body: &[u8]) -> Result<(), Misplaced> {
        self.columns = match tag {
            b'n' => Columns::None,
            _ => Columns::Some(number(body).ok_or("a description of rows that is too short")?),
        };
        Ok(())
    }

    fn row(&mut self, body: &[u8]) -> Result<(), Misplaced> {
        let values = number(body).ok_or("a row that is too short")?;
        match self.columns {
            Columns::Some(columns) if values != columns => return Err("a row of another statement's form"),
            Columns::None => return Err("a row of a statement that has none"),
            _ => self.rows += 1,
        }
        Ok(())
    }

    /// The server says how many rows there were, and each of them must have come.
    fn complete(&mut self, body: &[u8]) -> Result<(), Misplaced> {
        let rows = std::mem::take(&mut self.rows);
        let tag = std::str::from_utf8(body).unwrap_or_default().trim_end_matches('\0');
        let told = tag.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        match (self.columns, told) {
            (Columns::Some(_), Some(told)) if rows != told => Err("another number of rows than came"),
            (Columns::Unknown, Some(told)) if rows != told && rows > 0 => {
                Err("another number of rows than came")
            }
            _ => Ok(()),
        }
    }

    /// The server takes the data of a COPY, and ignores the Sync that was written right behind the Execute.
    fn copy_in(&mut self, step: Step) {
        self.copy = Copy::In;
        if step == Step::Query {
            return;
        }
        self.done();
        while self.steps.front() == Some(&Step::Sync) {
            self.done();
            self.watch.uncount_written();
        }
        if self.steps.front() == Some(&Step::CopyEnd) {
            self.copy = Copy::No;
        }
    }
}

/// How much of a message's body [`Protocol::hear`] looks at; more than that is passed on unread.
pub(super) fn looked_at(tag: u8, length: usize) -> usize {
    match tag {
        b'D' => length.min(2),
        b'S' => length.min(64), // the name of a setting, and the beginning of its value
        b'T' | b't' | b'C' | b'Z' => length,
        _ => 0,
    }
}

/// The longest that a message can be whose whole body is looked at; `None` for those that are passed on.
pub(super) fn longest(tag: u8) -> Option<usize> {
    match tag {
        b'T' | b't' => Some(16 << 20), // 1,664 columns at most, with names of 63 bytes
        b'C' => Some(1 << 10),
        b'Z' => Some(1),
        b'1' | b'2' | b'3' | b'n' | b'I' | b's' | b'c' => Some(0),
        _ => None,
    }
}

fn status(body: &[u8]) -> Result<u8, Misplaced> {
    match body {
        [status @ (b'I' | b'T' | b'E')] => Ok(*status),
        _ => Err("ReadyForQuery without a transaction status"),
    }
}

fn number(body: &[u8]) -> Option<u16> {
    body.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}
