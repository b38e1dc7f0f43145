//! A service that does TLS itself, without a proxy before it, and says hello to whoever asks.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use pgspan::{Error, Kind, Result};
use pgspan_server::program::{Given, Program, Setting};
use pgspan_server::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const SETTINGS: &[Setting] = &[
    Setting::new("TLS_CERT", "FILE", "The certificate and those above it, in PEM"),
    Setting::new("TLS_KEY", "FILE", "Its key, in PEM"),
];

fn main() -> ExitCode {
    Program::new("hello").settings(SETTINGS, tls).run(async |host| {
        let acceptor = TlsAcceptor::from(host.settings.clone());
        host.wrap_listener(|socket| Ok(Listener::of(Handshakes::begin(socket, acceptor))))?;
        let hello =
            async |ConnectInfo(peer): ConnectInfo<SocketAddr>| format!("hello {}, over TLS", peer.ip());
        Ok(Router::new().route("/", get(hello)))
    })
}

fn tls(given: &mut Given<'_>) -> Result<Arc<ServerConfig>> {
    let fault =
        |name: &str, error: &dyn std::fmt::Display| Error::new(Kind::Config, format!("{name}: {error}"));
    let file = |name: &str| given.find(name).ok_or_else(|| fault(name, &"must be a file"));
    let (certificates, key) = (file("TLS_CERT")?, file("TLS_KEY")?);
    let certificates = CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.map_err(|error| fault("TLS_CERT", &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| fault("TLS_KEY", &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| fault("TLS_CERT", &error))?;
    let config = config.with_no_client_auth().with_single_cert(certificates, key);
    let mut config = config.map_err(|error| fault("TLS_CERT", &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()]; // and b"h2", where HTTP2=true
    Ok(Arc::new(config))
}

/// Connections whose handshakes are done. Each has a task of its own, so that none waits for another's client.
struct Handshakes {
    address: io::Result<SocketAddr>,
    done: mpsc::Receiver<Done>,
    _accepting: JoinSet<()>, // ends with this
}

type Done = (TlsStream<TcpStream>, SocketAddr);

/// How many clients may be at it at a time, and how long one may take.
const HANDSHAKES: usize = 256;
const PATIENCE: Duration = Duration::from_secs(5);

impl Handshakes {
    fn begin(socket: TcpListener, acceptor: TlsAcceptor) -> Handshakes {
        let (address, (to, done)) = (socket.local_addr(), mpsc::channel(1));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(socket, acceptor, to));
        Handshakes { address, done, _accepting: accepting }
    }
}

async fn accept(socket: TcpListener, acceptor: TlsAcceptor, to: mpsc::Sender<Done>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    let mut shaking = JoinSet::new();
    while let Ok(slot) = slots.clone().acquire_owned().await {
        while shaking.try_join_next().is_some() {}
        let Ok((stream, peer)) = socket.accept().await else {
            sleep(Duration::from_millis(100)).await; // out of descriptors, say
            continue;
        };
        let (acceptor, to) = (acceptor.clone(), to.clone());
        shaking.spawn(async move {
            let _slot = slot;
            if let Ok(Ok(stream)) = timeout(PATIENCE, acceptor.accept(stream)).await {
                let _ = to.send((stream, peer)).await;
            }
        });
    }
}

impl axum::serve::Listener for Handshakes {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Done {
        match self.done.recv().await {
            Some(done) => done,
            None => future::pending().await, // never: `accept` goes on as long as this
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|error| error.kind().into())
    }
}
