//! psycopg's transaction tests, and where we are stricter. A second connection says what is visible.

use anyhow::{Context, Result};
use pgspan::{Isolation, Kind, TransactionOptions, sql};

use crate::support::{Bed, Via, code, insert, next_pid, pid};

ways! {
    both:
    a_transaction_is_open_from_its_first_statement_to_its_commit,
    a_transaction_without_a_statement_sends_nothing,
    rows_are_visible_to_others_after_the_commit_and_not_before,
    an_error_that_leaves_the_block_is_seen_outside_and_nothing_is_stored,
    ones_own_error_is_seen_when_the_backend_was_terminated_too,
    a_statement_after_the_block_runs_in_autocommit,
    a_dropped_transaction_is_rolled_back_before_the_sessions_next_statement,
    nested_blocks_that_all_succeed_are_all_stored,
    nothing_is_stored_when_the_outer_fails_after_the_inner_succeeded,
    an_inner_error_that_the_outer_handles_costs_the_inner_alone,
    three_levels_are_stored,
    a_savepoints_name_is_just_a_name,
    one_savepoint_name_three_times_is_three_savepoints,
    rolling_back_the_middle_of_three_savepoints_of_one_name_leaves_nothing_of_its_name,
    a_dry_run_is_no_error_and_stores_nothing,
    an_error_inside_a_dry_run_is_seen,
    an_explicit_rollback_stores_nothing_and_the_outer_goes_on,
    a_savepoint_in_a_failed_transaction_fails_and_the_session_is_usable_after_it,
    options_hold_for_their_transaction_alone,
    a_write_in_a_read_only_transaction_is_refused_by_the_server,
    a_batch_in_a_transaction_is_part_of_it,
    the_id_that_was_asked_for_is_postgresqls;
    // start-up options, which a pooler refuses, and a connection that is lost between statements, which it replaces
    direct:
    options_that_are_not_set_are_the_servers,
    a_statement_on_a_closed_connection_is_an_error_and_the_session_is_not_recycled;
}

const NONE: [&str; 0] = [];

async fn a_transaction_is_open_from_its_first_statement_to_its_commit(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let pid = pid(&mut session).await?;
    let mut tx = session.transaction();
    assert_eq!(bed.state(pid).await?.as_deref(), Some("idle"));
    tx.execute(insert("a")).await?;
    assert_eq!(bed.state(pid).await?.as_deref(), Some("idle in transaction"));
    tx.commit().await?;
    assert_eq!(bed.state(pid).await?.as_deref(), Some("idle"));
    Ok(())
}

async fn a_transaction_without_a_statement_sends_nothing(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut session = db.session().await?;
    pid(&mut session).await?;
    let before = proxy.traffic();
    session.transaction().commit().await?;
    session.transaction().rollback().await?;
    drop(session.transaction());
    let mut tx = session.transaction();
    tx.savepoint("a").commit().await?;
    tx.transaction().rollback().await?;
    tx.commit().await?;
    assert_eq!(proxy.traffic(), before);
    Ok(())
}

