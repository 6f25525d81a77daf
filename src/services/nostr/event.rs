//! An event (NIP-01) in the form in which it is hashed, stored and sent.
//!
//! Tags and content are canonical JSON text, made once by [`parse`](super::parse). Nothing here checks a
//! signature: see [`verify`](super::verify).

use std::borrow::Cow;
use std::io::Write;

use super::canonical;
use super::tags::{Address, Tags, decimal};

pub use super::tags::PublicKey;

/// SHA-256 of the canonical form.
pub type EventId = [u8; 32];
/// A BIP-340 signature over the id.
pub type Signature = [u8; 64];

/// Deletion request (NIP-09).
pub const KIND_DELETION: u16 = 5;
/// Request to vanish (NIP-62).
pub const KIND_VANISH: u16 = 62;
/// Gift wrap (NIP-59).
pub const KIND_GIFT_WRAP: u16 = 1059;
/// Authentication (NIP-42).
pub const KIND_AUTH: u16 = 22242;
/// HTTP authentication (NIP-98).
pub const KIND_HTTP_AUTH: u16 = 27235;

/// Bytes of an event's JSON without tags and content, at most 10 and 5 digits included.
const MEMBERS_BYTES: usize = 352;

/// How many events of a kind a relay keeps (NIP-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All of them.
    Regular,
    /// The newest of each author.
    Replaceable,
    /// None of them.
    Ephemeral,
    /// The newest of each author and identifier.
    Addressable,
}

impl Class {
    /// The class of a kind.
    pub fn of(kind: u16) -> Class {
        match kind {
            0 | 3 | 10_000..20_000 => Class::Replaceable,
            20_000..30_000 => Class::Ephemeral,
            30_000..40_000 => Class::Addressable,
            _ => Class::Regular,
        }
    }
}

/// The `expiration` tag (NIP-40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// No such tag.
    Never,
    /// At this Unix time in seconds.
    At(u64),
    /// Its value is missing or has other characters than decimal digits.
    Malformed,
}

/// The fields of an event that are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Hash of the event.
    pub id: EventId,
    /// Author.
    pub pubkey: PublicKey,
    /// Signature of the author over the id.
    pub sig: Signature,
    /// Unix time in seconds, below 2^40.
    pub created_at: u64,
    /// Kind.
    pub kind: u16,
}

/// What filters, live index and scans read, of an event or of a stored record.
pub trait Fields {
    /// Hash of the event.
    fn id(&self) -> &EventId;
    /// Author.
    fn pubkey(&self) -> &PublicKey;
    /// Unix time in seconds.
    fn created_at(&self) -> u64;
    /// Kind.
    fn kind(&self) -> u16;
    /// All tags.
    fn tags(&self) -> Tags<'_>;
}

/// An event whose types have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    head: Head,
    /// Tags, a comma, content: as in the hashed form.
    text: Box<str>,
    /// Bytes of the tags in `text`.
    tags_bytes: u32,
}

impl Event {
    /// From a record of the store: canonical JSON of tags and content, which are not checked.
    pub fn from_stored(head: Head, tags: &str, content: &str) -> Event {
        Event::new(head, [tags, ",", content].concat(), tags.len())
    }

    /// `text` is tags, comma and content.
    pub(super) fn new(head: Head, text: String, tags_bytes: usize) -> Event {
        debug_assert_eq!(text.as_bytes()[tags_bytes], b',');
        Event { head, text: text.into(), tags_bytes: tags_bytes as u32 }
    }

    /// The fields that are not text.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Hash of the event, as its author gave it.
    pub fn id(&self) -> &EventId {
        &self.head.id
    }

    /// Author.
    pub fn pubkey(&self) -> &PublicKey {
        &self.head.pubkey
    }

    /// Signature.
    pub fn sig(&self) -> &Signature {
        &self.head.sig
    }

    /// Unix time in seconds.
    pub fn created_at(&self) -> u64 {
        self.head.created_at
    }

    /// Kind.
    pub fn kind(&self) -> u16 {
        self.head.kind
    }

