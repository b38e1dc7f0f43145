//! What needs a process of its own, since its memory is measured.
//!
//! Rows that nobody reads are not kept. The siblings that were looked for: each call that reads fewer rows than come, on a session, on a
//! shared connection and in a transaction; rows that a RETURNING gives; rows behind a stream that nobody reads.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgspan::{Kind, Settings, sql};
use tests::Cluster;

/// 200 MB if they were kept.
const ROWS: i64 = 500_000;
const WIDTH: i32 = 400;
/// The most that a call may take, in kB. What lies in the buffers of the connection is below it by far.
const MOST: u64 = 64 * 1024;

#[tokio::test]
async fn rows_that_nobody_reads_take_no_memory() -> Result<()> {
    if !cfg!(target_os = "linux") {
        tests::skip("the memory of a process is read from /proc, which only Linux has");
        return Ok(());
    }
    let cluster = Cluster::throwaway(&[]).await?;
    let mut settings = Settings::default();
    settings.statement_timeout = Duration::from_secs(120);
    let db = pgspan_server::connect_with(&cluster.url("postgres"), settings).await?;
    let many = || sql!("SELECT repeat('x', {WIDTH}) FROM generate_series(1, {ROWS})");
    let mut session = db.session().await?;
    session.execute("CREATE TABLE wide AS SELECT 1 AS n").await?;
    let before = peak()?;
    let flat = |what: &str| {
        let grown = peak()?.saturating_sub(before);
        ensure!(grown < MOST, "{what} took {grown} kB");
        Ok(())
    };

    ensure!(session.execute(many()).await? == u64::try_from(ROWS)?, "all were counted");
    flat("execute")?;
    let error = session.fetch_one::<String>(many()).await.err().context("one row of many")?;
    ensure!(error.kind() == Kind::TooManyRows, "{error}");
    flat("fetch_one")?;
    let error = session.fetch_optional::<String>(many()).await.err().context("one row of many")?;
    ensure!(error.kind() == Kind::TooManyRows, "{error}");
    flat("fetch_optional")?;
    ensure!(db.execute(many()).await? == u64::try_from(ROWS)?, "all were counted");
    flat("execute on a shared connection")?;
    let error = db.fetch_one::<String>(many()).await.err().context("one row of many")?;
    ensure!(error.kind() == Kind::TooManyRows, "{error}");
    flat("fetch_one on a shared connection")?;

    let mut tx = session.transaction();
    tx.execute(many()).await?;
    let inserted =
        sql!("INSERT INTO wide SELECT 1 FROM generate_series(1, {ROWS}) RETURNING repeat('x', {WIDTH})");
    ensure!(tx.execute(inserted).await? == u64::try_from(ROWS)?, "all were stored");
    tx.rollback().await?;
    flat("a transaction")?;

    let mut rows = session.fetch_stream::<String>(many()).await?;
    rows.next().await?.context("a row")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    flat("a stream that is not read")?;
    drop(rows);
    ensure!(db.fetch_one::<i32>(sql!("SELECT 1")).await? == 1, "and all goes on");
    Ok(())
}

/// The most memory this process ever had, in kB.
fn peak() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
