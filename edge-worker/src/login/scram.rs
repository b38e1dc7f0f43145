//! SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding, with its keys derived once.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::wire::junk;

/// Whom the server must know.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'c> {
    pub(super) user: &'c str,
    pub(super) password: &'c [u8],
}

/// The client's half of the exchange, before the server has said anything.
pub(super) struct Client {
    nonce: String,
}

/// What the server must answer if it knows the password's key.
pub(super) struct Expected(Hmac<Sha256>);

/// More would let a server keep us busy for minutes; PostgreSQL's default is 4,096.
const ITERATIONS_MOST: u32 = 100_000;
/// 18 random bytes are 24 characters.
const NONCE_BYTES: usize = 18;

impl Client {
    pub(super) fn new() -> io::Result<Client> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| io::Error::other("the system has no random numbers"))?;
        Ok(Client { nonce: STANDARD.encode(nonce) })
    }

    /// The first message. It has no user: PostgreSQL takes the start-up message's.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare())
    }

    fn first_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// The final message, and what the server must answer to it.
    pub(super) fn finish(
        self,
        credentials: Credentials<'_>,
        server_first: &[u8],
    ) -> io::Result<(String, Expected)> {
        let server_first = text(server_first)?;
        let challenge = Challenge::parse(server_first)?;
        match challenge.nonce.strip_prefix(&self.nonce) {
            Some(theirs) if !theirs.is_empty() => {}
            _ => return Err(junk("the server's nonce does not extend ours")),
        }
        let keys = Keys::remembered(credentials, &challenge);
        let without_proof = format!("c=biws,r={}", challenge.nonce); // biws is "n,,"
        let signed = format!("{},{server_first},{without_proof}", self.first_bare());
        let signature = hmac(&Sha256::digest(keys.client)).chain_update(&signed).finalize().into_bytes();
        let proof: Vec<u8> = keys.client.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        let expected = Expected(hmac(&keys.server).chain_update(&signed));
        Ok((format!("{without_proof},p={}", STANDARD.encode(proof)), expected))
    }
}

impl Expected {
    /// Whether this is the server that knows the password's key; compared in constant time.
    pub(super) fn verify(self, server_final: &[u8]) -> io::Result<()> {
        let signature = text(server_final)?.split(',').next().and_then(|field| field.strip_prefix("v="));
        let signature = signature.and_then(|signature| STANDARD.decode(signature).ok());
        let signature = signature.ok_or_else(|| junk("a SCRAM answer without a signature"))?;
        self.0.verify_slice(&signature).map_err(|_| {
            junk("the server's SCRAM signature is wrong: it is not the server that knows the password")
        })
    }
}

/// The server's first message.
struct Challenge<'m> {
    nonce: &'m str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'m> Challenge<'m> {
    fn parse(message: &'m str) -> io::Result<Challenge<'m>> {
        let mut fields = message.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
        let nonce = field("r=").filter(|nonce| nonce.bytes().all(|byte| byte.is_ascii_graphic()));
        let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok()).filter(|salt| !salt.is_empty());
        let iterations = field("i=").and_then(|number| number.parse().ok());
        match (nonce, salt, iterations) {
            (Some(nonce), Some(salt), Some(iterations @ 1..=ITERATIONS_MOST)) => {
                Ok(Challenge { nonce, salt, iterations })
            }
            (Some(_), Some(_), Some(iterations)) if iterations > ITERATIONS_MOST => {
                Err(junk("the server asks for more than 100,000 SCRAM iterations"))
            }
            _ => Err(junk("a SCRAM challenge that can't be read")),
        }
    }
}

/// What the password becomes. Deriving it costs milliseconds of computing time, so it is kept.
#[derive(Clone, Copy)]
struct Keys {
    client: [u8; 32],
    server: [u8; 32],
}

/// The keys of the last few logins, by a digest of what they follow from, oldest first.
static REMEMBERED: Mutex<VecDeque<([u8; 32], Keys)>> = Mutex::new(VecDeque::new());
/// A program has one or two users, whose salt changes with their password.
const REMEMBERED_MOST: usize = 8;

