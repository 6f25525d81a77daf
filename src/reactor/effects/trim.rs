//! Frees spare memory that was not used for a while.
//!
//! Spare queues, buffers and streams are kept, so that a busy loop allocates nothing. Spares that
//! were not used between two checks are freed. A timer triggers the checks, and is set only while
//! spares exist.

use crate::reactor::api::budget::TRIM_INTERVAL;
use crate::reactor::core::Core;
use crate::reactor::parts::schedule::Timer;

impl Core {
    /// Sets the timer if spares exist. Called once per turn, since any phase may have kept one.
    #[inline]
    pub(crate) fn schedule_trim(&mut self) {
        if !self.is_trim_due && self.keeps_spares() {
            self.is_trim_due = true;
            self.schedule.insert(self.now + TRIM_INTERVAL, Timer::Trim);
        }
    }

    fn keeps_spares(&self) -> bool {
        !self.outboxes.spares.is_empty() || !self.spares.is_empty() || self.deflate.has_streams()
    }

    /// Frees spares that were not used since the last check.
    pub(crate) fn trim(&mut self) {
        self.is_trim_due = false;
        let spares = self.outboxes.spares.trim() + self.spares.trim();
        self.outboxes.charge_spares();
        let freed = spares + self.deflate.trim(&self.metrics);
        self.metrics.spares_freed += freed as u64;
    }
}
