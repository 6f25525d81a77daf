//! Compressed messages as a decoder returns them, and their maximum size.

use crate::protocol::frame::Opcode;

/// A compressed message, or the next part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed<'a> {
    pub(in crate::protocol) opcode: Opcode,
    pub(in crate::protocol) payload: &'a [u8],
    pub(in crate::protocol) is_last: bool,
}

impl<'a> Compressed<'a> {
    /// The compressed bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether this is the last part of its message.
    pub fn is_last(&self) -> bool {
        self.is_last
    }
}

/// Maximum size of a message of up to `message_bytes_max` bytes in compressed form. No DEFLATE
/// encoder expands incompressible data by more (zlib's `deflateBound` at its least memory).
pub(in crate::protocol) fn compressed_bytes_max(message_bytes_max: usize) -> usize {
    message_bytes_max
        .saturating_add(message_bytes_max / 8)
        .saturating_add(message_bytes_max / 64)
        .saturating_add(64)
}

/// Maximum number of compressed bytes that are inflated in one step. They expand to at most 2 MiB,
/// in 1 to 2 ms, since DEFLATE makes at most 1032 bytes of one.
pub const PIECE_BYTES_MAX: usize = 2 * 1024;

/// The end of a message's DEFLATE data that is not sent: an empty uncompressed block, without its
/// header (RFC 7692, 7.2.1).
#[cfg(feature = "deflate")]
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
