//! What is sent: records of JSON, of which the first eight bytes say which message this is. They
//! compress as the news of many services do.
//!
//! The stamp spreads 56 bits over eight bytes of seven, so that it is text wherever text is asked
//! for. Messages shorter than a stamp carry none, and are told apart by their length alone. One
//! buffer serves all messages: no allocation for any of them.
//!
//! Binary messages are masked ahead: what goes over the wire behind the stamp is always the same, under
//! a key that is fresh and unpredictable for each frame, as RFC 6455, 5.3 wants it. What the server
//! unmasks is thus another message each time, and it has all of its work, the client none of it.

use std::fmt;

use fastrand::Rng;
use weir::protocol::{Masked, Message};

/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 8;

/// A number as it lies at the beginning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// The low 56 bits of a number, seven to each byte: by halves, quarters and eighths.
    pub(crate) fn of(number: u64) -> Stamp {
        let halves = number & 0x0FFF_FFFF | (number & 0x00FF_FFFF_F000_0000) << 4;
        let quarters = halves & 0x0000_3FFF_0000_3FFF | (halves & 0x0FFF_C000_0FFF_C000) << 2;
        Stamp(quarters & 0x007F_007F_007F_007F | (quarters & 0x3F80_3F80_3F80_3F80) << 1)
    }

    /// Whether the number is a multiple of [`COMPARED`]: its low six bits lie in one byte as they are.
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

    /// The first `len` bytes, stamped with as many of these stamps as there is room for.
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

    /// A binary message of so many bytes with this stamp, masked: the payload is what `key` makes of
    /// the bytes.
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

    /// Whether `received` is the message that was made of `len` and `stamp`, and masked ahead for
    /// `key`; one that was not has the key 0. The stamp is compared for each message, all the rest for
    /// one in [`COMPARED`]: comparing costs as much as sending.
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

/// A key as it lies over eight bytes.
fn widen(key: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(key)) * 0x0000_0001_0000_0001
}

/// Whether `received` is `sent`, as far as it goes, under `key`.
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

/// No record is longer.
const RECORD_BYTES_MAX: usize = 128;

/// Appends one record: the same names each time, other values.
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

/// One message in so many is compared byte by byte.
const COMPARED: u64 = 64;

/// The stamp in these bytes; `None` if they cannot be one.
fn read_stamp(place: &[u8; STAMP_BYTES]) -> Option<u64> {
    let fold = |sum: u64, byte: &u8| sum << 7 | u64::from(*byte);
    place.is_ascii().then(|| place.iter().rev().fold(0, fold))
}

/// Bytes of a message that a report shows.
const PREVIEW_BYTES: usize = 40;

/// A received message in a report: its length, kind and first bytes.
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
    fn stamps_are_text_and_come_back() {
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
    fn an_echo_is_known_by_its_stamp_its_length_and_its_kind() {
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
    fn what_is_masked_ahead_is_known_by_its_key() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let mut sent = payload(Kind::Binary);
        for len in 0..40 {
            // As the server reads it, and sends it back.
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
            // Behind the stamp, the key's last byte is that of the twelfth.
            assert_eq!(matches(&echo, [0x37, 0xFA, 0x21, 0]), len < 12, "{len}");
        }
    }
}
