//! The same test on both hosts.

use std::sync::Mutex;

use anyhow::bail;
use pgspan_dev::{Hosts, Result, http, on_both_hosts};
use serde_json::json;

#[tokio::test]
async fn the_same_test_runs_on_both_hosts_each_with_a_database_of_its_own() -> Result<()> {
    let seen = Mutex::new(Vec::new());
    on_both_hosts(async |mut host| {
        let answer = host.post("/users", &json!({ "names": ["Ada"] })).await?;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json()?["users"][0]["name"], "Ada");
        let stored = host.database().connect().await?.query("SELECT name FROM users", &[]).await?;
        assert_eq!(stored.len(), 1);
        seen.lock().unwrap().push((host.is_worker(), host.process().name().to_owned()));
        Ok(())
    })
    .await?;
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen, [(false, "pgspan-server".to_owned()), (true, "workerd".to_owned())]);
    Ok(())
}

#[tokio::test]
async fn a_test_has_settings_of_its_own() -> Result<()> {
    let token = "a token of 16 characters";
    Hosts::new()
        .without("ALLOW_ANONYMOUS_WRITES")
        .with("API_TOKEN", token)
        .run(async |host| {
            let names = json!({ "names": ["Ada"] });
            assert_eq!(host.post("/users", &names).await?.status, 401);
            let with_token = host.request(pgspan_dev::reqwest::Method::POST, "/users").bearer_auth(token);
            assert_eq!(pgspan_dev::Answer::to(with_token.json(&names)).await?.status, 201);
            Ok(())
        })
        .await
}

/// On either host, whatever the test does: nothing runs on, and the message says where it was.
#[tokio::test]
async fn a_test_that_fails_ends_its_host_and_names_it() -> Result<()> {
    let ports = Mutex::new(Vec::new());
    let port_of = |url: String| -> u16 { url.rsplit(':').next().unwrap().parse().unwrap() };
    for on_worker in [false, true] {
        let failed = on_both_hosts(async |host| {
            ports.lock().unwrap().push(port_of(host.url()));
            if host.is_worker() == on_worker {
                bail!("as a test does");
            }
            Ok(())
        });
        let error = format!("{:#}", failed.await.unwrap_err());
        let place =
            if on_worker { "on the Worker, whose log is " } else { "on the native host, whose log is " };
        assert!(error.starts_with(place) && error.ends_with("as a test does"), "{error}");
    }
    for port in ports.into_inner().unwrap() {
        assert!(http::status(port, "/livez").await.is_err(), "port {port} is still served");
    }
    Ok(())
}
