//! Makes tokens (RFC 7519) with `ring`: any header, any claims.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

pub const SECRET: &str = "a secret of tests, longer than 32 bytes";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Claims that are valid for an hour, with these additional ones, as in `,"sid":"a"`.
pub fn claims(subject: &str, more: &str) -> String {
    format!(r#"{{"sub":"{subject}","exp":{}{more}}}"#, now() + 3600)
}

/// A token with this header and these claims, signed with HS256 whatever the header says.
pub fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64(header), base64(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", base64(signature))
}

/// A valid token of this subject, with HS256.
pub fn valid(subject: &str) -> String {
    hs256(&claims(subject, ""))
}

pub fn hs256(claims: &str) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

/// A key pair of a server of keys.
pub struct Ed25519 {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Ed25519 {
    pub fn new(kid: &str) -> Ed25519 {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Ed25519 { kid: kid.to_owned(), pair: Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap() }
    }

    pub fn token(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}"}}"#, self.kid);
        let message = format!("{}.{}", base64(header), base64(claims));
        format!("{message}.{}", base64(self.pair.sign(message.as_bytes())))
    }

    /// The public key (RFC 8037, 2).
    pub fn jwk(&self) -> String {
        let x = base64(self.pair.public_key());
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{}","x":"{x}"}}"#, self.kid)
    }
}

/// A set of public keys (RFC 7517, 5).
pub fn jwks(keys: &[&Ed25519]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}
