//! Fault rows G2, G4 and G6: TLS, with certificates made on the spot.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pgspan::{Database, Kind, Settings, sql};
use pgspan_server::check;
use pgspan_server::migrate::{migrate, status};
use tests::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep, timeout};

use crate::bed::{MIGRATIONS, is_cancelled, pool};

/// An authority, and a certificate of it for 127.0.0.1.
pub(crate) struct Authority(pub(crate) PathBuf);

impl Authority {
    /// Nothing where there is no openssl.
    pub(crate) fn new(name: &str) -> Result<Option<Authority>> {
        if Command::new("openssl").arg("version").output().is_err() {
            tests::skip("TLS to PostgreSQL needs the program openssl to make certificates");
            return Ok(None);
        }
        let folder = tests::target_dir().join(format!("tests/tls-{name}-{}", std::process::id()));
        tests::private_dir(&folder)?;
        let authority = Authority(folder);
        authority.openssl(&format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout ca.key -out ca.pem"))?;
        Ok(Some(authority))
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&self.0).output()?;
        ensure!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Gives the server a certificate, and makes it use it.
    pub(crate) async fn certify(&self, cluster: &Cluster, days: &str) -> Result<()> {
        self.sign(days)?;
        self.install(cluster).await
    }

    /// Makes `server.crt` and `server.key`.
    pub(crate) fn sign(&self, days: &str) -> Result<()> {
        fs::write(self.0.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE")?;
        self.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr")?;
        self.openssl(&format!("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial {days} -extfile names -out server.crt"))
    }

    /// Makes the server use `server.crt` and `server.key`.
    async fn install(&self, cluster: &Cluster) -> Result<()> {
        let data = cluster.home().join("data");
        let owner = fs::metadata(&data)?;
        for file in ["server.crt", "server.key"] {
            let to = data.join(file);
            fs::copy(self.0.join(file), &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600))?;
            chown(&to, Some(owner.uid()), Some(owner.gid()))?;
        }
        let admin = cluster.admin().await?;
        admin.execute("ALTER SYSTEM SET ssl = on", &[]).await?;
        admin.execute("SELECT pg_reload_conf()", &[]).await?;
        sleep(Duration::from_millis(300)).await;
        Ok(())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tls(cluster: &Cluster, host: &str, how: &str, authority: Option<&Path>) -> Result<Database> {
    let url = cluster.url("postgres").replace("127.0.0.1", host).replace("sslmode=disable", how);
    let authority = authority.map_or("system".into(), |folder| folder.join("ca.pem").display().to_string());
    pool(&format!("{url}&sslrootcert={}", authority.replace('/', "%2F")), 3000, |_| {})
}

async fn is_encrypted(db: &Database) -> pgspan::Result<bool> {
    db.session().await?.fetch_one(sql!("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).await
}

#[tokio::test]
async fn a_certificate_is_verified_and_its_name_and_nothing_falls_back() -> Result<()> {
    let (Some(ours), Some(other)) = (Authority::new("ours")?, Authority::new("other")?) else {
        return Ok(());
    };
    let cluster = Cluster::throwaway(&[]).await?;
    let unencrypted = tls(&cluster, "127.0.0.1", "sslmode=verify-full", Some(&ours.0))?;
    let error = unencrypted.session().await.err().context("it fell back")?;
    assert!(error.to_string().contains("server does not support TLS"), "{error}");

    ours.certify(&cluster, "-days 2").await?;
    let (ours_ca, other_ca) = (Some(ours.0.as_path()), Some(other.0.as_path()));
    for (host, how, authority) in [
        ("127.0.0.1", "sslmode=verify-full", ours_ca),
        ("127.0.0.1", "sslmode=require&channel_binding=require", ours_ca),
        ("localhost", "sslmode=verify-ca", ours_ca),
    ] {
        let db = tls(&cluster, host, how, authority)?;
        assert!(is_encrypted(&db).await?, "{how}");
        is_cancelled(&db, &cluster.admin().await?).await.context(how)?;
    }
    for (host, how, authority, why) in [
        ("127.0.0.1", "sslmode=verify-full", other_ca, "signed by no authority"),
        ("127.0.0.1", "sslmode=verify-ca", other_ca, "signed by no authority"),
        ("127.0.0.1", "sslmode=verify-full", None, "signed by no authority"),
        ("localhost", "sslmode=verify-full", ours_ca, "is not for this host's name"),
    ] {
        let Ok(db) = tls(&cluster, host, how, authority) else {
            ensure!(authority.is_none(), "{how}");
            continue; // this machine trusts no one
        };
        let error = db.session().await.err().context(how)?;
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains(why), "{how}: {error}");
    }

    ours.certify(&cluster, "-days -1").await?;
    for how in ["sslmode=verify-full", "sslmode=verify-ca"] {
        let error = tls(&cluster, "127.0.0.1", how, ours_ca)?.session().await.err().context(how)?;
        assert!(error.to_string().contains("has expired"), "{how}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_logs_in_where_the_server_asks_for_one() -> Result<()> {
    let Some(ours) = Authority::new("client")? else { return Ok(()) };
    let cluster = Cluster::throwaway(&[]).await?;
    ours.certify(&cluster, "-days 2").await?;
    let data = cluster.home().join("data");
    let owner = fs::metadata(&data)?;
    fs::copy(ours.0.join("ca.pem"), data.join("ca.pem"))?;
    chown(data.join("ca.pem"), Some(owner.uid()), Some(owner.gid()))?;
    let admin = cluster.admin().await?;
    for command in [
        "CREATE ROLE certified LOGIN",
        "ALTER SYSTEM SET ssl_ca_file = 'ca.pem'",
        "COPY (SELECT 'hostssl all certified 127.0.0.1/32 cert') TO PROGRAM 'cat >> pg_hba.conf'",
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(command).await.with_context(|| command.to_owned())?;
    }
    let hba = fs::read_to_string(data.join("pg_hba.conf"))?;
    let (rest, line) = hba.trim_end().rsplit_once('\n').context("two lines")?;
    fs::write(data.join("pg_hba.conf"), format!("{line}\n{rest}\n"))?; // the first that fits counts
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    sleep(Duration::from_millis(300)).await;

    ours.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=certified -keyout client.key -out client.csr")?;
    ours.openssl(
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out client.crt",
    )?;
    let file = |name: &str| ours.0.join(name).display().to_string().replace('/', "%2F");
    let base = format!(
        "postgres://certified@127.0.0.1:{}/postgres?sslmode=verify-full&sslrootcert={}",
        cluster.port(),
        file("ca.pem")
    );
    let with = format!("{base}&sslcert={}&sslkey={}", file("client.crt"), file("client.key"));
    fs::set_permissions(ours.0.join("client.key"), fs::Permissions::from_mode(0o600))?;
    let user: String =
        pool(&with, 3000, |_| {})?.session().await?.fetch_one(sql!("SELECT current_user::text")).await?;
    assert_eq!(user, "certified");
    assert!(pool(&base, 3000, |_| {})?.session().await.is_err(), "no certificate was asked for");
    fs::set_permissions(ours.0.join("client.key"), fs::Permissions::from_mode(0o644))?;
    let error = pool(&with, 3000, |_| {}).err().context("a key that others can read was used")?;
    assert!(error.to_string().contains("0600"), "{error}");
    Ok(())
}

/// A server without TLS. It answers every connection that it has none, and tells what else was sent there.
async fn without_tls() -> Result<(std::net::SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await?;
            let (mut request, mut more) = ([0; 8], Vec::new());
            stream.read_exact(&mut request).await?;
            stream.write_all(b"N").await?;
            let _ = timeout(Duration::from_secs(1), stream.read_to_end(&mut more)).await;
            let _ = tell.send(more);
        }
        #[allow(unreachable_code, reason = "says what `?` gives")]
        Ok::<_, std::io::Error>(())
    });
    Ok((address, told))
}

#[tokio::test]
async fn a_server_that_refuses_tls_gets_no_byte_more_from_serve_check_migrate_and_status() -> Result<()> {
    let Some(authority) = Authority::new("refused")? else { return Ok(()) };
    let path = authority.0.join("ca.pem").display().to_string().replace('/', "%2F");
    let (address, mut told) = without_tls().await?;
    let url = format!("postgres://alice:CANARY@{address}/d?sslmode=verify-full&sslrootcert={path}");
    let refused = "server does not support TLS";

    let error = pool(&url, 1000, |_| {})?.session().await.err().context("serve fell back")?;
    assert!(error.to_string().contains(refused), "{error}");
    assert_eq!(told.recv().await.context("serve did not come")?, b"");

    let limit = Duration::from_secs(1);
    let found = check::check(&url.parse()?, &Settings::default(), limit, &[]).await?;
    assert!(
        found.iter().any(|one| one.what == "tls" && !one.good && one.text.contains(refused)),
        "{found:?}"
    );
    assert_eq!(told.recv().await.context("check did not come")?, b"");

    let error = migrate(&url, MIGRATIONS).await.err().context("migrate fell back")?;
    assert!(error.to_string().contains(refused), "{error}");
    assert_eq!(told.recv().await.context("migrate did not come")?, b"");

    let error = status(&url, MIGRATIONS).await.err().context("status fell back")?;
    assert!(error.to_string().contains(refused), "{error}");
    assert_eq!(told.recv().await.context("status did not come")?, b"");
    Ok(())
}

impl Authority {
    /// Makes the server use this certificate, signed by itself.
    async fn install_own(&self, cluster: &Cluster, arguments: &str) -> Result<()> {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.crt {arguments}"
        ))?;
        self.install(cluster).await
    }
}

/// Fault row N15.
#[tokio::test]
async fn a_certificate_that_can_not_be_used_is_told_with_what_to_make_instead() -> Result<()> {
    let Some(ours) = Authority::new("reasons")? else { return Ok(()) };
    let cluster = Cluster::throwaway(&[]).await?;
    let refused = async |how: &str| -> Result<String> {
        let url = cluster.url("postgres").replace("sslmode=disable", how);
        let root = ours.0.join("server.crt").display().to_string().replace('/', "%2F");
        let db = pool(&format!("{url}&sslrootcert={root}"), 3000, |_| {})?;
        match db.session().await {
            Ok(_) => Ok("accepted".to_owned()),
            Err(error) => Ok(error.to_string()),
        }
    };
    // PostgreSQL's own recipe (PostgreSQL documentation, 18.9.5), and the certificate itself as the one to trust
    ours.install_own(&cluster, "-days 2").await?;
    let error = refused("sslmode=verify-full").await?;
    assert!(
        error.contains("is an authority's own (CA:TRUE)") && error.contains("sslmode=verify-ca"),
        "{error}"
    );
    assert_eq!(refused("sslmode=verify-ca").await?, "accepted", "exactly this one is trusted");
    ours.install_own(&cluster, "-not_before 20200101000000Z -not_after 20200201000000Z").await.or_else(
        |_| {
            // an openssl without these options
            ours.openssl("version")
        },
    )?;
    let error = refused("sslmode=verify-ca").await?;
    assert!(error.contains("has expired") || error == "accepted", "{error}");

    // signed by an authority, and without a name
    fs::write(ours.0.join("names"), "basicConstraints=CA:FALSE")?;
    ours.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr")?;
    ours.openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt")?;
    ours.install(&cluster).await?;
    let error = tls(&cluster, "127.0.0.1", "sslmode=verify-full", Some(&ours.0))?.session().await.err();
    let error = error.context("it has no name")?.to_string();
    assert!(error.contains("has no subjectAltName"), "{error}");
    // of version 1
    ours.openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.crt",
    )?;
    ours.install(&cluster).await?;
    let error = tls(&cluster, "127.0.0.1", "sslmode=verify-full", Some(&ours.0))?.session().await.err();
    let error = error.context("it is of version 1")?.to_string();
    assert!(error.contains("X.509 version 1") || error.contains("has no subjectAltName"), "{error}");
    Ok(())
}

