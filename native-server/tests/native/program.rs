//! The program itself: its exit codes, and what it prints.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tests::{Meddler, Meddling, PgBouncer, Process, free_port, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{Bed, named};

pub(crate) fn program(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgspan-server"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command
}

pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Option<i32>, String, String)> {
    let Output { status, stdout, stderr } = program(arguments, environment).output()?;
    Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

/// `serve` on a port of its own, once it answers, and its log. What is in `more` wins.
pub(crate) async fn serving(
    name: &str,
    database: &str,
    more: &[(&str, &str)],
) -> Result<(Process, u16, PathBuf)> {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let environment = [
        ("DATABASE_URL", database),
        ("LISTEN_ADDR", &address),
        ("METRICS_ADDR", "off"),
        ("DRAIN_GRACE_MS", "0"),
    ];
    let log = tests::target_dir().join(format!("tests/{name}-{}.log", std::process::id()));
    let mut command = program(&["serve"], &environment);
    let mut process = Process::start("pgspan-server", command.envs(more.iter().copied()), &log)?;
    http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(10)).await?;
    Ok((process, port, log))
}

/// The URL of a database that is not there.
pub(crate) fn nowhere() -> Result<String> {
    Ok(format!("postgres://u:CANARY@127.0.0.1:{}/d", free_port()?))
}

#[test]
fn every_fault_of_the_settings_is_a_line_and_none_shows_a_secret() -> Result<()> {
    let (code, out, faults) = run(
        &["serve", "--pool-size", "0"],
        &[
            ("DATABASE_URL", "postgres://alice:CANARY@db.example.com/d?sslmode=prefer"),
            ("API_TOKEN", "CANARY"),
            ("LISTEN_ADDR", "nowhere"),
            ("STATEMENT_TIMEOUT_MS", "fast"),
            ("LOG_FORMAT", "xml"),
            ("LOG_FILTER", "=,="),
            ("REQUEST_TIMEOUT_MS", "0"),
            ("ALLOW_ANONYMOUS_WRITES", "perhaps"),
        ],
    )?;
    assert_eq!((code, out.as_str()), (Some(2), ""), "{faults}");
    for name in [
        "DATABASE_URL",
        "API_TOKEN",
        "LISTEN_ADDR",
        "STATEMENT_TIMEOUT_MS",
        "LOG_FORMAT",
        "LOG_FILTER",
        "REQUEST_TIMEOUT_MS",
        "ALLOW_ANONYMOUS_WRITES",
        "POOL_SIZE",
    ] {
        let lines = faults.lines().filter(|line| line.starts_with(&format!("pgspan-server: {name}: ")));
        assert_eq!(lines.count(), 1, "{name}: {faults}");
    }
    assert_eq!(faults.lines().count(), 9, "{faults}");
    assert!(!faults.contains("CANARY") && !faults.contains("alice"), "{faults}");
    Ok(())
}

#[test]
fn faults_that_come_of_two_settings_or_of_a_file_are_told_with_the_others() -> Result<()> {
    let (code, _, faults) = run(
        &["serve"],
        &[
            ("DATABASE_URL", "postgres://alice@db.example.com/d?sslrootcert=/no/such/file"),
            ("API_TOKEN", "CANARY-CANARY-CANARY"),
            ("ALLOW_ANONYMOUS_WRITES", "true"),
            ("POOL_SIZE", "0"),
        ],
    )?;
    let told = |text: &str| faults.lines().filter(|line| line.contains(text)).count() == 1;
    assert_eq!((code, faults.lines().count()), (Some(2), 3), "{faults}");
    assert!(told("sslrootcert") && told("POOL_SIZE") && !faults.contains("CANARY"), "{faults}");
    assert!(told("ALLOW_ANONYMOUS_WRITES: must not be true where API_TOKEN is set"), "{faults}");
    Ok(())
}

