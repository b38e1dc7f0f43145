//! How a connection is encrypted, and who has to prove what to whom.

use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::fault::fault;
use super::options::Options;
use crate::error::Result;

/// The files of a certificate that the client shows to the server, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// Not at all.
    Disable,
    /// Encrypted; the certificate must be signed by a known authority.
    VerifyCa,
    /// Encrypted; the certificate must be signed by a known authority and be the host's.
    VerifyFull,
}

/// What a URL says about encryption. It is decided here and never by what the server offers.
#[derive(Clone)]
pub(super) struct Encryption {
    pub(super) tls: Tls,
    pub(super) negotiation: SslNegotiation,
    pub(super) root_cert: Option<String>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) channel_binding: ChannelBinding,
    pub(super) requires_scram: bool,
}

impl Encryption {
    /// `local`: no byte leaves this machine, or the way is private by other means.
    pub(super) fn of(options: &Options, local: bool) -> Result<Encryption> {
        let tls = tls(options.value("sslmode"), local)?;
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        let negotiations = [("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];
        let encryption = Encryption {
            tls,
            negotiation: options.one_of("sslnegotiation", &negotiations)?.unwrap_or(SslNegotiation::Postgres),
            root_cert: options.value("sslrootcert").map(str::to_owned),
            client_certificate: client_certificate(options)?,
            channel_binding: options.one_of("channel_binding", &bindings)?.unwrap_or(ChannelBinding::Prefer),
            requires_scram: options.one_of("require_auth", &[("scram-sha-256", true)])?.unwrap_or_default(),
        };
        match tls {
            Tls::Disable => encryption.without_tls(),
            _ => Ok(encryption),
        }
    }

    /// Refuses what has no meaning in plain text.
    fn without_tls(self) -> Result<Encryption> {
        if self.channel_binding == ChannelBinding::Require {
            return Err(fault("channel_binding=require needs TLS: set sslmode=verify-full"));
        }
        if self.negotiation == SslNegotiation::Direct {
            return Err(fault("sslnegotiation=direct needs TLS: set sslmode=verify-full"));
        }
        if self.root_cert.is_some() {
            return Err(fault("sslrootcert has no meaning with sslmode=disable"));
        }
        if self.client_certificate.is_some() {
            return Err(fault("sslcert has no meaning with sslmode=disable"));
        }
        Ok(self)
    }
}

fn tls(sslmode: Option<&str>, local: bool) -> Result<Tls> {
    match sslmode {
        None if local => Ok(Tls::Disable),
        None | Some("require" | "verify-full") => Ok(Tls::VerifyFull),
        Some("verify-ca") => Ok(Tls::VerifyCa),
        Some("disable") if local => Ok(Tls::Disable),
        Some("disable") => Err(fault(
            "sslmode=disable would send everything in plain text over the network: use verify-full, or, where the network is \
             private by other means, set DATABASE_PRIVATE_LINK=true beside DATABASE_URL",
        )),
        Some("prefer" | "allow") => Err(fault(
            "sslmode=prefer and sslmode=allow fall back to plain text without a word: use verify-full, or disable on loopback",
        )),
        Some(_) => Err(fault("sslmode must be disable, require, verify-ca or verify-full")),
    }
}

fn client_certificate(options: &Options) -> Result<Option<ClientCertificate>> {
    match (options.value("sslcert"), options.value("sslkey")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(ClientCertificate { certificate: certificate.to_owned(), key: key.to_owned() }))
        }
        _ => Err(fault("sslcert and sslkey need each other")),
    }
}
