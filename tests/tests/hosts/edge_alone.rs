//! What only the Worker does.

use anyhow::Result;

use crate::support::{Database, Host, Kind, TOKEN};

#[tokio::test]
async fn a_missing_setting_is_named_in_every_answer() -> Result<()> {
    // the bed waits for /livez, which such a Worker answers with 500, so it is started with another fault first
    let database = Database { url: "postgres://u@127.0.0.1:1/d".into(), name: "d".into() };
    let settings = [("API_TOKEN", TOKEN), ("STATEMENT_TIMEOUT_MS", "soon")];
    let error = match Host::with(Kind::Edge, database, &settings).await {
        Ok(_) => anyhow::bail!("a Worker with a wrong setting called itself alive"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains("500") && error.contains("STATEMENT_TIMEOUT_MS"), "{error}");
    Ok(())
}

#[tokio::test]
async fn many_requests_in_one_isolate_do_not_touch_each_others_sockets() -> Result<()> {
    let host = Host::start(Kind::Edge).await?;
    let sums = (0..200).map(|number| {
        let host = &host;
        async move { host.get(&format!("/add?a={number}&b=1")).await.map(|answer| (number, answer)) }
    });
    let mut sums = futures_util::stream::StreamExt::buffer_unordered(futures_util::stream::iter(sums), 16);
    while let Some(answer) = futures_util::stream::StreamExt::next(&mut sums).await {
        let (number, answer) = answer?;
        answer.is(200, &format!("{{\"sum\":{}}}", number + 1));
    }
    Ok(())
}
