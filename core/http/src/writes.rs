//! Who may write, and from where.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Uri};
use pgspan::{Error, Kind};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// Who may write.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Writes {
    /// No one. The default: an endpoint that writes for everyone must be asked for.
    #[default]
    Forbidden,
    /// Who brings the token (`Authorization: Bearer …`).
    Token(Token),
    /// Everyone, on this machine: every request must be for a loopback host, so that no web page can reach it by giving
    /// its own name this machine's address (DNS rebinding).
    Anonymous,
}

/// Shorter tokens can be guessed.
const TOKEN_CHARS_LEAST: usize = 16;

impl Writes {
    /// From the settings `API_TOKEN` and `ALLOW_ANONYMOUS_WRITES`.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if the token is shorter than 16 characters, or if there is one and writing is open to everyone.
    pub fn from_settings(token: Option<&str>, anonymous: bool) -> Result<Writes, Error> {
        match (token.filter(|token| !token.is_empty()), anonymous) {
            (None, false) => Ok(Writes::Forbidden),
            (None, true) => Ok(Writes::Anonymous),
            (Some(_), true) => Err(Error::new(
                Kind::Config,
                "ALLOW_ANONYMOUS_WRITES: must not be true where API_TOKEN is set",
            )),
            (Some(token), false) if token.chars().count() < TOKEN_CHARS_LEAST => {
                Err(Error::new(Kind::Config, "API_TOKEN: must have at least 16 characters"))
            }
            (Some(token), false) => Ok(Writes::Token(Token::new(token))),
        }
    }

    /// Asks for the token of `other` from now on, and so does every clone of this. A token can be changed while the service runs; whether
    /// there is one can't.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if one of them has a token and the other has none; then nothing changes.
    pub fn renew(&self, other: &Writes) -> Result<(), Error> {
        match (self, other) {
            (Writes::Token(token), Writes::Token(other)) => {
                token.set(other);
                Ok(())
            }
            _ if self == other => Ok(()),
            _ => {
                let text =
                    "API_TOKEN: it can be changed while the program runs, and not be added or taken away";
                Err(Error::new(Kind::Config, text))
            }
        }
    }

    /// What is asked of a request with a body, in this order: its media type, so that no form of another site can send
    /// it; its host and origin.
    pub(crate) fn check_form(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if !headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json) {
            return Err(Problem::unsupported_media_type("Content-Type must be application/json"));
        }
        let is_identity = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get(CONTENT_ENCODING).is_some_and(|encoding| !is_identity(encoding)) {
            return Err(Problem::unsupported_encoding());
        }
        self.check_host(uri, headers)?;
        self.check_origin(uri, headers)
    }

    /// While everyone may write, no page of another site may.
    pub(crate) fn check_origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        match (self, headers.get(ORIGIN)) {
            (Writes::Anonymous, Some(origin)) => {
                let origin = origin.to_str().unwrap_or_default();
                let theirs = origin.split_once("://").map(|(_, authority)| authority);
                match theirs == host(uri, headers) {
                    true => Ok(()),
                    false => Err(Problem::forbidden("pages of other sites may not write here")),
                }
            }
            _ => Ok(()),
        }
    }

    /// While everyone may write, only loopback hosts are answered.
    pub(crate) fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        if !matches!(self, Writes::Anonymous) {
            return Ok(());
        }
        let name = host(uri, headers).map(|host| match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        });
        match name.map(str::to_ascii_lowercase).as_deref() {
            Some("localhost" | "127.0.0.1" | "[::1]") => Ok(()),
            _ => Err(Problem::forbidden(
                "while ALLOW_ANONYMOUS_WRITES is set, only localhost, 127.0.0.1 and [::1] are answered; set API_TOKEN instead",
            )),
        }
    }

    /// Whether this request may write.
    pub(crate) fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let expected = match self {
            Writes::Anonymous => return Ok(()),
            Writes::Forbidden => {
                return Err(Problem::forbidden("writes are not allowed here: set API_TOKEN"));
            }
            Writes::Token(token) => token,
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        match given {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                match expected.is(token.trim()) {
                    true => Ok(()),
                    false => {
                        Err(Problem::unauthorized("Bearer error=\"invalid_token\"", "this is not the token"))
                    }
                }
            }
            _ => Err(Problem::unauthorized("Bearer", "send the token: Authorization: Bearer …")),
        }
    }
}

