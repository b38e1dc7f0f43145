//! Random programs against a set: whatever is done, the table is what the answers said.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pgspan::{Database, Session, Sql, Transaction, sql};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Bed, Via, pid};

ways! {
    both:
    after_any_program_the_table_is_what_its_answers_said;
}

type Set = BTreeSet<i64>;

/// What a program does outside of transactions.
#[derive(Debug, Clone)]
enum Step {
    Insert(i64),
    Batch(Vec<i64>),
    Atomic(Vec<i64>),
    Transaction(Block),
    /// The backend is terminated.
    Kill,
    /// The session is dropped and another taken.
    Drop,
}

#[derive(Debug, Clone)]
struct Block {
    body: Vec<Inner>,
    end: End,
}

/// What it does inside.
#[derive(Debug, Clone)]
enum Inner {
    Insert(i64),
    Batch(Vec<i64>),
    Savepoint(Block),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Commit,
    Rollback,
    Drop,
    /// Of a transaction only; a savepoint is dropped.
    KillThenCommit,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![4 => Just(End::Commit), 1 => Just(End::Rollback), 1 => Just(End::Drop), 1 => Just(End::KillThenCommit)]
}

fn numbers() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(0..12_i64, 0..4)
}

fn block() -> impl Strategy<Value = Block> {
    let leaf = prop_oneof![3 => (0..12_i64).prop_map(Inner::Insert), 1 => numbers().prop_map(Inner::Batch)];
    let inner = leaf.prop_recursive(3, 12, 4, |inner| {
        (prop::collection::vec(inner, 0..4), end())
            .prop_map(|(body, end)| Inner::Savepoint(Block { body, end }))
    });
    (prop::collection::vec(inner, 0..5), end()).prop_map(|(body, end)| Block { body, end })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..12_i64).prop_map(Step::Insert),
        2 => numbers().prop_map(Step::Batch),
        2 => numbers().prop_map(Step::Atomic),
        5 => block().prop_map(Step::Transaction),
        1 => Just(Step::Kill),
        1 => Just(Step::Drop),
    ]
}

fn insert(n: &i64) -> Sql<'_> {
    sql!("INSERT INTO model VALUES ({n})")
}

/// The set with these numbers, if none of them was there.
fn with(set: &Set, numbers: &[i64]) -> Option<Set> {
    let mut set = set.clone();
    numbers.iter().all(|n| set.insert(*n)).then_some(set)
}

struct Run<'r> {
    via: Via,
    bed: &'r Bed,
    db: Database,
    stored: Set,
}

impl Run<'_> {
    async fn step(&mut self, session: &mut Session, step: &Step) -> Result<()> {
        match step {
            Step::Insert(n) => {
                let done = session.execute(insert(n)).await;
                ensure!(done.is_ok() == self.stored.insert(*n), "{done:?}");
            }
            Step::Batch(numbers) => {
                let done = session.batch(numbers.iter().map(insert)).await;
                let fresh: Vec<bool> = numbers.iter().map(|n| self.stored.insert(*n)).collect();
                let failed = fresh.iter().position(|fresh| !fresh);
                ensure!(done.as_ref().err().and_then(pgspan::Error::statement_index) == failed, "{done:?}");
                ensure!(done.is_ok() == failed.is_none(), "{done:?}");
            }
            Step::Atomic(numbers) => {
                let done = session.batch(numbers.iter().map(insert)).atomic().await;
                let expected = with(&self.stored, numbers);
                ensure!(done.is_ok() == expected.is_some(), "{done:?}");
                self.stored = expected.unwrap_or_else(|| self.stored.clone());
            }
            Step::Transaction(block) => self.transaction(session, block).await?,
            Step::Kill => {
                self.bed.terminate(pid(session).await?).await?;
                let after = session.execute(insert(&99)).await;
                match self.via {
                    Via::Nothing | Via::Forgetful => {
                        ensure!(after.is_err_and(|error| error.is_unavailable()), "it was not noticed");
                        *session = self.db.session().await?;
                    }
                    // which has replaced the connection
                    Via::PgBouncer => ensure!(after.is_ok() == self.stored.insert(99), "{after:?}"),
                }
            }
            Step::Drop => *session = self.db.session().await?,
        }
        Ok(())
    }

    async fn transaction(&mut self, session: &mut Session, block: &Block) -> Result<()> {
        let backend = pid(session).await?;
        let mut state = State { set: self.stored.clone(), failed: false, begun: false };
        let mut tx = session.transaction();
        within(&mut tx, &block.body, &mut state).await?;
        match block.end {
            End::Commit => {
                let done = tx.commit().await;
                ensure!(done.is_ok() != state.failed, "commit: {done:?}");
                if done.is_ok() {
                    self.stored = state.set;
                }
            }
            End::Rollback => tx.rollback().await.context("rollback")?,
            End::Drop => drop(tx),
            End::KillThenCommit => {
                self.bed.terminate(backend).await?;
                let done = tx.commit().await;
                // what has sent nothing has nothing to lose
                ensure!(done.is_ok() != (state.failed || state.begun), "commit: {done:?}");
                ensure!(done.is_ok() || done.is_err_and(|error| !error.is_outcome_unknown()), "unknown");
                *session = self.db.session().await?;
            }
        }
        Ok(())
    }
}

