use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::poll_fn;
use pgspan::{Error, Kind, Sql};
use tests::{Cluster, Proxy, Way};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::super::scram::DERIVED;
use super::super::{Opening, cancel, connect};
use super::bed::{Bed, Under, with_login};

const EARLY: [Opening; 2] = [Opening::Early, Opening::AtOnce];

/// How often the client waits, the TCP connection included.
async fn round_trips(proxy: &Proxy, work: impl Future<Output = pgspan::Result<()>>) -> Result<u64> {
    let before = proxy.traffic().len();
    work.await?;
    sleep(Duration::from_millis(100)).await;
    // the good-bye is counted though no one waits for it, and TCP's own is not
    Ok(proxy.traffic().iter().skip(before).map(|connection| connection.round_trips).sum())
}

#[tokio::test]
async fn a_cold_statement_takes_four_round_trips_or_three_where_scram_is_required() -> Result<()> {
    let bed = Bed::new().await?;
    bed.table("login_cold").await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.delay(Duration::from_millis(10));
    for (opening, expected) in [(Opening::Ordinary, 5), (Opening::Early, 4), (Opening::AtOnce, 3)] {
        let db = Under::tcp(&proxy.url(&bed.url), opening, 0)?.db;
        let read = async {
            let one: i32 = db.fetch_one("SELECT 1").await?;
            assert_eq!(one, 1);
            Ok(())
        };
        assert_eq!(round_trips(&proxy, read).await?, expected, "{opening:?}, a statement");
        let write = async {
            let insert = || Sql::new("INSERT INTO login_cold VALUES (1)");
            db.session().await?.batch([insert(), insert()]).atomic().await?;
            Ok(())
        };
        assert_eq!(round_trips(&proxy, write).await?, expected, "{opening:?}, a transaction");
        let warm = async {
            let mut session = db.session().await?;
            for _ in 0..3 {
                session.execute("SELECT 1").await?;
            }
            Ok(())
        };
        assert_eq!(round_trips(&proxy, warm).await?, expected + 2, "{opening:?}, three statements");
    }
    assert_eq!(bed.count("login_cold").await?, 6);
    Ok(())
}

