//! TLS to PostgreSQL by rustls: which authorities are trusted, and whether the name is checked.

use std::io;
use std::sync::Arc;

use pgspan::{ConnectionUrl, Error, Kind, Result, Tls};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::private_file::{PRIVATE, is_private};
use verify_ca::AnyName;

pub(crate) mod files;
mod reason;
mod verify_ca;

pub(crate) use reason::reason;

/// What encrypts the connections of this URL; nothing if it says `sslmode=disable`.
pub(crate) fn tls(url: &ConnectionUrl) -> Result<Option<MakeRustlsConnect>> {
    if url.requires_scram() {
        return Err(fault("require_auth is kept by the Worker alone: here, leave it out of DATABASE_URL"));
    }
    let verified = match url.tls() {
        Tls::Disable => return Ok(None),
        Tls::VerifyFull => true,
        Tls::VerifyCa => false,
        _ => return Err(fault("this sslmode is not known to pgspan-server")),
    };
    let Roots { roots, pinned } = roots(url.root_cert())?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("TLS can't be set up").with_source(error))?;
    let builder = match verified {
        true => builder.with_root_certificates(roots),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName {
            roots,
            pinned,
            provider,
        })),
    };
    let mut config = match url.client_certificate() {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = client_certificate(certificate, key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| fault("sslcert and sslkey do not fit together").with_source(error))?
        }
    };
    // what `sslnegotiation=direct` asks for (PostgreSQL documentation, 54.2.10), and other servers pass over
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Some(MakeRustlsConnect::new(config)))
}

struct Roots {
    roots: RootCertStore,
    /// Those of `sslrootcert`, as they are.
    pinned: Vec<CertificateDer<'static>>,
}

/// The authorities in `sslrootcert`, or those this machine trusts.
fn roots(file: Option<&str>) -> Result<Roots> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file.filter(|file| *file != "system") else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return match roots.is_empty() {
            true => {
                Err(fault("this machine has no list of trusted authorities: set sslrootcert to a PEM file"))
            }
            false => Ok(Roots { roots, pinned: Vec::new() }),
        };
    };
    let pinned = certificates("sslrootcert", file)?;
    for certificate in &pinned {
        roots
            .add(certificate.clone())
            .map_err(|error| fault("sslrootcert holds a bad certificate").with_source(error))?;
    }
    Ok(Roots { roots, pinned })
}

fn certificates(option: &str, file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = |error| unreadable(option, "as PEM certificates", error);
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(unreadable)?.collect();
    let all = all.map_err(unreadable)?;
    if all.is_empty() {
        return Err(fault(&format!("{option} holds no certificate")));
    }
    Ok(all)
}

/// A file that is not there may be mounted late, so that trying again helps.
fn unreadable(option: &str, form: &str, error: pem::Error) -> Error {
    match &error {
        pem::Error::Io(io) if io.kind() == io::ErrorKind::NotFound => {
            Error::unavailable(format!("DATABASE_URL: {option} can't be read: the file is not there"))
                .with_source(error)
        }
        _ => fault(&format!("{option} can't be read {form}")).with_source(error),
    }
}

/// What the client shows to the server.
fn client_certificate(
    certificate: &str,
    key: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates("sslcert", certificate)?;
    let key = match is_private(key) {
        Some(false) => return Err(fault(&format!("sslkey must be {PRIVATE}"))),
        _ => PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unreadable("sslkey", "as a PEM key without a password", error))?,
    };
    Ok((chain, key))
}

fn fault(text: &str) -> Error {
    Error::new(Kind::Config, format!("DATABASE_URL: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_of_authorities_is_a_fault_that_does_not_show_its_path() {
        let url = "postgres://u@db.example.com/d?sslrootcert=%2Fno%2Fsuch%2FCANARY.pem";
        let error = tls(&url.parse().unwrap()).err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable, "it may be mounted later");
        assert!(
            error.to_string().contains("sslrootcert") && !error.to_string().contains("CANARY"),
            "{error}"
        );
    }

    #[test]
    fn plain_text_to_a_loopback_address_needs_no_authorities() {
        assert!(tls(&"postgres://u@127.0.0.1/d".parse().unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_login_that_this_host_can_t_demand_is_refused() {
        let error =
            tls(&"postgres://u@127.0.0.1/d?require_auth=scram-sha-256".parse().unwrap()).err().unwrap();
        assert!(error.kind() == Kind::Config && error.to_string().contains("require_auth"), "{error}");
    }
}