#[test]
fn a_time_that_was_set_and_can_not_be_kept_is_refused() -> Result<()> {
    let nowhere = ("DATABASE_URL", "postgres://u@127.0.0.1:1/d");
    let conflicts = [
        ("STATEMENT_TIMEOUT_MS", "11000", "REQUEST_TIMEOUT_MS (10000)"),
        ("ACQUIRE_TIMEOUT_MS", "11000", "REQUEST_TIMEOUT_MS (10000)"),
        ("CONNECT_TIMEOUT_MS", "12000", "ACQUIRE_TIMEOUT_MS (11000)"),
        ("POOL_IDLE_TIMEOUT_MS", "2000000", "POOL_LIFETIME_MS (1800000)"),
    ];
    let mut environment = conflicts.map(|(name, value, _)| (name, value)).to_vec();
    environment.push(nowhere);
    let (code, _, faults) = run(&["serve"], &environment)?;
    assert_eq!((code, faults.lines().count()), (Some(2), 4), "{faults}");
    for (name, _, other) in conflicts {
        let start = format!("pgspan-server: {name}: must not be above {other}, which ");
        assert!(faults.lines().any(|line| line.starts_with(&start)), "{start}:\n{faults}");
    }
    let (code, _, faults) = run(&["serve"], &[nowhere, ("REQUEST_TIMEOUT_MS", "30000")])?;
    assert!(code == Some(2) && faults.contains("DRAIN_TIMEOUT_MS (20000)"), "{faults}");
    // nobody asked for a default, so one may be lowered alone
    for lowered in ["REQUEST_TIMEOUT_MS", "ACQUIRE_TIMEOUT_MS", "DRAIN_TIMEOUT_MS", "POOL_LIFETIME_MS"] {
        let (code, out, faults) = run(&["check"], &[nowhere, (lowered, "500")])?;
        assert!(code == Some(1) && out.starts_with("ok: settings"), "{lowered}: {faults}");
    }
    Ok(())
}

#[test]
fn nothing_of_the_command_line_or_the_environment_that_is_secret_is_shown() -> Result<()> {
    let secret = [("DATABASE_URL", "postgres://alice:CANARY@h/d"), ("API_TOKEN", "CANARY-CANARY-CANARY")];
    for arguments in [&["serve", "--help"][..], &["--help"], &["migrate", "--help"], &["check", "--help"]] {
        let (code, out, _) = run(arguments, &secret)?;
        assert!(code == Some(0) && out.contains("Exit codes") && !out.contains("CANARY"), "{out}");
    }
    let (_, help, _) = run(&["serve", "--help"], &secret)?;
    for name in
        ["DATABASE_URL", "API_TOKEN", "POOL_SIZE", "ACQUIRE_TIMEOUT_MS", "DATABASE_POOLER", "LOG_FILTER"]
    {
        assert!(help.contains(name), "{name}: {help}");
    }
    for arguments in [
        &["serve", "postgres://alice:CANARY@h/d"][..],
        &["serve", "host=h password=CANARY"],
        &["serve", "-pCANARY"],
        &["serve", "--password=CANARY"],
        &["serve", "--CANARY"],
        &["host=h password=CANARY"],
        &["migrate", "host=h password=CANARY"],
        &["generate", "completions", "CANARY"],
    ] {
        let (code, out, err) = run(arguments, &[])?;
        assert!(code == Some(2) && !format!("{out}{err}").contains("CANARY"), "{err}");
        assert!(err.contains("--help"), "{err}");
    }
    let (_, _, err) = run(&["serve", "--pool-sise", "3"], &[])?;
    assert!(err.contains("--pool-size"), "a flag that is nearly right is told: {err}");
    Ok(())
}

#[test]
fn the_documentation_has_every_setting_and_its_default() -> Result<()> {
    let (_, help, _) = run(&["serve", "--help"], &[])?;
    let manual = std::fs::read_to_string(tests::root().join("docs/operations.md"))?;
    let mut documented = std::collections::BTreeMap::new();
    for row in manual.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (name, rest) = row.split_once("` | ").context("a row")?;
        if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') {
            let default = rest.split(" | ").next().unwrap_or_default().replace('`', "");
            documented.insert(name.to_owned(), default);
        }
    }
    let between = |line: &str, start: &str| {
        line.split_once(start).and_then(|(_, rest)| rest.split_once(']')).map(|(found, _)| found.to_owned())
    };
    let mut settings = 0;
    for line in help.lines() {
        let Some(name) = between(line, "[env: ") else { continue };
        settings += 1;
        let default = documented.remove(&name).with_context(|| format!("{name} is not documented"))?;
        if let Some(shown) = between(line, "[default: ") {
            assert_eq!(default, shown, "{name}");
        }
    }
    assert!(settings > 20, "{help}");
    assert!(documented.is_empty(), "there is no setting {documented:?}");
    Ok(())
}

#[test]
fn the_manual_page_and_the_completions_know_the_commands_and_no_secret() -> Result<()> {
    let secret = [("DATABASE_URL", "postgres://alice:CANARY@h/d"), ("API_TOKEN", "CANARY-CANARY-CANARY")];
    for what in [&["man"][..], &["completions", "bash"], &["completions", "zsh"], &["completions", "fish"]] {
        let (code, out, faults) = run(&[&["generate"], what].concat(), &secret)?;
        assert_eq!((code, faults.as_str()), (Some(0), ""), "{what:?}");
        for known in ["serve", "migrate", "check"] {
            assert!(out.contains(known), "{known}: {out}");
        }
        assert!(!out.contains("CANARY"), "{out}");
    }
    let (_, page, _) = run(&["generate", "man"], &[])?;
    assert!(page.starts_with(".ie") && page.contains(".TH") && page.contains("POOL_MIN_IDLE"), "{page}");
    assert!(!run(&["--help"], &[])?.1.contains("generate"));
    Ok(())
}

