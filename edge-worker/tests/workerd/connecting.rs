//! Connecting: how many round trips it takes, what is refused, and TLS.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{Cluster, Edge, Proxy, skip};
use tokio::time::sleep;

use crate::support::{Answer, Bed, SOCKET, WRITES, get, post};

#[tokio::test]
async fn a_cold_request_takes_four_round_trips_or_three_where_scram_is_required() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.delay(Duration::from_millis(10));
    let plain = proxy.url(&bed.url);
    let scram = format!("{plain}?require_auth=scram-sha-256");
    let ordinary = [("PGSPAN_LOGIN", "plain")];
    for (url, more, expected) in [(&plain, &ordinary[..], 5), (&plain, &[], 4), (&scram, &[], 3)] {
        let edge = Edge::start(&[&[("DATABASE_URL", url.as_str()), SOCKET, WRITES], more].concat()).await?;
        for round in ["first", "second"] {
            let names = format!(r#"{{"names":["{round} {expected}","{round} {expected} too"]}}"#);
            let add = round_trips(&proxy, get(&edge, "/add?a=1&b=2")).await?;
            let users = round_trips(&proxy, post(&edge, "/users", &names)).await?;
            assert_eq!((add, users), (expected, expected), "{round}, {more:?}");
        }
    }
    Ok(())
}

/// How often PostgreSQL was waited for, the TCP connection included.
async fn round_trips(proxy: &Proxy, asked: impl Future<Output = Result<Answer>>) -> Result<u64> {
    let before = proxy.traffic().len();
    let Answer { status, body } = asked.await?;
    ensure!(status < 300, "{status} {body}");
    sleep(Duration::from_millis(200)).await;
    // the good-bye is counted though no one waits for it, and TCP's own is not
    Ok(proxy.traffic().iter().skip(before).map(|connection| connection.round_trips).sum())
}