/// A token. Only its digest is kept, which all clones share.
#[derive(Clone)]
pub struct Token(Arc<RwLock<[u8; 32]>>);

impl Token {
    fn new(text: &str) -> Token {
        Token(Arc::new(RwLock::new(Sha256::digest(text).into())))
    }

    fn is(&self, text: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(text).into();
        given.ct_eq(&self.digest()).into()
    }

    fn set(&self, other: &Token) {
        let digest = other.digest();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = digest;
    }

    fn digest(&self) -> [u8; 32] {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Token) -> bool {
        self.digest().ct_eq(&other.digest()).into()
    }
}

impl Eq for Token {}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl std::fmt::Debug for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Writes::Forbidden => "Forbidden",
            Writes::Token(_) => "Token",
            Writes::Anonymous => "Anonymous",
        })
    }
}

/// Whom the request is for, with the port.
fn host<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(|authority| authority.as_str()),
    }
}

fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_json_is_json() {
        for yes in
            ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""]
        {
            assert!(is_json(yes), "{yes}");
        }
        for no in ["text/plain", "", "application/jsonp", "application/json; charset=latin1"] {
            assert!(!is_json(no), "{no}");
        }
    }

    #[test]
    fn the_token_decides_and_is_not_shown() {
        let writes = Writes::from_settings(Some("s3cr3t-CANARY-0123"), false).unwrap();
        let check = |value: &'static str| writes.check_token(&headers(&[("authorization", value)]));
        assert!(check("Bearer s3cr3t-CANARY-0123").is_ok());
        assert!(check("bearer s3cr3t-CANARY-0123").is_ok());
        assert_eq!(check("Bearer s3cr3t-CANARY-0124").unwrap_err().code(), "unauthorized");
        assert_eq!(check("Basic s3cr3t-CANARY-0123").unwrap_err().code(), "unauthorized");
        assert_eq!(writes.check_token(&headers(&[])).unwrap_err().code(), "unauthorized");
        assert_eq!(format!("{writes:?}"), "Token");
        assert!(Writes::from_settings(Some("short"), false).is_err());
        assert!(Writes::from_settings(Some("s3cr3t-CANARY-0123"), true).is_err());
        assert_eq!(Writes::default().check_token(&headers(&[])).unwrap_err().code(), "forbidden");
    }

    #[test]
    fn a_token_can_be_changed_for_all_clones_and_not_be_added_or_taken_away() {
        let token = |text: &str| Writes::from_settings(Some(text), false).unwrap();
        let writes = token("the-first-of-two-tokens");
        let clone = writes.clone();
        writes.renew(&token("the-other-of-two-tokens")).unwrap();
        for (text, is_good) in [("the-first-of-two-tokens", false), ("the-other-of-two-tokens", true)] {
            let value = format!("Bearer {text}").parse().unwrap();
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            assert_eq!(clone.check_token(&headers).is_ok(), is_good, "{text}");
        }
        for (one, other) in
            [(&writes, &Writes::Forbidden), (&Writes::Forbidden, &writes), (&Writes::Anonymous, &writes)]
        {
            assert_eq!(one.renew(other).unwrap_err().kind(), Kind::Config);
        }
        assert!(Writes::Forbidden.renew(&Writes::Forbidden).is_ok());
    }

    #[test]
    fn while_everyone_may_write_only_this_machine_is_answered() {
        let check =
            |host: &'static str| Writes::Anonymous.check_host(&Uri::default(), &headers(&[("host", host)]));
        for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1", "[::1]"] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com", "localhost.example.com:8080", "10.0.0.1", ""] {
            assert!(check(host).is_err(), "{host}");
        }
        assert!(Writes::Anonymous.check_host(&Uri::default(), &headers(&[])).is_err());
    }
}
