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
