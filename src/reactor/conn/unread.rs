//! Bytes that were read but not handled, because the budget was spent or reading was paused.
//!
//! It owns the copied bytes. [`inbound`](crate::reactor::effects::inbound) fills and consumes it.

use crate::protocol::secret::Secret;

/// Bytes that were read but not handled yet. While it has any, nothing more is read.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    bytes: Secret<Vec<u8>>,
    at: usize,
}

impl Unread {
    pub(crate) fn new(bytes: Vec<u8>, at: usize) -> Unread {
        Unread { bytes: Secret(bytes), at }
    }

    pub(crate) fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..]
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.at += len;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}
