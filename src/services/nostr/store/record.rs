//! Records: an event as it is stored. Fixed fields first, then tags and content as canonical JSON.
//!
//! Filters on fixed fields parse nothing. The form that is sent takes two copies and three hex encodings.

use fjall::Slice;

use super::error::StoreError;
use super::key::{FLAG_EXPIRES, Order, read_integer};
use crate::services::nostr::event::{self, Event, EventId, Fields, Head, PublicKey};
use crate::services::nostr::tags::Tags;

/// The first byte of a record.
const VERSION: u8 = 1;
/// Bytes before the tags: version, flags, kind, created_at, expiration, id, pubkey, sig, length of the tags.
const FIXED_BYTES: usize = 1 + 1 + 2 + 5 + 8 + 32 + 32 + 64 + 4;

/// Writes an event as a record.
pub(super) fn encode(event: &Event) -> Vec<u8> {
    let (tags, content) = (event.tags_json(), event.content_json());
    let expiration = event.expiration();
    let mut out = Vec::with_capacity(FIXED_BYTES + tags.len() + content.len());
    out.push(VERSION);
    out.push(flags_of(expiration));
    out.extend_from_slice(&event.kind().to_be_bytes());
    out.extend_from_slice(&event.created_at().to_be_bytes()[3..]);
    out.extend_from_slice(&expiration.unwrap_or_default().to_be_bytes());
    out.extend_from_slice(event.id());
    out.extend_from_slice(event.pubkey());
    out.extend_from_slice(event.sig());
    out.extend_from_slice(&(tags.len() as u32).to_be_bytes());
    out.extend_from_slice(tags.as_bytes());
    out.extend_from_slice(content.as_bytes());
    out
}

pub(super) fn flags_of(expiration: Option<u64>) -> u8 {
    if expiration.is_some() { FLAG_EXPIRES } else { 0 }
}

/// A stored event.
#[derive(Clone, Debug)]
pub struct Record {
    serial: u64,
    head: Head,
    expiration: Option<u64>,
    bytes: Slice,
    /// Invariant: within `bytes`, on the boundary between tags and content.
    tags_end: usize,
}

impl Record {
    pub(super) fn decode(serial: u64, bytes: Slice) -> Result<Record, StoreError> {
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk().ok_or(StoreError::Corrupt("record"))?;
        if fixed[0] != VERSION {
            return Err(StoreError::Corrupt("record (unknown version)"));
        }
        let head = Head {
            kind: u16::from_be_bytes([fixed[2], fixed[3]]),
            created_at: read_integer(&fixed[4..9]),
            id: array(&fixed[17..49]),
            pubkey: array(&fixed[49..81]),
            sig: array(&fixed[81..145]),
        };
        let expiration = (fixed[1] & FLAG_EXPIRES != 0).then(|| read_integer(&fixed[9..17]));
        let tags_end = FIXED_BYTES + read_integer(&fixed[145..]) as usize;
        let text = bytes.get(FIXED_BYTES..).unwrap_or_default();
        let text = str::from_utf8(text).map_err(|_| StoreError::Corrupt("record (not UTF-8)"))?;
        if !text.is_char_boundary(tags_end - FIXED_BYTES) {
            return Err(StoreError::Corrupt("record (length of the tags)"));
        }
        Ok(Record { serial, head, expiration, bytes, tags_end })
    }

    /// Number of the commit that stored the event.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The fields that are not text.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Unix time in seconds at which the event expires (NIP-40).
    pub fn expiration(&self) -> Option<u64> {
        self.expiration
    }

    /// Canonical JSON of the tags.
    pub fn tags_json(&self) -> &str {
        self.text(FIXED_BYTES, self.tags_end)
    }

    /// Canonical JSON of the content, a string with its quotes.
    pub fn content_json(&self) -> &str {
        self.text(self.tags_end, self.bytes.len())
    }

    fn text(&self, start: usize, end: usize) -> &str {
        // `decode` has checked it; the check is cheap, and the alternative unsafe.
        simdutf8::basic::from_utf8(&self.bytes[start..end]).unwrap_or_default()
    }

    /// Bytes of the stored form.
    pub fn stored_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the event's JSON, as [`Event::write_json`] does.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        event::write_json(out, &self.head, self.tags_json(), self.content_json());
    }

    /// The event as it was parsed.
    pub fn to_event(&self) -> Event {
        Event::from_stored(self.head, self.tags_json(), self.content_json())
    }

    pub(super) fn flags(&self) -> u8 {
        flags_of(self.expiration)
    }

    pub(super) fn order(&self) -> Order {
        Order::new(self.head.created_at, &self.head.id, self.serial)
    }

    pub(super) fn is_expired(&self, now: u64) -> bool {
        self.expiration.is_some_and(|time| time <= now)
    }
}

impl Fields for Record {
    fn id(&self) -> &EventId {
        &self.head.id
    }

    fn pubkey(&self) -> &PublicKey {
        &self.head.pubkey
    }

    fn created_at(&self) -> u64 {
        self.head.created_at
    }

    fn kind(&self) -> u16 {
        self.head.kind
    }

    fn tags(&self) -> Tags<'_> {
        Tags::of_canonical(self.tags_json())
    }
}

/// Copies a part of the fixed fields.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}
