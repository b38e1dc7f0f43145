//! What only the Worker does.

use anyhow::Result;

use crate::support::{Database, Host, Kind, TOKEN};

#[tokio::test]
async fn a_missing_setting_is_named_in_every_answer() -> Result<()> {
    // the bed waits for /livez, which such a Worker answers with 500, so it is started with another fault first
    let database = Database { url: "postgres://u@127.0.0.1:1/d".into(), name: "d".into() };
    let settings = [("API_TOKEN", TOKEN), ("STATEMENT_TIMEOUT_MS", "soon")];
    let error = match Host::with(Kind::Socket, database, &settings).await {
        Ok(_) => anyhow::bail!("a Worker with a wrong setting called itself alive"),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains("500") && error.contains("STATEMENT_TIMEOUT_MS"), "{error}");
    Ok(())
}

#[tokio::test]
async fn many_requests_in_one_isolate_do_not_touch_each_others_sockets() -> Result<()> {
    let host = Host::start(Kind::Socket).await?;
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

#[tokio::test]
async fn the_pool_keeps_its_connections_between_requests_and_opens_no_more_than_five() -> Result<()> {
    let host = Host::start(Kind::Pool).await?;
    let backends = async || -> Result<Vec<i32>> {
        let query = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'pgspan' ORDER BY pid";
        let rows = host.database.connect().await?.query(query, &[&host.database.name]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    let ask = async |number: u32| -> Result<()> {
        match number % 2 {
            0 => host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#),
            _ => assert_eq!(host.post("/users", format!("{{\"names\":[\"{number}\"]}}")).await?.status, 201),
        }
        Ok(())
    };
    let answers = futures_util::stream::iter((0..200).map(&ask));
    futures_util::TryStreamExt::try_collect::<Vec<()>>(futures_util::StreamExt::buffer_unordered(
        answers, 32,
    ))
    .await?;
    let before = backends().await?;
    assert!((1..=5).contains(&before.len()), "{before:?}");
    for number in 200..220 {
        ask(number).await?;
    }
    assert_eq!(backends().await?, before, "the same connections, none opened anew");
    Ok(())
}
