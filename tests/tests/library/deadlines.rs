//! Everything ends in time, and what was dropped leaves nothing behind.
//!
//! Siblings that were looked for: each limit of the server, and our own behind it; a path that dies, is slow, or is cut into bytes; a session,
//! a transaction and a future that are dropped, at each poll.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pgspan::{Database, Kind, sql};
use tests::Way;
use tokio::time::timeout;

use crate::support::{Bed, Via, code, insert, next_pid, pid};

ways! {
    both:
    a_session_dropped_with_an_open_transaction_leaves_no_rows,
    a_statement_that_takes_too_long_is_ended_by_the_server,
    a_lock_held_elsewhere_is_waited_for_no_longer_than_the_lock_timeout,
    a_transaction_left_idle_is_ended_by_the_server,
    one_byte_per_packet_gives_the_same_answers,
    a_connection_that_is_reset_or_closed_is_an_error_and_the_next_session_works,
    a_session_dropped_during_a_slow_statement_is_gone_at_once,
    on_a_connection_that_goes_dead_a_statement_ends_at_its_deadline_and_the_session_says_so_ever_after,
    everything_one_caller_does_ends_at_that_callers_deadline,
    a_server_too_slow_to_send_its_answer_is_given_up_at_the_deadline,
    a_future_dropped_at_any_poll_leaves_nothing_in_a_transaction_and_loses_no_connection;
}

async fn a_session_dropped_during_a_slow_statement_is_gone_at_once(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    assert!(timeout(Duration::from_millis(200), tx.execute(sql!("SELECT pg_sleep(5)"))).await.is_err());
    drop(tx);
    drop(session);
    let gone = bed.gone(before).await?;
    assert!(gone < Duration::from_millis(1200), "{gone:?}");
    assert_ne!(next_pid(&db).await?, before);
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn a_session_dropped_with_an_open_transaction_leaves_no_rows(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    for forgotten in [false, true] {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        let mut tx = session.transaction();
        tx.execute(insert("a")).await?;
        if forgotten {
            std::mem::forget(tx); // the worst a program can do
        } else {
            drop(tx);
        }
        drop(session);
        let mut next = db.session().await?;
        let seen: i64 = next.fetch_one(sql!("SELECT count(*) FROM students")).await?;
        assert_eq!((seen, pid(&mut next).await?), (0, before)); // a rollback costs no connection
        assert!(bed.students().await?.is_empty());
    }
    bed.is_at_rest().await
}

async fn a_statement_that_takes_too_long_is_ended_by_the_server(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.statement_timeout = Duration::from_millis(200)).await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let started = Instant::now();
    let slow = sql!("SELECT pg_sleep(5)");
    let result = match via {
        Via::Nothing => session.execute(slow).await.map(drop),
        Via::PgBouncer | Via::Forgetful => session.batch([slow]).atomic().await.map(drop), // the limits travel with transactions alone
    };
    assert_eq!(code(&result), Some("57014"));
    assert!(result.is_err_and(|error| error.is_timeout() && error.is_retryable()));
    assert!(started.elapsed() < Duration::from_millis(700), "our own deadline came first");
    assert_eq!(pid(&mut session).await?, before);
    Ok(())
}