#[test]
fn the_packaging_leaves_the_program_its_time_to_stop() -> Result<()> {
    let root = tests::root();
    let unit = std::fs::read_to_string(root.join("packaging/pgspan-server.service"))?;
    let number = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.parse::<u64>().ok());
    let options = pgspan_server::serve::Options::default();
    let needed = (options.grace + options.drain).as_secs();
    assert!(number("TimeoutStopSec=").is_some_and(|seconds| seconds > needed), "{unit}");
    let most = u64::try_from(options.max_connections)?;
    assert!(number("LimitNOFILE=").is_some_and(|files| files > 2 * most), "{unit}");
    let read = |path: &str| std::fs::read_to_string(root.join(path));
    let seconds = |text: &str, key: &str| {
        let (_, rest) = text.split_once(key)?;
        rest.trim_start().split(|character: char| !character.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let (compose, cluster) = (read("compose.yaml")?, read("packaging/kubernetes.yaml")?);
    assert!(seconds(&compose, "stop_grace_period:").is_some_and(|seconds| seconds > needed), "{compose}");
    let grace = seconds(&cluster, "DRAIN_GRACE_MS, value: \"").context("a grace")? / 1000;
    let killed = seconds(&cluster, "terminationGracePeriodSeconds:").context("an end")?;
    assert!(killed > grace + options.drain.as_secs(), "{cluster}");
    // the arithmetic of docs/kubernetes.md is the manifest's
    let number = |key: &str| seconds(&cluster, key).with_context(|| format!("no {key}"));
    let (replicas, surge) = (number("replicas:")?, number("maxSurge:")?);
    let (pool, shared) = (number("POOL_SIZE, value: \"")?, number("DATABASE_SHARED, value: \"")?);
    let all = (replicas + surge) * (pool + shared);
    let sum = format!("({replicas} + {surge}) × ({pool} + {shared}) = {all}\n");
    let page = read("docs/kubernetes.md")?;
    assert!(page.contains(&sum), "{sum}");
    assert_eq!(seconds(&page, "max_connections, at least"), Some(all + 1 + 5 + 3 + 10), "{page}");
    let image = read("Dockerfile")?;
    let answers = |text: &str, name: &str, port: &str| text.contains(&format!("{name}=0.0.0.0:{port}"));
    assert!(answers(&image, "LISTEN_ADDR", "8080") && answers(&image, "METRICS_ADDR", "8079"), "{image}");
    assert!(
        image.contains(r#"HEALTHCHECK"#) && image.contains(r#"CMD ["pgspan-server", "probe"]"#),
        "{image}"
    );
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let has = |name: &str, line: &str| -> Result<bool> {
        let text = std::fs::read_to_string(root.join("packaging").join(name))?;
        Ok(text.lines().any(|found| found == line))
    };
    for (name, never) in [("pgspan-server.service", "2"), ("pgspan-migrate.service", "2 3")] {
        let never = format!("RestartPreventExitStatus={never}");
        for line in ["StartLimitIntervalSec=0", "RestartSec=2", &never] {
            assert!(has(name, line)?, "{name} may give up, or never stop trying: {line}");
        }
    }
    assert!(has("pgspan-migrate.service", "TimeoutStartSec=infinity")?);
    let minor = |text: &str, start: &str| {
        let rest = text.split_once(start).map(|(_, rest)| rest)?;
        rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<u32>().ok()
    };
    let (has, needs) = (minor(&image, "=rust:1."), minor(&manifest, "rust-version = \"1."));
    assert!(has.is_some() && has >= needs, "the image has Rust 1.{has:?}, and 1.{needs:?} is needed");
    Ok(())
}

/// Fault row N17.
#[test]
fn what_time_may_heal_has_another_exit_code_than_a_bad_setting() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = taken.local_addr()?.to_string();
    let database = ("DATABASE_URL", "postgres://u@127.0.0.1:1/d");
    let no_file = "/no/such/file";
    for (environment, code, said) in [
        (vec![database, ("LISTEN_ADDR", &*taken)], 1, "LISTEN_ADDR: "),
        (vec![database, ("LISTEN_ADDR", "192.0.2.1:80")], 1, "LISTEN_ADDR: "), // not this machine's (yet)
        (vec![database, ("LISTEN_ADDR", "unix:/no/such/folder/socket")], 1, "LISTEN_ADDR: "),
        (vec![database, ("LISTEN_ADDR", "127.0.0.1:0"), ("METRICS_ADDR", &*taken)], 1, "METRICS_ADDR: "),
        (vec![("DATABASE_URL_FILE", no_file)], 1, "DATABASE_URL_FILE: "),
        (vec![database, ("API_TOKEN_FILE", no_file)], 1, "API_TOKEN_FILE: "),
        (vec![database, ("API_TOKEN_FILE", no_file), ("POOL_SIZE", "0")], 2, "POOL_SIZE: "),
        (vec![database, ("DATABASE_URL_FILE", no_file)], 2, "DATABASE_URL_FILE: must not be set where"),
        (vec![database, ("LISTEN_ADDR", "unix:/dev/null")], 2, "LISTEN_ADDR: "), // a file is in the way
    ] {
        let (found, _, faults) = run(&["serve"], &environment)?;
        assert_eq!(found, Some(code), "{faults}");
        assert!(faults.lines().any(|line| line.starts_with(&format!("pgspan-server: {said}"))), "{faults}");
    }
    Ok(())
}

#[tokio::test]
async fn migrate_says_what_it_applied_and_whether_trying_again_may_help() -> Result<()> {
    let bed = Bed::new("program migrate").await?;
    let url = bed.database().await?;
    let environment = [("DATABASE_URL", url.as_str())];
    assert_eq!(run(&["migrate", "--status"], &environment)?.1, "0001 users: not applied\n");
    assert_eq!(run(&["migrate"], &environment)?.1, "applied users\n");
    assert_eq!(run(&["migrate"], &environment)?.1, "nothing to apply\n");
    assert!(run(&["migrate", "--status"], &environment)?.1.starts_with("0001 users: applied 20"));

    let nowhere = format!("postgres://u:CANARY@127.0.0.1:{}/d", free_port()?);
    let (code, _, faults) = run(&["migrate"], &[("DATABASE_URL", &nowhere)])?;
    assert_eq!((code, faults.as_str()), (Some(1), "pgspan-server: could not connect: connection refused\n"));
    assert_eq!(run(&["migrate"], &[])?.0, Some(2));

    let taken = bed.database().await?;
    let (client, connection) = tokio_postgres::connect(&taken, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE users ()").await?;
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", taken.as_str())])?.0, Some(3), "trying again is in vain");
    Ok(())
}

#[tokio::test]
async fn variables_and_a_password_file_do_instead_of_a_url() -> Result<()> {
    let bed = Bed::new("program libpq").await?;
    let url = bed.database().await?;
    let parsed: pgspan::ConnectionUrl = url.parse()?;
    let config = parsed.postgres();
    let (user, database) = (config.get_user().context("a user")?, config.get_dbname().context("a database")?);
    let port = config.get_ports().first().context("a port")?.to_string();
    let password = String::from_utf8(config.get_password().unwrap_or_default().to_vec())?;
    let file = tests::target_dir().join(format!("tests/pgpass-{}", std::process::id()));
    std::fs::write(&file, format!("127.0.0.1:{port}:*:{user}:{password}\n"))?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let path = file.display().to_string();
    let environment = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGUSER", user),
        ("PGDATABASE", database),
        ("PGPASSFILE", &path),
    ];
    let (code, out, faults) = run(&["migrate"], &environment)?;
    std::fs::remove_file(&file)?;
    assert_eq!((code, out.as_str()), (Some(0), "applied users\n"), "{faults}");
    Ok(())
}

#[tokio::test]
async fn it_serves_without_a_database_and_ends_cleanly_at_sigterm() -> Result<()> {
    let nowhere = format!("postgres://u:CANARY@127.0.0.1:{}/d", free_port()?);
    let address = format!("127.0.0.1:{}", free_port()?);
    let log = tests::target_dir().join(format!("tests/program-{}.log", std::process::id()));
    let environment =
        [("DATABASE_URL", nowhere.as_str()), ("LISTEN_ADDR", &address), ("LOG_FILTER", "trace")];
    let mut command = program(&["serve"], &environment);
    let mut process = Process::start("pgspan-server", &mut command, &log)?;
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).context("a port")?;
    http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(10)).await?;
    assert_eq!(http::status(port, "/readyz").await?, 503);
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(0));
    let text = std::fs::read_to_string(&log)?;
    assert!(text.contains("stopped") && text.contains("/livez") && !text.contains("CANARY"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_seed_program_prints_what_it_did_and_the_second_run_rolls_back() -> Result<()> {
    let server = std::path::Path::new(env!("CARGO_BIN_EXE_pgspan-server"));
    let seed = server.with_file_name("examples").join("seed");
    ensure!(seed.exists(), "the example is not built; run `cargo build -p pgspan-server --examples`");
    let bed = Bed::new("seed").await?;
    let url = bed.database().await?;
    let inserted = "1 + 1 = 2\ninserted Thunder and Bob\n1 Thunder\n2 Bob\n1 + 2 = 3\n";
    let rolled_back = "1 + 1 = 2\nrolled back: users_name_key is violated\n1 Thunder\n2 Bob\n1 + 2 = 3\n";
    for expected in [inserted, rolled_back, rolled_back] {
        let output = Command::new(&seed).env_clear().env("DATABASE_URL", &url).output()?;
        assert_eq!(
            String::from_utf8(output.stdout)?,
            expected,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let output = Command::new(&seed).env_clear().output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && said.contains("DATABASE_URL is not set"), "{said}");
    Ok(())
}

#[tokio::test]
async fn it_is_ready_with_a_migrated_database_and_leaves_no_backend_behind() -> Result<()> {
    let bed = Bed::new("program ready").await?;
    let url = named(&bed.database().await?, "program ready");
    let more = [("LOG_FORMAT", "json"), ("LOG_FILTER", "info,pgspan_server::request=debug")];
    let (mut process, port, log) = serving("program-ready", &url, &more).await?;
    assert_eq!(http::status(port, "/readyz").await?, 503);
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    // the answer before may be a second old
    http::wait_until_ok(&mut process, port, &["/readyz"], Duration::from_secs(5)).await?;
    assert_eq!(http::status(port, "/add?a=30000&b=30000").await?, 200);
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(0));
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'program ready'";
    let left: i64 = bed.admin().await?.query_one(left, &[]).await?.get(0);
    let text = std::fs::read_to_string(&log)?;
    let line =
        text.lines().find(|line| line.contains("\"route\":\"/add\"")).context("no line of the request")?;
    assert!(left == 0 && line.contains("\"status\":200") && !line.contains("30000"), "{left} {line}");
    Ok(())
}

#[tokio::test]
async fn prometheus_is_told_what_was_answered_on_a_listener_of_its_own() -> Result<()> {
    let bed = Bed::new("program metrics").await?;
    let url = named(&bed.database().await?, "program metrics");
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    let metrics = free_port()?;
    let more = [("METRICS_ADDR", &*format!("127.0.0.1:{metrics}"))];
    let (_process, port, _) = serving("program-metrics", &url, &more).await?;
    for (path, status) in [("/add?a=1&b=2", 200), ("/add?a=9223372036854775807&b=1", 422), ("/CANARY", 404)] {
        assert_eq!(http::status(port, path).await?, status);
    }
    assert_eq!(http::status(port, "/metrics").await?, 404);
    let text = scrape(metrics).await?;
    for line in [
        "pgspan_http_requests_total{method=\"GET\",route=\"/add\",status=\"200\"} 1",
        "pgspan_http_requests_total{method=\"GET\",route=\"/add\",status=\"422\"} 1",
        "pgspan_http_requests_total{method=\"GET\",route=\"-\",status=\"404\"} 2",
        "pgspan_http_request_duration_seconds_count{route=\"/add\"} 2",
        "pgspan_http_requests_in_flight 0",
        "pgspan_pool_connections_max 8",
        "pgspan_pool_waiting 0",
        "pgspan_pool_wait_seconds_bucket{le=\"+Inf\"} 0",
        "pgspan_http_connections_max 1024",
        "pgspan_log_lines_dropped_total 0",
        "pgspan_pool_timeouts_total 0",
        "pgspan_database_round_trips_total 3", // one of them at the start
        "pgspan_database_retries_total 0",
        "pgspan_database_sqlstates_total{class=\"22\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    assert!(!text.contains("CANARY"), "{text}");
    for name in ["pgspan_database_shared_connections ", "process_resident_memory_bytes ", "process_open_fds "]
    {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{name}:\n{text}");
    }
    // what ends at a request's deadline of 10 s is told from what never does
    assert!(
        text.contains("route=\"/add\",le=\"15.0\"") || text.contains("le=\"15.0\",route=\"/add\""),
        "{text}"
    );

    let taken = [("DATABASE_URL", url.as_str()), ("LISTEN_ADDR", "127.0.0.1:0"), more[0]];
    let (code, _, faults) = run(&["serve"], &taken)?;
    assert!(code == Some(1) && faults.contains("METRICS_ADDR"), "{faults}");
    Ok(())
}

#[tokio::test]
async fn check_says_what_is_wrong_in_a_line_and_by_its_exit_code() -> Result<()> {
    let bed = Bed::new("program check").await?;
    let url = bed.database().await?;
    let check = |url: &str, more: (&str, &str)| run(&["check"], &[("DATABASE_URL", url), more]);
    let nothing = ("API_TOKEN", "0123456789abcdef");
    let (code, out, faults) = check(&url, nothing)?;
    assert_eq!((code, faults.lines().count()), (Some(1), 1), "{out}{faults}");
    assert!(faults.starts_with("pgspan-server: schema: 1 of the migrations not applied"), "{faults}");
    assert!(out.contains("ok: connection: ") && out.contains("ok: pooler: the limits reach"), "{out}");

    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    let (code, out, faults) = check(&url, nothing)?;
    assert_eq!((code, out.lines().count(), faults.as_str()), (Some(0), 6, ""), "{out}");

    let (scheme, rest) = url.split_once("://").context("a URL")?;
    let (login, place) = rest.split_once('@').context("a login")?;
    let user = login.split(':').next().unwrap_or_default();
    let (server, query) = place.split_once('/').context("a path")?;
    let query = query.split_once('?').map_or("", |(_, query)| query);
    let nowhere = format!("127.0.0.1:{}", free_port()?);
    for (url, what) in [
        (format!("{scheme}://{user}:CANARY@{place}"), "login: could not connect: invalid password (28P01)"),
        (
            format!("{scheme}://{login}@{server}/nosuch?{query}"),
            "database: could not connect: invalid catalog name (3D000)",
        ),
        (format!("{scheme}://{login}@{nowhere}/d"), "connection: connection refused"),
        (
            format!("{scheme}://{login}@{server}/d?sslmode=verify-full"),
            "tls: the server does not support TLS: let it (ssl = on)",
        ),
    ] {
        let (code, _, faults) = check(&url, nothing)?;
        assert!(code == Some(1) && faults.lines().count() == 1, "{faults}");
        assert!(
            faults.starts_with(&format!("pgspan-server: {what}")) && !faults.contains("CANARY"),
            "{faults}"
        );
    }
    let pooler = refusing_pooler().await?;
    let (code, _, faults) = check(&format!("postgres://u:CANARY@{pooler}/d"), nothing)?;
    let expected = "pgspan-server: pooler: could not connect: the server refuses start-up options, as transaction poolers do: set DATABASE_POOLER=transaction";
    assert!(code == Some(1) && faults.starts_with(expected), "{faults}");

    let (code, _, faults) = check("postgres://u@db.example.com/d?sslmode=prefer", ("POOL_SIZE", "0"))?;
    assert_eq!((code, faults.lines().count()), (Some(2), 2), "{faults}");

    let name = url.rsplit('/').next().and_then(|path| path.split('?').next()).context("a name")?;
    let admin = bed.admin().await?;
    admin.batch_execute(&format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on")).await?;
    let (code, _, faults) = check(&url, nothing)?;
    assert!(code == Some(1) && faults.starts_with("pgspan-server: server: it is read-only"), "{faults}");
    Ok(())
}

#[tokio::test]
async fn check_says_which_limits_a_pooler_dropped_without_a_word_and_what_to_set() -> Result<()> {
    let bed = Bed::new("program dropped limits").await?;
    let url = bed.database().await?;
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    let Some(bouncer) = PgBouncer::before_with(&url, &[("ignore_startup_parameters", "options")]).await?
    else {
        tests::skip("PgBouncer is not installed");
        return Ok(());
    };
    let name = url.rsplit('/').next().and_then(|path| path.split('?').next()).context("a name")?;
    let pooled = bouncer.url(name);
    let check = |url: &str, pooler| run(&["check"], &[("DATABASE_URL", url), ("DATABASE_POOLER", pooler)]);
    let dropped = |faults: &str| {
        let rest = faults.strip_prefix("pgspan-server: pooler: not in force: ")?;
        let (names, advice) = rest.split_once("; ")?;
        let helps = advice.contains("set DATABASE_POOLER=transaction") && advice.contains("ALTER ROLE");
        helps.then(|| names.to_owned())
    };
    let limits = [
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "client_connection_check_interval",
    ];
    let (code, out, faults) = check(&pooled, "none")?;
    assert_eq!((code, faults.lines().count()), (Some(1), 1), "{out}{faults}");
    assert_eq!(dropped(&faults), Some(limits.join(", ")), "{faults}");
    let (code, out, faults) = check(&pooled, "transaction")?;
    assert_eq!((code, faults.as_str()), (Some(0), ""), "{out}");

    // one that the database happens to set itself is in force
    let admin = bed.admin().await?;
    admin.batch_execute(&format!("ALTER DATABASE \"{name}\" SET statement_timeout = '5s'")).await?;
    drop(bouncer);
    let bouncer = PgBouncer::before_with(&url, &[("ignore_startup_parameters", "options")]).await?;
    let bouncer = bouncer.context("it was installed")?;
    let (code, _, faults) = check(&bouncer.url(name), "none")?;
    assert_eq!((code, dropped(&faults)), (Some(1), Some(limits[1..].join(", "))), "{faults}");
    Ok(())
}

/// Looked for as siblings: each of the three settings, before PostgreSQL itself, before PgBouncer, and before a pooler that loses what is
/// written behind a statement that is not answered.
#[tokio::test(flavor = "multi_thread")] // the door works while the program runs
async fn check_says_whether_a_pooler_stands_two_statements_at_once() -> Result<()> {
    let bed = Bed::new("program pipelining").await?;
    let url = bed.database().await?;
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    let check = |url: &str, pooler: &str, pipelines: &str| {
        let settings =
            [("DATABASE_URL", url), ("DATABASE_POOLER", pooler), ("DATABASE_POOLER_PIPELINES", pipelines)];
        run(&["check"], &settings)
    };
    let (code, out, faults) = check(&url, "none", "false")?;
    assert!(
        code == Some(0) && out.contains("ok: pooler: two statements at once are both answered"),
        "{faults}"
    );

    let door = Meddler::before(&url, Meddling::Forget).await?;
    let forgetful = door.url(&url);
    let (code, out, faults) = check(&forgetful, "transaction", "false")?;
    assert!(code == Some(0) && out.contains("ok: pooler: it loses a statement"), "{out}{faults}");
    let (code, out, faults) = check(&forgetful, "transaction", "true")?;
    assert!(code == Some(1) && faults.contains("set DATABASE_POOLER_PIPELINES=false"), "{out}{faults}");
    let (code, _, faults) = check(&forgetful, "none", "false")?;
    assert!(code == Some(1) && faults.contains("set DATABASE_POOLER=transaction"), "{faults}");

    let Some(bouncer) = PgBouncer::before(&url).await? else {
        tests::skip("PgBouncer is not installed");
        return Ok(());
    };
    let name = url.rsplit('/').next().and_then(|path| path.split('?').next()).context("a name")?;
    let pooled = bouncer.url(name);
    for (pipelines, said) in [
        ("true", "ok: pooler: it stands two statements at once, as"),
        ("false", "DATABASE_POOLER_PIPELINES=true saves round trips"),
    ] {
        let (code, out, faults) = check(&pooled, "transaction", pipelines)?;
        assert!(code == Some(0) && out.contains(said), "{out}{faults}");
    }
    Ok(())
}

/// What PgBouncer says to start-up options.
async fn refusing_pooler() -> Result<std::net::SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
    let mut refusal = vec![b'E'];
    refusal.extend(u32::try_from(fields.len() + 4)?.to_be_bytes());
    refusal.extend_from_slice(fields);
    std::thread::spawn(move || {
        let listener = listener.into_std()?;
        listener.set_nonblocking(false)?;
        let (mut stream, _) = listener.accept()?;
        let _ = std::io::Read::read(&mut stream, &mut [0; 1024])?;
        std::io::Write::write_all(&mut stream, &refusal)
    });
    Ok(address)
}

async fn scrape(port: u16) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    ensure!(text.contains("content-type: application/openmetrics-text"), "{text}");
    Ok(text)
}

/// Fault rows F3, smaller, and F4; and a body that never comes.
#[tokio::test]
async fn idle_connections_cost_little_and_what_is_too_large_or_never_comes_is_refused() -> Result<()> {
    let more = [("REQUEST_TIMEOUT_MS", "500")];
    let (process, port, _) = serving("program-limits", &nowhere()?, &more).await?;
    let before = resident_kib(process.id());
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?);
    }
    assert_eq!(http::status(port, "/livez").await?, 200);
    if let (Some(before), Some(after)) = (before, resident_kib(process.id())) {
        assert!(after < before + 300 * 32, "{before} KiB, then {after} KiB");
    }
    drop(idle);

    let many = "a: b\r\n".repeat(101);
    let large = format!("a: {}\r\n", "b".repeat(20_000));
    let long = format!("/?{}", "a".repeat(70_000));
    for (path, headers, status) in
        [("/livez", many.as_str(), "431"), ("/livez", &large, "431"), (&long, "", "431")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n");
        let answer = exchange(port, &request).await?;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let started = std::time::Instant::now();
    let head =
        "POST /add HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let answer = exchange(port, head).await?;
    assert!(answer.starts_with("HTTP/1.1 408 ") && started.elapsed() < Duration::from_secs(3), "{answer}");
    Ok(())
}

/// What a process has in memory, where the system tells.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find(|line| line.starts_with("VmRSS:"))?.split_whitespace().nth(1)?.parse().ok()
}

