//! The messages: JSON records, with a stamp in the first eight bytes that identifies the message.
//! They compress like the updates of many services.
//!
//! A stamp encodes 56 bits in eight bytes of seven bits, so that it is valid text. Messages shorter
//! than a stamp have none, and are checked by length only. One buffer serves all messages, without
//! allocation.
//!
//! Binary messages are pre-masked: the bytes on the wire after the stamp are always the same, under
//! a key that is fresh and unpredictable for each frame, as RFC 6455, 5.3 requires. So the server
//! unmasks a different message each time and has its full cost, while masking costs the client
//! nothing.

use std::fmt;

use fastrand::Rng;
use weir::protocol::{Masked, Message};

/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 8;

/// A stamp: a number at the start of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The low 56 bits of a number, seven per byte, split by halves, quarters and eighths.
    pub(crate) fn of(number: u64) -> Stamp {
        let halves = number & 0x0FFF_FFFF | (number & 0x00FF_FFFF_F000_0000) << 4;
        let quarters = halves & 0x0000_3FFF_0000_3FFF | (halves & 0x0FFF_C000_0FFF_C000) << 2;
        Stamp(quarters & 0x007F_007F_007F_007F | (quarters & 0x3F80_3F80_3F80_3F80) << 1)
    }

    /// Whether the number is a multiple of [`COMPARED`]. Its low six bits are in one byte,
    /// unchanged.
    fn is_compared(self) -> bool {
        self.0.is_multiple_of(COMPARED)
    }
}

/// Text or binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "text",
            Kind::Binary => "binary",
        })
    }
}

/// The bytes of every message of a run.
#[derive(Debug)]
pub(crate) struct Payload {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Payload {
    /// Bytes for messages of up to `bytes_max`.
    pub(crate) fn new(kind: Kind, bytes_max: usize, rng: &mut Rng) -> Payload {
        let mut bytes = Vec::with_capacity(bytes_max + RECORD_BYTES_MAX);
        while bytes.len() < bytes_max {
            record(rng, &mut bytes);
        }
        bytes.truncate(bytes_max);
        Payload { kind, bytes }
    }

    /// The first `len` bytes, starting with as many of these stamps as fit.
    pub(crate) fn message(&mut self, len: usize, stamps: &[Stamp]) -> Message<'_> {
        let bytes = &mut self.bytes[..len];
        for (place, stamp) in bytes.as_chunks_mut().0.iter_mut().zip(stamps) {
            *place = stamp.0.to_le_bytes();
        }
        if self.kind == Kind::Text
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Message::Text(text);
        }
        Message::Binary(bytes)
    }

    /// A binary message of `len` bytes with this stamp, masked: its payload is fixed, and `key`
    /// determines the unmasked bytes.
    #[inline]
    pub(crate) fn masked(&mut self, len: usize, stamp: Stamp, key: [u8; 4]) -> Masked<'_> {
        let payload = &mut self.bytes[..len];
        if let Some(place) = payload.first_chunk_mut() {
            *place = (stamp.0 ^ widen(key)).to_le_bytes();
        }
        Masked { key, payload }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether `received` equals the message with this `len` and `stamp`, pre-masked for `key`; the
    /// key is 0 for a message that was not pre-masked. The stamp is compared for every message, the
    /// rest for one in [`COMPARED`]: comparing costs as much as sending.
    pub(crate) fn matches(
        &self,
        received: Message<'_>,
        len: usize,
        stamp: Stamp,
        key: [u8; 4],
    ) -> bool {
        let bytes = received.as_bytes();
        let is_kind = matches!(received, Message::Text(_)) == (self.kind == Kind::Text);
        if bytes.len() != len || !is_kind {
            return false;
        }
        let Some((place, rest)) = bytes.split_first_chunk() else {
            return true;
        };
        u64::from_le_bytes(*place) == stamp.0
            && (!stamp.is_compared() || differs_by(key, rest, &self.bytes[STAMP_BYTES..]))
    }
}

/// The key repeated over eight bytes.
fn widen(key: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(key)) * 0x0000_0001_0000_0001
}

/// Whether `received` equals the start of `sent` XORed with `key`.
fn differs_by(key: [u8; 4], received: &[u8], sent: &[u8]) -> bool {
    let (received, received_tail) = received.as_chunks::<8>();
    let (sent, sent_tail) = sent.as_chunks::<8>();
    let key = widen(key);
    let words = received.iter().zip(sent);
    let difference = words.fold(0, |difference, (received, sent)| {
        difference | (u64::from_le_bytes(*received) ^ u64::from_le_bytes(*sent) ^ key)
    });
    let next = sent.get(received.len()).map_or(sent_tail, |word| &word[..]);
    let tail = received_tail.iter().zip(next).zip(key.to_le_bytes());
    difference == 0 && tail.into_iter().all(|((received, sent), key)| received ^ sent == key)
}