struct State {
    set: Set,
    failed: bool,
    /// A statement was sent.
    begun: bool,
}

impl State {
    fn insert(&mut self, n: i64) -> bool {
        self.begun = true;
        self.failed |= !self.failed && !self.set.insert(n);
        !self.failed
    }
}

async fn within(tx: &mut Transaction<'_>, body: &[Inner], state: &mut State) -> Result<()> {
    for inner in body {
        match inner {
            Inner::Insert(n) => {
                let done = tx.execute(insert(n)).await;
                ensure!(done.is_ok() == state.insert(*n), "{n}: {done:?}");
            }
            Inner::Batch(numbers) => {
                let done = tx.batch(numbers.iter().map(insert)).await;
                let failed = numbers.iter().map(|n| state.insert(*n)).position(|stored| !stored);
                ensure!(done.is_ok() == failed.is_none(), "{numbers:?}: {done:?}");
            }
            Inner::Savepoint(block) => {
                let mut inner = State { set: state.set.clone(), failed: state.failed, begun: false };
                let mut savepoint = tx.savepoint("of \"one\" name");
                Box::pin(within(&mut savepoint, &block.body, &mut inner)).await?;
                state.begun |= inner.begun;
                match block.end {
                    End::Commit => {
                        let done = savepoint.commit().await;
                        let good = !inner.failed || !inner.begun;
                        ensure!(done.is_ok() == good, "release: {done:?}");
                        if good {
                            state.set = inner.set;
                        }
                    }
                    End::Rollback => drop(savepoint.rollback().await),
                    End::Drop | End::KillThenCommit => drop(savepoint),
                }
            }
        }
    }
    Ok(())
}

async fn run(via: Via, bed: &Bed, steps: &[Step]) -> Result<()> {
    bed.run("TRUNCATE model").await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let mut run = Run { via, bed, db, stored: Set::new() };
    for (number, step) in steps.iter().enumerate() {
        run.step(&mut session, step).await.with_context(|| format!("step {number}"))?;
    }
    drop(session);
    bed.is_at_rest().await?;
    let rows = bed.other.query("SELECT n FROM model", &[]).await?;
    let table: Set = rows.iter().map(|row| row.get(0)).collect();
    ensure!(table == run.stored, "the table is {table:?}, the answers say {:?}", run.stored);
    Ok(())
}

async fn after_any_program_the_table_is_what_its_answers_said(via: Via) -> Result<()> {
    tokio::task::spawn_blocking(move || programs(via)).await?
}

fn programs(via: Via) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bed = runtime.block_on(async {
        let bed = Bed::new(via).await?;
        bed.run("CREATE TABLE model(n int8 PRIMARY KEY)").await?;
        Ok::<_, anyhow::Error>(bed)
    })?;
    let config = Config { cases: 64, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    TestRunner::new(config).run(&prop::collection::vec(step(), 1..14), |steps| {
        runtime.block_on(run(via, &bed, &steps)).map_err(|error| TestCaseError::fail(format!("{error:#}")))
    })?;
    Ok(())
}
