use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, Ready, ready};
use hmac::{Hmac, KeyInit as _, Mac as _};
use pgspan::{Error, Kind};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::super::{Opening, encrypt};
use super::bed::{Under, Wire};

const URL: &str = "postgres://user:CANARY@127.0.0.1:5432/db";

/// Where a server that is honest otherwise lies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// In place of the list of mechanisms.
    Mechanisms(&'static [u8]),
    /// `{}` is our nonce.
    Challenge(&'static str),
    /// In place of its signature.
    Signature(&'static str),
    /// In place of all that follows our proof.
    AfterProof(&'static [u8]),
    /// Between its signature and its rows.
    AfterSignature(&'static [u8]),
    /// Between its AuthenticationOk and its ReadyForQuery.
    AfterOk(&'static [u8]),
}

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";
const REFUSED: &[u8] = b"E\0\0\0\x26SFATAL\0VFATAL\0C28P01\0Mno\0DCANARY\0\0";

/// The answer to the mark of the first request; then ParseComplete, BindComplete, no parameters, one column `n` of type int4, a row of 1,
/// CommandComplete, ReadyForQuery.
const ROW: &[u8] = b"1\0\0\0\x04t\0\0\0\x0a\0\x01\x80\0\0\x01n\0\0\0\x041\0\0\0\x042\0\0\0\x04\
    t\0\0\0\x06\0\0T\0\0\0\x1a\0\x01n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01\
    D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\0\x01C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[tag], &length.to_be_bytes()[..], &body].concat()
}

/// A server that knows the password, up to its lie.
async fn serve(mut client: DuplexStream, at_once: bool, lie: Lie) -> io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    let mechanisms = match lie {
        Lie::Mechanisms(other) => other.to_vec(),
        _ => message(b'R', &[&[0, 0, 0, 10], b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"]),
    };
    if !at_once {
        client.write_all(&mechanisms).await?;
    }
    let first = said(&mut client).await?;
    if at_once {
        client.write_all(&mechanisms).await?;
    }
    let first = first.split_once("n=,r=").map(|(_, nonce)| nonce.to_owned()).unwrap_or_default();
    let challenge = match lie {
        Lie::Challenge(other) => other.replace("{}", &first),
        _ => format!("r={first}more,s={},i=4096", STANDARD.encode("salt")),
    };
    client.write_all(&message(b'R', &[&[0, 0, 0, 11], challenge.as_bytes()])).await?;
    let last = said(&mut client).await?;
    let signed =
        format!("n=,r={first},{challenge},{}", last.split_once(",p=").map_or("", |(signed, _)| signed));
    let signature = match lie {
        Lie::Signature(other) => other.to_owned(),
        _ => format!("v={}", STANDARD.encode(signature(b"CANARY", b"salt", &signed))),
    };
    let signature = message(b'R', &[&[0, 0, 0, 12], signature.as_bytes()]);
    let details = [
        message(b'S', &[b"server_version\x0018\0"]),
        message(b'N', &[b"SNOTICE\0C00000\0Mhello\0\0"]),
        message(b'K', &[&[0, 0, 0, 1, 0, 0, 0, 2]]),
    ];
    let rest = match lie {
        Lie::AfterProof(other) => [other, OK, READY, ROW].concat(),
        Lie::AfterSignature(other) => [&signature, other, OK, READY, ROW].concat(),
        Lie::AfterOk(other) => [&signature, OK, other, READY, ROW].concat(),
        _ => [&signature, OK, &details.concat(), READY, ROW].concat(),
    };
    client.write_all(&rest).await?;
    let mut ignored = Vec::new();
    client.read_to_end(&mut ignored).await?;
    Ok(())
}

/// The next message, as text.
async fn said(client: &mut DuplexStream) -> io::Result<String> {
    let _tag = client.read_u8().await?;
    let mut body = vec![0; client.read_u32().await? as usize - 4];
    client.read_exact(&mut body).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// RFC 5802's ServerSignature, written down a second time.
fn signature(password: &[u8], salt: &[u8], signed: &str) -> Vec<u8> {
    let hmac = |key: &[u8], text: &[u8]| {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
    };
    let mut block = hmac(password, &[salt, &[0, 0, 0, 1]].concat());
    let mut salted = block.clone();
    for _ in 1..4096 {
        block = hmac(password, &block);
        salted.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
    }
    hmac(&hmac(&salted, b"Server Key"), signed.as_bytes())
}

/// What comes of one statement, which the server answers with one row of 1 whatever it said before.
async fn ask(opening: Opening, lie: Lie) -> Result<pgspan::Result<i32>> {
    let open = move || -> BoxFuture<'static, _> {
        let (ours, theirs) = duplex(256);
        tokio::spawn(serve(theirs, opening == Opening::AtOnce, lie));
        Box::pin(async { Ok(Box::pin(ours) as Pin<Box<dyn Wire>>) })
    };
    let under = Under::over(URL, opening, 0, Box::new(open))?;
    let answer = timeout(Duration::from_secs(5), under.db.fetch_one("SELECT 1 AS n")).await?;
    Ok(answer)
}

fn all_of(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(" / {error}"));
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn an_honest_server_is_believed() -> Result<()> {
    for opening in [Opening::Early, Opening::AtOnce] {
        assert_eq!(ask(opening, Lie::None).await??, 1, "{opening:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_believed_that_a_server_says_without_its_signature() -> Result<()> {
    let forged: &str = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let lies = [
        Lie::Challenge("r={},s=c2FsdA==,i=4096"),
        Lie::Challenge("r=other{},s=c2FsdA==,i=4096"),
        Lie::Challenge("r={}more,s=c2FsdA==,i=100001"),
        Lie::Challenge("r={}more,s=c2FsdA==,i=99999999999999999999"),
        Lie::Challenge("r={}more,s=c2FsdA==,i=0"),
        Lie::Challenge("e=unknown-user"),
        Lie::Challenge(""),
        Lie::Signature(forged),
        Lie::Signature("v="),
        Lie::Signature("v=!"),
        Lie::Signature("e=invalid-proof"),
        Lie::Signature(""),
        Lie::AfterProof(b""),
        Lie::AfterProof(b"N\0\0\0\x05\0"),
        Lie::AfterProof(b"S\0\0\0\x08a\0b\0"),
        Lie::AfterProof(b"R\0\0\0\x04"),
        Lie::AfterProof(b"R\0\0\0\0"),
        Lie::AfterProof(b"R\x7f\xff\xff\xff"),
        Lie::AfterProof(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        Lie::AfterSignature(READY),
        Lie::AfterSignature(b"R\0\0\0\x08\0\0\0\x03"),
        Lie::AfterOk(OK),
        Lie::AfterOk(ROW),
        Lie::AfterOk(b"v\0\0\0\x0c\0\0\0\0\0\0\0\0"),
    ];
    for opening in [Opening::Early, Opening::AtOnce] {
        for lie in lies {
            let error = ask(opening, lie).await?.err().unwrap_or_else(|| panic!("{lie:?} was believed"));
            let shown = all_of(&error);
            assert!(!shown.contains("CANARY"), "{lie:?}: {shown}");
            // before our proof nothing was sent; after it no one knows
            let expected = match lie {
                Lie::Challenge(_) => Kind::Unavailable,
                _ => Kind::OutcomeUnknown,
            };
            assert_eq!(error.kind(), expected, "{opening:?} {lie:?}: {shown}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_counts_at_every_step() -> Result<()> {
    let refusals = [
        Lie::Mechanisms(REFUSED),
        Lie::AfterProof(REFUSED),
        Lie::AfterSignature(REFUSED),
        Lie::AfterOk(REFUSED),
    ];
    for opening in [Opening::Early, Opening::AtOnce] {
        for refusal in refusals {
            let error = ask(opening, refusal).await?.unwrap_err();
            let shown = all_of(&error);
            assert_eq!(error.kind(), Kind::Unavailable, "{opening:?} {refusal:?}: {shown}");
            assert_eq!(error.sqlstate().map(|code| code.code()), Some("28P01"), "{refusal:?}: {shown}");
            assert!(!shown.contains("CANARY"), "{shown}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_without_plain_scram_is_left_to_the_ordinary_login() -> Result<()> {
    let bearer = b"R\0\0\0\x15\0\0\0\x0aOAUTHBEARER\0\0";
    for opening in [Opening::Early, Opening::AtOnce] {
        let error = ask(opening, Lie::Mechanisms(bearer)).await?.unwrap_err();
        let shown = all_of(&error);
        assert!(error.is_unavailable(), "{shown}");
        let says = if opening == Opening::Early { "unsupported SASL mechanism" } else { "require_auth" };
        assert!(shown.contains(says), "{shown}");
    }
    Ok(())
}

/// TLS that is none.
struct Plain;

struct Encrypted(DuplexStream);

impl TlsConnect<DuplexStream> for Plain {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Ready<io::Result<Encrypted>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(Encrypted(stream)))
    }
}

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl tokio::io::AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn tls_is_had_or_refused_and_one_byte_is_read_for_it() -> Result<()> {
    for (answer, says) in [
        (&b"S"[..], None),
        (b"Sx", None),
        (b"N", Some("has no TLS")),
        (b"E", Some("neither yes nor no")),
        (b"", Some("could not connect")),
    ] {
        let (ours, mut theirs) = duplex(64);
        theirs.write_all(answer).await?;
        let closed = answer.is_empty();
        let mut request = [0; 8];
        let (encrypted, asked) = tokio::join!(encrypt(ours, Plain), async {
            let asked = theirs.read_exact(&mut request).await;
            if closed {
                theirs.shutdown().await?;
            }
            asked
        });
        asked?;
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
        match (encrypted, says) {
            (Ok(mut stream), None) => {
                theirs.shutdown().await?;
                let mut left = Vec::new();
                stream.0.read_to_end(&mut left).await?;
                assert_eq!(left, answer[1..]);
            }
            (Err(error), Some(says)) => assert!(all_of(&error).contains(says), "{error}"),
            (encrypted, _) => panic!("{answer:?}: {:?}", encrypted.err()),
        }
    }
    Ok(())
}
