//! Keys that are derived from the seed, and the events that they sign (NIP-01, BIP-340).

use std::time::{SystemTime, UNIX_EPOCH};

use secp256k1::{Keypair, schnorr};
use sha2::{Digest as _, Sha256};

/// A key and its public key in hex.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    keys: Keypair,
    pub(crate) public_key: String,
}

/// `count` authors: the same ones for the same seed, so that a second run can request what a first
/// one has published.
pub(crate) fn authors(seed: u64, count: usize) -> Vec<Author> {
    (0..count as u64).map(|index| Author::derive(seed, index)).collect()
}

impl Author {
    fn derive(seed: u64, index: u64) -> Author {
        let mut hash = Sha256::new();
        hash.update(b"weir-load author");
        hash.update(seed.to_be_bytes());
        hash.update(index.to_be_bytes());
        let keys = Keypair::from_secret_bytes(hash.finalize().into())
            .expect("a hash is a secret key but for one in 2^127");
        let public_key = hex::encode(keys.x_only_public_key().0.to_byte_array());
        Author { keys, public_key }
    }

    /// Appends the event as JSON, in the order of members that NIP-01 shows; returns its id.
    /// `tags` is a JSON array without white space. `content` needs no escaping.
    pub(crate) fn sign(
        &self,
        to: &mut String,
        created_at: u64,
        kind: u16,
        tags: &str,
        content: &str,
    ) -> [u8; 32] {
        let author = &self.public_key;
        let canonical = format!(r#"[0,"{author}",{created_at},{kind},{tags},"{content}"]"#);
        let id: [u8; 32] = Sha256::digest(canonical).into();
        let signature = schnorr::sign_no_aux_rand(&id, &self.keys).to_byte_array();
        to.push_str(&format!(
            r#"{{"id":"{}","pubkey":"{author}","created_at":{created_at},"kind":{kind},"tags":{tags},"content":"{content}","sig":"{}"}}"#,
            hex::encode(id),
            hex::encode(signature)
        ));
        id
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use secp256k1::XOnlyPublicKey;
    use serde_json::Value;

    use super::*;

    #[test]
    fn events_have_the_id_of_their_canonical_form_and_a_valid_signature() {
        let [author, other] = &authors(1, 2)[..] else { panic!() };
        assert_ne!(author.public_key, other.public_key);
        assert_eq!(author.public_key, authors(1, 1)[0].public_key);
        let mut json = String::new();
        let id = author.sign(&mut json, 7, 1, r#"[["t","a"]]"#, "hello");
        let event: Value = serde_json::from_str(&json).unwrap();
        let of = &event["tags"];
        let canonical = format!(r#"[0,"{}",7,1,{of},"hello"]"#, author.public_key);
        assert_eq!(id, <[u8; 32]>::from(Sha256::digest(canonical)));
        assert_eq!(event["id"], hex::encode(id));
        let key = hex::decode_to_array(&author.public_key).unwrap();
        let signature = hex::decode_to_array(event["sig"].as_str().unwrap()).unwrap();
        let key = XOnlyPublicKey::from_byte_array(key).unwrap();
        assert!(
            schnorr::verify(&schnorr::Signature::from_byte_array(signature), &id, &key).is_ok()
        );
    }
}