/// It costs 6 to 10 ms of a Worker's computing time, and a request has 10 on the free plan. Looked for: each way to log in; a shared
/// connection and one of a session; another password for the same user, whose key is another.
#[tokio::test]
async fn a_password_s_key_is_derived_once_whatever_the_login() -> Result<()> {
    let bed = Bed::new().await?;
    for (number, opening) in [Opening::Ordinary, Opening::Early, Opening::AtOnce].into_iter().enumerate() {
        let role = format!("login_key_{number}");
        for password in ["one", "another"] {
            bed.other
                .batch_execute(&format!(
                    "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD '{password}'"
                ))
                .await?;
            let url = with_login(&bed.url, &format!("{role}:{password}"))?;
            let before = DERIVED.get();
            for shared in [0, 1, 0] {
                let db = Under::tcp(&url, opening, shared)?.db;
                db.execute("SELECT 1").await?;
                db.session().await?.execute("SELECT 1").await?;
            }
            assert_eq!(DERIVED.get() - before, 1, "{opening:?}, {password}");
        }
        bed.other.batch_execute(&format!("DROP ROLE {role}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_login_says_why_and_nothing_ran() -> Result<()> {
    let bed = Bed::new().await?;
    bed.table("login_refused").await?;
    let wrong_password = with_login(&bed.url, "pgspan_nobody:CANARY")?;
    let (base, _) = bed.url.rsplit_once('/').context("no database")?;
    let wrong_database = format!("{base}/no_such_database");
    for opening in EARLY {
        for (url, code) in [(&wrong_password, "28P01"), (&wrong_database, "3D000")] {
            for shared in [0, 1] {
                let under = Under::tcp(url, opening, shared)?;
                let insert = || Sql::new("INSERT INTO login_refused VALUES (1)");
                let mut errors: Vec<Error> = Vec::new();
                errors.extend(under.db.execute(insert()).await.err());
                if let Ok(mut session) = under.db.session().await {
                    errors.extend(session.execute(insert()).await.err());
                }
                if let Ok(mut session) = under.db.session().await {
                    errors.extend(session.batch([insert(), insert()]).await.err());
                }
                if let Ok(mut session) = under.db.session().await {
                    errors.extend(session.batch([insert(), insert()]).atomic().await.err());
                }
                if let Ok(mut session) = under.db.session().await {
                    let mut tx = session.transaction();
                    errors.extend(tx.execute(insert()).await.err());
                }
                if let Ok(mut session) = under.db.session().await {
                    errors.extend(session.fetch_stream::<(i32,)>(insert()).await.err());
                }
                assert!(errors.len() >= 5, "{opening:?} {code}: {errors:?}");
                for error in errors {
                    let shown = format!("{error} {error:?} {:?}", under.login());
                    assert!(!shown.contains("CANARY"), "{shown}");
                    assert_eq!(error.kind(), Kind::Unavailable, "{opening:?}: {shown}");
                    assert_eq!(error.sqlstate().map(|code| code.code()), Some(code), "{opening:?}: {shown}");
                }
                let refusal = under.login().settled().await.unwrap_err();
                assert_eq!(refusal.sqlstate().map(|state| state.code()), Some(code));
            }
        }
    }
    assert_eq!(bed.count("login_refused").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_server_that_asks_for_no_scram_gets_the_ordinary_login_unless_scram_is_required() -> Result<()> {
    let cluster = Cluster::throwaway(&[("password_encryption", "md5")]).await?;
    let admin = cluster.admin().await?;
    admin.batch_execute("CREATE ROLE trusted LOGIN; CREATE ROLE old LOGIN PASSWORD 'secret'").await?;
    let hba = "host all trusted all trust\nhost all old all md5\nhost all all all scram-sha-256\n";
    std::fs::write(cluster.home().join("data/pg_hba.conf"), hba)?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    let end = Instant::now() + Duration::from_secs(10);
    for (login, opening) in
        [("trusted", Opening::Early), ("old:secret", Opening::Early), ("trusted:x", Opening::Ordinary)]
    {
        let db = Under::tcp(&with_login(&cluster.url("postgres"), login)?, opening, 0)?.db;
        loop {
            match db.fetch_one::<i32>("SELECT 1").await {
                Ok(one) => break assert_eq!(one, 1),
                Err(error) => ensure!(Instant::now() < end, "{login}: {error}"), // it reads its rules in its own time
            }
            sleep(Duration::from_millis(20)).await;
        }
        // a key is kept of these too
        assert!(
            Under::tcp(&with_login(&cluster.url("postgres"), login)?, opening, 1)?
                .db
                .execute("SELECT 1")
                .await
                .is_ok()
        );
    }
    for login in ["trusted:x", "old:secret"] {
        let db = Under::tcp(&with_login(&cluster.url("postgres"), login)?, Opening::AtOnce, 0)?.db;
        let error = db.execute("SELECT 1").await.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(error.is_unavailable() && cause.contains("require_auth"), "{error}: {cause}");
    }
    let db = Under::tcp(&with_login(&cluster.url("postgres"), "old:wrong")?, Opening::Early, 0)?.db;
    assert_eq!(db.execute("SELECT 1").await.unwrap_err().sqlstate().map(|code| code.code()), Some("28P01"));
    Ok(())
}

#[tokio::test]
async fn packets_of_one_byte_do_not_matter() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.slice(1);
    for opening in [Opening::Ordinary, Opening::Early, Opening::AtOnce] {
        let db = Under::tcp(&proxy.url(&bed.url), opening, 0)?.db;
        let text: String = db.fetch_one("SELECT repeat('x', 1000)").await?;
        assert_eq!(text.len(), 1000);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_cut_off_anywhere_is_an_error_that_does_not_lie() -> Result<()> {
    let bed = Bed::new().await?;
    for (way, table) in [(Way::Down, "login_cut_down"), (Way::Up, "login_cut_up")] {
        bed.table(table).await?;
        for opening in EARLY {
            let proxy = Proxy::before(&bed.url).await?;
            let insert = || Sql::new(format!("INSERT INTO {table} VALUES (1)"));
            let db = Under::tcp(&proxy.url(&bed.url), opening, 0)?.db;
            db.execute(insert()).await?;
            let traffic = proxy.traffic().pop().context("no connection")?;
            let all = if way == Way::Down { traffic.down } else { traffic.up };
            let (mut stored, mut unknown) = (bed.count(table).await?, 0);
            for bytes in 0..all - 24 {
                proxy.cut_after_bytes(way, bytes);
                let cut = timeout(Duration::from_secs(3), db.execute(insert())).await;
                let error =
                    cut.context("it hangs")?.err().with_context(|| format!("{bytes} bytes were enough"))?;
                match error.kind() {
                    Kind::Unavailable => {}
                    Kind::OutcomeUnknown => unknown += 1,
                    kind => panic!("{way:?} {bytes}: {kind:?} {error}"),
                }
            }
            let rows = bed.count(table).await?;
            assert!(rows - stored <= unknown, "{way:?} {opening:?}: {rows} of {stored}, {unknown} unknown");
            stored = rows;
            proxy.pass().await;
            db.execute(insert()).await?;
            assert_eq!(bed.count(table).await?, stored + 1);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_statement_is_cancelled_by_the_key_that_came_with_the_login() -> Result<()> {
    let bed = Bed::new().await?;
    for opening in [Opening::Ordinary, Opening::Early, Opening::AtOnce] {
        let under = Under::tcp(&bed.url, opening, 0)?;
        let mut session = under.db.session().await?;
        assert!(opening == Opening::Ordinary || under.login().cancel_request().is_none());
        let address = bed.url.parse::<pgspan::ConnectionUrl>()?.postgres().get_ports()[0];
        let cancelled = async {
            under.login().settled().await?;
            sleep(Duration::from_millis(50)).await;
            let request = under.login().cancel_request().context("no key")?;
            cancel(TcpStream::connect(("127.0.0.1", address)).await?, &request).await?;
            anyhow::Ok(())
        };
        let (slept, asked) = tokio::join!(session.execute("SELECT pg_sleep(4)"), cancelled);
        asked?;
        assert_eq!(slept.unwrap_err().sqlstate().map(|code| code.code()), Some("57014"), "{opening:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_passed_on() -> Result<()> {
    let bed = Bed::new().await?;
    let url: pgspan::ConnectionUrl = bed.url.parse()?;
    let config = url.configure(&pgspan::Settings::default());
    for opening in EARLY {
        let stream = TcpStream::connect(("127.0.0.1", config.get_ports()[0])).await?;
        let mut connected = connect(stream, &config, opening).await?;
        let answer = connected.client.simple_query("SHOW lock_timeout");
        let rows = tokio::select! {
            rows = answer => rows?,
            ended = poll_fn(|cx| connected.connection.poll_message(cx)) => anyhow::bail!("{ended:?}"),
        };
        assert_eq!(rows.len(), 3); // the column, the row, the end
        assert_eq!(connected.connection.parameter("client_encoding"), Some("UTF8"));
        assert_eq!(connected.connection.parameter("application_name"), Some("pgspan"));
    }
    Ok(())
}

#[tokio::test]
async fn a_password_beyond_ascii_is_prepared_as_the_server_does() -> Result<()> {
    let bed = Bed::new().await?;
    bed.other
        .batch_execute("DROP ROLE IF EXISTS login_prep; CREATE ROLE login_prep LOGIN PASSWORD E'p\\u00e4\\u00adss \\u00aa'")
        .await?;
    for opening in EARLY {
        let url = with_login(&bed.url, "login_prep:p%C3%A4ss%20a")?;
        Under::tcp(&url, opening, 0)?.db.execute("SELECT 1").await?;
    }
    Ok(())
}
