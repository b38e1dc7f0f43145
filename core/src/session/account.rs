//! The account a session keeps of its connection, since tokio-postgres shows neither command tags nor transaction status.

use super::limit::Limit;
use crate::error::{Error, Kind, Result, Stake};
use crate::sql::{Sql, quote_identifier};
use crate::sqlstate::SqlState;
use crate::transaction_id::TransactionId;
use crate::transaction_options::TransactionOptions;

/// What is known of one exclusive connection.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Statements that were written and not answered.
    pub(crate) unanswered: usize,
    /// The connection is lost, or in a state we do not know.
    pub(crate) broken: bool,
    /// Rows are still to come that nobody waits for.
    pub(crate) draining: bool,
    /// It must not be given to another: session state was changed, or the server is leaving or read-only.
    pub(crate) tainted: bool,
    /// The open transaction and its savepoints, outermost first.
    pub(crate) blocks: Vec<Block>,
    /// How long a statement of this session may take.
    pub(crate) wanted: Limit,
    /// What the server has for it, outside of a transaction.
    pub(crate) kept: Limit,
}

/// A transaction, or a savepoint in it.
#[derive(Debug)]
pub(crate) struct Block {
    /// Its BEGIN or SAVEPOINT was written. Until its first statement it is not.
    pub(crate) begun: bool,
    /// A statement in it failed, with this SQLSTATE if the server said so.
    pub(crate) failed: Option<Option<SqlState>>,
    pub(crate) start: Start,
    pub(crate) id: Option<TransactionId>,
    /// How long a statement in it may take, if that was set in it.
    pub(crate) limit: Option<Limit>,
    /// What the caller set in it for the session, which holds once it is committed.
    for_session: Option<Limit>,
}

#[derive(Debug)]
pub(crate) enum Start {
    Begin(TransactionOptions),
    /// The savepoint's name, quoted.
    Savepoint(String),
}

impl Account {
    /// Whether the connection may be recycled: idle, outside any transaction, nothing unanswered.
    pub(crate) fn is_clean(&self) -> bool {
        self.unanswered == 0 && !self.broken && !self.tainted && self.blocks.is_empty()
    }

    /// Whether another statement may be sent.
    pub(crate) fn check(&self) -> Result<()> {
        match (self.unanswered, self.broken) {
            (0, false) => Ok(()),
            _ => Err(Error::new(
                Kind::Unusable,
                "this session has a statement that was not answered, or lost its connection: take another session",
            )),
        }
    }

    /// The name of a savepoint no one named.
    pub(crate) fn next_savepoint(&self) -> String {
        quote_identifier(&format!("pgspan_{}", self.blocks.len()))
    }

