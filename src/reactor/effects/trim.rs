//! Frees spare memory that was not used for a while.
//!
//! Spare queues, buffers and streams are kept, so that a busy loop allocates nothing. Spares that
//! were not used between two checks are freed. A timer triggers the checks, and is set only while
//! spares exist. A high load level frees all at once.

use crate::reactor::api::budget::{TRIM_INTERVAL, VISITS_PER_SAMPLE};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::level::Level;
use crate::reactor::conn::connection::Connection;
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
        self.free_unused();
    }

    fn free_unused(&mut self) {
        let spares = self.outboxes.spares.trim() + self.spares.trim();
        self.outboxes.charge_spares();
        let freed = spares + self.deflate.trim(&self.metrics);
        self.metrics.spares_freed += freed as u64;
    }

    /// Frees all spares, and the windows of connections that have not sent for a while: at once when
    /// the load level has risen, and each second while it is critical. Each sample looks at a limited
    /// number of connections.
    pub(crate) fn trim_by_level(&mut self, has_risen: bool) {
        let level = self.load.work_level();
        let is_again = level == Level::Critical && self.load.trims_again(self.now);
        if level > Level::Normal && (has_risen || is_again) {
            // The first call frees what was not used since the last check, the second one the rest.
            self.free_unused();
            self.free_unused();
            self.load.begin_trim(self.now);
        }
        let Some(first) = self.load.next_to_trim(self.conns.slots(), VISITS_PER_SAMPLE) else {
            return;
        };
        let visited = self.conns.in_slots(first, VISITS_PER_SAMPLE);
        let is_old = |conn: &Connection| {
            let windows = conn.cold.as_deref().and_then(|cold| cold.windows.as_ref());
            windows.is_some_and(|windows| windows.is_unused_since(self.now - TRIM_INTERVAL))
        };
        let old = visited.filter(|(_, conn)| conn.is_open() && is_old(conn)).map(|(id, _)| id);
        for id in old.collect::<Vec<ConnId>>() {
            self.free_window(id);
        }
    }
}
