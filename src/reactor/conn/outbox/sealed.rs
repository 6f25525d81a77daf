//! TLS records that the kernel has not accepted.
//!
//! It owns their bytes and encrypts nothing: [`records`](super::records) encrypts and writes them.

/// Records that the kernel has not accepted yet.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    written: usize,
}

impl Sealed {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn keep(&mut self, records: &[u8]) {
        self.bytes.extend_from_slice(records);
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Removes accepted bytes, and frees the memory with the last of them: a peer that reads needs
    /// none.
    pub(super) fn advance(&mut self, taken: usize) {
        self.written += taken;
        if self.written == self.bytes.len() {
            *self = Sealed::default();
        }
    }
}
