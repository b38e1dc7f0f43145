//! `cargo xtask bench`: builds what is measured, and those it is measured beside, then measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use pgspan_dev::tasks::{
    Progress, WorkerOptions, build_worker, cargo, follow, fresh_log, node, npm_packages, npm_program, say,
    without_ours, write,
};
use pgspan_dev::{Process, root, target_dir};

/// `cargo xtask bench`'s arguments.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What to measure
    what: What,
    /// Shorter rounds, and only what the targets need: within three minutes once everything is built
    #[arg(long)]
    quick: bool,
    /// Write all numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure pgspan with this setting too, in a row of its own; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    with: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Workers in raw workerd: pgspan's three ways, node-postgres, postgres.js
    Edge,
    /// Servers: pgspan, axum with deadpool-postgres and with sqlx, FastAPI with psycopg; and pgbench
    Native,
}

/// The peers that cargo builds, each a workspace of its own.
const RUST_PEERS: [&str; 2] = ["axum-deadpool", "axum-sqlx"];

/// The peers that run in workerd.
const WORKERS: [&str; 2] = ["node-postgres", "postgres"];

/// What bundled Node.js packages need where modules are ECMAScript's: they `require` what the runtime brings.
const REQUIRE: &str = r#"import { createRequire } from "node:module"; const require = createRequire("/");"#;

/// Builds, then measures; success if every answer was right, whether or not the targets were reached.
pub(crate) async fn run(progress: &Progress, options: Options) -> Result<ExitCode> {
    node()?;
    npm_packages(progress, &root()).await?;
    fs::create_dir_all(target_dir().join("bench/peers")).context("could not create target/bench")?;
    let what = match options.what {
        What::Edge => {
            build_worker(progress, &WorkerOptions::default()).await?;
            bundle_workers(progress).await?;
            "edge"
        }
        What::Native => {
            let mut server = cargo();
            server.args(["build", "--profile", "native", "--package", "pgspan-server"]);
            progress.run("building the native host, optimised", &mut server).await?;
            build_rust_peers(progress).await?;
            install_fastapi(progress).await?;
            "native"
        }
    };
    let mut build = cargo();
    build.args(["build", "--profile", "native", "--package", "bench"]);
    progress.run("building the benchmark", &mut build).await?;

    let mut command = Command::new(target_dir().join("native/bench"));
    without_ours(&mut command);
    command.arg(what).env("PGSPAN_SERVER", target_dir().join("native/pgspan-server"));
    if options.quick {
        command.arg("--quick");
    }
    if let Some(json) = &options.json {
        command.arg("--json").arg(json);
    }
    command.args(options.with.iter().flat_map(|setting| ["--with", setting]));
    say("measuring: leave the machine alone meanwhile");
    let mut bench = Process::start("the benchmark", &mut command, &fresh_log("bench"))?;
    let ended = follow(&mut bench, write).await?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn peers() -> PathBuf {
    root().join("bench/peers")
}

async fn bundle_workers(progress: &Progress) -> Result<()> {
    npm_packages(progress, &peers()).await?;
    for name in WORKERS {
        let mut esbuild = Command::new(npm_program("esbuild"));
        esbuild.current_dir(peers()).arg(format!("workers/{name}.mjs"));
        esbuild.args([
            "--bundle",
            "--minify",
            "--format=esm",
            "--platform=node",
            "--conditions=workerd,worker",
        ]);
        esbuild
            .args(["--external:cloudflare:*", "--log-level=warning"])
            .arg(format!("--banner:js={REQUIRE}"));
        let bundle = target_dir().join(format!("bench/peers/{name}.mjs"));
        esbuild.arg(format!("--outfile={}", bundle.display()));
        progress.run(&format!("bundling the peer {name}"), &mut esbuild).await?;
    }
    Ok(())
}

async fn build_rust_peers(progress: &Progress) -> Result<()> {
    for name in RUST_PEERS {
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--manifest-path"]);
        build.arg(peers().join(name).join("Cargo.toml"));
        build.arg("--target-dir").arg(target_dir().join("bench/build"));
        progress.run(&format!("building the peer {name}"), &mut build).await?;
    }
    Ok(())
}

/// Installs FastAPI and psycopg into an environment of their own. Without Python the benchmark goes on and says so.
async fn install_fastapi(progress: &Progress) -> Result<()> {
    let wanted = peers().join("fastapi-psycopg/requirements.txt");
    let wanted_text = fs::read_to_string(&wanted).context("could not read the requirements")?;
    let venv = target_dir().join("bench/venv");
    let noted = venv.join("installed.txt");
    if fs::read_to_string(&noted).is_ok_and(|installed| installed == wanted_text) {
        return Ok(());
    }
    let has_venv = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    if !has_venv.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&venv);
    install(progress, &venv, &wanted).await.or_else(|error| {
        let _ = fs::remove_dir_all(&venv);
        bail!("{error:#}; is the Python package index reachable from here?")
    })?;
    fs::write(&noted, wanted_text).context("could not note what is installed")
}

async fn install(progress: &Progress, venv: &Path, wanted: &Path) -> Result<()> {
    let mut create = Command::new("python3");
    progress.run("creating a Python environment", create.args(["-m", "venv"]).arg(venv)).await?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(wanted);
    progress.run("installing FastAPI and psycopg", &mut pip).await
}
