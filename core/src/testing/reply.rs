//! What a script answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::failure::Failure;
use super::wire::{self, Column};
use crate::param::Param;
use crate::types::{IsNull, ToSql, Type};

/// What the server answers to a statement.
///
/// Start with [`ok`](Reply::ok), [`affected`](Reply::affected), [`value`](Reply::value), [`columns`](Reply::columns) or
/// [`error`](Reply::error); or with what a server should never do: [`silence`](Reply::silence), [`close`](Reply::close),
/// [`raw`](Reply::raw). How it travels can be added: [`after`](Reply::after), [`cut_after`](Reply::cut_after),
/// [`in_packets_of`](Reply::in_packets_of).
#[derive(Debug, Clone)]
#[must_use]
pub struct Reply {
    pub(super) columns: Option<Vec<Column>>,
    pub(super) rows: Vec<Bytes>,
    pub(super) copy: Option<Copy>,
    pub(super) ending: Ending,
    pub(super) delay: Option<Duration>,
    pub(super) cut: Option<usize>,
    pub(super) packet: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Copy {
    In,
    Out(Vec<Bytes>),
}

#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// Well; with this many rows, or as many as there are.
    Done {
        affected: Option<u64>,
        tag: Option<String>,
    },
    Error(Failure),
    Silence,
    Close,
    Raw(Bytes),
}

impl Reply {
    fn new(ending: Ending) -> Reply {
        Reply { columns: None, rows: Vec::new(), copy: None, ending, delay: None, cut: None, packet: None }
    }

    /// What PostgreSQL does: transaction control is carried out, COPY takes its data, and any other statement succeeds,
    /// without a row.
    pub fn ok() -> Reply {
        Reply::new(Ending::Done { affected: None, tag: None })
    }

    /// Success, and how many rows were inserted, updated or deleted.
    pub fn affected(rows: u64) -> Reply {
        Reply::new(Ending::Done { affected: Some(rows), tag: None })
    }

    /// One row of one column.
    ///
    /// # Panics
    ///
    /// If the value can't be written as its type.
    pub fn value<T: Param>(column: &str, value: T) -> Reply {
        Reply::columns(&[(column, T::TYPE)]).row(&[&value])
    }

    /// Rows of these columns; none, until [`row`](Reply::row) adds some.
    pub fn columns(columns: &[(&str, Type)]) -> Reply {
        let columns = columns.iter().map(|(name, ty)| Column { name: (*name).to_owned(), ty: ty.clone() });
        Reply { columns: Some(columns.collect()), ..Reply::ok() }
    }

    /// Adds a row.
    ///
    /// # Panics
    ///
    /// If a value does not fit its column's type, or there are more or fewer values than columns. What does not fit is
    /// [`raw_row`](Reply::raw_row)'s.
    pub fn row(self, values: &[&(dyn ToSql + Sync)]) -> Reply {
        let columns = self.columns.as_deref().unwrap_or_default();
        assert_eq!(columns.len(), values.len(), "a row has one value for each column");
        let written: Vec<Option<BytesMut>> = std::iter::zip(columns, values)
            .map(|(column, value)| {
                let mut written = BytesMut::new();
                match value.to_sql_checked(&column.ty, &mut written) {
                    Ok(IsNull::No) => Some(written),
                    Ok(IsNull::Yes) => None,
                    Err(error) => panic!("column {:?}: {error}", column.name),
                }
            })
            .collect();
        let values: Vec<Option<&[u8]>> = written.iter().map(Option::as_deref).collect();
        self.raw_row(&values)
    }

    /// Adds a row of these bytes, whatever its columns are; `None` is NULL.
    pub fn raw_row(mut self, values: &[Option<&[u8]>]) -> Reply {
        self.rows.push(wire::row(values.iter().copied()));
        self
    }

    /// Ends the rows (or a COPY) with something else: an error, silence, a lost connection.
    pub fn then(mut self, ending: Reply) -> Reply {
        self.ending = ending.ending;
        self
    }

    /// An error with this SQLSTATE, such as `"23505"`. It fails the transaction it is in.
    pub fn error(sqlstate: &str) -> Reply {
        Reply::new(Ending::Error(Failure::new(sqlstate)))
    }

    /// An error with which the server ends the connection, such as `"57P01"`.
    pub fn fatal(sqlstate: &str) -> Reply {
        Reply::new(Ending::Error(Failure { fatal: true, ..Failure::new(sqlstate) }))
    }

    /// Names the constraint of an [`error`](Reply::error).
    pub fn constraint(self, name: &str) -> Reply {
        self.field(b'n', name)
    }

    /// Names the table of an [`error`](Reply::error).
    pub fn table(self, name: &str) -> Reply {
        self.field(b't', name)
    }

    /// Names the column of an [`error`](Reply::error).
    pub fn column(self, name: &str) -> Reply {
        self.field(b'c', name)
    }

    /// Sets the message of an [`error`](Reply::error).
    pub fn message(self, text: &str) -> Reply {
        self.field(b'M', text)
    }

    /// Sets the DETAIL of an [`error`](Reply::error).
    pub fn detail(self, text: &str) -> Reply {
        self.field(b'D', text)
    }

    /// Names the function of PostgreSQL's source that an [`error`](Reply::error) comes from, which what stands in between never does:
    /// `"exec_stmt_raise"` for a `RAISE`.
    pub fn routine(self, name: &str) -> Reply {
        self.field(b'R', name)
    }

    /// Sets the place in the statement's text that an [`error`](Reply::error) is about, in characters, counted from 1.
    pub fn position(self, character: u32) -> Reply {
        self.field(b'P', &character.to_string())
    }

    fn field(mut self, field: u8, text: &str) -> Reply {
        if let Ending::Error(failure) = &mut self.ending {
            failure.set(field, text);
        }
        self
    }

    /// Sets the command tag, such as `"INSERT 0 1"`, where PostgreSQL's usual one won't do.
    pub fn tag(mut self, tag: &str) -> Reply {
        if let Ending::Done { tag: own, .. } = &mut self.ending {
            *own = Some(tag.to_owned());
        }
        self
    }

    /// `COPY … TO STDOUT`: these pieces of data.
    pub fn copy_out<T: Into<Bytes>>(pieces: impl IntoIterator<Item = T>) -> Reply {
        Reply { copy: Some(Copy::Out(pieces.into_iter().map(Into::into).collect())), ..Reply::ok() }
    }

    /// `COPY … FROM STDIN`: takes the data. So does [`ok`](Reply::ok); here an ending can be
    /// [added](Reply::then).
    pub fn copy_in() -> Reply {
        Reply { copy: Some(Copy::In), ..Reply::ok() }
    }

    /// No answer, now or ever, to this statement or a later one on its connection.
    pub fn silence() -> Reply {
        Reply::new(Ending::Silence)
    }

    /// No answer: the connection is closed.
    pub fn close() -> Reply {
        Reply::new(Ending::Close)
    }

    /// These bytes, as they are, instead of any answer.
    pub fn raw(bytes: impl Into<Bytes>) -> Reply {
        Reply::new(Ending::Raw(bytes.into()))
    }

    /// Comes this much later, on the [driver's clock](super::ScriptedDriver::advance).
    pub fn after(mut self, delay: Duration) -> Reply {
        self.delay = Some(delay);
        self
    }

    /// Closes the connection after so many bytes of this answer.
    pub fn cut_after(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }

    /// Travels in packets of so many bytes.
    pub fn in_packets_of(mut self, bytes: usize) -> Reply {
        self.packet = Some(bytes);
        self
    }
}
