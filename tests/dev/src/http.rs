//! The one HTTP request the bed itself makes: is it up?

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::Process;

/// The status of one `GET` to 127.0.0.1.
///
/// # Errors
/// When nothing listens there, or no HTTP answer begins within ten seconds.
pub async fn status(port: u16, path: &str) -> Result<u16> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") && stream.read_buf(&mut answer).await? > 0 {
            if answer.contains(&b'\n') {
                break;
            }
        }
        let line = String::from_utf8_lossy(&answer);
        let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.context("the answer was not HTTP")
    };
    timeout(Duration::from_secs(10), ask).await.context("no answer within 10 s")?
}

/// Waits until every path answers 200, as long as the process lives and the deadline is not over.
///
/// # Errors
/// When the process ends first or the deadline passes, with the last lines it wrote.
///
/// # Cancel safety
/// Asks again from the start when called again; the process is left as it is.
pub async fn wait_until_ok(
    process: &mut Process,
    port: u16,
    paths: &[&str],
    deadline: Duration,
) -> Result<()> {
    wait_until(200, process, port, paths, deadline).await
}

/// The same for another status.
///
/// # Errors
/// As [`wait_until_ok`].
///
/// # Cancel safety
/// As [`wait_until_ok`].
pub async fn wait_until(
    status: u16,
    process: &mut Process,
    port: u16,
    paths: &[&str],
    deadline: Duration,
) -> Result<()> {
    let end = Instant::now() + deadline;
    for path in paths {
        loop {
            if let Some(ended) = process.ended()? {
                bail!("{} ended by itself ({ended}):\n{}", process.name(), process.last_lines());
            }
            let last = match self::status(port, path).await {
                Ok(code) if code == status => break,
                Ok(code) => format!("its last answer was {code}"),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= end {
                let (name, seconds) = (process.name(), deadline.as_secs());
                bail!(
                    "{name} did not answer GET {path} with {status} within {seconds} s ({last}):\n{}",
                    process.last_lines()
                );
            }
            sleep(Duration::from_millis(25)).await;
        }
    }
    Ok(())
}