#[tokio::test]
async fn a_refused_login_is_unavailable_and_never_an_unknown_outcome() -> Result<()> {
    let bed = Bed::new().await?;
    let (scheme, rest) = bed.url.split_once("://").context("no URL")?;
    let (_, place) = rest.rsplit_once('@').context("no user")?;
    let wrong = format!("{scheme}://pgspan_nobody:CANARY@{place}");
    for connect in ["socket", "pool"] {
        for url in [wrong.clone(), format!("{wrong}?require_auth=scram-sha-256")] {
            let mut edge =
                Edge::start(&[("DATABASE_URL", &url), ("PGSPAN_CONNECT", connect), WRITES]).await?;
            for _ in 0..3 {
                for answer in
                    [get(&edge, "/add?a=1&b=2").await?, post(&edge, "/users", r#"{"names":["a"]}"#).await?]
                {
                    let Answer { status, body } = answer;
                    assert!(
                        status == 503 && body.contains(r#""code":"unavailable""#),
                        "{connect}: {status} {body}"
                    );
                    assert!(!body.contains("CANARY") && !body.contains("pgspan_nobody"), "{body}");
                }
            }
            let log = edge.process().last_lines();
            assert!(!log.contains("CANARY"), "{log}");
        }
    }
    assert_eq!(bed.number("SELECT count(*) FROM users").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_request_s_sockets_are_closed_with_it_and_split_packets_do_not_matter() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.slice(1);
    let url = proxy.url(&bed.url);
    let edge = Edge::start(&[("DATABASE_URL", &url), SOCKET, WRITES]).await?;
    let name = "n".repeat(199);
    for first in 0..5 {
        let names: Vec<String> = (0..100)
            .map(|second| {
                format!("\"{}{name}\"", char::from(b'a' + first)).replacen(
                    &name,
                    &format!("{second:02}{}", &name[2..]),
                    1,
                )
            })
            .collect();
        let stored = post(&edge, "/users", &format!(r#"{{"names":[{}]}}"#, names.join(","))).await?;
        assert_eq!(stored.status, 201, "{}", stored.body);
    }
    let page = get(&edge, "/users?limit=1000").await?;
    assert!(page.status == 200 && page.body.len() > 100_000, "{} {}", page.status, page.body.len());
    let end = Instant::now() + Duration::from_secs(10);
    let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgspan' AND datname = current_database()";
    while bed.number(query).await? > 0 {
        ensure!(Instant::now() < end, "a connection is still open");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A folder with an authority, and a certificate of it for `localhost`.
struct Authority(PathBuf);

impl Authority {
    fn new(name: &str) -> Result<Authority> {
        let folder = tests::target_dir().join(format!("tests/edge-tls-{name}-{}", std::process::id()));
        tests::private_dir(&folder)?;
        let authority = Authority(folder);
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        authority.openssl(&format!("req -x509 {key} -days 2 -subj /CN={name} -keyout ca.key -out ca.pem"))?;
        fs::write(authority.0.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE")?;
        authority.openssl(&format!("req {key} -subj /CN=server -keyout server.key -out server.csr"))?;
        authority.openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt")?;
        Ok(authority)
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output()?;
        ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn certificate(&self) -> Result<String> {
        Ok(fs::read_to_string(self.0.join("ca.pem"))?)
    }

    /// Makes a server use its certificate, and refuse all that is not encrypted except the bed's.
    async fn certify(&self, cluster: &Cluster) -> Result<()> {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let data = cluster.home().join("data");
        let owner = fs::metadata(&data)?;
        for file in ["server.crt", "server.key"] {
            let to = data.join(file);
            fs::copy(self.0.join(file), &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            chown(&to, Some(owner.uid()), Some(owner.gid()))?;
        }
        let admin = cluster.admin().await?;
        admin.batch_execute("CREATE ROLE remote LOGIN PASSWORD 'secret'").await?;
        fs::write(
            data.join("pg_hba.conf"),
            "hostssl all remote all scram-sha-256\nhost all remote all reject\nhost all all all scram-sha-256\n",
        )?;
        admin.execute("ALTER SYSTEM SET ssl = on", &[]).await?;
        admin.execute("SELECT pg_reload_conf()", &[]).await?;
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn tls_is_verified_and_what_fails_is_told_at_once() -> Result<()> {
    if Command::new("openssl").arg("version").output().is_err() {
        skip("TLS to PostgreSQL needs the program openssl to make certificates");
        return Ok(());
    }
    let (ours, other) = (Authority::new("ours")?, Authority::new("other")?);
    let cluster = Cluster::throwaway(&[]).await?;
    let port = cluster.port();
    let without = Edge::start_trusting(
        &[
            ("DATABASE_URL", &format!("postgres://remote:secret@localhost:{port}/postgres?sslmode=require")),
            SOCKET,
        ],
        Some(&ours.certificate()?),
    )
    .await?;
    let answer = get(&without, "/add?a=1&b=2").await?;
    assert_eq!(answer.status, 503, "a server without TLS: {}", answer.body);

    ours.certify(&cluster).await?;
    for (connect, host, authority, more, status) in [
        ("socket", "localhost", &ours, "", 200),
        ("socket", "localhost", &ours, "&require_auth=scram-sha-256", 200),
        ("pool", "localhost", &ours, "", 200),
        ("socket", "127.0.0.1", &ours, "", 503),
        ("socket", "localhost", &other, "", 503),
        ("pool", "localhost", &other, "", 503),
    ] {
        let url = format!("postgres://remote:secret@{host}:{port}/postgres?sslmode=verify-full{more}");
        let settings = [("DATABASE_URL", url.as_str()), ("PGSPAN_CONNECT", connect), WRITES];
        let mut edge = Edge::start_trusting(&settings, Some(&authority.certificate()?)).await?;
        for _ in 0..2 {
            let asked = Instant::now();
            let answer = get(&edge, "/add?a=1&b=2").await?;
            let log = edge.process().last_lines();
            assert_eq!(answer.status, status, "{connect} {host} {more}: {}\n{log}", answer.body);
            assert!(asked.elapsed() < Duration::from_secs(2), "{connect} {host}: {:?}", asked.elapsed());
            assert!(status == 200 || log.contains("TLS failed"), "{log}");
            assert!(!log.contains("secret") && !log.contains("panic"), "{log}");
        }
        assert_eq!(get(&edge, "/livez").await?.status, 200);
    }
    Ok(())
}
