//! Reads numbers from the start of a target's input; the end of the input ends the run.

/// The rest of the input.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
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

    /// The next `n` bytes, or as many as are left.
    pub(crate) fn up_to(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Lengths of the parts that a stream is cut into, used cyclically: one byte each, up to 15.
    /// Most are a few bytes, the longest some KiB; an empty list means no cut.
    pub(crate) fn cuts(&mut self) -> Vec<usize> {
        let count = self.below(16).unwrap_or(0);
        let len = |&byte: &u8| match byte {
            0..=127 => 1 + usize::from(byte % 16),
            128..=191 => usize::from(byte),
            _ => (usize::from(byte) - 191) * 311,
        };
        self.up_to(count).iter().map(len).collect()
    }
}

/// `whole` in parts of these lengths, used cyclically; in one part if there are none.
pub(crate) fn pieces<'a>(whole: &'a [u8], cuts: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = whole;
    let mut lens = cuts.iter().copied().cycle();
    std::iter::from_fn(move || {
        let len = lens.next().unwrap_or(usize::MAX).min(rest.len());
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