async fn rows_are_visible_to_others_after_the_commit_and_not_before(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    assert_eq!(tx.execute(insert("a")).await?, 1);
    let own: i64 = tx.fetch_one(sql!("SELECT count(*) FROM students")).await?;
    assert_eq!((own, bed.students().await?), (1, vec![]));
    tx.commit().await?;
    assert_eq!(bed.students().await?, ["a"]);
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Own;

async fn fails_itself(session: &mut pgspan::Session) -> Result<(), Own> {
    let mut tx = session.transaction();
    tx.execute(insert("a")).await.map_err(|_| Own)?;
    Err(Own)?;
    tx.commit().await.map_err(|_| Own)
}

async fn an_error_that_leaves_the_block_is_seen_outside_and_nothing_is_stored(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    assert_eq!(fails_itself(&mut session).await, Err(Own));
    assert_eq!(pid(&mut session).await?, before); // and the session goes on
    assert_eq!(bed.state(before).await?.as_deref(), Some("idle"));
    assert_eq!(bed.students().await?, NONE);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}

async fn ones_own_error_is_seen_when_the_backend_was_terminated_too(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let pid = pid(&mut session).await?;
    let result: Result<(), Own> = async {
        let mut tx = session.transaction();
        tx.execute(insert("a")).await.map_err(|_| Own)?;
        bed.terminate(pid).await.map_err(|_| Own)?;
        Err(Own)
    }
    .await;
    assert_eq!(result, Err(Own));
    drop(session);
    assert_ne!(next_pid(&db).await?, pid);
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn a_statement_after_the_block_runs_in_autocommit(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    for rolled_back in [false, true] {
        let mut tx = session.transaction();
        tx.execute(insert(if rolled_back { "not" } else { "a" })).await?;
        if rolled_back {
            tx.rollback().await?
        } else {
            tx.commit().await?
        };
        session.execute(insert(if rolled_back { "c" } else { "b" })).await?;
    }
    assert_eq!(bed.students().await?, ["a", "b", "c"]);
    Ok(())
}

async fn a_dropped_transaction_is_rolled_back_before_the_sessions_next_statement(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    drop(tx);
    let seen: i64 = session.fetch_one(sql!("SELECT count(*) FROM students")).await?;
    assert_eq!(seen, 0);
    session.execute(insert("b")).await?;
    assert_eq!(bed.students().await?, ["b"]);
    Ok(())
}

async fn nested_blocks_that_all_succeed_are_all_stored(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut outer = session.transaction();
    outer.execute(insert("outer-before")).await?;
    let mut inner = outer.transaction();
    inner.execute(insert("inner")).await?;
    inner.commit().await?;
    outer.execute(insert("outer-after")).await?;
    outer.commit().await?;
    assert_eq!(bed.students().await?, ["inner", "outer-after", "outer-before"]);
    Ok(())
}

async fn nothing_is_stored_when_the_outer_fails_after_the_inner_succeeded(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut outer = session.transaction();
    let mut inner = outer.transaction();
    inner.execute(insert("inner")).await?;
    inner.commit().await?;
    outer.execute(insert("outer")).await?;
    drop(outer);
    pid(&mut session).await?;
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn an_inner_error_that_the_outer_handles_costs_the_inner_alone(via: Via) -> Result<()> {
    for end in ["drop", "rollback", "commit"] {
        let bed = Bed::with_students(via).await?;
        let mut session = bed.db().await?.session().await?;
        let mut outer = session.transaction();
        outer.execute(insert("outer-before")).await?;
        let mut inner = outer.transaction();
        inner.execute(insert("inner")).await?;
        assert!(inner.execute(insert("inner")).await.is_err_and(|error| error.is_unique_violation()));
        match end {
            "drop" => drop(inner),
            "rollback" => inner.rollback().await?,
            _ => assert_eq!(inner.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack)),
        }
        outer.execute(insert("outer-after")).await?;
        outer.commit().await?;
        assert_eq!(bed.students().await?, ["outer-after", "outer-before"], "{end}");
    }
    Ok(())
}

async fn three_levels_are_stored(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut one = session.transaction();
    let mut two = one.transaction();
    let mut three = two.transaction();
    three.execute(insert("3")).await?; // all of them begin here
    three.commit().await?;
    two.execute(insert("2")).await?;
    two.commit().await?;
    one.execute(insert("1")).await?;
    one.commit().await?;
    assert_eq!(bed.students().await?, ["1", "2", "3"]);
    Ok(())
}

async fn a_savepoints_name_is_just_a_name(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    for name in ["s-1", "s1; drop table students", "a\"b", "a'b", "SELECT", "", "😀", "{a}", "a\0b"] {
        let result = async {
            let mut savepoint = tx.savepoint(name);
            savepoint.execute(insert(&name.replace('\0', "NUL"))).await?;
            savepoint.commit().await
        }
        .await;
        match name {
            "" => assert_eq!(code(&result), Some("42601")), // PostgreSQL has no empty identifier
            "a\0b" => {
                assert_eq!(
                    result.as_ref().err().map(pgspan::Error::kind),
                    Some(Kind::Parameter),
                    "{result:?}"
                );
            }
            _ => result.with_context(|| format!("{name:?}"))?,
        }
        if name.is_empty() {
            tx.rollback().await?;
            tx = session.transaction();
        }
    }
    tx.commit().await?;
    assert_eq!(bed.students().await?, ["{a}", "😀"]);
    Ok(())
}

async fn one_savepoint_name_three_times_is_three_savepoints(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    for name in ["a", "b", "c"] {
        let mut savepoint = tx.savepoint("same");
        savepoint.execute(insert(name)).await?;
        savepoint.commit().await?;
    }
    tx.commit().await?;
    assert_eq!(bed.students().await?, ["a", "b", "c"]);
    Ok(())
}

async fn rolling_back_the_middle_of_three_savepoints_of_one_name_leaves_nothing_of_its_name(
    via: Via,
) -> Result<()> {
    for explicit in [true, false] {
        for keep_first in [true, false] {
            let bed = Bed::with_students(via).await?;
            let mut session = bed.db().await?.session().await?;
            let mut tx = session.transaction();
            let mut first = tx.savepoint("same");
            first.execute(insert("first")).await?;
            let mut middle = first.savepoint("same");
            middle.execute(insert("middle")).await?;
            let mut last = middle.savepoint("same");
            last.execute(insert("last")).await?;
            last.commit().await?;
            if explicit {
                middle.rollback().await?
            } else {
                drop(middle)
            };
            // this is about the first, and not what the rollback may have left of the second
            if keep_first {
                first.commit().await?
            } else {
                first.rollback().await?
            };
            tx.execute(insert("after")).await?;
            tx.commit().await?;
            let expected: &[&str] = if keep_first { &["after", "first"] } else { &["after"] };
            assert_eq!(bed.students().await?, expected, "explicit: {explicit}");
        }
    }
    Ok(())
}

async fn a_dry_run_is_no_error_and_stores_nothing(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().force_rollback());
    tx.execute(insert("a")).await?;
    tx.commit().await?;
    assert_eq!(bed.students().await?, NONE);
    pid(&mut session).await?;
    Ok(())
}

async fn an_error_inside_a_dry_run_is_seen(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().force_rollback());
    tx.execute(insert("a")).await?;
    assert_eq!(code(&tx.execute(insert("a")).await), Some("23505"));
    assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn an_explicit_rollback_stores_nothing_and_the_outer_goes_on(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut outer = session.transaction();
    outer.execute(insert("outer")).await?;
    let mut inner = outer.transaction();
    inner.execute(insert("inner")).await?;
    inner.rollback().await?;
    outer.execute(insert("inner")).await?; // its name is free again
    outer.commit().await?;
    let mut tx = session.transaction();
    tx.execute(insert("not")).await?;
    tx.rollback().await?;
    assert_eq!(bed.students().await?, ["inner", "outer"]);
    Ok(())
}

async fn a_savepoint_in_a_failed_transaction_fails_and_the_session_is_usable_after_it(
    via: Via,
) -> Result<()> {
    for end in ["drop", "rollback", "commit"] {
        let bed = Bed::with_students(via).await?;
        let mut session = bed.db().await?.session().await?;
        let before = pid(&mut session).await?;
        let mut tx = session.transaction();
        assert_eq!(code(&tx.execute(sql!("SELECT 1 / 0")).await), Some("22012"));
        let mut inner = tx.savepoint("late");
        assert_eq!(code(&inner.execute(insert("a")).await), Some("25P02"));
        match end {
            "drop" => drop(inner),
            "rollback" => drop(inner.rollback().await),
            _ => assert!(inner.commit().await.is_err()),
        }
        assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack), "{end}");
        assert_eq!(pid(&mut session).await.with_context(|| end)?, before);
        assert_eq!(bed.students().await?, NONE);
    }
    Ok(())
}

