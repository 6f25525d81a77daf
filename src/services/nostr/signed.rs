//! For unit tests: events with valid ids and signatures.

use secp256k1::{Keypair, SecretKey, XOnlyPublicKey, schnorr};

use super::canonical::{self, push_text};
use super::event::{Event, Head};
use super::tags::PublicKey;

/// Unix time of the tests.
pub(super) const NOW: u64 = 1_700_000_000;

/// The public key of this author.
pub(super) fn key(author: u8) -> PublicKey {
    XOnlyPublicKey::from_keypair(&keypair(author)).0.to_byte_array()
}

/// The public key of this author in hex.
pub(super) fn key_hex(author: u8) -> String {
    hex::encode(key(author))
}

fn keypair(author: u8) -> Keypair {
    let secret = SecretKey::from_secret_bytes([author; 32]).unwrap();
    Keypair::from_secret_key(&secret)
}

/// A valid event; authors are numbers from 1.
pub(super) fn event_at(
    author: u8,
    created_at: u64,
    kind: u16,
    tags: &[&[&str]],
    content: &str,
) -> Event {
    let head = Head { id: [0; 32], pubkey: key(author), sig: [0; 64], created_at, kind };
    let mut json = String::new();
    push_text(&mut json, content);
    signed(author, Event::from_stored(head, &tags_json(tags), &json))
}

/// A valid event of now.
pub(super) fn event(author: u8, kind: u16, tags: &[&[&str]], content: &str) -> Event {
    event_at(author, NOW, kind, tags, content)
}

/// The same event with the right id and signature.
pub(super) fn signed(author: u8, event: Event) -> Event {
    let (tags, content) = (event.tags_json(), event.content_json());
    let id = canonical::hash(&event.hashed_head(), tags, content);
    let sig = schnorr::sign_no_aux_rand(&id, &keypair(author)).to_byte_array();
    Event::from_stored(Head { id, sig, ..*event.head() }, tags, content)
}

/// The event's JSON.
pub(super) fn json(event: &Event) -> String {
    let mut out = Vec::new();
    event.write_json(&mut out);
    String::from_utf8(out).unwrap()
}

fn tags_json(tags: &[&[&str]]) -> String {
    let mut json = String::from("[");
    for (at, tag) in tags.iter().enumerate() {
        json.push_str(if at == 0 { "[" } else { ",[" });
        for (at, element) in tag.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            push_text(&mut json, element);
        }
        json.push(']');
    }
    json.push(']');
    json
}
