//! Logging in to PostgreSQL in the fewest round trips: the first statements travel with the login's last message.
//!
//! ```text
//!              Opening::Ordinary                Opening::Early                    Opening::AtOnce
//! client  startup                          startup                          startup, SCRAM 1
//! server           SASL                             SASL                                      SASL, SCRAM 2
//! client  SCRAM 1                          SCRAM 1                          SCRAM 3, statements
//! server           SCRAM 2                          SCRAM 2                                   SCRAM 4, ok, rows
//! client  SCRAM 3                          SCRAM 3, statements
//! server           SCRAM 4, ok                      SCRAM 4, ok, rows
//! client  statements
//! server           rows
//! ```
//!
//! The server proves in SCRAM's last message that it knows the password's key, and [`LoginStream`] believes no row before
//! it did. The statements were sent by then, so without TLS, which tells who the server is, only a server on loopback
//! gets them early.
//!
//! A login may so be refused after a statement was sent on it. The server runs nothing then, and [`Login::refusal`] says
//! so; whoever has the client must ask it about every connection that was lost.
//!
//! Nothing here knows the runtime: any byte stream will do.

mod any;
mod outcome;
mod scram;
mod stream;
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests;
mod wire;

use std::io;
use std::net::IpAddr;

use bytes::BytesMut;
use pgspan::driver::Watch;
use pgspan::{ConnectionUrl, Error, Kind, Result, Tls};
use postgres_protocol::authentication::sasl::SCRAM_SHA_256;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_postgres::config::{ChannelBinding, Host, SslMode};
use tokio_postgres::tls::{NoTlsStream, TlsConnect};
use tokio_postgres::{Client, Config, Connection};

use any::AnyStream;
pub(crate) use outcome::Login;
use scram::Credentials;
use stream::LoginStream;
use wire::{Authentication, Message, junk};

/// How a login begins, and with it when the first statement may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Statements go when the server is ready for them. SCRAM's messages are still ours, whose key is derived once.
    Ordinary,
    /// With SCRAM's last message: a round trip less. A server that asks for anything else gets the ordinary login.
    Early,
    /// SCRAM's first message goes with the start-up message besides: two less. A server that asks for anything else is
    /// refused.
    AtOnce,
}

impl Opening {
    /// The shortest that is safe, unless `PGSPAN_LOGIN=plain` says otherwise.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`]: what is set can't be kept.
    pub(crate) fn read(url: &ConnectionUrl, lookup: impl Fn(&str) -> Option<String>) -> Result<Opening> {
        let plain = match lookup("PGSPAN_LOGIN").as_deref() {
            None => false,
            Some("plain") => true,
            Some(_) => return Err(Error::new(Kind::Config, "PGSPAN_LOGIN: must be plain, or not set")),
        };
        let known = url.tls() != Tls::Disable || url.postgres().get_hosts().iter().all(is_loopback);
        match (known && !plain, url.requires_scram()) {
            (true, true) => Ok(Opening::AtOnce),
            (true, false) => Ok(Opening::Early),
            (false, false) => Ok(Opening::Ordinary),
            (false, true) => Err(Error::new(
                Kind::Config,
                "DATABASE_URL: require_auth is kept neither with PGSPAN_LOGIN=plain nor without TLS over a network",
            )),
        }
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        #[allow(unreachable_patterns, reason = "tokio-postgres has unix sockets on unix alone")]
        _ => true,
    }
}

/// A connection on which statements may be sent.
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// To be driven, see [`pgspan::driver::drive`]. Its client's `cancel_token` is of no use; [`cancel`] is.
    pub(crate) connection: Connection<AnyStream, NoTlsStream>,
    pub(crate) watch: Watch,
    pub(crate) login: Login,
}

/// Asks the server for TLS and lets the runtime encrypt the stream.
///
/// # Errors
///
/// [`Kind::Unavailable`]: the server has no TLS, or the runtime refuses its certificate.
///
/// # Cancel safety
///
/// Dropping the future drops the stream.
pub(crate) async fn encrypt<S, T>(mut stream: S, tls: T) -> Result<T::Stream>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: TlsConnect<S>,
{
    let asked = async {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut answer = [0]; // and no byte more: what follows must be encrypted
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    match asked.await.map_err(failed)? {
        [b'S'] => {}
        [b'N'] => return Err(Error::unavailable("could not connect: the server has no TLS")),
        _ => return Err(failed(junk("the server answered the TLS request with neither yes nor no"))),
    }
    tls.connect(stream).await.map_err(|error| failed(io::Error::other(error)))
}

/// Logs in on a stream that is encrypted if it has to be, up to the point where statements may be sent.
///
/// # Errors
///
/// [`Kind::Unavailable`]: the server refused, closed the connection, or does not keep to the protocol;
/// [`Kind::Config`]: what `config` asks for can't be had this way.
///
/// # Cancel safety
///
/// Dropping the future drops the stream.
pub(crate) async fn connect<S>(stream: S, config: &Config, opening: Opening) -> Result<Connected>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if config.get_channel_binding() == ChannelBinding::Require {
        return Err(Error::new(
            Kind::Config,
            "channel_binding=require needs a login that knows the TLS channel",
        ));
    }
    let mut config = config.clone();
    config.ssl_mode(SslMode::Disable); // what there is of TLS is done
    let stream = open(stream, &config, opening).await.map_err(failed)?;
    let login = stream.login();
    let watch = Watch::new();
    let connected = any::connect(Box::new(watch.guard(stream)), &config).await;
    let (client, connection) = connected.map_err(Error::connect)?;
    Ok(Connected { client, connection, watch, login })
}

