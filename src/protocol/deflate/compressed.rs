//! Compressed messages as a decoder returns them, and their maximum size.

use crate::protocol::Opcode;

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
