//! Memory that the loop keeps for the next message, and gives back when there is none for a while.
//!
//! Queues, buffers and streams that no connection needs just now are kept, so that a busy loop
//! allocates nothing; what was not touched from one look to the next is freed. The looks come from the
//! wheel, and only while there is something to look at.

use super::budget::TRIM_INTERVAL;
use super::core::Core;
use super::schedule::Timer;

/// The looks at what is kept.
#[derive(Debug, Default)]
pub(super) struct Trim {
    is_due: bool,
    /// Messages compressed, or tried to be, until the last look.
    deflated: u64,
    /// Bytes of compressed messages until then.
    inflated: u64,
}

impl Core {
    /// Sees that what is kept now is looked at. Called once a turn: anything may have been kept in it.
    #[inline]
    pub(super) fn watch_spares(&mut self) {
        if !self.trim.is_due && self.keeps_spares() {
            self.trim.is_due = true;
            self.schedule.insert(self.now + TRIM_INTERVAL, Timer::Trim);
        }
    }

    fn keeps_spares(&self) -> bool {
        !self.outboxes.spares.is_empty()
            || !self.spares.is_empty()
            || self.deflater.is_some()
            || self.inflater.is_some()
    }

    /// Frees what nobody has needed since the last look.
    pub(super) fn trim(&mut self) {
        self.trim.is_due = false;
        let mut freed = self.outboxes.spares.trim() + self.spares.trim();
        let deflated = self.metrics.messages_deflated + self.metrics.messages_not_deflated;
        if deflated == self.trim.deflated {
            freed += usize::from(self.deflater.take().is_some());
        }
        self.trim.deflated = deflated;
        let inflated = self.metrics.bytes_inflated_from;
        // While streams are lent, they must be counted.
        if inflated == self.trim.inflated && self.streams_lent() == 0 {
            freed += usize::from(self.inflater.take().is_some());
        }
        self.trim.inflated = inflated;
        self.metrics.spares_freed += freed as u64;
    }
}
