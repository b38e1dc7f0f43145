//! What a real server's errors say of their statements.
//!
//! Looked for as siblings, beside those on the scripted server: every class that PostgreSQL itself uses for lost connections and for
//! servers that end, raised by a DO, by a function and by a trigger; on a session, on a shared connection, in a batch and behind a
//! savepoint; a procedure that commits and then fails, alone, in a batch and through a retry of one's own; parameters written by hand in
//! each place where a statement can stand.

use anyhow::{Context, Result};
use pgspan::{Kind, Sql, sql};

use crate::support::{Bed, Via, insert, next_pid, pid};

ways! {
    both:
    what_a_function_raises_is_definite_and_costs_no_connection,
    what_a_function_raises_as_unknown_is_unknown,
    a_parameter_written_by_hand_is_refused_before_it_is_sent,
    the_first_cause_of_a_batch_is_told;
    direct:
    a_procedure_that_commits_and_fails_runs_once,
    so_does_one_that_fails_as_a_prepared_statement_would,
    a_shared_connection_survives_callers_in_a_hurry,
    a_login_that_is_refused_says_why;
}

const CLASSES: [&str; 9] = ["08000", "08003", "08006", "08P01", "57P01", "57P03", "57P05", "53300", "XX000"];

async fn raising(bed: &Bed) -> Result<()> {
    bed.run(
        "CREATE FUNCTION raises(code text) RETURNS int LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'told you' USING ERRCODE = code; END $$;
         CREATE TABLE guarded(code text);
         CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM raises(NEW.code); RETURN NEW; END $$;
         CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard()",
    )
    .await
}

async fn what_a_function_raises_is_definite_and_costs_no_connection(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    raising(&bed).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 1).await?;
    let (mut session, shared) = (db.session().await?, "SELECT pg_backend_pid()");
    let before = (pid(&mut session).await?, db.fetch_one::<i32>(shared).await?);
    for code in CLASSES {
        let insert = || sql!("INSERT INTO guarded(code) VALUES ({code})");
        let raise = || Sql::new(format!("DO $$ BEGIN RAISE 'told you' USING ERRCODE = '{code}'; END $$"));
        let mut tx = session.transaction();
        tx.execute("SELECT 1").await?;
        let mut savepoint = tx.savepoint("a");
        let inside = savepoint.execute(raise()).await.err();
        savepoint.rollback().await?;
        tx.execute(sql!("SELECT 1")).await.with_context(|| format!("{code}: the transaction goes on"))?;
        tx.commit().await?;
        let errors = [
            session.execute(sql!("SELECT raises({code})")).await.err(),
            session.execute(insert()).await.err(),
            session.execute(raise()).await.err(),
            session.batch([sql!("SELECT 1"), insert()]).await.err(),
            session.batch([sql!("SELECT 1"), insert()]).atomic().await.err(),
            db.execute(sql!("SELECT raises({code})")).await.err(),
            db.execute(insert()).await.err(),
            inside,
        ];
        for error in errors {
            let error = error.with_context(|| format!("{code} was raised"))?;
            assert_eq!(error.kind(), Kind::Server, "{code}: {error}");
            assert_eq!(error.sqlstate().map(|code| code.code()), Some(code));
        }
    }
    if via == Via::Nothing {
        // behind a pooler each transaction may have another
        assert_eq!((pid(&mut session).await?, db.fetch_one::<i32>(shared).await?), before);
    }
    drop(session);
    db.session().await?.execute("SELECT 1").await?;
    bed.is_at_rest().await
}

async fn what_a_function_raises_as_unknown_is_unknown(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    raising(&bed).await?;
    let db = bed.db().await?;
    for error in [
        db.execute("SELECT raises('40003')").await.err(),
        db.session().await?.execute("SELECT raises('40003')").await.err(),
    ] {
        let error = error.context("it was raised")?;
        assert_eq!(error.kind(), Kind::OutcomeUnknown, "{error}");
        assert!(!error.is_retryable() && !db.retry().again(&error).await);
    }
    Ok(db.execute("SELECT 1").await.map(drop)?)
}

async fn a_parameter_written_by_hand_is_refused_before_it_is_sent(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 1).await?;
    let mut session = db.session().await?;
    session.execute(insert("Ann")).await?;
    let name = "Ann";
    let texts = [
        || Sql::new("DELETE FROM students WHERE name = $1"),
        || Sql::new("DELETE FROM students WHERE name = $1 OR name = ").bind(&"Ann"),
        || Sql::new("SELECT * FROM students WHERE name IN ($2, ").bind(&"Ann").push(")"),
    ];
    for text in texts {
        let errors = [
            db.execute(text()).await.err(),
            session.execute(text()).await.err(),
            session.batch([insert("Bob"), text()]).await.err(),
            session.batch([insert("Bob"), text()]).atomic().await.err(),
            session.fetch_stream::<String>(text()).await.err(),
        ];
        for error in errors {
            let error = error.context("it is refused")?;
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            assert!(error.to_string().contains("sql!("), "it says what to write: {error}");
        }
    }
    // what only looks like one
    session.execute("SELECT '$1', $$ $1 $$, \"a$1\" FROM (SELECT 1 AS \"a$1\") x -- $1").await?;
    session.execute(sql!("SELECT {name}, '$1'")).await?;
    assert_eq!(bed.students().await?, ["Ann"]);
    Ok(())
}