async fn a_lock_held_elsewhere_is_waited_for_no_longer_than_the_lock_timeout(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    bed.run("BEGIN; LOCK TABLE students").await?;
    let db = bed.db_with(|settings| settings.lock_timeout = Duration::from_millis(200)).await?;
    let started = Instant::now();
    let mut session = db.session().await?;
    let result = match via {
        Via::Nothing => session.execute(insert("a")).await.map(drop),
        Via::PgBouncer | Via::Forgetful => session.batch([insert("a")]).atomic().await.map(drop),
    };
    assert_eq!(code(&result), Some("55P03"));
    assert!(result.is_err_and(|error| error.is_retryable() && !error.is_timeout()));
    assert!((200..1500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    Ok(())
}

async fn a_transaction_left_idle_is_ended_by_the_server(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db =
        bed.db_with(|settings| settings.idle_in_transaction_timeout = Duration::from_millis(100)).await?;
    let mut session = db.session().await?;
    let pid = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    bed.gone(pid).await?;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(tx.execute(insert("b")).await.is_err());
    assert!(tx.commit().await.is_err_and(|error| !error.is_outcome_unknown()));
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn on_a_connection_that_goes_dead_a_statement_ends_at_its_deadline_and_the_session_says_so_ever_after(
    via: Via,
) -> Result<()> {
    for way in [Way::Up, Way::Down] {
        let bed = Bed::with_students(via).await?;
        let (db, proxy) =
            bed.behind_proxy(|settings| settings.statement_timeout = Duration::from_millis(300)).await?;
        let mut session = db.session().await?;
        pid(&mut session).await?;
        proxy.lose(way);
        let started = Instant::now();
        let error = session.execute(sql!("SELECT 1").reads_only()).await.err().context("it was answered")?;
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert!((700..1300).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        proxy.pass().await;
        for _ in 0..2 {
            let error = session.execute(insert("a")).await.err().context("it goes on")?;
            assert_eq!(error.kind(), Kind::Unusable, "{error}");
        }
        let mut tx = session.transaction();
        assert!(tx.execute(insert("a")).await.is_err_and(|error| error.kind() == Kind::Unusable));
        assert!(tx.commit().await.is_err());
        next_pid(&db).await?; // others are not affected
        drop(session);
        assert!(bed.students().await?.is_empty());
    }
    Ok(())
}

async fn everything_one_caller_does_ends_at_that_callers_deadline(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db().await?;
    next_pid(&db).await?;
    let started = Instant::now();
    let caller = db.with_deadline(Duration::from_millis(300));
    let mut session = caller.session().await?;
    let error =
        session.execute(sql!("SELECT pg_sleep(4)").reads_only()).await.err().context("it slept well")?;
    assert_eq!(error.kind(), Kind::Timeout);
    assert!((300..900).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(
        caller.fetch_one::<i32>(sql!("SELECT 1")).await.err().map(|error| error.kind()),
        Some(Kind::Timeout)
    );
    assert_eq!(caller.session().await.err().map(|error| error.kind()), Some(Kind::Timeout));
    drop(session);
    bed.is_at_rest().await?; // the statement was cancelled on the server
    assert_eq!(db.fetch_one::<i32>(sql!("SELECT 1")).await?, 1);
    Ok(())
}

async fn one_byte_per_packet_gives_the_same_answers(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    if via == Via::Nothing {
        proxy.slice(1); // PgBouncer wants the start-up packet in one piece
    }
    let mut session = db.session().await?;
    pid(&mut session).await?;
    proxy.slice(1);
    session.batch([insert("a"), insert("😀")]).atomic().await?;
    let names: Vec<String> = session.fetch_all(sql!("SELECT name FROM students ORDER BY name")).await?;
    assert_eq!(names, ["a", "😀"]);
    Ok(())
}

async fn a_server_too_slow_to_send_its_answer_is_given_up_at_the_deadline(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (db, proxy) =
        bed.behind_proxy(|settings| settings.statement_timeout = Duration::from_millis(300)).await?;
    let mut session = db.session().await?;
    pid(&mut session).await?;
    proxy.throttle(1000);
    let large = sql!("SELECT repeat('x', 1000000)").reads_only();
    let result =
        timeout(Duration::from_secs(2), session.fetch_one::<String>(large)).await.context("it hangs")?;
    assert_eq!(result.err().map(|error| error.kind()), Some(Kind::Timeout));
    Ok(())
}

async fn a_connection_that_is_reset_or_closed_is_an_error_and_the_next_session_works(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    for end in [tests::Proxy::reset, tests::Proxy::close, tests::Proxy::half_close] {
        let mut session = db.session().await?;
        pid(&mut session).await?;
        let slow = sql!("SELECT pg_sleep(3)").reads_only();
        let (result, ()) = tokio::join!(session.execute(slow), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            end(&proxy);
        });
        assert_eq!(result.err().map(|error| error.kind()), Some(Kind::Unavailable));
        drop(session);
        next_pid(&db).await?;
    }
    Ok(())
}

/// Polls a future no more than so many times, then drops it.
struct Polled<F> {
    future: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.future.as_mut().poll(cx).map(Some)
    }
}

async fn work(db: &Database) -> pgspan::Result<()> {
    let mut session = db.session().await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    let mut savepoint = tx.transaction();
    savepoint.batch([insert("b"), insert("c")]).await?;
    savepoint.commit().await?;
    let mut rows = tx.fetch_stream::<i32>(sql!("SELECT 1")).await?;
    while rows.next().await?.is_some() {}
    drop(rows);
    tx.commit().await
}

async fn a_future_dropped_at_any_poll_leaves_nothing_in_a_transaction_and_loses_no_connection(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let url: pgspan::ConnectionUrl = bed.url.parse()?;
    let settings = bed.settings(|_| {});
    let mut pool = pgspan_server::PoolSettings::default();
    pool.size = 2;
    let db = pgspan::connect_with(pgspan_server::Driver::new(&url, &settings, pool)?, settings);
    let mut finished = 0;
    for polls in 0..40 {
        let done = Polled { future: Box::pin(work(&db)), left: polls }.await;
        finished += i32::from(done.transpose()?.is_some());
        bed.is_at_rest().await.with_context(|| format!("dropped at poll {polls}"))?;
        let students = bed.students().await?;
        assert!(students.is_empty() || students == ["a", "b", "c"], "dropped at poll {polls}: {students:?}");
        bed.run("TRUNCATE students").await?;
    }
    assert!(finished > 0, "no number of polls was enough");
    let (mut one, mut other) = (db.session().await?, db.session().await?);
    let (mut one, mut other) = (one.transaction(), other.transaction()); // else a pooler gave them one connection
    let pid = sql!("SELECT pg_backend_pid()");
    assert_ne!(one.fetch_one::<i32>(&pid).await?, other.fetch_one::<i32>(&pid).await?);
    Ok(())
}
