//! Reads numbers off the front of a target's input; the end of it ends the run.

/// What is left of the input.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    /// The next byte; `None` at the end.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next two bytes.
    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.u8()?, self.u8()?]))
    }

    /// One of `0..n` from the next byte; `n` is at most 256.
    pub(crate) fn below(&mut self, n: usize) -> Option<usize> {
        Some(usize::from(self.u8()?) % n)
    }
}
