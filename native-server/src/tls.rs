//! TLS to PostgreSQL by rustls: which authorities are trusted, and whether the name is checked.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use pgspan::{ConnectionUrl, Error, Kind, Result, Tls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::passfile::is_private;

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
    let roots = roots(url.root_cert())?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("TLS can't be set up").with_source(error))?;
    let builder = match verified {
        true => builder.with_root_certificates(roots),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName { roots, provider })),
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

/// Why a connection failed, in words that name no host, user or value.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => tls_reason(tls),
                None => io.kind().to_string(),
            };
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls_reason(tls);
        }
        cause = error.source();
    }
    // a text of tokio-postgres's own, such as "server does not support TLS"
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// rustls names the host that was asked for, and those in the certificate.
fn tls_reason(error: &rustls::Error) -> String {
    let what = match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "is signed by no authority that is trusted here (see sslrootcert)"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "is not for this host's name"
            }
            CertificateError::Revoked => "was revoked",
            _ => "is not valid",
        },
        _ => return "the TLS handshake failed".to_owned(),
    };
    format!("the server's certificate {what}")
}

/// The authorities in `sslrootcert`, or those this machine trusts.
fn roots(file: Option<&str>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file.filter(|file| *file != "system") else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return match roots.is_empty() {
            true => {
                Err(fault("this machine has no list of trusted authorities: set sslrootcert to a PEM file"))
            }
            false => Ok(roots),
        };
    };
    let unreadable = |error| fault("sslrootcert can't be read as PEM certificates").with_source(error);
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots
            .add(certificate)
            .map_err(|error| fault("sslrootcert holds a bad certificate").with_source(error))?;
    }
    match roots.is_empty() {
        true => Err(fault("sslrootcert holds no certificate")),
        false => Ok(roots),
    }
}

/// What the client shows to the server.
fn client_certificate(
    certificate: &str,
    key: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let unreadable = |error| fault("sslcert can't be read as PEM certificates").with_source(error);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate).map_err(unreadable)?.collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() {
        return Err(fault("sslcert holds no certificate"));
    }
    if !is_private(key) {
        return Err(fault("sslkey must be a file that its owner alone can use (chmod 0600)"));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| fault("sslkey can't be read as a PEM key without a password").with_source(error))?;
    Ok((chain, key))
}

fn fault(text: &str) -> Error {
    Error::new(Kind::Config, format!("DATABASE_URL: {text}"))
}

/// `verify-ca`: the chain and the dates are verified as ever, the name is not.
#[derive(Debug)]
struct AnyName {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_of_authorities_is_a_fault_that_does_not_show_its_path() {
        let url = "postgres://u@db.example.com/d?sslrootcert=%2Fno%2Fsuch%2FCANARY.pem";
        let error = tls(&url.parse().unwrap()).err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
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

    #[test]
    fn a_wrong_name_in_a_certificate_is_told_without_the_name() {
        let error = rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("canary.example.com").unwrap(),
            presented: vec!["DnsName(\"canary.example.com\")".to_owned()],
        });
        assert_eq!(tls_reason(&error), "the server's certificate is not for this host's name");
    }
}
