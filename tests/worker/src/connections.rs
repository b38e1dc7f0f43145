//! What a handler can do with its connections: use them in every way there is, leave them behind in every state, and listen.

use std::alloc::System;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use cap::Cap;
use pgspan::{Database, Event, sql};

use crate::Failure;

type Answer = Result<String, Failure>;

/// Counts what is allocated, so that a test can say that nothing is kept.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

pub(crate) fn router() -> Router<Database> {
    Router::new()
        .route("/memory", get(async || ALLOCATED.allocated().to_string()))
        .route("/shared", get(shared))
        .route("/taint", get(taint))
        .route("/crowd/{sessions}", get(crowd))
        .route("/fail", get(fail))
        .route("/abandon/{millis}", get(abandon))
        .route("/write", get(write))
        .route("/listen/{seconds}", get(listen))
        .route("/moment/{text}", get(moment))
        .route("/moments/{text}", get(moments))
}

/// Which process of PostgreSQL answers a single statement.
async fn shared(State(database): State<Database>) -> Answer {
    let pid: i32 = database.fetch_one(sql!("SELECT pg_backend_pid()")).await?;
    Ok(pid.to_string())
}

/// Changes its session's state, so that nobody can have the connection after it.
async fn taint(State(database): State<Database>) -> Answer {
    let mut session = database.session().await?;
    session.execute(sql!("SET work_mem = '1MB'")).await?;
    Ok("changed".to_owned())
}

/// The same with so many sessions, one after the other, in one request.
async fn crowd(State(database): State<Database>, Path(sessions): Path<u32>) -> Answer {
    for _ in 0..sessions {
        taint(State(database.clone())).await?;
    }
    Ok("changed".to_owned())
}

/// Fails in a transaction.
async fn fail(State(database): State<Database>) -> Answer {
    let mut session = database.session().await?;
    let mut transaction = session.transaction();
    transaction.execute(sql!("SELECT 1 / 0")).await?;
    Ok("never".to_owned())
}

/// Drops a session in the middle of a statement that takes so long.
async fn abandon(State(database): State<Database>, Path(millis): Path<u32>) -> Answer {
    let mut session = database.session().await?;
    let seconds = f64::from(millis) / 1000.0;
    let sleeping = session.execute(sql!("SELECT pg_sleep({seconds})"));
    let _ = database.with_deadline(Duration::from_millis(20)).until_deadline(sleeping).await;
    Ok("abandoned".to_owned())
}

async fn write(State(database): State<Database>) -> Answer {
    let mut session = database.session().await?;
    let mut transaction = session.transaction();
    transaction.execute(sql!("INSERT INTO written VALUES (1)")).await?;
    transaction.commit().await?;
    Ok("written".to_owned())
}

/// Listens for so many seconds, waiting for one at a time, and tells what it heard.
async fn listen(State(database): State<Database>, Path(seconds): Path<u32>) -> Answer {
    let mut listener = database.listen("news").await?;
    let mut heard = Vec::new();
    for _ in 0..seconds {
        let second = database.with_deadline(Duration::from_secs(1));
        match second.until_deadline(listener.next()).await {
            Ok(Event::Notification { payload, .. }) => heard.push(payload),
            Ok(event) => heard.push(format!("{event:?}")),
            Err(_) => {}
        }
    }
    Ok(heard.join(" "))
}

async fn moment(State(database): State<Database>, Path(text): Path<String>) -> Answer {
    let moment: SystemTime = database.fetch_one(sql!("SELECT {text}::text::timestamptz")).await?;
    Ok(seconds(moment))
}

async fn moments(State(database): State<Database>, Path(text): Path<String>) -> Answer {
    let (moments, none): (Vec<Option<SystemTime>>, Option<SystemTime>) =
        database.fetch_one(sql!("SELECT {text}::text::timestamptz[], NULL::timestamptz")).await?;
    let moments: Vec<String> = moments.into_iter().chain([none]).flatten().map(seconds).collect();
    Ok(moments.join(" "))
}

fn seconds(moment: SystemTime) -> String {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs().to_string()
}
