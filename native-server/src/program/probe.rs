//! The command `probe`: a health check for images without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::{BAD_SETTINGS, FAILED, fail};
use crate::serve::Options;
use crate::settings::{Arguments, METRICS};

/// Below the deadline that containers give a health check, which often is three seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the program that runs with these settings, on its operations listener, whether it is ready, or only
/// whether it lives.
pub(super) async fn probe(name: &str, arguments: &Arguments, only_live: bool) -> ExitCode {
    let address = arguments.find("METRICS_ADDR").unwrap_or_else(|| METRICS.to_owned());
    let Ok(address) = address.parse() else {
        return fail(name, BAD_SETTINGS, &["METRICS_ADDR: must be an address and a port, to be asked there"]);
    };
    let Options { liveness, readiness, .. } = Options::default();
    let path = if only_live { liveness } else { readiness };
    let answer = timeout(PATIENCE, ask(reachable(address), path)).await;
    match answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => ExitCode::SUCCESS,
        Ok(answer) => {
            fail(name, FAILED, &[format!("not ready: {}", answer.lines().next().unwrap_or_default())])
        }
        Err(error) => fail(name, FAILED, &[format!("{address} does not answer: {error}")]),
    }
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Who listens on every address is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
