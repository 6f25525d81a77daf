//! Signs events, independently of weir's code: serde_json writes them, libsecp256k1 signs.

use std::time::{SystemTime, UNIX_EPOCH};

use secp256k1::Keypair;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A key pair.
#[derive(Clone)]
pub struct Author(Keypair);

/// The Unix time.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Author {
    /// The author of this number: the same in each run.
    pub fn new(number: u32) -> Author {
        let secret = Sha256::digest(format!("author {number}"));
        Author(Keypair::from_secret_bytes(secret.into()).unwrap())
    }

    /// The public key in hex.
    pub fn key(&self) -> String {
        hex::encode(self.0.x_only_public_key().0.to_byte_array())
    }

    /// A signed event of now.
    pub fn event(&self, kind: u64, tags: Value, content: &str) -> Value {
        self.event_at(now(), kind, tags, content)
    }

    /// A note with this content.
    pub fn note(&self, content: &str) -> Value {
        self.event(1, json!([]), content)
    }

    /// A signed event of this time.
    pub fn event_at(&self, created_at: u64, kind: u64, tags: Value, content: &str) -> Value {
        let mut event = json!({
            "pubkey": self.key(), "created_at": created_at, "kind": kind, "tags": tags,
            "content": content,
        });
        self.sign(&mut event);
        event
    }

    /// Sets id and signature to those of the other members.
    pub fn sign(&self, event: &mut Value) {
        self.sign_id(event, &hex::encode(hash(event)));
    }

    /// Sets the id to any 64 hex digits, with a valid signature over them.
    pub fn sign_id(&self, event: &mut Value, id: &str) {
        let signature = self.0.sign_schnorr_no_aux_rand(&hex::decode(id).unwrap());
        event["id"] = id.into();
        event["sig"] = hex::encode(signature.to_byte_array()).into();
    }
}

/// The id of an event: the hash of its canonical form (NIP-01).
fn hash(event: &Value) -> [u8; 32] {
    let members = ["pubkey", "created_at", "kind", "tags", "content"];
    let members = members.iter().map(|name| event[*name].clone());
    let canonical = Value::Array([json!(0)].into_iter().chain(members).collect());
    Sha256::digest(canonical.to_string()).into()
}

/// The id of an event as text.
pub fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap()
}
