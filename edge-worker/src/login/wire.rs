//! The few messages of a login, byte by byte (PostgreSQL documentation, 54.7).
//!
//! postgres-protocol writes ours. Those of the server are read by hand: its `Message` takes the bytes away, and tokio-postgres must
//! be told the very bytes that came.

use std::io;

use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::sasl::SCRAM_SHA_256;
use postgres_protocol::message::backend::Header;
use postgres_protocol::message::frontend;
use tokio_postgres::Config;

/// One message of the server, whole.
pub(super) struct Message(Bytes);

/// No message of a login is longer; what claims to be is no PostgreSQL.
const LONGEST: usize = 64 * 1024;

/// What the server asks for, or says, in an authentication message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authentication<'m> {
    Ok,
    /// A list of mechanisms.
    Sasl(&'m [u8]),
    SaslContinue(&'m [u8]),
    SaslFinal(&'m [u8]),
    Other,
}

impl Message {
    /// Takes the next message out of what was read, if all of it is there.
    pub(super) fn next(read: &mut BytesMut) -> io::Result<Option<Message>> {
        let too_long = || junk("a message of a length that no login has");
        let Some(header) = Header::parse(read).map_err(|_| too_long())? else { return Ok(None) };
        match usize::try_from(header.len()) {
            Ok(length @ ..LONGEST) if length < read.len() => {
                Ok(Some(Message(read.split_to(length + 1).freeze())))
            }
            Ok(..LONGEST) => Ok(None),
            _ => Err(too_long()),
        }
    }

    pub(super) fn tag(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    pub(super) fn body(&self) -> &[u8] {
        self.0.get(5..).unwrap_or_default()
    }

    /// All of it, tag and length included.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub(super) fn authentication(&self) -> Option<Authentication<'_>> {
        let (code, rest) = self.body().split_at_checked(4)?;
        if self.tag() != b'R' {
            return None;
        }
        Some(match code {
            [0, 0, 0, 0] => Authentication::Ok,
            [0, 0, 0, 10] => Authentication::Sasl(rest),
            [0, 0, 0, 11] => Authentication::SaslContinue(rest),
            [0, 0, 0, 12] => Authentication::SaslFinal(rest),
            _ => Authentication::Other,
        })
    }
}

impl Authentication<'_> {
    /// Whether the server takes SCRAM-SHA-256 without channel binding.
    pub(super) fn offers_scram(self) -> bool {
        match self {
            Authentication::Sasl(mechanisms) => {
                mechanisms.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes())
            }
            _ => false,
        }
    }
}

/// AuthenticationOk and ReadyForQuery: what tokio-postgres is told at once.
pub(super) const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// The start-up message, with what tokio-postgres would put into it.
pub(super) fn startup(config: &Config, user: &str) -> io::Result<BytesMut> {
    let parameters = [
        ("client_encoding", Some("UTF8")),
        ("user", Some(user)),
        ("database", config.get_dbname()),
        ("options", config.get_options()),
        ("application_name", config.get_application_name()),
    ];
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut message = BytesMut::new();
    frontend::startup_message(given, &mut message)?;
    Ok(message)
}

/// The server said what it should not have.
pub(super) fn junk(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
