//! Fault row C8: the program while its server changes the password; and the password file.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::{Cluster, Process, free_port, http};
use tokio::time::sleep;

use crate::program::run;

/// The program on this database.
async fn serve(name: &str, url: &str) -> Result<(Process, u16)> {
    let program = env!("CARGO_BIN_EXE_pgspan-server");
    let migrated = Command::new(program).arg("migrate").env_clear().env("DATABASE_URL", url).output()?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let (mut process, port) = start(name, url, &[])?;
    http::wait_until_ok(&mut process, port, &["/readyz"], Duration::from_secs(10)).await?;
    Ok((process, port))
}

fn start(name: &str, url: &str, more: &[(&str, &str)]) -> Result<(Process, u16)> {
    let port = free_port()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgspan-server"));
    command.arg("serve").env_clear().envs(more.iter().copied()).envs([
        ("DATABASE_URL", url),
        ("LISTEN_ADDR", &format!("127.0.0.1:{port}")),
        ("METRICS_ADDR", "off"),
        ("ALLOW_ANONYMOUS_WRITES", "true"),
        ("DRAIN_GRACE_MS", "0"),
    ]);
    let log = tests::target_dir().join(format!("tests/{name}-{}.log", std::process::id()));
    let _ = std::fs::remove_file(&log);
    Ok((Process::start("pgspan-server", &mut command, &log)?, port))
}