    /// All tags.
    pub fn tags(&self) -> Tags<'_> {
        Tags::of_canonical(self.tags_json())
    }

    /// The tags' canonical JSON, an array.
    pub fn tags_json(&self) -> &str {
        &self.text[..self.tags_bytes as usize]
    }

    /// The content's canonical JSON, a string with its quotes.
    pub fn content_json(&self) -> &str {
        &self.text[self.tags_bytes as usize + 1..]
    }

    /// The content.
    pub fn content(&self) -> Cow<'_, str> {
        let json = self.content_json();
        canonical::unescape(&json[1..json.len() - 1])
    }

    /// How many events of this kind a relay keeps.
    pub fn class(&self) -> Class {
        Class::of(self.kind())
    }

    /// Value of the first `d` tag; empty if there is none.
    pub fn identifier(&self) -> Cow<'_, str> {
        self.tags().find("d").and_then(|tag| tag.value()).unwrap_or_default()
    }

    /// The address by which an event of a replaceable or addressable kind is replaced.
    pub fn address(&self) -> Option<Address> {
        let identifier = match self.class() {
            Class::Replaceable => String::new(),
            Class::Addressable => self.identifier().into_owned(),
            Class::Regular | Class::Ephemeral => return None,
        };
        Some(Address { kind: self.kind(), pubkey: *self.pubkey(), identifier })
    }

    /// The first `expiration` tag (NIP-40).
    pub fn expiration_tag(&self) -> Expiration {
        match self.tags().find("expiration") {
            None => Expiration::Never,
            Some(tag) => match tag.value().as_deref().and_then(decimal) {
                Some(time) => Expiration::At(time),
                None => Expiration::Malformed,
            },
        }
    }

    /// Unix time in seconds at which the event expires.
    pub fn expiration(&self) -> Option<u64> {
        match self.expiration_tag() {
            Expiration::At(time) => Some(time),
            Expiration::Never | Expiration::Malformed => None,
        }
    }

    /// Whether only the author may publish it (NIP-70).
    pub fn is_protected(&self) -> bool {
        self.tags().find("-").is_some()
    }

    /// Leading zero bits of the id (NIP-13).
    pub fn difficulty(&self) -> u32 {
        let zero_bytes = self.id().iter().take_while(|byte| **byte == 0).count();
        let last = self.id().get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
        zero_bytes as u32 * 8 + last
    }

    /// The difficulty that the author aimed at: third element of the `nonce` tag (NIP-13).
    pub fn committed_difficulty(&self) -> Option<u64> {
        decimal(&self.tags().find("nonce")?.elements().nth(2)?)
    }

    /// Whether the id is the hash of the canonical form, or of the one with verbatim control characters.
    pub fn has_valid_id(&self) -> bool {
        let head = self.hashed_head();
        let (tags, content) = (self.tags_json(), self.content_json());
        canonical::hash(&head, tags, content) == self.head.id
            || canonical::hash_verbatim(&head, tags, content) == Some(self.head.id)
    }

    /// The canonical form up to the tags.
    pub(super) fn hashed_head(&self) -> Vec<u8> {
        // The longest head: 8 bytes of punctuation, 64 of key, 20 and 5 digits.
        let mut head = Vec::with_capacity(128);
        head.extend_from_slice(b"[0,\"");
        push_hex(&mut head, self.pubkey());
        head.extend_from_slice(b"\",");
        push_number(&mut head, self.created_at());
        head.push(b',');
        push_number(&mut head, self.kind().into());
        head.push(b',');
        head
    }

    /// Appends the event's JSON: members in the order id, pubkey, created_at, kind, tags, content, sig,
    /// no white space.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_json(out, &self.head, self.tags_json(), self.content_json());
    }

    /// Bytes of the event's JSON.
    pub fn json_bytes(&self) -> usize {
        const FIXED: usize =
            br#"{"id":"","pubkey":"","created_at":,"kind":,"tags":,"content":,"sig":""}"#.len();
        let hex = 2 * (self.head.id.len() + self.head.pubkey.len() + self.head.sig.len());
        let digits = digits(self.created_at()) + digits(self.kind().into());
        FIXED + hex + digits + self.text.len() - 1
    }
}

/// Number of decimal digits.
fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Appends an event's JSON, given canonical JSON of tags and content: also for records of the store.
pub fn write_json(out: &mut Vec<u8>, head: &Head, tags: &str, content: &str) {
    out.reserve(MEMBERS_BYTES + tags.len() + content.len());
    out.extend_from_slice(b"{\"id\":\"");
    push_hex(out, &head.id);
    out.extend_from_slice(b"\",\"pubkey\":\"");
    push_hex(out, &head.pubkey);
    out.extend_from_slice(b"\",\"created_at\":");
    push_number(out, head.created_at);
    out.extend_from_slice(b",\"kind\":");
    push_number(out, head.kind.into());
    out.extend_from_slice(b",\"tags\":");
    out.extend_from_slice(tags.as_bytes());
    out.extend_from_slice(b",\"content\":");
    out.extend_from_slice(content.as_bytes());
    out.extend_from_slice(b",\"sig\":\"");
    push_hex(out, &head.sig);
    out.extend_from_slice(b"\"}");
}

/// Appends bytes in lower-case hex.
pub(super) fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    hex::encode_to_slice(bytes, &mut out[start..]).expect("two digits a byte");
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{number}");
}

impl Fields for Event {
    fn id(&self) -> &EventId {
        self.id()
    }

    fn pubkey(&self) -> &PublicKey {
        self.pubkey()
    }

    fn created_at(&self) -> u64 {
        self.created_at()
    }

    fn kind(&self) -> u16 {
        self.kind()
    }

    fn tags(&self) -> Tags<'_> {
        self.tags()
    }
}

#[cfg(test)]
mod tests;