/// Upper limit of a record's length.
const RECORD_BYTES_MAX: usize = 128;

/// Appends one record: fixed names, random values.
fn record(rng: &mut Rng, to: &mut Vec<u8>) {
    let (id, user, price, cents) =
        (rng.u32(..1_000_000), rng.u16(..1000), rng.u16(..10_000), rng.u8(..100));
    let side = if rng.bool() { "buy" } else { "sell" };
    let active = rng.bool();
    let record = format!(
        "{{\"id\":{id},\"user\":\"user{user}\",\"price\":{price}.{cents:02},\"side\":\"{side}\",\"active\":{active}}},"
    );
    debug_assert!(record.len() <= RECORD_BYTES_MAX);
    to.extend_from_slice(record.as_bytes());
}

/// One message in this many is compared byte by byte.
const COMPARED: u64 = 64;

/// Decodes a stamp; `None` if the bytes are not a stamp.
fn read_stamp(place: &[u8; STAMP_BYTES]) -> Option<u64> {
    let fold = |sum: u64, byte: &u8| sum << 7 | u64::from(*byte);
    place.is_ascii().then(|| place.iter().rev().fold(0, fold))
}

/// Bytes of a message that an error shows.
const PREVIEW_BYTES: usize = 40;

/// A received message for an error: its length, kind and first bytes.
pub(crate) fn preview(message: Message<'_>) -> String {
    let bytes = message.as_bytes();
    let shown = bytes[..bytes.len().min(PREVIEW_BYTES)].escape_ascii();
    let kind = if matches!(message, Message::Text(_)) { Kind::Text } else { Kind::Binary };
    let rest = if bytes.len() > PREVIEW_BYTES { ".." } else { "" };
    format!("{} bytes of {kind}: \"{shown}\"{rest}", bytes.len())
}

/// The first two stamps of a message.
pub(crate) fn read_stamps(bytes: &[u8]) -> Option<[u64; 2]> {
    let (first, rest) = bytes.split_first_chunk()?;
    let second = rest.first_chunk()?;
    Some([read_stamp(first)?, read_stamp(second)?])
}

#[cfg(test)]
mod tests {
    use weir::protocol::mask;

    use super::*;

    const NO_KEY: [u8; 4] = [0; 4];

    fn payload(kind: Kind) -> Payload {
        Payload::new(kind, 100, &mut Rng::with_seed(1))
    }

    #[test]
    fn stamps_are_text_and_decode_to_their_number() {
        let mut payload = payload(Kind::Text);
        for stamp in [0, 1, 127, 128, (1 << 56) - 1, 0x12_3456_789A_BCDE] {
            let message = payload.message(16, &[Stamp::of(stamp), Stamp::of(7)]);
            assert!(matches!(message, Message::Text(_)));
            assert_eq!(read_stamps(message.as_bytes()), Some([stamp, 7]));
        }
        assert_eq!(Stamp::of(u64::MAX), Stamp::of((1 << 56) - 1));
        assert_eq!(read_stamps(b"too short"), None);
        assert_eq!(read_stamps(&[0xFF; 16]), None);
    }

    #[test]
    fn an_echo_matches_by_stamp_length_and_kind() {
        let mut sent = payload(Kind::Binary);
        let echo = sent.message(20, &[Stamp::of(64)]).as_bytes().to_vec();
        let matches =
            |len, number| sent.matches(Message::Binary(&echo), len, Stamp::of(number), NO_KEY);
        assert!(matches(20, 64));
        assert!(!matches(20, 65));
        assert!(!matches(21, 64));
        assert!(!sent.matches(Message::Text("x"), 1, Stamp::of(0), NO_KEY));
        let mut spoiled = echo.clone();
        spoiled[19] ^= 1;
        assert!(!sent.matches(Message::Binary(&spoiled), 20, Stamp::of(64), NO_KEY));
        assert!(sent.matches(Message::Binary(b"short"), 5, Stamp::of(3), NO_KEY));
    }

    #[test]
    fn a_pre_masked_message_matches_under_its_key() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let mut sent = payload(Kind::Binary);
        for len in 0..40 {
            // As the server decodes and returns it.
            let mut echo = sent.masked(len, Stamp::of(64), key).payload.to_vec();
            mask::apply(key, 0, &mut echo);
            let matches =
                |echo: &[u8], key| sent.matches(Message::Binary(echo), len, Stamp::of(64), key);
            assert!(matches(&echo, key), "{len}");
            for at in 0..len {
                echo[at] ^= 1;
                assert!(len < STAMP_BYTES || !matches(&echo, key), "{len}, {at}");
                echo[at] ^= 1;
            }
            // Behind the stamp, the key's last byte first applies to the twelfth byte.
            assert_eq!(matches(&echo, [0x37, 0xFA, 0x21, 0]), len < 12, "{len}");
        }
    }
}