async fn options_hold_for_their_transaction_alone(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = bed.db().await?.session().await?;
    let seen = sql!(
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),
                current_setting('transaction_deferrable')"
    );
    type Seen = (String, String, String);
    let default: Seen = session.fetch_one(&seen).await?;
    assert_eq!(default, ("read committed".into(), "off".into(), "off".into()));
    for (isolation, shown) in [
        (Isolation::ReadCommitted, "read committed"),
        (Isolation::RepeatableRead, "repeatable read"),
        (Isolation::Serializable, "serializable"),
    ] {
        let options = TransactionOptions::new().isolation(isolation).read_only(true).deferrable(true);
        let mut tx = session.transaction_with(options);
        let within: Seen = tx.fetch_one(&seen).await?;
        assert_eq!(within, (shown.into(), "on".into(), "on".into()));
        tx.commit().await?;
        assert_eq!(session.fetch_one::<Seen>(&seen).await?, default);
        let mut plain = session.transaction();
        assert_eq!(plain.fetch_one::<Seen>(&seen).await?, default);
        plain.rollback().await?;
    }
    Ok(())
}

async fn options_that_are_not_set_are_the_servers(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let url = format!(
        "{}&options=-c%20default_transaction_isolation%3Dserializable%20-c%20default_transaction_read_only%3Don",
        bed.url
    );
    let db = pgspan_server::connect(&url).await?;
    let mut session = db.session().await?;
    let mut tx = session.transaction();
    let seen: (String, String) = tx
        .fetch_one(sql!(
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
        ))
        .await?;
    assert_eq!(seen, ("serializable".into(), "on".into()));
    tx.rollback().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().read_only(false));
    tx.execute(sql!("CREATE TABLE written()")).await?;
    tx.commit().await?;
    Ok(())
}

