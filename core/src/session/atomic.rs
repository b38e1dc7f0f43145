//! A transaction in one flight: BEGIN, its statements and COMMIT are written at once.

use super::account::{Block, Start};
use super::flight::{Line, Role, keep_first};
use super::pipeline::{Answer, Outcome, Want};
use super::session::Session;
use crate::error::{Error, Result, Stake, Verdict};
use crate::sql::Sql;
use crate::transaction_options::TransactionOptions;

impl Session {
    /// BEGIN, the statements and COMMIT in one flight; an error comes with the position of its statement, if it has one.
    pub(crate) async fn atomic(
        &mut self,
        statements: &[Sql<'_>],
        options: TransactionOptions,
        want: Want,
    ) -> Result<Vec<Outcome>> {
        self.settle(0);
        self.account.blocks.push(Block::new(Start::Begin(options)));
        let stake = match statements.iter().all(Sql::is_reading) {
            true => Stake::Nothing,
            false => Stake::Commit,
        };
        let committed = self.send_and_commit(statements, stake, want).await;
        self.account.blocks.clear(); // of one that was not sent nothing has begun
        committed
    }

    /// What has not begun of the outermost block, the statements and COMMIT in one flight. An error that leaves the block open means that
    /// nothing was sent.
    pub(crate) async fn send_and_commit(
        &mut self,
        statements: &[Sql<'_>],
        stake: Stake,
        want: Want,
    ) -> Result<Vec<Outcome>> {
        self.before_flight(1, statements).await?;
        let mut lines = self.opening_lines();
        self.plan(&mut lines, 1, statements, None);
        lines.push(Line::ours(Sql::new("COMMIT"), Role::Ending, self.account.limit()));
        let answers = self.flight(&lines, want).await?;
        let judged = self.judge_commit(&lines, answers, stake);
        let id = self.account.blocks.first().and_then(|block| block.id);
        if judged.is_ok() {
            self.account.close_block();
        }
        // COMMIT was answered, so there is no block any more; if not, the connection is closed anyway
        self.account.blocks.clear();
        judged.map_err(|error| match error.is_outcome_unknown() {
            true => error.in_transaction(id),
            false => error,
        })
    }

    fn judge_commit(
        &mut self,
        lines: &[Line<'_>],
        answers: Vec<Answer>,
        stake: Stake,
    ) -> Result<Vec<Outcome>> {
        let is_complete = answers.len() == lines.len();
        let rest = match self.judge_opening_lines(lines, answers) {
            Ok(rest) => rest,
            Err(error) if error.is_outcome_unknown() => return Err(error),
            // lost before BEGIN was answered: all that was written behind it may have been carried out
            Err(_) if self.account.broken && self.refusal().is_none() => {
                return Err(Error::new(stake.lost(), "the connection was lost"));
            }
            Err(error) => return Err(error),
        };
        // The middle decides: a COMMIT behind a failed statement is answered without an error.
        let (mut outcomes, mut position, mut failure, mut commit) = (Vec::new(), 0, None, None);
        for (line, answer) in rest {
            let is_statement = line.role() == Role::Statement;
            if let Some(Err(error)) = &answer {
                self.account.broken |= Verdict::of(error) == Verdict::Lost;
            }
            match answer {
                Some(Ok(outcome)) if is_statement => outcomes.push(outcome),
                Some(Err(error)) if line.role() == Role::Ending => commit = Some((line, error)),
                Some(Err(error)) => keep_first(&mut failure, (position, line), error),
                Some(Ok(_)) | None => {}
            }
            position += usize::from(is_statement);
        }
        match (failure, commit) {
            (Some(((position, line), error)), _) => {
                let definite = Verdict::of(&error) == Verdict::Definite;
                let error = self.judge(error, if definite { Stake::Nothing } else { stake }, line.sql());
                Err(error.at(position))
            }
            (None, Some((line, error))) => Err(self.judge(error, stake, line.sql())),
            (None, None) if is_complete => Ok(outcomes),
            (None, None) => Err(Error::deadline(stake)),
        }
    }
}
