//! The protocol that is named in the TLS handshake (ALPN): PostgreSQL's, which `sslnegotiation=direct` needs, and which keeps others from
//! answering in its place.
//!
//! Siblings that were looked for: a server that speaks another protocol, one that speaks both, one that knows nothing of it; each with TLS
//! from the first byte and after PostgreSQL's question; a real PostgreSQL with both.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::sql;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tests::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::bed::pool;
use crate::tls::Authority;

/// What was agreed on, and what came first over it; nothing if the handshake failed.
type Agreed = Option<(Option<Vec<u8>>, Vec<u8>)>;

/// A server that shakes hands, with these protocols, and hangs up.
async fn server(
    authority: &Authority,
    protocols: &[&str],
    direct: bool,
) -> Result<(u16, mpsc::UnboundedReceiver<Agreed>)> {
    let certificate = CertificateDer::from_pem_file(authority.0.join("server.crt"))?;
    let key = PrivateKeyDer::from_pem_file(authority.0.join("server.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if !direct {
                let mut question = [0; 8];
                stream.read_exact(&mut question).await?;
                assert_eq!(question, [0, 0, 0, 8, 4, 210, 22, 47], "SSLRequest");
                stream.write_all(b"S").await?;
            }
            let Ok(mut stream) = acceptor.accept(stream).await else {
                let _ = tell.send(None);
                continue;
            };
            let mut first = vec![0; 8];
            let _ = stream.read_exact(&mut first).await;
            let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let _ = tell.send(Some((protocol, first)));
        }
        Ok::<_, std::io::Error>(())
    });
    Ok((port, told))
}

fn url(authority: &Authority, port: u16, direct: bool) -> String {
    let path = authority.0.join("ca.pem").display().to_string().replace('/', "%2F");
    let negotiation = if direct { "direct" } else { "postgres" };
    format!(
        "postgres://alice:CANARY@127.0.0.1:{port}/d?sslmode=verify-full&sslrootcert={path}&sslnegotiation={negotiation}"
    )
}

#[tokio::test]
async fn a_server_of_another_protocol_gets_no_login_and_is_told_by_its_fault() -> Result<()> {
    let Some(authority) = Authority::new("alpn")? else { return Ok(()) };
    authority.sign("-days 2")?;
    for direct in [false, true] {
        for (protocols, agreed) in [
            (&["http/1.1", "h2"][..], None),
            (&["h2", "postgresql"], Some(Some(b"postgresql".to_vec()))),
            (&[], Some(None)),
        ] {
            let (port, mut told) = server(&authority, protocols, direct).await?;
            let db = pool(&url(&authority, port, direct), 2000, |_| {})?;
            let error = db.session().await.err().context("there is no PostgreSQL")?.to_string();
            let found = timeout(Duration::from_secs(3), told.recv()).await?.context("nobody came")?;
            assert_eq!(
                found.as_ref().map(|(protocol, _)| protocol.clone()),
                agreed,
                "{protocols:?}, {direct}"
            );
            let is_told = error.contains("refuses the protocol \"postgresql\" in the TLS handshake (ALPN)");
            assert_eq!(is_told, agreed.is_none(), "{protocols:?}, {direct}: {error}");
            if let Some((_, first)) = found {
                assert_eq!(first[4..], [0, 3, 0, 0], "the start of a login");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn postgresql_is_reached_by_tls_from_the_first_byte() -> Result<()> {
    let Some(authority) = Authority::new("alpn-direct")? else { return Ok(()) };
    let cluster = Cluster::throwaway(&[]).await?;
    authority.certify(&cluster, "-days 2").await?;
    let path = authority.0.join("ca.pem").display().to_string().replace('/', "%2F");
    let how = format!("sslmode=verify-full&sslrootcert={path}");
    let plain = cluster.url("postgres");
    for negotiation in ["postgres", "direct"] {
        let url = format!("{}&sslnegotiation={negotiation}", plain.replace("sslmode=disable", &how));
        let db = pool(&url, 3000, |_| {})?;
        let agreed = sql!("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        assert!(db.session().await?.fetch_one::<bool>(agreed).await?, "{negotiation}");
    }
    Ok(())
}
