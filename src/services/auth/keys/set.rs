//! The keys of one gate, and which of them may verify a token.

use ring::digest::{SHA256, digest};

use super::error::{KEYS_MAX, KeyError};
use super::key::{Key, Material};
use super::{jwk, pem};
use crate::services::auth::token::algorithm::Algorithm;
use crate::services::auth::token::error::TokenError;
use crate::services::auth::token::parse::Unverified;

/// Keys that are tried for a token whose `kid` does not select one.
const TRIES_MAX: usize = 4;

/// Keys that verify tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::services::auth) struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a JWK set or public keys in PEM.
    ///
    /// # Errors
    /// It is neither, a key is malformed, or none verifies signatures.
    pub(in crate::services::auth) fn parse(text: &[u8]) -> Result<KeySet, KeyError> {
        let is_json = text.trim_ascii_start().first() == Some(&b'{');
        let keys = if is_json { jwk::keys(text)? } else { pem::keys(text)? };
        match keys.len() {
            0 => Err(KeyError::Empty),
            1..=KEYS_MAX => Ok(KeySet(keys)),
            _ => Err(KeyError::TooMany),
        }
    }

    /// A secret, for the HMACs among `algorithms`. One final newline does not belong to it.
    ///
    /// # Errors
    /// It is shorter than the longest of their hashes.
    pub(in crate::services::auth) fn secret(
        text: &[u8],
        algorithms: &[Algorithm],
    ) -> Result<KeySet, KeyError> {
        let secret = text.strip_suffix(b"\n").unwrap_or(text);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let hashes = algorithms.iter().map(|algorithm| algorithm.secret_bytes_min());
        let least = hashes.max().unwrap_or_default().max(1);
        if secret.len() < least {
            return Err(KeyError::ShortSecret(least));
        }
        Ok(KeySet(vec![Key::unnamed(Material::Secret(secret.into()))]))
    }

    pub(in crate::services::auth) fn len(&self) -> usize {
        self.0.len()
    }

    /// Both sets together.
    pub(in crate::services::auth) fn and(mut self, other: KeySet) -> KeySet {
        self.0.extend(other.0);
        self
    }

    /// The keys that may verify a token: those that its `kid` selects, of the kind of its algorithm. In a
    /// JWK set that is a key with the same `kid`, and never one without: else a token of a rotated key
    /// would not cause a fetch.
    fn candidates<'k>(&'k self, token: &Unverified<'_>) -> impl Iterator<Item = &'k Key> {
        let kid = token.kid.clone();
        let algorithm = token.algorithm;
        let fits = move |key: &&Key| key.name.serves(kid.as_deref()) && key.fits(algorithm);
        self.0.iter().filter(fits).take(TRIES_MAX)
    }

    /// How many signatures [`verify`](KeySet::verify) computes at most.
    pub(in crate::services::auth) fn tries(&self, token: &Unverified<'_>) -> usize {
        self.candidates(token).count()
    }

    /// Verifies the signature of a token.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`], [`TokenError::Signature`].
    pub(in crate::services::auth) fn verify(
        &self,
        token: &Unverified<'_>,
    ) -> Result<(), TokenError> {
        let mut error = TokenError::UnknownKey;
        for key in self.candidates(token) {
            if key.verifies(token.algorithm, token.message.as_bytes(), &token.signature) {
                return Ok(());
            }
            error = TokenError::Signature;
        }
        Err(error)
    }
}

/// The SHA-256 of a token, for caches.
pub(in crate::services::auth) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests;
