//! Whose answer is it? Programs on shared connections and on sessions, through a door that drops, doubles, exchanges and adds
//! messages of the server: an answer is the statement's own, or an error.
//!
//! Siblings that were looked for: each kind of message at each place of an answer (the draws of many programs), and whole answers; one
//! row and several, statements without rows, statements that are no queries (SHOW), many statements of one form, errors of the server and
//! whose they are, unnamed and prepared statements, shared connections, sessions and batches; a pooler that loses what is behind an answer,
//! though nobody told the library of a pooler.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use pgspan::{Database, Settings, sql};
use tests::Meddling;

use crate::support::{Bed, Via};

/// `PGSPAN_PROGRAMS=10000` is the long run.
pub(crate) fn programs() -> u64 {
    std::env::var("PGSPAN_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(240)
}

/// What many callers asked at once, and whether each had its own answer; gives the number of answers and of errors.
async fn callers(db: &Database, first: i64, forms: i64) -> Result<(usize, usize)> {
    let asked = (0..12).map(|caller| async move {
        let n = first + caller;
        match caller % forms {
            0 => db.fetch_one::<i64>(sql!("/* whose? */ SELECT {n} AS n")).await.map(|own| own == n),
            1 => {
                let rows = db.fetch_all::<i64>(sql!("SELECT generate_series({n}, {n} + 2) AS n")).await;
                rows.map(|mut rows| {
                    rows.sort_unstable(); // two of its own may have been exchanged
                    rows == [n, n + 1, n + 2]
                })
            }
            2 => {
                let count =
                    db.execute(sql!("INSERT INTO numbers SELECT {n} FROM generate_series(1, 2)")).await;
                count.map(|count| count == 2)
            }
            3 => {
                let (show, own) = match n % 3 {
                    0 => ("SHOW server_encoding", "UTF8"),
                    1 => ("SHOW block_size", "8192"),
                    _ => ("SHOW max_index_keys", "32"),
                };
                db.fetch_one::<String>(show).await.map(|shown| shown == own)
            }
            4 => {
                let code = format!("U{:04}", n % 10_000);
                match db.fetch_one::<i64>(sql!("SELECT raises({code})")).await {
                    Err(error) => match error.sqlstate() {
                        Some(told) if told.code().starts_with('U') => Ok(told.code() == code),
                        _ => Err(error),
                    },
                    Ok(_) => Ok(false),
                }
            }
            _ => {
                let text = db.fetch_one::<(i64, String)>(sql!("SELECT {n}, ({n})::text AS text")).await;
                text.map(|own| own == (n, n.to_string()))
            }
        }
    });
    let (mut answers, mut errors) = (0, 0);
    for answer in join_all(asked).await {
        match answer {
            Ok(own) => {
                ensure!(own, "a caller got what was not its own");
                answers += 1;
            }
            Err(_) => errors += 1,
        }
    }
    Ok((answers, errors))
}

/// What never comes is not waited for long.
fn hurry(settings: &mut Settings) {
    settings.statement_timeout = Duration::from_millis(300);
    settings.lock_timeout = Duration::from_millis(300);
}

async fn run(prepare: bool, forms: i64, meddling: impl Fn(u64) -> Meddling) -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    bed.run(
        "CREATE TABLE numbers(n int8);
         CREATE FUNCTION raises(code text) RETURNS int8 LANGUAGE plpgsql AS $$ BEGIN RAISE 'x' USING ERRCODE = code; END $$",
    )
    .await?;
    let (mut answers, mut errors, mut done) = (0, 0, 0);
    for seed in 0..programs() / 2 {
        let (db, meddler) = bed
            .behind(meddling(seed), |settings| {
                (settings.shared_connections, settings.prepare) = (1, prepare);
                hurry(settings);
            })
            .await?;
        for round in 0..3 {
            let first = i64::try_from(seed * 1000 + round * 100)?;
            let (answered, failed) = callers(&db, first, forms).await?;
            (answers, errors) = (answers + answered, errors + failed);
        }
        done += meddler.done();
        db.close();
    }
    ensure!(done > programs() / 5 && errors > 0 && answers > errors, "{done} meddled, {answers}, {errors}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_shared_connection_an_answer_is_the_statements_own_or_an_error() -> Result<()> {
    run(false, 6, |seed| Meddling::Message { seed, among: 250 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_statements_are_prepared() -> Result<()> {
    run(true, 6, |seed| Meddling::Message { seed, among: 250 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_whole_answers_are_lost_doubled_or_exchanged() -> Result<()> {
    run(false, 6, |seed| Meddling::Answer { seed, among: 30 }).await
}

/// Nothing but its mark tells an answer from another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_all_statements_have_one_form() -> Result<()> {
    run(false, 1, |seed| Meddling::Answer { seed, among: 30 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_they_are_prepared() -> Result<()> {
    run(true, 1, |seed| Meddling::Answer { seed, among: 30 }).await
}

/// As where `DATABASE_POOLER` was forgotten: callers who keep coming while answers are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_behind_a_pooler_that_forgets_and_that_nobody_told_of() -> Result<()> {
    for prepare in [false, true] {
        behind_a_pooler_that_forgets(prepare).await?;
    }
    Ok(())
}

async fn behind_a_pooler_that_forgets(prepare: bool) -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let (db, meddler) = bed
        .behind(Meddling::Forget, |settings| {
            (settings.shared_connections, settings.prepare) = (2, prepare);
            hurry(settings);
        })
        .await?;
    let looping = (0..20_i64).map(|caller| {
        let db = db.clone();
        async move {
            let mut errors = 0;
            for round in 0..40 {
                let n = caller * 1000 + round;
                match db.fetch_one::<i64>(sql!("SELECT {n} AS n")).await {
                    Ok(own) if own == n => {}
                    Ok(own) => anyhow::bail!("{n} was answered by {own}"),
                    Err(_) => errors += 1,
                }
            }
            Ok(errors)
        }
    });
    let mut errors = 0;
    for caller in join_all(looping).await {
        errors += caller?;
    }
    ensure!(meddler.done() > 20 && errors > 0, "{} answers were lost, {errors} errors", meddler.done());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_session_and_in_a_batch_an_answer_is_the_statements_own_or_an_error() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let (mut answers, mut errors) = (0, 0);
    for seed in 0..programs() / 3 {
        let (db, _meddler) = bed.behind(Meddling::Message { seed, among: 120 }, hurry).await?;
        let mut session = db.session().await?;
        for round in 0..4_i64 {
            let (a, b) = (round * 10, round * 10 + 1);
            let statements = [sql!("SELECT {a} AS n"), sql!("SELECT {b} AS n")];
            let batch = session.batch(statements);
            let results = if round % 2 == 0 { batch.await } else { batch.atomic().await };
            match results {
                Ok(mut results) => {
                    let own: (i64, i64) = (results.fetch_one(0)?, results.fetch_one(1)?);
                    ensure!(own == (a, b), "another's answer: {own:?} for {a}, {b}");
                    answers += 1;
                }
                Err(_) => errors += 1,
            }
            match session.fetch_one::<i64>(sql!("SELECT {b} AS n")).await {
                Ok(own) => ensure!(own == b, "another's answer: {own} for {b}"),
                Err(_) => {
                    drop(session);
                    match db.session().await {
                        Ok(another) => session = another,
                        Err(_) => break, // its login was meddled with
                    }
                }
            }
        }
    }
    ensure!(errors > 0 && answers > errors, "{answers}, {errors}");
    Ok(())
}
