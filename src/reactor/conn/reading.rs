//! What holds for the next read of a connection, in one byte: the slot has no second one left.
//!
//! State only: [`Core`](crate::reactor::core::Core) fills the read queue, and
//! [`rated`](super::rated) decides on fast reads.

use super::rates::FastRead;

/// Whether a connection is in the read queue, and whether its next read may be a fast one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading(u8);

impl Reading {
    /// Invariant: set exactly while it is in the read queue.
    const QUEUED: u8 = 1;
    /// Of [`FastRead`], one bit each, so that the usual checks cost one instruction.
    const FAST_MESSAGES: u8 = 2;
    const FAST_BYTES: u8 = 4;
    const FAST: u8 = Reading::FAST_MESSAGES | Reading::FAST_BYTES;

    #[inline(always)]
    pub(crate) fn is_queued(self) -> bool {
        self.0 & Reading::QUEUED != 0
    }

    #[inline(always)]
    pub(crate) fn enter_queue(&mut self) {
        self.0 |= Reading::QUEUED;
    }

    #[inline(always)]
    pub(crate) fn leave_queue(&mut self) {
        self.0 &= !Reading::QUEUED;
    }

    #[inline(always)]
    pub(crate) fn is_fast(self) -> bool {
        self.0 & Reading::FAST != 0
    }

    /// Whether the next read may be a fast one without a rate of bytes.
    #[inline(always)]
    pub(crate) fn is_fast_without_bytes(self) -> bool {
        self.0 & Reading::FAST_MESSAGES != 0
    }

    pub(crate) fn set_fast(&mut self, fast: FastRead) {
        let bit = match fast {
            FastRead::No => 0,
            FastRead::Messages => Reading::FAST_MESSAGES,
            FastRead::Bytes => Reading::FAST_BYTES,
        };
        self.0 = self.0 & !Reading::FAST | bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_and_fast_reads_are_kept_apart() {
        let mut reading = Reading::default();
        for (fast, expected) in [
            (FastRead::Messages, (true, true)),
            (FastRead::Bytes, (true, false)),
            (FastRead::No, (false, false)),
        ] {
            reading.enter_queue();
            reading.set_fast(fast);
            assert!(reading.is_queued());
            reading.leave_queue();
            assert!(!reading.is_queued());
            assert_eq!((reading.is_fast(), reading.is_fast_without_bytes()), expected);
        }
    }
}
