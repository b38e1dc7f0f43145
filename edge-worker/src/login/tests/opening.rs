use anyhow::Result;
use pgspan::{ConnectionUrl, Kind, Settings};
use tokio::io::duplex;

use super::super::{Opening, connect};

fn opening(url: &str, login: Option<&str>) -> pgspan::Result<Opening> {
    let lookup = |name: &str| (name == "PGSPAN_LOGIN").then(|| login.map(str::to_owned)).flatten();
    Opening::read(&url.parse::<ConnectionUrl>()?, lookup)
}

#[test]
fn a_statement_goes_early_where_the_server_is_known_and_nothing_says_otherwise() -> Result<()> {
    for (url, login, expected) in [
        ("postgres://u:p@127.0.0.1/d", None, Opening::Early),
        ("postgres://u:p@[::1]/d", None, Opening::Early),
        ("postgres://u:p@localhost/d", None, Opening::Early),
        ("postgres://u:p@db.example.com/d", None, Opening::Early),
        ("postgres://u:p@db.example.com/d?require_auth=scram-sha-256", None, Opening::AtOnce),
        ("postgres://u:p@127.0.0.1/d?require_auth=scram-sha-256", None, Opening::AtOnce),
        ("postgres://u:p@127.0.0.1/d", Some("plain"), Opening::Ordinary),
    ] {
        assert_eq!(opening(url, login)?, expected, "{url}");
    }
    let plain_text = ConnectionUrl::over_private_link("postgres://u:p@10.0.0.1/d?sslmode=disable")?;
    assert_eq!(Opening::read(&plain_text, |_| None)?, Opening::Ordinary);
    Ok(())
}

#[test]
fn what_can_t_be_kept_is_refused_by_configuration() {
    for (url, login) in [
        ("postgres://u:p@127.0.0.1/d?require_auth=scram-sha-256", Some("plain")),
        ("postgres://u:p@127.0.0.1/d", Some("fast")),
    ] {
        assert_eq!(opening(url, login).unwrap_err().kind(), Kind::Config, "{url}");
    }
}

#[tokio::test]
async fn channel_binding_can_t_be_required() -> Result<()> {
    let url: ConnectionUrl = "postgres://u:p@db.example.com/d?channel_binding=require".parse()?;
    let refused = connect(duplex(64).0, &url.configure(&Settings::default()), Opening::Early).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some(Kind::Config));
    Ok(())
}