    /// What must be sent before the next statement: the beginning of each block that has not begun.
    pub(crate) fn opening(&self, transaction_limits: &[String]) -> Vec<Sql<'static>> {
        let mut opening = Vec::new();
        for block in self.blocks.iter().filter(|block| !block.begun) {
            match &block.start {
                Start::Begin(options) => {
                    opening.push(Sql::new("BEGIN"));
                    opening.extend(options.set_transaction().map(Sql::new));
                    opening.extend(transaction_limits.iter().cloned().map(Sql::new));
                    // what the session wants is set already where it can be
                    let wanted = Some(self.wanted)
                        .filter(|wanted| *wanted != Limit::Default && !transaction_limits.is_empty());
                    opening.extend(block.limit.or(wanted).map(|limit| limit.set(true)));
                    opening.extend(options.asks_for_id().then(|| Sql::new(TransactionId::QUERY)));
                }
                Start::Savepoint(name) => opening.push(Sql::new(format!("SAVEPOINT {name}"))),
            }
        }
        opening
    }

    /// How long a statement may take now.
    pub(crate) fn limit(&self) -> Limit {
        self.blocks.iter().rev().find_map(|block| block.limit).unwrap_or(self.wanted)
    }

    /// A statement of the caller's own set the server's limit: for the transaction, or for the session. PostgreSQL undoes both with the
    /// transaction or savepoint in which that was.
    pub(crate) fn set_limit(&mut self, local: bool, limit: Limit) {
        match self.blocks.last_mut() {
            Some(block) => {
                block.limit = Some(limit);
                block.for_session = if local { block.for_session } else { Some(limit) };
            }
            None if local => {}
            None => (self.wanted, self.kept) = (limit, limit),
        }
    }

    /// The innermost block was kept: what was set in it is so for the block around it, or for the session.
    pub(crate) fn close_block(&mut self) {
        let Some(Block { limit, for_session, .. }) = self.blocks.pop() else { return };
        match self.blocks.last_mut() {
            Some(around) => {
                around.limit = limit.or(around.limit);
                around.for_session = for_session.or(around.for_session);
            }
            None => {
                if let Some(limit) = for_session {
                    (self.wanted, self.kept) = (limit, limit);
                }
            }
        }
    }

    pub(crate) fn mark_begun(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.begun = true);
    }

    /// Whether the open transaction was begun as read only.
    pub(crate) fn is_read_only(&self) -> bool {
        let options = self.blocks.first().and_then(Block::options);
        options.is_some_and(|options| options.read_only == Some(true))
    }

    /// A statement failed: its block can't be committed any more.
    pub(crate) fn fail(&mut self, sqlstate: Option<&SqlState>) {
        if let Some(block) = self.blocks.last_mut() {
            block.failed.get_or_insert_with(|| sqlstate.cloned());
        }
    }

    /// The last so many statements of an opening failed. Behind a failed one all fail, so they are the beginnings of the
    /// innermost blocks, which are as if they had never been; the block around them can't be committed either.
    pub(crate) fn fail_opening(&mut self, statements: usize, sqlstate: Option<&SqlState>) {
        let first = self.blocks.len().saturating_sub(statements);
        for (depth, block) in self.blocks.iter_mut().enumerate().skip(first.saturating_sub(1)) {
            block.failed.get_or_insert_with(|| sqlstate.cloned());
            // a ROLLBACK TO could hit a savepoint of the same name further out; a ROLLBACK does no harm
            block.begun &= depth < first || matches!(block.start, Start::Begin(_));
        }
    }
}

impl Block {
    pub(crate) fn new(start: Start) -> Block {
        let limit = match &start {
            Start::Begin(options) => options.own_timeout().map(Limit::Of),
            Start::Savepoint(_) => None,
        };
        Block { begun: false, failed: None, start, id: None, limit, for_session: None }
    }

    /// What undoes it.
    pub(crate) fn undo(&self) -> Vec<Sql<'static>> {
        match &self.start {
            Start::Begin(_) => vec![Sql::new("ROLLBACK")],
            // without RELEASE a savepoint of that name would stay behind
            Start::Savepoint(name) => {
                vec![Sql::new(format!("ROLLBACK TO {name}")), Sql::new(format!("RELEASE {name}"))]
            }
        }
    }

    /// What keeps it.
    pub(crate) fn keep(&self) -> Sql<'static> {
        match &self.start {
            Start::Begin(_) => Sql::new("COMMIT"),
            Start::Savepoint(name) => Sql::new(format!("RELEASE {name}")),
        }
    }

    /// What a lost answer to COMMIT leaves open; a savepoint has no COMMIT.
    pub(crate) fn stake_of_commit(&self) -> Option<Stake> {
        self.options().map(|options| match options.read_only {
            Some(true) => Stake::Nothing,
            _ => Stake::Commit,
        })
    }

    /// Whether it is never kept.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.options().is_some_and(|options| options.force_rollback)
    }

    pub(crate) fn options(&self) -> Option<&TransactionOptions> {
        match &self.start {
            Start::Begin(options) => Some(options),
            Start::Savepoint(_) => None,
        }
    }
}
