//! A client on one connection that it keeps, byte by byte: what other clients hide is seen here.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One connection of HTTP/1.1.
pub(crate) struct Kept {
    stream: TcpStream,
    read: Vec<u8>,
}

/// What came back, as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_slice()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.all(name).first().and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Kept {
    pub(crate) async fn to(port: u16) -> Result<Kept> {
        Ok(Kept { stream: TcpStream::connect(("127.0.0.1", port)).await?, read: Vec::new() })
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, more: &str, body: &[u8]) -> Result<Raw> {
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}{more}\r\n").into_bytes();
        request.extend_from_slice(body);
        // a server that answers before it has read the body may stop reading; what it answered is there all the same
        let sent = self.send(&request).await;
        let answer = self.answer(method == "HEAD").await;
        answer.with_context(|| format!("{method} {path}, sent: {sent:?}"))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(timeout(Duration::from_secs(20), self.stream.write_all(bytes)).await??)
    }

    pub(crate) async fn answer(&mut self, is_head: bool) -> Result<Raw> {
        timeout(Duration::from_secs(20), self.read_answer(is_head)).await.context("no answer within 20 s")?
    }

    async fn read_answer(&mut self, is_head: bool) -> Result<Raw> {
        let head = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                break std::mem::replace(&mut self.read, rest);
            }
            self.more().await?;
        };
        let mut lines =
            head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let status = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
        let headers = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            let value = &line[colon + 1..];
            Some((name, value.strip_prefix(b" ").unwrap_or(value).to_vec()))
        });
        let mut raw = Raw { status, headers: headers.collect(), body: Vec::new() };
        if is_head || matches!(status, 100..=199 | 204 | 304) {
            return Ok(raw);
        }
        if raw.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
            loop {
                let size = loop {
                    if let Some(end) = self.read.windows(2).position(|window| window == b"\r\n") {
                        let line: Vec<u8> = self.read.drain(..end + 2).collect();
                        break usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16)?;
                    }
                    self.more().await?;
                };
                let chunk = self.take(size + 2).await?;
                if size == 0 {
                    return Ok(raw);
                }
                raw.body.extend_from_slice(&chunk[..size]);
            }
        }
        let length: usize = raw.header("content-length").parse().context("no length")?;
        raw.body = self.take(length).await?;
        Ok(raw)
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(self.read.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the connection was closed after {:?}", String::from_utf8_lossy(&self.read));
        }
        Ok(())
    }
}
