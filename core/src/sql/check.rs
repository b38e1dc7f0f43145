//! What no statement may be, and what to use instead.

use pgspan_scan::{Command, Inspection, TimeLimit};

use super::statement::Sql;
use crate::error::{Error, Kind, Result};

impl Sql<'_> {
    /// What its words say.
    ///
    /// # Errors
    ///
    /// [`Kind::Refused`]: the library has another way for this. [`Kind::Parameter`]: a parameter where none can be.
    pub(crate) fn check(&self) -> Result<Inspection> {
        let inspection = self.inspect();
        let refuse = |what: &str, instead: &str| {
            Err(Error::refused(format!("{what} is refused as a statement: {instead}")))
        };
        match inspection.command {
            Command::TransactionControl => {
                return refuse("a statement that begins or ends a transaction", "use session.transaction()");
            }
            Command::Savepoint => {
                return refuse(
                    "SAVEPOINT or RELEASE",
                    "use transaction.savepoint(name) after session.transaction()",
                );
            }
            Command::PrepareTransaction => {
                return refuse("PREPARE TRANSACTION", "session.transaction() has no second phase");
            }
            Command::CopyIn | Command::CopyOut => {
                return refuse(
                    "COPY from STDIN or to STDOUT",
                    "use transaction.copy_in(…) or transaction.copy_out(…) after session.transaction()",
                );
            }
            Command::SelfCommitting | Command::Forget | Command::Other => {}
        }
        if let Some(number) = inspection.by_hand {
            return Err(Error::refused(format!(
                "${number} was written by hand: write sql!(\"… {{id}} …\") with a variable id, or \
                 Sql::new(\"… \").bind(&id) for text that is made at run time; the numbers come by themselves"
            )));
        }
        if inspection.hides_parameter {
            return Err(Error::new(
                Kind::Parameter,
                "a parameter stands inside quotes or a comment, where PostgreSQL does not see it: bind the whole value",
            ));
        }
        Ok(inspection)
    }

    pub(crate) fn has_parameters(&self) -> bool {
        !self.params.is_empty()
    }

    /// Whether it may have committed a part of what it does when it fails.
    pub(crate) fn commits_by_itself(&self) -> bool {
        self.inspect().command == Command::SelfCommitting
    }

    /// The server's limit that it sets: whether for the transaction alone, and which.
    pub(crate) fn limit_set(&self) -> Option<(bool, TimeLimit)> {
        self.inspect().statement_timeout
    }
}
