//! BIP-340 signatures, with a cache of parsed keys.

use secp256k1::XOnlyPublicKey;
use secp256k1::schnorr;

use super::event::Event;
use super::tags::PublicKey;

/// Keys that a cache holds: 400 KiB. Parsing one costs a square root, a tenth of a verification.
const KEYS_MAX: usize = 4_096;

/// Keys that were parsed before, one place for each hash: a key that meets another takes its place, so
/// the cache is bounded, and chosen keys only cost their own parsing. One per thread.
#[derive(Debug, Default)]
pub struct KeyCache {
    /// Empty until the first key.
    places: Vec<Option<(PublicKey, XOnlyPublicKey)>>,
}

impl KeyCache {
    /// Whether the signature over the event's id is its author's.
    pub fn verifies(&mut self, event: &Event) -> bool {
        self.verifies_message(event.id(), event.pubkey(), event.sig())
    }

    fn verifies_message(&mut self, message: &[u8], pubkey: &PublicKey, sig: &[u8; 64]) -> bool {
        let Some(key) = self.key(pubkey) else {
            return false;
        };
        schnorr::verify(&schnorr::Signature::from_byte_array(*sig), message, &key).is_ok()
    }

    /// The key, if there is a point of the curve with this x coordinate.
    fn key(&mut self, pubkey: &PublicKey) -> Option<XOnlyPublicKey> {
        if self.places.is_empty() {
            self.places = vec![None; KEYS_MAX];
        }
        let place = usize::from(u16::from_le_bytes([pubkey[0], pubkey[1]])) % KEYS_MAX;
        match &self.places[place] {
            Some((cached, key)) if cached == pubkey => Some(*key),
            _ => {
                let key = XOnlyPublicKey::from_byte_array(*pubkey).ok()?;
                self.places[place] = Some((*pubkey, key));
                Some(key)
            }
        }
    }
}

#[cfg(test)]
mod tests;