/// Fault row N13: a certificate that is renewed, with the authority.
#[tokio::test]
async fn a_renewed_authority_is_trusted_without_a_restart() -> Result<()> {
    let (Some(ours), Some(other)) = (Authority::new("renewed")?, Authority::new("renewing")?) else {
        return Ok(());
    };
    let cluster = Cluster::throwaway(&[]).await?;
    ours.certify(&cluster, "-days 2").await?;
    let db = tls(&cluster, "127.0.0.1", "sslmode=verify-full", Some(&ours.0))?;
    drop(db.session().await?);
    other.certify(&cluster, "-days 2").await?;
    let renewed = ours.0.join("ca.new");
    fs::copy(other.0.join("ca.pem"), &renewed)?;
    fs::rename(&renewed, ours.0.join("ca.pem"))?;
    let admin = cluster.admin().await?;
    admin
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_ssl WHERE ssl AND pid <> pg_backend_pid()",
        )
        .await?;
    sleep(Duration::from_millis(100)).await;
    assert!(is_encrypted(&db).await?);
    // half written: the last one is used
    fs::write(ours.0.join("ca.pem"), "-----BEGIN CERT")?;
    admin
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_ssl WHERE ssl AND pid <> pg_backend_pid()",
        )
        .await?;
    sleep(Duration::from_millis(100)).await;
    assert!(is_encrypted(&db).await?);
    Ok(())
}

#[test]
fn a_file_of_tls_that_is_not_there_yet_may_come() -> Result<()> {
    let run = |url: &str| crate::program::run(&["serve"], &[("DATABASE_URL", url)]);
    for url in [
        "postgres://u@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=%2Fno%2Fsuch%2Ffile",
        "postgres://u@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=%2Fdev%2Fnull",
    ] {
        let (code, _, faults) = run(url)?;
        let is_there = url.ends_with("null");
        assert_eq!(code, Some(if is_there { 2 } else { 1 }), "{faults}");
        assert!(
            faults.contains("sslrootcert") && faults.contains("the file is not there") != is_there,
            "{faults}"
        );
    }
    Ok(())
}