async fn the_first_cause_of_a_batch_is_told(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run("CREATE TYPE mood AS ENUM ('sad', 'ok')").await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let statements = || [sql!("SELECT 'sad'::mood"), sql!("SELECT 1 / 0"), sql!("SELECT 'ok'::mood")];
    let alone = session.batch(statements()).await.err();
    let atomic = session.batch(statements()).atomic().await.err();
    let mut tx = session.transaction();
    let inside = tx.batch(statements()).await.err();
    drop(tx);
    for error in [alone, atomic, inside] {
        let error = error.context("it divides by zero")?;
        assert_eq!(error.sqlstate().map(|code| code.code()), Some("22012"), "{error}");
        assert_eq!(error.statement_index(), Some(1));
    }
    Ok(())
}

/// Its first row stays, as it was committed, and is there once for each call.
async fn a_procedure_that_commits_and_fails_runs_once(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run(
        "CREATE TABLE calls(n int);
         CREATE PROCEDURE work() LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO calls VALUES (1); COMMIT; RAISE 'again' USING ERRCODE = '40001'; END $$",
    )
    .await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let errors = [
        session.batch(["CALL work()"]).atomic().await.err(),
        session.batch(["CALL work()"]).await.err(),
        session.execute("CALL work()").await.err(),
        db.execute("CALL work()").await.err(),
    ];
    for error in &errors {
        let error = error.as_ref().context("it fails")?;
        assert!(!error.is_retryable() && !db.retry().again(error).await, "{error}");
    }
    let calls: i64 = db.fetch_one("SELECT count(*) FROM calls").await?;
    assert_eq!(calls, 4);
    // in a transaction it can't commit, and PostgreSQL says so
    let error = session.batch(["CALL work()", "SELECT 1"]).atomic().await.err().context("it can't")?;
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("2D000"), "{error}");
    assert_eq!(db.fetch_one::<i64>("SELECT count(*) FROM calls").await?, 4);
    Ok(())
}

/// Inside it the server says of another statement what it says of one that is not prepared any more.
async fn so_does_one_that_fails_as_a_prepared_statement_would(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run(
        "CREATE TABLE calls(n int);
         CREATE PROCEDURE work() LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO calls VALUES (1); COMMIT; EXECUTE 'EXECUTE nosuch'; END $$;
         CREATE FUNCTION work_in_vain() RETURNS int LANGUAGE plpgsql AS
            $$ BEGIN PERFORM nextval('tries'); EXECUTE 'EXECUTE nosuch'; RETURN 1; END $$;
         CREATE SEQUENCE tries",
    )
    .await?;
    let db = bed.db_with(|settings| settings.prepare = true).await?;
    let mut session = db.session().await?;
    for _ in 0..3 {
        for failed in [session.execute("CALL work()").await.err(), db.execute("CALL work()").await.err()] {
            let error = failed.context("it fails")?;
            assert_eq!(error.sqlstate().map(|code| code.code()), Some("26000"), "{error}");
        }
        session.execute("SELECT work_in_vain()").await.err().context("it fails")?;
    }
    assert_eq!(db.fetch_one::<i64>("SELECT count(*) FROM calls").await?, 6);
    assert_eq!(db.fetch_one::<i64>("SELECT last_value FROM tries").await?, 3);
    Ok(())
}

async fn a_shared_connection_survives_callers_in_a_hurry(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 1).await?;
    let own = "SELECT pg_backend_pid()";
    let before: i32 = db.fetch_one(own).await?;
    for _ in 0..50 {
        let hurried = db.with_deadline(std::time::Duration::from_millis(5));
        hurried.execute(sql!("SELECT pg_sleep(0.02)")).await.err().context("it can't be in time")?;
    }
    assert_eq!(db.fetch_one::<i32>(own).await?, before);
    Ok(())
}

async fn a_login_that_is_refused_says_why(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (base, _) = bed.url.rsplit_once('/').context("a database")?;
    let option = |option: &str| {
        let separator = if bed.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}options={option}", bed.url.trim_end_matches('?'))
    };
    for (url, code, said) in [
        (format!("{base}/nowhere"), "3D000", "database \"nowhere\" does not exist"),
        (option("-cno_such_setting%3D1"), "42704", "no_such_setting"),
        (option("-cwork_mem%3Dmuch"), "22023", "work_mem"),
    ] {
        let db = pgspan_server::connect_with(&url, bed.settings(|_| {})).await?;
        for error in [db.execute("SELECT 1").await.err(), db.session().await.err()] {
            let error = error.context("it is refused")?;
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert_eq!(error.sqlstate().map(|code| code.code()), Some(code), "{error}");
            assert!(error.to_string().contains(said) && !error.is_retryable(), "{error}");
        }
    }
    next_pid(&bed.db().await?).await?;
    Ok(())
}
