//! One flight of a session: what is written at once, and what its answers say.

use std::time::Duration;

use super::limit::Limit;
use super::log::log_flight;
use super::pipeline::{Answer, Around, Keep, Outcome, Pipeline, Want, perform};
use super::session::{Behind, Session, stake};
use crate::error::{Error, Kind, Result, Stake, Verdict};
use crate::sql::{Encoded, Sql};
use crate::sqlstate::SqlState;
use crate::transaction_options::TransactionOptions;

/// One statement of a flight.
#[derive(Debug)]
pub(crate) struct Line<'q> {
    sql: Text<'q>,
    role: Role,
    /// How long it may take.
    limit: Limit,
    /// The server's limit that it sets: whether for the transaction alone, and which.
    sets: Option<(bool, Limit)>,
}

#[derive(Debug)]
enum Text<'q> {
    Ours(Sql<'static>),
    Theirs(&'q Sql<'q>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The beginning of a block.
    Opening,
    /// It sets the server's limit for what is behind it.
    SetLimit,
    /// The caller's.
    Statement,
    /// The end of a block.
    Ending,
}

impl<'q> Line<'q> {
    pub(crate) fn ours(sql: Sql<'static>, role: Role, limit: Limit) -> Line<'q> {
        Line { sql: Text::Ours(sql), role, limit, sets: None }
    }

    /// Sets the server's limit, for the transaction or for the session.
    pub(crate) fn set_limit(to: Limit, is_local: bool, role: Role, limit: Limit) -> Line<'q> {
        Line { sets: Some((is_local, to)), ..Line::ours(to.set(is_local), role, limit) }
    }

    pub(crate) fn sql(&self) -> &Sql<'_> {
        match &self.sql {
            Text::Ours(sql) => sql,
            Text::Theirs(sql) => sql,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }
}

impl Session {
    /// One statement, with the beginning of every block that has not begun, in one flight. `depth` is the number of blocks around it.
    pub(crate) async fn statement(&mut self, depth: usize, sql: &Sql<'_>, want: Want) -> Result<Outcome> {
        let mut outcomes = self.statements(depth, std::slice::from_ref(sql), None, want).await?;
        outcomes.pop().ok_or_else(|| Error::new(Kind::Unusable, "the statement has no answer"))
    }

    /// Statements in one flight, in the transaction at `depth` or each in autocommit. `timeout` is for those that have none of their
    /// own. The first that failed decides, but each of them goes into the account.
    pub(crate) async fn statements(
        &mut self,
        depth: usize,
        statements: &[Sql<'_>],
        timeout: Option<Duration>,
        want: Want,
    ) -> Result<Vec<Outcome>> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        if depth == 0 && self.limits_travel_with_transactions(statements, timeout) {
            return self.each_in_a_transaction(statements, timeout, want).await;
        }
        self.before_flight(depth, statements).await?;
        let mut lines = self.opening_lines();
        self.plan(&mut lines, depth, statements, timeout);
        let answers = self.flight(&lines, want).await?;
        let alone = statements.len() == 1;
        self.judge_statements(depth, &lines, answers).map_err(|(position, error)| match position {
            Some(position) if !alone => error.at(position),
            _ => error,
        })
    }

    /// Whether a limit is wanted that behind a pooler can't be set for a statement alone: the next may meet another server.
    fn limits_travel_with_transactions(&self, statements: &[Sql<'_>], timeout: Option<Duration>) -> bool {
        let has_limit = timeout.is_some()
            || self.account.wanted != Limit::Default
            || statements.iter().any(|sql| sql.own_timeout().is_some());
        has_limit && self.scope.settings().pooler.is_some()
    }

    async fn each_in_a_transaction(
        &mut self,
        statements: &[Sql<'_>],
        timeout: Option<Duration>,
        want: Want,
    ) -> Result<Vec<Outcome>> {
        self.check_all(0, statements).await?;
        let (mut outcomes, mut failed) = (Vec::new(), Failed::default());
        for (position, sql) in statements.iter().enumerate() {
            let options = TransactionOptions::new();
            let options = timeout.map_or(options.clone(), |limit| options.timeout(limit));
            match self.atomic(std::slice::from_ref(sql), options, want).await {
                Ok(outcome) => {
                    outcomes.extend(outcome);
                    failed.is_stored |= !sql.is_reading();
                }
                Err(error) => failed.enter(error.moved_to((statements.len() > 1).then_some(position))),
            }
        }
        failed.result(outcomes)
    }

    /// Whether all of these can be sent, before the first one is.
    pub(crate) async fn check_all(&mut self, depth: usize, statements: &[Sql<'_>]) -> Result<()> {
        self.before_flight(depth, statements).await?;
        for (position, sql) in statements.iter().enumerate() {
            Encoded::of(sql)
                .map_err(|error| if statements.len() > 1 { error.at(position) } else { error })?;
        }
        Ok(())
    }

    /// The beginning of every block that has not begun.
    pub(crate) fn opening_lines<'q>(&self) -> Vec<Line<'q>> {
        let limit = self.account.limit();
        let settings = self.scope.settings();
        let opening = self.account.opening(&settings.transaction_limits());
        let opening = opening.into_iter().map(|sql| Line::ours(sql, Role::Opening, limit));
        // behind a pooler the session's limit is one of the transaction's
        let is_behind = self.account.kept != self.account.wanted && settings.pooler.is_none();
        let first = self.account.blocks.first().is_some_and(|block| !block.begun);
        let session =
            (is_behind && first).then(|| Line::set_limit(self.account.wanted, false, Role::Opening, limit));
        session.into_iter().chain(opening).collect()
    }

    /// How long a statement may take now. Behind a pooler the server's own default is none of ours.
    pub(crate) fn usual_limit(&self) -> Limit {
        let settings = self.scope.settings();
        match self.account.limit() {
            Limit::Default if settings.pooler.is_some() => Limit::Of(settings.statement_timeout),
            limit => limit,
        }
    }

    /// Plans statements, each with the server's limit set to its own where that differs.
    pub(crate) fn plan<'q>(
        &self,
        lines: &mut Vec<Line<'q>>,
        depth: usize,
        statements: &'q [Sql<'q>],
        timeout: Option<Duration>,
    ) {
        let is_local = depth > 0;
        let (mut usual, mut kept) = match is_local {
            true => (self.usual_limit(), self.usual_limit()),
            false => (self.account.wanted, self.account.kept),
        };
        for sql in statements {
            let limit = sql.own_timeout().or(timeout).map_or(usual, Limit::Of);
            if limit != kept {
                lines.push(Line::set_limit(limit, is_local, Role::SetLimit, kept));
                kept = limit;
            }
            let sets = limit_set_by(sql);
            lines.push(Line { sql: Text::Theirs(sql), role: Role::Statement, limit, sets });
            if let Some((_, set)) = sets {
                (usual, kept) = (set, set);
            }
        }
        if usual != kept {
            lines.push(Line::set_limit(usual, is_local, Role::SetLimit, kept));
        }
    }

    /// Writes statements at once and awaits their answers in order, each for as long as it may take. After a deadline the answers that
    /// came are given.
    pub(crate) async fn flight(&mut self, lines: &[Line<'_>], want: Want) -> Result<Vec<Answer>> {
        let encoded = self.encode(lines)?;
        let Some(lease) = &self.lease else {
            return Err(Error::new(Kind::Unusable, "the session is closed"));
        };
        // From here on, dropping this future leaves the count behind, and so ends the connection.
        self.account.unanswered += lines.len();
        self.account.mark_begun();
        let settings = self.scope.settings();
        let around = match (self.account.blocks.is_empty(), lines.len()) {
            (false, _) => Around::Transaction,
            (true, 1) => Around::Nothing,
            (true, _) => Around::Others,
        };
        let keep = self.prepared().map(|prepared| Keep { prepared, around, pipelines: settings.pipelines() });
        let client = lease.client();
        let mut answers = Vec::with_capacity(lines.len());
        let sent = encoded.iter().zip(lines).map(|(encoded, line)| {
            let want = if line.role == Role::Statement { want } else { Want::One };
            perform(client, keep, encoded, want)
        });
        let mut pipeline = Pipeline::new(sent);
        let receiving = async {
            for line in lines {
                match self.scope.within(line.limit.deadline(settings), pipeline.next()).await {
                    Ok(Some(answer)) => answers.push(answer),
                    Ok(None) | Err(_) => return,
                }
            }
        };
        let ((), waited) = self.scope.flight(receiving).await;
        drop(pipeline);
        self.account.unanswered -= answers.len();
        self.enter_limits(lines, &answers);
        if answers.iter().flatten().any(|outcome| outcome.is_cut) {
            self.account.draining = true;
            self.account.fail(None); // how it ends is not known
        }
        let shown = |role| matches!(role, Role::Statement | Role::Ending);
        let lines = lines.iter().enumerate().filter(|(_, line)| shown(line.role));
        log_flight(&self.scope, waited, lines.map(|(position, line)| (line.sql(), answers.get(position))));
        Ok(answers)
    }

    /// Writes the values of all, before any is sent.
    fn encode<'e>(&mut self, lines: &'e [Line<'_>]) -> Result<Vec<Encoded<'e>>> {
        let theirs = lines.iter().filter(|line| line.role == Role::Statement).count();
        let mut position = 0;
        let encoded = lines.iter().map(|line| {
            let encoded = Encoded::of(line.sql()).map_err(|error| match (line.role, theirs) {
                (Role::Statement, 2..) => error.at(position),
                _ => error,
            });
            position += usize::from(line.role == Role::Statement);
            encoded
        });
        encoded.collect::<Result<_>>().inspect_err(|_| self.account.fail(None))
    }

    /// Enters the answers into the account; gives the outcomes, or the first cause of a failure, with its position if it is one of
    /// the statements.
    fn judge_statements(
        &mut self,
        depth: usize,
        lines: &[Line<'_>],
        answers: Vec<Answer>,
    ) -> Result<Vec<Outcome>, (Option<usize>, Error)> {
        let rest = self.judge_opening_lines(lines, answers).map_err(|error| (None, error))?;
        let mut outcomes = Vec::new();
        let (mut position, mut failure, mut unanswered) = (0, None, None);
        // outside of a transaction: whether one is stored, and the first of which that is not known
        let (mut is_stored, mut unknown) = (false, None);
        for (line, answer) in rest {
            let is_statement = line.role == Role::Statement;
            let stake = stake(depth, line.sql());
            if is_statement && stake == Stake::Commit {
                match Behind::of(answer.as_ref()) {
                    Behind::Succeeded => is_stored = true,
                    Behind::Unknown => unknown = unknown.or(Some(position)),
                    Behind::Failed => {}
                }
            }
            match answer {
                Some(Ok(outcome)) if is_statement => outcomes.push(outcome),
                Some(Ok(_)) => {}
                Some(Err(error)) if is_statement => {
                    self.enter(&error);
                    keep_first(&mut failure, (position, line.sql()), error);
                }
                Some(Err(error)) => self.judge_limit(depth, &error),
                None if is_statement => {
                    unanswered.get_or_insert(position);
                }
                None => {}
            }
            position += usize::from(is_statement);
        }
        let of = |sql| if unknown.is_some() { Stake::Commit } else { stake(depth, sql) };
        let (position, error) = match (failure, unanswered) {
            (Some(((position, sql), error)), _) => (position, self.judge(error, of(sql), sql)),
            (None, Some(position)) => {
                (position, Error::deadline(if unknown.is_some() { Stake::Commit } else { Stake::Nothing }))
            }
            (None, None) => return Ok(outcomes),
        };
        let (position, error) = match unknown {
            Some(unknown) if error.is_outcome_unknown() => (unknown, error),
            Some(unknown) if error.kind() == Kind::Server => (unknown, unknown_beside(error)),
            _ => (position, error), // also where the server never let the connection in
        };
        Err((Some(position), if is_stored { error.partly() } else { error }))
    }

    /// What came of the beginnings of blocks; gives the other lines with their answers.
    pub(crate) fn judge_opening_lines<'l, 'q>(
        &mut self,
        lines: &'l [Line<'q>],
        answers: Vec<Answer>,
    ) -> Result<Vec<(&'l Line<'q>, Option<Answer>)>> {
        let mut answers = answers.into_iter();
        let opening: Vec<&Sql<'_>> =
            lines.iter().take_while(|line| line.role == Role::Opening).map(Line::sql).collect();
        let opened: Vec<Answer> = answers.by_ref().take(opening.len()).collect();
        let rest = lines.iter().skip(opening.len()).map(|line| (line, answers.next()));
        let rest: Vec<(&Line<'q>, Option<Answer>)> = rest.collect();
        let theirs = rest.iter().filter(|(line, _)| line.role == Role::Statement);
        let behind = Behind::of_all(theirs.map(|(_, answer)| answer.as_ref()));
        self.judge_opening(&opening, opened, behind)?;
        Ok(rest)
    }

    /// What came of the lines ahead of a statement that is answered bit by bit.
    pub(crate) fn judge_ahead(
        &mut self,
        depth: usize,
        lines: &[Line<'_>],
        answers: Vec<Answer>,
        behind: Behind,
    ) -> Result<()> {
        let opening: Vec<&Sql<'_>> =
            lines.iter().take_while(|line| line.role == Role::Opening).map(Line::sql).collect();
        let mut answers = answers.into_iter();
        let opened = answers.by_ref().take(opening.len()).collect();
        self.judge_opening(&opening, opened, behind)?;
        answers.filter_map(Result::err).for_each(|error| self.judge_limit(depth, &error));
        Ok(())
    }

    /// Enters the limits that the server has now. What the caller set is also what the session wants; ours for a transaction ends behind its
    /// statement.
    pub(crate) fn enter_limits(&mut self, lines: &[Line<'_>], answers: &[Answer]) {
        for (line, _) in lines.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            match line.sets {
                Some((local, limit)) if line.role == Role::Statement => self.account.set_limit(local, limit),
                Some((false, limit)) => self.account.kept = limit,
                Some((true, _)) | None => {}
            }
        }
    }

    /// A limit that could not be set: in a transaction that failed that is so of all that is behind the failure.
    pub(crate) fn judge_limit(&mut self, depth: usize, error: &tokio_postgres::Error) {
        match Verdict::of(error) {
            Verdict::Lost => self.account.broken = true,
            _ if depth == 0 => self.account.tainted = true,
            _ => self.account.fail(error.code()),
        }
    }
}

/// What failed of statements that are sent one by one, each by itself.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    first: Option<Error>,
    unknown: Option<Error>,
    /// One that writes succeeded.
    pub(crate) is_stored: bool,
}

impl Failed {
    pub(crate) fn enter(&mut self, error: Error) {
        let place = if error.is_outcome_unknown() { &mut self.unknown } else { &mut self.first };
        place.get_or_insert(error);
    }

    /// The outcomes, or an unknown one before what failed otherwise.
    pub(crate) fn result<T>(self, outcomes: T) -> Result<T> {
        match self.unknown.or(self.first) {
            Some(error) => Err(if self.is_stored { error.partly() } else { error }),
            None => Ok(outcomes),
        }
    }
}

/// The error of a statement whose answer never came, beside one that failed.
fn unknown_beside(error: Error) -> Error {
    Error::new(Kind::OutcomeUnknown, "the connection was lost").with_source(error)
}

/// Keeps what failed first. In an aborted transaction every statement fails with 25P02, which is no cause.
pub(crate) fn keep_first<P>(
    first: &mut Option<(P, tokio_postgres::Error)>,
    place: P,
    error: tokio_postgres::Error,
) {
    let is_aftermath =
        |error: &tokio_postgres::Error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    match first {
        Some((_, known)) if !is_aftermath(known) || is_aftermath(&error) => {}
        _ => *first = Some((place, error)),
    }
}

/// The server's limit that a statement of the caller's sets: whether for the transaction alone, and which.
pub(crate) fn limit_set_by(sql: &Sql<'_>) -> Option<(bool, Limit)> {
    sql.limit_set().map(|(local, limit)| (local, Limit::from(limit)))
}
