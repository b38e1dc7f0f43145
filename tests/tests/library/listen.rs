//! LISTEN and NOTIFY.

use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::{Event, Kind, Listener, sql};
use tokio::time::timeout;

use crate::support::{Bed, Via, pooled};

async fn next(listener: &mut Listener) -> Result<Event> {
    timeout(Duration::from_secs(5), listener.next()).await.context("nothing was heard")
}

fn payload(event: Event) -> Option<String> {
    match event {
        Event::Notification { payload, .. } => Some(payload),
        _ => None,
    }
}

#[tokio::test]
async fn notifications_are_heard_in_order_on_the_channel_they_were_sent_to() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let db = bed.db().await?;
    let channel = "odd \"channel\"; DROP";
    let mut listener = db.listen(channel).await?;
    db.execute(sql!("SELECT pg_notify('another', 'not for you')")).await?;
    for text in ["one", "", "😀"] {
        db.execute(sql!("SELECT pg_notify({channel}, {text})")).await?;
    }
    for text in ["one", "", "😀"] {
        assert_eq!(payload(next(&mut listener).await?).as_deref(), Some(text));
    }
    assert!(timeout(Duration::from_millis(50), listener.next()).await.is_err());
    db.execute(sql!("SELECT pg_notify({channel}, 'after a call that was dropped')")).await?;
    assert_eq!(payload(next(&mut listener).await?).as_deref(), Some("after a call that was dropped"));
    Ok(())
}

#[tokio::test]
async fn behind_a_pooler_listening_is_refused() -> Result<()> {
    pooled(async |via| {
        let refused = Bed::new(via).await?.db().await?.listen("news").await.err().context("it listens")?;
        assert_eq!(refused.kind(), Kind::Refused);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_listener_whose_backend_was_terminated_says_so_and_listens_again() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let db = bed.db().await?;
    let mut listener = db.listen("news").await?;
    for text in ["first", "second"] {
        let listening =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let pid: i32 = bed.other.query_one(listening, &[]).await?.get(0);
        bed.terminate(pid).await?;
        bed.run("NOTIFY news, 'lost'").await?;
        assert_eq!(next(&mut listener).await?, Event::Missed);
        bed.run(&format!("NOTIFY news, '{text}'")).await?;
        assert_eq!(payload(next(&mut listener).await?).as_deref(), Some(text));
    }
    Ok(())
}

#[tokio::test]
async fn a_listener_that_is_dropped_closes_its_connection() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let listener = bed.db().await?.listen("news").await?;
    let listening =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let pid: i32 = bed.other.query_one(listening, &[]).await?.get(0);
    drop(listener);
    bed.gone(pid).await?;
    Ok(())
}

#[tokio::test]
async fn a_listener_outlives_a_server_that_can_not_be_reached() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut listener = db.listen("news").await?;
    proxy.refuse().await;
    proxy.close();
    assert!(timeout(Duration::from_millis(400), listener.next()).await.is_err());
    proxy.pass().await;
    assert_eq!(next(&mut listener).await?, Event::Missed);
    bed.run("NOTIFY news, 'again'").await?;
    assert_eq!(payload(next(&mut listener).await?).as_deref(), Some("again"));
    Ok(())
}