#[tokio::test]
async fn a_changed_password_is_503_logged_once_a_pause_without_it_and_heals() -> Result<()> {
    let cluster = Cluster::throwaway(&[]).await?;
    let admin = cluster.admin().await?;
    admin.batch_execute("CREATE ROLE changing SUPERUSER LOGIN PASSWORD 's3cr3t-CANARY'").await?;
    let url = format!("postgres://changing:s3cr3t-CANARY@127.0.0.1:{}/postgres", cluster.port());
    let (process, port) = serve("password", &url).await?;
    assert_eq!(http::status(port, "/add?a=1&b=2").await?, 200);
    admin.batch_execute("ALTER ROLE changing PASSWORD 'another-CANARY'").await?;
    assert_eq!(http::status(port, "/add?a=1&b=2").await?, 200, "a connection that is open stays");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'changing'";
    admin.batch_execute(end).await?;
    sleep(Duration::from_millis(100)).await;
    let (started, mut refused) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_millis(1500) {
        assert_eq!(http::status(port, "/add?a=1&b=2").await?, 503);
        refused += 1;
    }
    let log = std::fs::read_to_string(process.log())?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("can't be connected to")).collect();
    assert!((1..=6).contains(&lines.len()) && refused >= lines.len(), "{refused} refused: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("28P01")), "{lines:#?}");
    assert!(!log.contains("CANARY"), "{log}");

    admin.batch_execute("ALTER ROLE changing PASSWORD 's3cr3t-CANARY'").await?;
    let started = Instant::now();
    while http::status(port, "/add?a=1&b=2").await? != 200 {
        ensure!(started.elapsed() < Duration::from_secs(2), "it does not heal");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_password_file_that_others_can_read_is_left_alone_and_every_command_says_so() -> Result<()> {
    let file = tests::target_dir().join(format!("tests/readable-pgpass-{}", std::process::id()));
    std::fs::create_dir_all(tests::target_dir().join("tests"))?;
    std::fs::write(&file, "*:*:*:*:CANARY\n")?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let path = file.display().to_string();
    let nowhere = format!("postgres://u@127.0.0.1:{}/d", free_port()?);
    let named = format!("{nowhere}?passfile={}", path.replace('/', "%2F"));
    let expected =
        "pgspan-server: the password file is not used: it must be a file that its owner alone can use";
    for command in [&["migrate"][..], &["migrate", "--status"], &["check"]] {
        for environment in
            [[("DATABASE_URL", &nowhere), ("PGPASSFILE", &path)], [("DATABASE_URL", &named), ("A", &path)]]
        {
            let environment = environment.map(|(name, value)| (name, value.as_str()));
            let (_, _, said) = run(command, &environment)?;
            assert!(said.starts_with(expected) && !said.contains("CANARY"), "{command:?}: {said}");
        }
    }
    let (process, _) = start("readable", &nowhere, &[("PGPASSFILE", &path)])?;
    let started = Instant::now();
    while !std::fs::read_to_string(process.log())?.contains("the password file is not used: it must be") {
        ensure!(started.elapsed() < Duration::from_secs(5), "serve does not say it");
        sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_file(&file)?;
    Ok(())
}

/// The program while the password changes every second, and where it finds the new one.
async fn rotates(name: &str, setting: &str, content: impl Fn(u16, &str) -> String) -> Result<()> {
    let cluster = Cluster::throwaway(&[]).await?;
    let admin = cluster.admin().await?;
    admin.batch_execute("CREATE ROLE rotating SUPERUSER LOGIN PASSWORD 'first'").await?;
    let file = tests::target_dir().join(format!("tests/rotating-{name}-{}", std::process::id()));
    std::fs::create_dir_all(tests::target_dir().join("tests"))?;
    let write = |password: &str| -> Result<()> {
        // as Kubernetes does: the new file takes the old one's place
        let new = file.with_extension("new");
        std::fs::write(&new, content(cluster.port(), password))?;
        std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(std::fs::rename(&new, &file)?)
    };
    write("first")?;
    let path = file.display().to_string();
    let url = format!("postgres://rotating@127.0.0.1:{}/postgres", cluster.port());
    // connections are so short lived that each second sees logins
    let mut more = vec![(setting, &*path), ("POOL_LIFETIME_MS", "150"), ("POOL_IDLE_TIMEOUT_MS", "150")];
    if setting != "DATABASE_URL_FILE" {
        more.push(("DATABASE_URL", &url));
    }
    let (_process, port, log) = crate::program::serving(name, "", &more).await?;
    let (started, mut rotated) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(5) {
        if started.elapsed() > Duration::from_secs(rotated + 1) {
            rotated += 1;
            let password = format!("number {rotated}");
            write(&password)?; // the file first, and the server a moment later, within which no login happens
            admin.batch_execute(&format!("ALTER ROLE rotating PASSWORD '{password}'")).await?;
        }
        let status = http::status(port, "/add?a=1&b=2").await?;
        ensure!(status == 200, "{status} after {rotated} changes: {}", std::fs::read_to_string(&log)?);
        sleep(Duration::from_millis(10)).await;
    }
    ensure!(rotated >= 4, "it changed {rotated} times");
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Fault row N13.
#[tokio::test]
async fn a_password_that_changes_in_its_file_is_used_at_the_next_login() -> Result<()> {
    rotates("rotating-pgpass", "PGPASSFILE", |_, password| format!("*:*:*:*:{password}\n")).await?;
    let url = |port, password: &str| {
        format!("postgres://rotating:{}@127.0.0.1:{port}/postgres\n", password.replace(' ', "%20"))
    };
    rotates("rotating-url", "DATABASE_URL_FILE", url).await
}

/// Fault row N13.
#[tokio::test]
async fn a_password_provider_is_asked_at_each_login() -> Result<()> {
    let cluster = Cluster::throwaway(&[]).await?;
    let admin = cluster.admin().await?;
    admin.batch_execute("CREATE ROLE provided SUPERUSER LOGIN PASSWORD 'first'").await?;
    let password = std::sync::Arc::new(std::sync::Mutex::new("first".to_owned()));
    let current = password.clone();
    let url = format!("postgres://provided@127.0.0.1:{}/postgres", cluster.port());
    let settings = pgspan::Settings::default();
    let driver = pgspan_server::Driver::with_password(
        &url.parse()?,
        &settings,
        pgspan_server::PoolSettings::default(),
        move || {
            let password = current.lock().unwrap().clone();
            async move {
                match password.as_str() {
                    "none" => Err(pgspan::Error::unavailable("the cloud gives no token")),
                    _ => Ok(password),
                }
            }
        },
    )?;
    let db = pgspan::connect_with(driver, settings);
    for number in 1..4 {
        drop(db.session().await?);
        *password.lock().unwrap() = format!("number {number}");
        admin.batch_execute(&format!("ALTER ROLE provided PASSWORD 'number {number}'")).await?;
        admin
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'provided'",
            )
            .await?;
        sleep(Duration::from_millis(100)).await;
    }
    *password.lock().unwrap() = "none".to_owned();
    let error = db.session().await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("the cloud gives no token"), "{error}");
    Ok(())
}
