//! PostgreSQL's own error, and how much of it is shown.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use tokio_postgres::error::{DbError, ErrorPosition};

use crate::sqlstate::{SqlState, condition_name};

/// PostgreSQL's own error, whose texts may quote values.
///
/// `Display` and `Debug` show the SQLSTATE, its name and the names concerned. Where the text of the statement is at fault (class 42) they
/// show PostgreSQL's sentence too, if all that it quotes is in the text, and the place in the statement. Everything is shown with
/// [`ErrorDetail::Full`]. Ask for [`message`](ServerError::message) and the others where it is safe to show them.
#[derive(Clone)]
pub struct ServerError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    error: DbError,
    /// The statement's text from the place on that the error is about.
    place: Option<String>,
    shows: Shows,
    cure: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Name,
    Message,
    All,
}

/// How much of PostgreSQL's errors is shown by `Display` and `Debug`, and so in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ErrorDetail {
    /// What quotes no value.
    #[default]
    Safe,
    /// PostgreSQL's message, DETAIL, HINT and CONTEXT, which quote values: for development.
    Full,
}

/// The statement that an error is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) text: &'a str,
    /// It is part of the program, so that it holds no value.
    pub(crate) is_fixed: bool,
    pub(crate) has_parameters: bool,
    /// It has a parameter whose type the server finds out.
    pub(crate) has_open: bool,
    /// A part of it may be stored though it failed, unless it was in a transaction.
    pub(crate) commits_by_itself: bool,
    pub(crate) detail: ErrorDetail,
}

impl ServerError {
    pub(super) fn new(error: &DbError, asked: Asked<'_>, at_login: bool) -> ServerError {
        let shows = match asked.detail {
            ErrorDetail::Full => Shows::All,
            ErrorDetail::Safe if at_login || asked.is_at_fault(error) => Shows::Message,
            ErrorDetail::Safe => Shows::Name,
        };
        let place = match error.position() {
            Some(ErrorPosition::Original(position)) if shows != Shows::Name => asked.from(*position),
            _ => None,
        };
        let cure = asked.has_open.then(|| cure(error)).flatten();
        ServerError(Box::new(Inner { error: error.clone(), place, shows, cure }))
    }

    /// The SQLSTATE.
    pub fn code(&self) -> &SqlState {
        self.0.error.code()
    }

    /// The primary message. It may quote values.
    pub fn message(&self) -> &str {
        self.0.error.message()
    }

    /// DETAIL. It usually quotes values.
    pub fn detail(&self) -> Option<&str> {
        self.0.error.detail()
    }

    /// HINT: what PostgreSQL suggests.
    pub fn hint(&self) -> Option<&str> {
        self.0.error.hint()
    }

    /// CONTEXT: where in functions and internal statements it happened.
    pub fn context(&self) -> Option<&str> {
        self.0.error.where_()
    }

    /// The place in the statement's text, in characters, counted from 1.
    pub fn position(&self) -> Option<u32> {
        match self.0.error.position()? {
            ErrorPosition::Original(position) => Some(*position),
            ErrorPosition::Internal { .. } => None,
        }
    }

    pub(super) fn constraint(&self) -> Option<&str> {
        self.0.error.constraint()
    }

    pub(super) fn table(&self) -> Option<&str> {
        self.0.error.table()
    }

    pub(super) fn column(&self) -> Option<&str> {
        self.0.error.column()
    }
}

impl Asked<'_> {
    /// Whether an error is about the statement's text, and its message quotes nothing else. Functions say of their arguments with the same
    /// codes that a table or a setting does not exist, and a text that was made at run time may hold values itself.
    fn is_at_fault(&self, error: &DbError) -> bool {
        let raised = error.routine() == Some("exec_stmt_raise"); // by a function, with any text and code it likes
        let inside =
            error.where_().is_some() || matches!(error.position(), Some(ErrorPosition::Internal { .. }));
        let code = error.code().code();
        if raised || inside || !code.starts_with("42") {
            return false;
        }
        // A place in the text is told of what is found before any value is looked at. Without one it may be an argument that is quoted,
        // whatever it holds.
        let message = error.message();
        let denied = message.strip_prefix("permission denied for ").and_then(|what| what.rsplit(' ').next());
        // Of operators and functions it is said without quotes.
        let is_placed = error.position().is_some();
        if !is_placed && (code == "42883" || self.has_parameters && denied.is_none()) {
            return false;
        }
        let text = self.shown();
        let is_in_text = |name: &str| {
            let mut windows = text.as_bytes().windows(name.len().max(1));
            windows.any(|window| window.eq_ignore_ascii_case(name.as_bytes()))
        };
        message.split('"').skip(1).step_by(2).chain(denied).all(is_in_text)
    }

    /// The text without the values that one made at run time may hold.
    fn shown(&self) -> Cow<'_, str> {
        match self.is_fixed {
            true => Cow::Borrowed(self.text),
            false => Cow::Owned(pgspan_scan::redact(self.text)),
        }
    }

    /// The text from a position on, which counts characters from 1; a few words of it.
    fn from(&self, position: u32) -> Option<String> {
        const SHOWN: usize = 40;
        let start = usize::try_from(position).ok()?.checked_sub(1)?;
        let text = self.shown();
        let rest = text.chars().skip(start).map(|c| if c.is_whitespace() { ' ' } else { c });
        let shown: String = rest.take(SHOWN).collect();
        (!shown.is_empty()).then_some(shown)
    }
}

/// What to write where PostgreSQL can't tell the type of a parameter that was left open.
fn cure(error: &DbError) -> Option<&'static str> {
    match (error.code().code(), error.routine()) {
        ("42P18", _) => Some("nothing here tells PostgreSQL a string's type: say it, as in `{name}::text`"),
        ("42P08", _) => Some(
            "one string stands in places of different types: say one for all of them, as in `{name}::text`, or give it \
             two names",
        ),
        // unnest and other functions of any array
        ("42725", _) | ("42804", Some("enforce_generic_type_consistency")) => Some(
            "a string's type is left open, and this takes several: say which, as in `{name}::text`, or `{names}::text[]` \
             for a list",
        ),
        _ => None,
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", condition_name(self.code()), self.code().code())?;
        match (self.constraint(), self.table(), self.column()) {
            (Some(constraint), _, _) => write!(f, " on constraint {constraint}")?,
            (None, Some(table), Some(column)) => write!(f, " on column {table}.{column}")?,
            (None, Some(table), None) => write!(f, " on table {table}")?,
            (None, None, _) => {}
        }
        if self.0.shows != Shows::Name {
            write!(f, ": {}", self.message())?;
        }
        if let Some(place) = &self.0.place {
            write!(f, ", at `{place}`")?;
        }
        if let Some(cure) = self.0.cure {
            write!(f, " ({cure})")?;
        }
        if self.0.shows == Shows::All {
            let more = [("detail", self.detail()), ("hint", self.hint()), ("context", self.context())];
            for (name, text) in more {
                text.map_or(Ok(()), |text| write!(f, "; {name}: {text}"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({self})")
    }
}

impl StdError for ServerError {}