/// Asks the server to end what runs on another connection: `stream` is a new one, `request` is
/// [`Login::cancel_request`]'s. It waits until the server has closed the stream, as libpq does: PgBouncer 1.18 ends with
/// all its connections when a client closes first.
///
/// # Errors
///
/// When the request could not be written.
///
/// # Cancel safety
///
/// The request may have been sent or not.
pub(crate) async fn cancel<S>(mut stream: S, request: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(&mut stream, request).await?;
    let mut nothing = [0; 64];
    while matches!(stream.read(&mut nothing).await, Ok(1..)) {}
    Ok(())
}

/// Everything up to SCRAM's last message, which the stream then has still to write; in the ordinary login, up to its answer.
async fn open<S>(mut stream: S, config: &Config, opening: Opening) -> io::Result<LoginStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let user = config.get_user().unwrap_or_default();
    let mut message = wire::startup(config, user)?;
    let credentials = config.get_password().map(|password| Credentials { user, password });
    let Some(credentials) = credentials else {
        send(&mut stream, &message).await?;
        return Ok(LoginStream::ordinary(stream, BytesMut::new()));
    };
    let scram = scram::Client::new()?;
    let mut first = BytesMut::new();
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.first().as_bytes(), &mut first)?;
    if opening == Opening::AtOnce {
        message.unsplit(std::mem::take(&mut first));
    }
    send(&mut stream, &message).await?;

    let mut heard = BytesMut::new();
    let answer = read(&mut stream, &mut heard).await?;
    let offers_scram = answer.authentication().is_some_and(Authentication::offers_scram);
    match (answer.tag(), opening) {
        _ if offers_scram => {}
        (b'E', _) | (_, Opening::Ordinary | Opening::Early) => return Ok(ordinary(stream, &answer, &heard)),
        _ => return Err(junk("the server does not ask for SCRAM, as require_auth=scram-sha-256 demands")),
    }
    if !first.is_empty() {
        send(&mut stream, &first).await?;
    }
    let answer = read(&mut stream, &mut heard).await?;
    let (last, expected) = match answer.authentication() {
        Some(Authentication::SaslContinue(challenge)) => scram.finish(credentials, challenge)?,
        None if answer.tag() == b'E' => return Ok(ordinary(stream, &answer, &heard)),
        _ => return Err(junk("the server does not answer in SCRAM's order")),
    };
    let mut message = BytesMut::new();
    frontend::sasl_response(last.as_bytes(), &mut message)?;
    if opening == Opening::Ordinary {
        send(&mut stream, &message).await?;
        let answer = read(&mut stream, &mut heard).await?;
        return match answer.authentication() {
            Some(Authentication::SaslFinal(signature)) => {
                expected.verify(signature)?;
                Ok(LoginStream::ordinary(stream, heard))
            }
            None if answer.tag() == b'E' => Ok(ordinary(stream, &answer, &heard)),
            _ => Err(junk("the server must sign its SCRAM answer first")),
        };
    }
    Ok(LoginStream::early(stream, heard, message, expected))
}

/// What the server said, told to tokio-postgres as its answer to the start-up message.
fn ordinary<S>(stream: S, answer: &Message, heard: &[u8]) -> LoginStream<S> {
    LoginStream::ordinary(stream, [answer.bytes(), heard].concat().as_slice().into())
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

/// Reads one message; what comes behind it is left in `heard`.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, heard: &mut BytesMut) -> io::Result<Message> {
    loop {
        if let Some(message) = Message::next(heard)? {
            return Ok(message);
        }
        if stream.read_buf(heard).await? == 0 {
            let text = "the server closed the connection during the login";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
    }
}

/// Nothing was sent yet but the login. The cause is said: the runtime's words and ours hold no secret.
fn failed(error: io::Error) -> Error {
    Error::unavailable(format!("could not connect: {error}")).with_source(error)
}
