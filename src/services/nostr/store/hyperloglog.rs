//! HyperLogLog over the authors of the counted events (NIP-45).

use sha2::{Digest as _, Sha256};

use crate::services::nostr::event::PublicKey;
use crate::services::nostr::filter::{Filter, TagValue};
use crate::services::nostr::tags::{Address, hex_32};

/// Registers of NIP-45.
pub const REGISTERS: usize = 256;
/// The filters of NIP-45: letter, and kinds.
const CANONICAL: [(u8, &[u16]); 6] =
    [(b'e', &[7]), (b'e', &[6]), (b'q', &[1, 1111]), (b'e', &[1]), (b'E', &[1111]), (b'p', &[3])];

/// 256 registers. Relays' registers are merged by the maximum of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HyperLogLog {
    registers: Box<[u8; REGISTERS]>,
    offset: usize,
}

impl HyperLogLog {
    /// For one of the six filters of NIP-45; `None` for other filters.
    pub(super) fn of(filter: &Filter) -> Option<HyperLogLog> {
        let has_others = filter.ids().is_some()
            || filter.authors().is_some()
            || filter.since().is_some()
            || filter.until().is_some()
            || filter.search().is_some();
        let [(letter, values)] = filter.tags() else {
            return None;
        };
        let [value] = &values[..] else {
            return None;
        };
        let kinds = filter.kinds()?;
        let is_canonical = CANONICAL.contains(&(*letter, kinds));
        (is_canonical && !has_others)
            .then(|| HyperLogLog { registers: Box::new([0; REGISTERS]), offset: offset(value) })
    }

    /// Adds an author: the byte at the offset selects the register, the leading zeros behind it its value.
    pub(super) fn add(&mut self, pubkey: &PublicKey) {
        let register = &mut self.registers[usize::from(pubkey[self.offset])];
        let mut zeros = 0;
        for byte in &pubkey[self.offset + 1..self.offset + 8] {
            zeros += byte.leading_zeros() as u8;
            if *byte != 0 {
                break;
            }
        }
        *register = (*register).max(zeros + 1);
    }

    pub(super) fn into_registers(self) -> Box<[u8; REGISTERS]> {
        self.registers
    }
}

/// The hex digit at position 32 of the value, plus 8. An address counts by its pubkey, other text by its hash.
fn offset(value: &TagValue) -> usize {
    let bytes = match value {
        TagValue::Hex(bytes) => *bytes,
        TagValue::Text(text) => match Address::parse(text) {
            Some(address) => address.pubkey,
            None => hex_32(text).unwrap_or_else(|| Sha256::digest(text.as_bytes()).into()),
        },
    };
    usize::from(bytes[16] >> 4) + 8
}
