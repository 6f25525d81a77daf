//! The header of a frame that passes: its first byte as received, its extent and its masking key.
//!
//! Unlike [`FrameHeader`](crate::protocol::FrameHeader), it can stand for a frame of an extension
//! that weir does not know: RSV bits and opcode are kept as they are.

use super::settings::Extensions;
use crate::protocol::error::ProtocolError;
use crate::protocol::frame::{
    FIN, FIN_BINARY, FIN_TEXT, LENGTH_16, LENGTH_64, MASK, Opcode, RSV, RSV1, Role, check_second,
    parse_first, parse_length,
};

/// The bit of the opcode that marks control frames (RFC 6455, 5.5).
const CONTROL: u8 = 0x08;
const OPCODE: u8 = 0x0F;

/// The first byte of a header: FIN, RSV bits and opcode.
#[derive(Debug, Clone, Copy)]
pub(super) struct First(pub(super) u8);

impl First {
    pub(super) fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    pub(super) fn is_fin(self) -> bool {
        self.0 & FIN != 0
    }

    pub(super) fn is(self, opcode: Opcode) -> bool {
        self.0 & OPCODE == opcode as u8
    }

    /// Whether a data frame with this byte is the first of its message.
    pub(super) fn begins_message(self) -> bool {
        self.is(Opcode::Text) || self.is(Opcode::Binary)
    }
}

/// The length of the frame at the start of `bytes`, if it is whole, a message of its own, and its
/// payload at most `payload_bytes_max`. Most frames are like this, and a few comparisons recognize
/// them. `None` for any other input, valid or not: [`Header::parse`] decides on it.
#[inline(always)]
pub(super) fn whole_message(
    bytes: &[u8],
    reader: Role,
    extensions: Extensions,
    payload_bytes_max: u64,
) -> Option<usize> {
    let &[first, second] = bytes.first_chunk()?;
    let rsv = match extensions {
        Extensions::Nothing => 0,
        Extensions::Deflate => RSV1,
        Extensions::Unknown => RSV,
    };
    if !matches!(first & !rsv, FIN_TEXT | FIN_BINARY) {
        return None;
    }
    let (mask, key_len) = match reader {
        Role::Server => (MASK, 4),
        Role::Client => (0, 0),
    };
    let (payload_len, least, length_end) = match second ^ mask {
        short @ 0..LENGTH_16 => (short.into(), 0, 2),
        LENGTH_16 => (u16::from_be_bytes(*bytes[2..].first_chunk()?).into(), 126, 4),
        LENGTH_64 => (u64::from_be_bytes(*bytes[2..].first_chunk()?), 65_536, 10),
        // The mask bit is wrong.
        _ => return None,
    };
    let start = length_end + key_len;
    let room = bytes.len().checked_sub(start)? as u64;
    let is_whole = payload_len >= least && payload_len <= room && payload_len <= payload_bytes_max;
    is_whole.then(|| start + payload_len as usize)
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) first: First,
    /// Length of the header itself.
    pub(super) len: usize,
    /// Announced payload length, at most 2^63 - 1.
    pub(super) payload_len: u64,
    pub(super) key: Option<[u8; 4]>,
}

impl Header {
    /// Parses the header at the start of `bytes`; `None` if it is valid but incomplete.
    #[inline(always)]
    pub(super) fn parse(
        bytes: &[u8],
        reader: Role,
        extensions: Extensions,
    ) -> Result<Option<Header>, ProtocolError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        match extensions {
            Extensions::Nothing => drop(parse_first(first, false)?),
            Extensions::Deflate => drop(parse_first(first, true)?),
            Extensions::Unknown => check_extended(First(first))?,
        }
        let first = First(first);
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        check_second(second, first.is_control(), reader)?;
        let Some((payload_len, length_end)) = parse_length(bytes, second & !MASK)? else {
            return Ok(None);
        };
        // `check_second` has rejected a mask bit that does not fit the role.
        if reader == Role::Client {
            return Ok(Some(Header { first, len: length_end, payload_len, key: None }));
        }
        let key = bytes[length_end..].first_chunk::<4>();
        Ok(key.map(|&key| Header { first, len: length_end + 4, payload_len, key: Some(key) }))
    }

    /// The length of the whole frame, if `bytes` bytes contain it. They must contain the header.
    #[inline(always)]
    pub(super) fn frame_len_within(&self, bytes: usize) -> Option<usize> {
        let payload_len = usize::try_from(self.payload_len).ok()?;
        (payload_len <= bytes - self.len).then(|| self.len + payload_len)
    }
}

/// Checks the first byte of a frame that an unknown extension may have changed: it may define RSV
/// bits and opcodes (9), but not fragmented control frames (5.5).
fn check_extended(first: First) -> Result<(), ProtocolError> {
    if first.is_control() && !first.is_fin() {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok(())
}
