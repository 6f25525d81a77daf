//! Memory that the loop keeps for the next message, and gives back when there is none for a while.
//!
//! Queues, buffers and streams that no connection needs just now are kept, so that a busy loop
//! allocates nothing; what was not touched from one look to the next is freed. The looks come from the
//! wheel, and only while there is something to look at.

use crate::reactor::api::budget::TRIM_INTERVAL;
use crate::reactor::core::Core;
use crate::reactor::parts::schedule::Timer;

/// The looks at what is kept.
#[derive(Debug, Default)]
pub(crate) struct Trim {
    is_due: bool,
}

impl Core {
    /// Sees that what is kept now is looked at. Called once a turn: anything may have been kept in it.
    #[inline]
    pub(crate) fn watch_spares(&mut self) {
        if !self.trim.is_due && self.keeps_spares() {
            self.trim.is_due = true;
            self.schedule.insert(self.now + TRIM_INTERVAL, Timer::Trim);
        }
    }

    fn keeps_spares(&self) -> bool {
        !self.outboxes.spares.is_empty() || !self.spares.is_empty() || self.deflate.has_streams()
    }

    /// Frees what nobody has needed since the last look.
    pub(crate) fn trim(&mut self) {
        self.trim.is_due = false;
        let spares = self.outboxes.spares.trim() + self.spares.trim();
        self.outboxes.charge_spares();
        let freed = spares + self.deflate.trim(&self.metrics);
        self.metrics.spares_freed += freed as u64;
    }
}
