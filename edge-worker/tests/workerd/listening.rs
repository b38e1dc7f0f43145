//! LISTEN in an object: what is heard, and when it ends.
//!
//! Looked for: the end of a reader on a path that is well, on one that is dead, and on a dead one that was just asked whether it still
//! answers; and a reader that waits a second at a time, so that no single wait is as long as the silence that is suspicious.

use std::time::Duration;

use anyhow::Result;
use tests::{Edge, Proxy};
use tokio::time::sleep;

use crate::support::{Bed, all_closed, get, other_worker};

async fn bed(bed: &Bed) -> Result<(Proxy, Edge)> {
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
    Ok((proxy, pool))
}

#[tokio::test]
async fn a_listener_ends_with_its_reader() -> Result<()> {
    let database = Bed::new().await?;
    let (proxy, pool) = bed(&database).await?;
    let telling = async {
        for _ in 0..20 {
            sleep(Duration::from_millis(100)).await;
            database.other.batch_execute("NOTIFY news, 'told'").await?;
        }
        anyhow::Ok(())
    };
    let (heard, told) = tokio::join!(get(&pool, "/listen/4"), telling);
    told?;
    let heard = heard?;
    assert!(heard.status == 200 && heard.body.contains("told"), "{heard:?}");
    all_closed(&proxy, Duration::from_secs(15)).await
}

#[tokio::test]
async fn a_deaf_listener_is_found_out_or_ends_with_its_reader() -> Result<()> {
    let database = Bed::new().await?;
    let hears = async |seconds: u32| {
        let (proxy, pool) = bed(&database).await?;
        let path = format!("/listen/{seconds}");
        let dying = async {
            sleep(Duration::from_millis(1500)).await;
            proxy.forget();
        };
        let (heard, ()) = tokio::join!(get(&pool, &path), dying);
        let heard = heard?;
        assert_eq!(heard.status, 200, "{}", heard.body);
        // its good-bye takes two seconds at most; a busy machine takes longer
        all_closed(&proxy, Duration::from_secs(15)).await?;
        anyhow::Ok(heard.body)
    };
    // 15 s of silence, then 5 s for an answer
    let (early, between, late) = tokio::try_join!(hears(5), hears(18), hears(24))?;
    assert_eq!((early.as_str(), between.as_str(), late.as_str()), ("", "", "Missed"));
    Ok(())
}
