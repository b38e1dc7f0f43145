//! What PostgreSQL does with transaction control, and with every other statement in a transaction.

use super::failure::Failure;

/// Where a connection stands, as `ReadyForQuery` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Status {
    /// Outside any transaction.
    #[default]
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a transaction in which a statement failed, so that it can only be rolled back.
    Failed,
}

impl Status {
    pub(super) fn byte(self) -> u8 {
        match self {
            Status::Idle => b'I',
            Status::InTransaction => b'T',
            Status::Failed => b'E',
        }
    }
}

/// A connection's transaction and its savepoints.
#[derive(Debug, Default)]
pub(super) struct Block {
    status: Status,
    savepoints: Vec<String>,
}

impl Block {
    pub(super) fn status(&self) -> Status {
        self.status
    }

    /// The error PostgreSQL has for a statement before it looks at what it says.
    pub(super) fn refuses(&self, text: &str) -> Option<Failure> {
        let ends = matches!(word(text, 0).as_str(), "COMMIT" | "END" | "ROLLBACK" | "ABORT");
        (self.status == Status::Failed && !ends).then(|| Failure::new("25P02"))
    }

    /// A statement failed. A COMMIT that does ends its transaction all the same.
    pub(super) fn fail(&mut self, text: &str) {
        match (self.status, word(text, 0).as_str()) {
            (_, "COMMIT" | "END") => drop(self.end()),
            (Status::InTransaction, _) => self.status = Status::Failed,
            _ => {}
        }
    }

    /// Carries out a statement; gives the tag of its answer where it is transaction control.
    pub(super) fn carry_out(&mut self, text: &str) -> Result<Option<&'static str>, Failure> {
        let done = match (word(text, 0).as_str(), word(text, 1).as_str()) {
            ("BEGIN" | "START", _) => {
                if self.status == Status::Idle {
                    self.status = Status::InTransaction;
                }
                Ok("BEGIN")
            }
            ("COMMIT" | "END", _) => Ok(match self.end() {
                Status::Failed => "ROLLBACK",
                _ => "COMMIT",
            }),
            ("ROLLBACK", "TO") => self.roll_back_to(&name(text)),
            ("ROLLBACK" | "ABORT", _) => {
                self.end();
                Ok("ROLLBACK")
            }
            ("SAVEPOINT" | "RELEASE", _) if self.status == Status::Idle => Err(Failure::new("25P01")),
            ("SAVEPOINT", _) => {
                self.savepoints.push(name(text));
                Ok("SAVEPOINT")
            }
            ("RELEASE", _) => self.find(&name(text)).map(|position| {
                self.savepoints.truncate(position);
                "RELEASE"
            }),
            _ => return Ok(None),
        };
        if done.is_err() {
            self.fail(text);
        }
        done.map(Some)
    }

    fn end(&mut self) -> Status {
        self.savepoints.clear();
        std::mem::take(&mut self.status)
    }

    fn roll_back_to(&mut self, name: &str) -> Result<&'static str, Failure> {
        if self.status == Status::Idle {
            return Err(Failure::new("25P01"));
        }
        let position = self.find(name)?;
        self.savepoints.truncate(position + 1);
        self.status = Status::InTransaction;
        Ok("ROLLBACK")
    }

    fn find(&self, name: &str) -> Result<usize, Failure> {
        self.savepoints.iter().rposition(|savepoint| savepoint == name).ok_or_else(|| Failure::new("3B001"))
    }
}

/// The tag of an answer: what was done, and to how many rows.
pub(super) fn tag(text: &str, rows: u64) -> String {
    let first = word(text, 0);
    match first.as_str() {
        "INSERT" => format!("INSERT 0 {rows}"),
        "WITH" | "VALUES" | "TABLE" => format!("SELECT {rows}"),
        "SELECT" | "UPDATE" | "DELETE" | "MERGE" | "FETCH" | "MOVE" | "COPY" => format!("{first} {rows}"),
        "CREATE" | "DROP" | "ALTER" => format!("{first} {}", word(text, 1)),
        _ => first,
    }
}

fn word(text: &str, position: usize) -> String {
    let word =
        text.split(|c: char| c.is_whitespace() || c == ';').filter(|word| !word.is_empty()).nth(position);
    word.unwrap_or_default().to_ascii_uppercase()
}

/// The name at the end of SAVEPOINT, RELEASE [SAVEPOINT] and ROLLBACK TO [SAVEPOINT].
fn name(text: &str) -> String {
    let mut rest = text.trim().trim_end_matches(';').trim_end();
    for keyword in ["ROLLBACK", "RELEASE", "TO", "SAVEPOINT"] {
        if word(rest, 0) == keyword {
            rest = rest.get(keyword.len()..).unwrap_or_default().trim_start();
        }
    }
    match rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => rest.to_ascii_lowercase(),
    }
}
