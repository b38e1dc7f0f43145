//! Why TLS failed, in words that say what to do and name no host, user or value.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::system::said;

/// Why a connection failed.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(tls) => tls_reason(tls),
                None => said(io),
            };
        }
        if let Some(tls) = error.downcast_ref::<Error>() {
            return tls_reason(tls);
        }
        cause = error.source();
    }
    // a text of tokio-postgres's own
    match error.source().map(ToString::to_string) {
        Some(text) if text == "server does not support TLS" => {
            "the server does not support TLS: let it (ssl = on), or, where the network is private by other means, set \
             sslmode=disable and DATABASE_PRIVATE_LINK=true"
                .to_owned()
        }
        Some(text) => format!("{error}: {text}"),
        None => error.to_string(),
    }
}

/// rustls names the host that was asked for, and those in the certificate.
fn tls_reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(certificate) => {
            format!("the server's certificate {}", certificate_reason(certificate))
        }
        Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the server refuses the protocol \"postgresql\" in the TLS handshake (ALPN): something else than PostgreSQL answers".to_owned()
        }
        Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => format!("the server refuses the certificate that is shown to it, or wants one (sslcert): {alert:?}"),
        Error::AlertReceived(alert) => format!("the TLS handshake failed: the server says {alert:?}"),
        Error::PeerIncompatible(_) => {
            "the TLS handshake failed: the server has no version or algorithm of TLS in common: TLS 1.2 is the oldest".to_owned()
        }
        Error::InvalidMessage(_) => "the TLS handshake failed: what answers does not speak TLS".to_owned(),
        _ => "the TLS handshake failed".to_owned(),
    }
}

const NO_NAMES: &str = "has no subjectAltName, and a common name is not looked at: make one with the host's name as \
                        subjectAltName";

fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by no authority that is trusted here (see sslrootcert)"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => NO_NAMES,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is not for this host's name"
        }
        CertificateError::Revoked => "was revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not made for servers (extendedKeyUsage)"
        }
        // webpki's own errors have no name in rustls
        CertificateError::Other(other) => match format!("{other:?}") {
            text if text.contains("CaUsedAsEndEntity") => {
                "is an authority's own (CA:TRUE), as one that signed itself: make one with CA:FALSE that an authority signed, \
                 or accept exactly this one with sslmode=verify-ca and sslrootcert"
            }
            text if text.contains("UnsupportedCertVersion") => {
                "is of an old form (X.509 version 1): make one of version 3, with the host's name as subjectAltName"
            }
            text if text.contains("UnsupportedSignatureAlgorithm") => {
                "is signed by an algorithm that is not trusted, such as SHA-1 or MD5"
            }
            _ => "is not valid",
        },
        _ => "is not valid",
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn a_wrong_name_in_a_certificate_is_told_without_the_name() {
        let error = |presented: &[&str]| {
            Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("canary.example.com").unwrap(),
                presented: presented.iter().map(ToString::to_string).collect(),
            })
        };
        let text = tls_reason(&error(&["DnsName(\"canary.example.com\")"]));
        assert_eq!(text, "the server's certificate is not for this host's name");
        assert_eq!(tls_reason(&error(&[])), format!("the server's certificate {NO_NAMES}"));
    }
}
