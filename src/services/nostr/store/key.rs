//! Keys of the tables, and values of the index tables.
//!
//! `order` sorts events newest first: 2^40 - 1 - created_at (5 bytes), the first 8 bytes of the id, the serial
//! (6 bytes). It is unique whatever ids are mined. A prefix before it never is the beginning of another one.

use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use crate::services::nostr::event::{EventId, PublicKey};
use crate::services::nostr::filter::TagValue;

/// created_at is below this (section 4.1 of the specification, row 4).
pub const TIME_END: u64 = 1 << 40;
/// Serials are below this.
pub(super) const SERIAL_END: u64 = 1 << 48;
/// A longer text of a tag is indexed by its SHA-256.
const TEXT_BYTES_MAX: usize = 64;
/// Form of a tag's value in a key: a text's length, or one of these.
const FORM_HEX: u8 = 0x80;
const FORM_HASH: u8 = 0x81;
const _: () = assert!(TEXT_BYTES_MAX < FORM_HEX as usize);

/// The event has an expiration (NIP-40).
pub(super) const FLAG_EXPIRES: u8 = 1;

/// Place of an event in the order of section 5.2. Sorts newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order([u8; Order::BYTES]);

impl Order {
    pub(super) const BYTES: usize = 19;
    /// After each event.
    pub(super) const END: Order = Order([0xff; Order::BYTES]);

    pub(super) fn new(created_at: u64, id: &EventId, serial: u64) -> Order {
        debug_assert!(created_at < TIME_END && serial < SERIAL_END);
        let mut bytes = [0; Order::BYTES];
        bytes[..5]
            .copy_from_slice(&(TIME_END - 1 - created_at.min(TIME_END - 1)).to_be_bytes()[3..]);
        bytes[5..13].copy_from_slice(&id[..8]);
        bytes[13..].copy_from_slice(&serial.to_be_bytes()[2..]);
        Order(bytes)
    }

    /// Before all events of this second, and after all later ones.
    pub(super) fn first_at(created_at: u64) -> Order {
        let mut bytes = [0; Order::BYTES];
        bytes[..5]
            .copy_from_slice(&(TIME_END - 1 - created_at.min(TIME_END - 1)).to_be_bytes()[3..]);
        Order(bytes)
    }

    /// After all events of this second, and before all earlier ones.
    pub(super) fn last_at(created_at: u64) -> Order {
        let mut order = Order::first_at(created_at);
        order.0[5..].fill(0xff);
        order
    }

    /// The lowest order behind this one.
    pub(super) fn next(mut self) -> Order {
        for byte in self.0.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return self;
            }
        }
        Order::END
    }

    /// The highest order before this one.
    pub(super) fn previous(mut self) -> Order {
        for byte in self.0.iter_mut().rev() {
            *byte = byte.wrapping_sub(1);
            if *byte != u8::MAX {
                return self;
            }
        }
        Order([0; Order::BYTES])
    }

    /// The order at the end of an index key.
    pub(super) fn of_key(key: &[u8]) -> Result<Order, StoreError> {
        let bytes = key.last_chunk().ok_or(StoreError::Corrupt("index key"))?;
        Ok(Order(*bytes))
    }

    pub(super) fn created_at(&self) -> u64 {
        TIME_END - 1 - read_integer(&self.0[..5])
    }

    pub(super) fn serial(&self) -> u64 {
        read_integer(&self.0[13..])
    }

    pub(super) fn bytes(&self) -> &[u8; Order::BYTES] {
        &self.0
    }
}

/// Reads at most 8 bytes as a big-endian integer.
pub(super) fn read_integer(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

pub(super) fn serial_key(serial: u64) -> [u8; 6] {
    let [_, _, key @ ..] = serial.to_be_bytes();
    key
}

/// A time of 5 bytes, as tombstones have it.
pub(super) fn time_value(time: u64) -> [u8; 5] {
    let [_, _, _, value @ ..] = time.min(TIME_END - 1).to_be_bytes();
    value
}

/// The prefix of an author's events of one kind.
pub(super) fn author_kind_prefix(pubkey: &PublicKey, kind: u16) -> Vec<u8> {
    [&pubkey[..], &kind.to_be_bytes()].concat()
}

/// Appends the prefix of events with this tag.
pub(super) fn push_tag_prefix(key: &mut Vec<u8>, letter: u8, value: &TagValue) {
    key.push(letter);
    match value {
        TagValue::Hex(bytes) => {
            key.push(FORM_HEX);
            key.extend_from_slice(bytes);
        }
        TagValue::Text(text) if text.len() <= TEXT_BYTES_MAX => {
            key.push(text.len() as u8);
            key.extend_from_slice(text.as_bytes());
        }
        TagValue::Text(text) => {
            key.push(FORM_HASH);
            key.extend_from_slice(&Sha256::digest(text.as_bytes()));
        }
    }
}

/// The key of a replaceable event, or of an addressable one with its `d` value, in `newest`.
pub(super) fn newest_key(pubkey: &PublicKey, kind: u16, identifier: Option<&str>) -> Vec<u8> {
    let mut key = author_kind_prefix(pubkey, kind);
    if let Some(identifier) = identifier {
        key.extend_from_slice(&Sha256::digest(identifier.as_bytes()));
    }
    key
}

/// The key of an event's tombstone.
pub(super) fn deleted_key(id: &EventId, deleter: &PublicKey) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(id);
    key[32..].copy_from_slice(deleter);
    key
}

