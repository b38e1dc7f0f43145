//! What each thing costs, counted between the library and PostgreSQL.

use std::time::Duration;

use anyhow::Result;
use pgspan::{Composite, Database, Enum, Isolation, Json, Session, TransactionOptions, sql};
use serde::{Deserialize, Serialize};
use tests::Proxy;

use crate::support::{Bed, Via, insert, pid};

ways! {
    both:
    a_statement_costs_one_round_trip,
    a_statement_with_an_enum_an_array_a_document_or_a_composite_costs_one_round_trip,
    a_transaction_of_n_statements_costs_n_and_one_for_the_commit,
    savepoints_travel_with_their_first_statement_and_cost_one_at_their_end,
    the_library_counts_as_the_proxy_does;
    pipelined:
    a_batch_costs_one_round_trip_and_so_does_an_atomic_one;
}

/// A session whose connection is open, through a proxy that counts.
async fn warm(via: Via) -> Result<(Bed, Proxy, Database, Session)> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|settings| settings.shared_connections = 1).await?;
    let mut session = db.session().await?;
    pid(&mut session).await?;
    db.execute(sql!("")).await?;
    proxy.delay(Duration::from_millis(10)); // so that what is pipelined is seen as that
    Ok((bed, proxy, db, session))
}

macro_rules! assert_costs {
    ($proxy:expr, $expected:expr, $work:expr) => {{
        let before = $proxy.round_trips();
        let done = $work;
        assert_eq!($proxy.round_trips() - before, $expected, "{}", stringify!($work));
        done
    }};
}

async fn a_statement_costs_one_round_trip(via: Via) -> Result<()> {
    let (_bed, proxy, db, mut session) = warm(via).await?;
    let (a, b) = (1_i64, 2_i64);
    assert_costs!(proxy, 1, session.fetch_one::<i64>(sql!("SELECT {a} + {b}")).await?);
    assert_costs!(proxy, 1, session.execute(insert("a")).await?);
    assert_costs!(proxy, 1, session.execute(insert("a")).await.is_err());
    assert_costs!(proxy, 1, session.fetch_all::<String>(sql!("SELECT name FROM students")).await?);
    assert_costs!(proxy, 1, db.fetch_optional::<String>(sql!("SELECT name FROM students")).await?);
    assert_costs!(proxy, 0, {
        drop(session);
        drop(db.session().await?);
    });
    Ok(())
}

#[derive(Debug, Clone, Copy, Enum)]
enum Mood {
    Happy,
}

#[derive(Debug, Serialize, Deserialize, Composite)]
struct Address {
    city: String,
}

async fn a_statement_with_an_enum_an_array_a_document_or_a_composite_costs_one_round_trip(
    via: Via,
) -> Result<()> {
    let (bed, proxy, db, mut session) = warm(via).await?;
    bed.run(
        "CREATE TYPE mood AS ENUM ('happy'); CREATE TYPE address AS (city text);
         CREATE TABLE all_of_them(mood mood, moods mood[], address address, ids int8[], doc jsonb)",
    )
    .await?;
    let (mood, moods) = (Mood::Happy, vec![Mood::Happy]);
    let (address, ids, doc) = (Address { city: "x".into() }, vec![1_i64, 2], Json(vec![1]));
    let write = sql!(
        "INSERT INTO all_of_them VALUES
         ({mood}, {moods}::text[]::mood[], jsonb_populate_record(NULL::address, {address}), {ids}, {doc})"
    );
    let read = sql!(
        "SELECT mood::text, moods::text[], to_jsonb(address) AS address, ids, doc FROM all_of_them LIMIT 1"
    );
    type All = (Mood, Vec<Mood>, Address, Vec<i64>, Json<Vec<i32>>);
    assert_costs!(proxy, 1, session.execute(&write).await?);
    assert_costs!(proxy, 1, session.fetch_one::<All>(&read).await?);
    assert_costs!(proxy, 1, db.execute(&write).await?);
    assert_costs!(proxy, 1, db.fetch_one::<All>(&read).await?);
    Ok(())
}

async fn a_batch_costs_one_round_trip_and_so_does_an_atomic_one(via: Via) -> Result<()> {
    let (_bed, proxy, _db, mut session) = warm(via).await?;
    let many: Vec<String> = (0..100).map(|number| format!("student {number}")).collect();
    assert_costs!(proxy, 1, session.batch(many.iter().map(|name| insert(name))).await?);
    assert_costs!(proxy, 1, session.batch([insert("a"), insert("b")]).atomic().await?);
    assert_costs!(proxy, 1, session.batch([insert("c"), insert("a")]).atomic().await.is_err());
    assert_costs!(proxy, 0, session.batch(std::iter::empty::<pgspan::Sql<'_>>()).atomic().await?);
    Ok(())
}

async fn a_transaction_of_n_statements_costs_n_and_one_for_the_commit(via: Via) -> Result<()> {
    let (_bed, proxy, _db, mut session) = warm(via).await?;
    for n in 0..4_u64 {
        let cost = if n == 0 { 0 } else { n + 1 };
        assert_costs!(proxy, cost, {
            let mut tx = session.transaction();
            for number in 0..n {
                tx.execute(insert(&format!("{n} {number}"))).await?;
            }
            tx.commit().await?
        });
    }
    let options = TransactionOptions::new().isolation(Isolation::Serializable).read_only(false).with_id();
    assert_costs!(proxy, 2, {
        let mut tx = session.transaction_with(options);
        tx.execute(insert("x")).await?;
        assert!(tx.id().is_some());
        tx.commit().await?
    });
    assert_costs!(proxy, 2, {
        let mut tx = session.transaction();
        tx.batch([insert("y"), insert("z")]).await?;
        tx.commit().await?
    });
    assert_costs!(proxy, 2, {
        let mut tx = session.transaction();
        tx.execute(insert("u")).await?;
        tx.commit_with([insert("v"), insert("w")]).await?
    });
    assert_costs!(proxy, 1, session.transaction().commit_with([insert("t")]).await?);
    Ok(())
}

async fn savepoints_travel_with_their_first_statement_and_cost_one_at_their_end(via: Via) -> Result<()> {
    let (_bed, proxy, _db, mut session) = warm(via).await?;
    assert_costs!(proxy, 4, {
        let mut tx = session.transaction();
        let mut savepoint = tx.transaction();
        savepoint.execute(insert("a")).await?;
        savepoint.commit().await?;
        tx.savepoint("never used").commit().await?;
        let mut savepoint = tx.transaction();
        savepoint.execute(insert("b")).await?;
        drop(savepoint); // its end travels with what follows
        tx.commit().await?
    });
    Ok(())
}

async fn the_library_counts_as_the_proxy_does(via: Via) -> Result<()> {
    let (_bed, proxy, db, session) = warm(via).await?;
    drop(session);
    let db = db.with_deadline(Duration::from_secs(5));
    let before = proxy.round_trips();
    db.fetch_one::<i32>(sql!("SELECT 1")).await?;
    let mut session = db.session().await?;
    session.batch([insert("a"), insert("b")]).atomic().await?;
    let mut tx = session.transaction();
    tx.execute(insert("c")).await?;
    tx.commit().await?;
    assert_eq!(u64::from(db.round_trips().0), proxy.round_trips() - before);
    assert!(db.round_trips().1 >= Duration::from_millis(40), "{:?}", db.round_trips());
    Ok(())
}