impl Keys {
    fn remembered(credentials: Credentials<'_>, challenge: &Challenge<'_>) -> Keys {
        let mut digest = Sha256::new();
        for part in [credentials.user.as_bytes(), credentials.password, &challenge.salt] {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(part);
        }
        digest.update(challenge.iterations.to_be_bytes());
        let digest: [u8; 32] = digest.finalize().into();

        let remembered = || REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner); // whole between its calls
        if let Some((_, keys)) = remembered().iter().find(|(known, _)| *known == digest) {
            return *keys;
        }
        let keys = Keys::derive(credentials.password, &challenge.salt, challenge.iterations);
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED_MOST {
            remembered.pop_front();
        }
        remembered.push_back((digest, keys));
        keys
    }

    fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Keys {
        #[cfg(test)]
        DERIVED.with(|derived| derived.set(derived.get() + 1));
        let password = hmac(&prepare(password));
        let salted = pbkdf2(&password, salt, iterations);
        let key = |name: &str| hmac(&salted).chain_update(name).finalize().into_bytes().into();
        Keys { client: key("Client Key"), server: key("Server Key") }
    }
}

/// PBKDF2 with one block of output. The keyed state is cloned, which halves the work of keying it anew each time.
fn pbkdf2(password: &Hmac<Sha256>, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut block = password.clone().chain_update(salt).chain_update([0, 0, 0, 1]).finalize().into_bytes();
    let mut sum: [u8; 32] = block.into();
    for _ in 1..iterations {
        block = password.clone().chain_update(block).finalize().into_bytes();
        sum.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

/// SASLprep where the password allows it, else as it is: PostgreSQL takes passwords that are not even UTF-8.
fn prepare(password: &[u8]) -> Vec<u8> {
    let prepared = std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    prepared.map_or_else(|| password.to_vec(), |prepared| prepared.as_bytes().to_vec())
}

#[allow(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn text(message: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(message).map_err(|_| junk("a SCRAM message that is not text"))
}

#[cfg(test)]
thread_local! {
    /// How often a test's thread derived keys.
    pub(super) static DERIVED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Credentials<'_> = Credentials { user: "user", password: b"pencil" };

    /// RFC 7677's example, with the user name that PostgreSQL leaves out put back by hand.
    #[test]
    fn keys_are_those_of_the_rfc() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::derive(USER.password, &salt, 4096);
        let signed = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                      r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                      c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac(&Sha256::digest(keys.client)).chain_update(signed).finalize().into_bytes();
        let proof: Vec<u8> = keys.client.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        assert_eq!(STANDARD.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        Expected(hmac(&keys.server).chain_update(signed))
            .verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
    }

    #[test]
    fn a_password_is_prepared_as_the_server_prepares_it() {
        assert_eq!(prepare("I\u{ad}X \u{aa}".as_bytes()), b"IX a");
        assert_eq!(prepare(b"a\x07b"), b"a\x07b"); // prohibited: as it is
        assert_eq!(prepare(b"\xff\xfe"), b"\xff\xfe");
    }

    #[test]
    fn a_challenge_that_makes_no_sense_is_refused() {
        for (challenge, complaint) in [
            ("r={nonce}more,s=QSXCR+Q6sek8bf92,i=100001", "100,000"),
            ("r={nonce}more,s=QSXCR+Q6sek8bf92,i=4294967296", "can't be read"),
            ("r={nonce}more,s=QSXCR+Q6sek8bf92,i=0", "can't be read"),
            ("r={nonce}more,s=,i=4096", "can't be read"),
            ("r={nonce}more,s=!,i=4096", "can't be read"),
            ("r={nonce},s=QSXCR+Q6sek8bf92,i=4096", "does not extend"),
            ("r=more{nonce},s=QSXCR+Q6sek8bf92,i=4096", "does not extend"),
            ("m=x,r={nonce}more,s=QSXCR+Q6sek8bf92,i=4096", "can't be read"),
            ("e=other-error", "can't be read"),
            ("", "can't be read"),
        ] {
            let client = Client::new().unwrap();
            let challenge = challenge.replace("{nonce}", &client.nonce);
            let refused = client.finish(USER, challenge.as_bytes()).err().unwrap().to_string();
            assert!(refused.contains(complaint), "{challenge}: {refused}");
        }
    }

    #[test]
    fn nonces_differ_and_keys_are_kept_for_a_few() {
        let nonce = || Client::new().unwrap().nonce;
        assert_ne!(nonce(), nonce());
        for iterations in 1..=20 {
            let challenge = Challenge { nonce: "", salt: vec![1], iterations };
            let (first, again) = (Keys::remembered(USER, &challenge), Keys::remembered(USER, &challenge));
            assert_eq!(first.server, again.server);
        }
        assert!(REMEMBERED.lock().unwrap().len() <= REMEMBERED_MOST);
    }
}