/// The key of an address' tombstone.
pub(super) fn deleted_address_key(kind: u16, pubkey: &PublicKey, identifier: &str) -> [u8; 66] {
    let mut key = [0; 66];
    key[..2].copy_from_slice(&kind.to_be_bytes());
    key[2..34].copy_from_slice(pubkey);
    key[34..].copy_from_slice(&Sha256::digest(identifier.as_bytes()));
    key
}

pub(super) fn expires_key(expiration: u64, serial: u64) -> [u8; 14] {
    let mut key = [0; 14];
    key[..8].copy_from_slice(&expiration.to_be_bytes());
    key[8..].copy_from_slice(&serial_key(serial));
    key
}

/// Value of `author`, `author_kind`, `kind`, `tag`; the end of the values of the others.
pub(super) fn index_value(kind: u16, flags: u8) -> [u8; 3] {
    let [high, low] = kind.to_be_bytes();
    [high, low, flags]
}

/// Reads [`index_value`].
pub(super) fn read_index_value(value: &[u8]) -> Result<(u16, u8), StoreError> {
    match value {
        [.., high, low, flags] => Ok((u16::from_be_bytes([*high, *low]), *flags)),
        _ => Err(StoreError::Corrupt("index value")),
    }
}

/// Value of `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdValue {
    pub(super) serial: u64,
    pub(super) created_at: u64,
    pub(super) kind: u16,
    pub(super) flags: u8,
}

impl IdValue {
    pub(super) fn write(&self) -> [u8; 14] {
        let mut value = [0; 14];
        value[..6].copy_from_slice(&serial_key(self.serial));
        value[6..11].copy_from_slice(&time_value(self.created_at));
        value[11..].copy_from_slice(&index_value(self.kind, self.flags));
        value
    }

    pub(super) fn read(value: &[u8]) -> Result<IdValue, StoreError> {
        let value: &[u8; 14] = value.try_into().map_err(|_| StoreError::Corrupt("id value"))?;
        let (kind, flags) = read_index_value(value)?;
        let serial = read_integer(&value[..6]);
        Ok(IdValue { serial, created_at: read_integer(&value[6..11]), kind, flags })
    }
}

/// Value of `newest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewestValue {
    pub(super) serial: u64,
    pub(super) created_at: u64,
    pub(super) id: EventId,
    pub(super) flags: u8,
}

impl NewestValue {
    pub(super) fn write(&self) -> [u8; 44] {
        let mut value = [0; 44];
        value[..6].copy_from_slice(&serial_key(self.serial));
        value[6..11].copy_from_slice(&time_value(self.created_at));
        value[11..43].copy_from_slice(&self.id);
        value[43] = self.flags;
        value
    }

    pub(super) fn read(value: &[u8]) -> Result<NewestValue, StoreError> {
        let value: &[u8; 44] = value.try_into().map_err(|_| StoreError::Corrupt("newest value"))?;
        let mut id = [0; 32];
        id.copy_from_slice(&value[11..43]);
        let (serial, created_at) = (read_integer(&value[..6]), read_integer(&value[6..11]));
        Ok(NewestValue { serial, created_at, id, flags: value[43] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_sort_by_time_then_id_then_serial() {
        let id = |first: u8, last: u8| {
            let mut id = [first; 32];
            id[31] = last;
            id
        };
        let sorted = [
            Order::new(TIME_END - 1, &id(9, 0), 7),
            Order::new(5, &id(1, 0), 9),
            // Equal first 8 bytes: the serial decides.
            Order::new(5, &id(2, 9), 1),
            Order::new(5, &id(2, 0), 2),
            Order::new(0, &id(0, 0), 0),
        ];
        assert!(sorted.is_sorted());
        assert_eq!((sorted[1].created_at(), sorted[1].serial()), (5, 9));
        assert!(Order::first_at(5) < sorted[1] && sorted[3] < Order::last_at(5));
        assert!(sorted[0] < Order::first_at(5) && Order::last_at(5) < sorted[4]);
    }

    #[test]
    fn no_tag_prefix_begins_another_one() {
        let values = [
            TagValue::Hex([0; 32]),
            TagValue::Text("".into()),
            TagValue::Text("a".into()),
            TagValue::Text("aa".into()),
            TagValue::Text("a".repeat(TEXT_BYTES_MAX).into()),
            TagValue::Text("a".repeat(TEXT_BYTES_MAX + 1).into()),
        ];
        let prefixes: Vec<Vec<u8>> = values
            .iter()
            .map(|value| {
                let mut key = Vec::new();
                push_tag_prefix(&mut key, b't', value);
                key
            })
            .collect();
        for (i, one) in prefixes.iter().enumerate() {
            for other in &prefixes[i + 1..] {
                assert!(!one.starts_with(other) && !other.starts_with(one));
            }
        }
    }

    #[test]
    fn values_are_read_as_written() {
        let id =
            IdValue { serial: 7, created_at: 1_700_000_000, kind: 30_023, flags: FLAG_EXPIRES };
        assert_eq!(IdValue::read(&id.write()).unwrap(), id);
        let newest = NewestValue { serial: 7, created_at: 9, id: [3; 32], flags: 1 };
        assert_eq!(NewestValue::read(&newest.write()).unwrap(), newest);
        assert!(IdValue::read(&[0; 13]).is_err());
    }
}