pub(crate) async fn exchange(port: u16, request: &str) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await??;
    Ok(String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned())
}

#[tokio::test]
async fn systemd_passes_the_socket_and_hears_of_the_start_and_sighup_changes_what_is_logged() -> Result<()> {
    let folder = tests::target_dir().join(format!("tests/systemd-{}", std::process::id()));
    tests::private_dir(&folder)?;
    let filter = folder.join("filter");
    std::fs::write(&filter, "warn\n")?;
    let notified = std::env::temp_dir().join(format!("pgspan-notify-{}", std::process::id()));
    let socket = tokio::net::UnixDatagram::bind(&notified)?;
    let passed = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = passed.local_addr()?.port();
    // the shell has the socket as its input and passes it on as systemd does, under its own process id
    let log = std::fs::File::create(folder.join("log"))?;
    let mut child = Command::new("sh")
        .args(["-c", r#"export LISTEN_PID=$$; exec "$0" serve 3<&0"#, env!("CARGO_BIN_EXE_pgspan-server")])
        .env_clear()
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", &notified)
        .env("DATABASE_URL", format!("postgres://u@127.0.0.1:{}/d", free_port()?))
        .env("METRICS_ADDR", "off")
        .env("LOG_FORMAT", "json")
        .env("LOG_FILTER_FILE", &filter)
        .env("DRAIN_GRACE_MS", "0")
        .stdin(std::os::fd::OwnedFd::from(passed))
        .stderr(log)
        .spawn()?;
    let looked = async {
        assert_eq!(hear(&socket).await?, "READY=1");
        assert_eq!(http::status(port, "/livez").await?, 200);
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).context("a pid")?;
        std::fs::write(&filter, "info,pgspan_server::request=debug")?;
        rustix::process::kill_process(pid, Signal::HUP)?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        exchange(port, "GET /livez HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\nconnection: close\r\n\r\n")
            .await?;
        std::fs::write(&filter, "=,=")?;
        rustix::process::kill_process(pid, Signal::HUP)?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        rustix::process::kill_process(pid, Signal::TERM)?;
        assert_eq!(hear(&socket).await?, "STOPPING=1");
        anyhow::Ok(())
    }
    .await;
    if looked.is_err() {
        child.kill()?;
    }
    let (ended, log) = (child.wait()?, std::fs::read_to_string(folder.join("log"))?);
    std::fs::remove_file(&notified)?;
    std::fs::remove_dir_all(&folder)?;
    looked.with_context(|| log.clone())?;
    assert_eq!(ended.code(), Some(0), "{log}");
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("\"route\":\"/livez\"")).collect();
    assert!(requests.len() == 1 && requests[0].contains("\"request_id\":\"mine\""), "{log}");
    assert!(log.contains("LOG_FILTER_FILE can't be read or is no filter"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_the_signals_code() -> Result<()> {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let more = [("DRAIN_GRACE_MS", "30000")];
        let (mut process, port, _) = serving(&format!("program-signal-{code}"), &nowhere()?, &more).await?;
        process.signal(Signal::TERM)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(http::status(port, "/livez").await?, 200); // the first one left it time
        let started = std::time::Instant::now();
        process.signal(second)?;
        assert_eq!(process.wait().await?.code(), Some(code));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn what_is_cut_off_at_its_end_makes_it_fail_with_1() -> Result<()> {
    let more = [("DRAIN_TIMEOUT_MS", "300")];
    let (mut process, port, log) = serving("program-cut-off", &nowhere()?, &more).await?;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let head =
        "POST /add HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await?; // and never the rest
    tokio::time::sleep(Duration::from_millis(200)).await;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(1));
    let text = std::fs::read_to_string(&log)?;
    assert!(text.contains("the time to finish is over, and 1 requests were running"), "{text}");
    Ok(())
}

async fn hear(socket: &tokio::net::UnixDatagram) -> Result<String> {
    let mut message = [0; 256];
    let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut message)).await??;
    Ok(String::from_utf8_lossy(message.get(..length).unwrap_or_default()).trim_end().to_owned())
}

/// Fault row I1. The requests wait for a lock, so that they take as long as the test likes.
#[tokio::test]
async fn at_sigterm_it_is_not_ready_first_and_what_is_under_way_is_answered() -> Result<()> {
    let bed = Bed::new("program drain").await?;
    let url = named(&bed.database().await?, "program drain");
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    let (mut process, port, _) = serving("program-drain", &url, &[("DRAIN_GRACE_MS", "400")]).await?;
    http::wait_until_ok(&mut process, port, &["/readyz"], Duration::from_secs(10)).await?;

    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE users").await?;
    let requests: Vec<_> = (0..10).map(|_| tokio::spawn(http::status(port, "/users"))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    process.signal(Signal::TERM)?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(http::status(port, "/readyz").await?, 503);
    assert_eq!(http::status(port, "/livez").await?, 200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    ensure!(http::status(port, "/livez").await.is_err(), "it accepts connections still");
    client.batch_execute("COMMIT").await?;
    drop(client);
    connection.await??;
    for request in requests {
        assert_eq!(request.await??, 200);
    }
    assert_eq!(process.wait().await?.code(), Some(0));
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'program drain'";
    let left: i64 = bed.admin().await?.query_one(left, &[]).await?.get(0);
    assert_eq!(left, 0);
    Ok(())
}