async fn a_write_in_a_read_only_transaction_is_refused_by_the_server(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().read_only(true));
    assert_eq!(code(&tx.execute(insert("a")).await), Some("25006"));
    drop(tx);
    session.execute(insert("b")).await?;
    assert_eq!(bed.students().await?, ["b"]);
    Ok(())
}

async fn a_statement_on_a_closed_connection_is_an_error_and_the_session_is_not_recycled(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let pid = pid(&mut session).await?;
    bed.terminate(pid).await?;
    for _ in 0..2 {
        let error = session.execute(insert("a")).await.err().context("it was sent")?;
        assert_eq!(error.kind(), Kind::Unavailable); // it was not even written
    }
    let mut tx = session.transaction();
    assert!(tx.execute(insert("a")).await.is_err());
    assert!(tx.commit().await.is_err());
    drop(session);
    assert_ne!(next_pid(&db).await?, pid);
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn a_batch_in_a_transaction_is_part_of_it(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    let mut results = tx.batch([insert("a"), sql!("SELECT count(*) FROM students"), insert("b")]).await?;
    assert_eq!((results.affected(0)?, results.fetch_one::<i64>(1)?), (1, 1));
    drop(tx);
    let mut tx = session.transaction();
    let error = tx.batch([insert("c"), insert("c"), insert("d")]).atomic().await.err().context("twice")?;
    assert_eq!((error.statement_index(), error.is_unique_violation()), (Some(1), true));
    assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn the_id_that_was_asked_for_is_postgresqls(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().with_id());
    assert_eq!(tx.id(), None);
    let theirs: String = tx.fetch_one(sql!("SELECT pg_current_xact_id()::text")).await?;
    let id = tx.id().context("no id")?;
    assert_eq!(id.to_string(), theirs);
    assert_eq!(theirs.parse::<pgspan::TransactionId>()?, id);
    assert_eq!(db.transaction_status(id).await?, pgspan::TransactionStatus::InProgress);
    tx.rollback().await?;
    assert_eq!(db.transaction_status(id).await?, pgspan::TransactionStatus::Aborted);
    Ok(())
}
