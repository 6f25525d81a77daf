//! Work of a phase: charged as handlers are called, and the bound for reading and flushing queues.
//!
//! The weights and budgets are in [`parts::work`](crate::reactor::parts::work).

use crate::reactor::Reactor;
use crate::reactor::api::budget::{FLUSH_BYTES, MESSAGE_WORK, WEIGHED_AT_ONCE};
use crate::reactor::api::context::Context;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::service::Service;
use crate::reactor::core::Core;
use crate::reactor::parts::work::Weighed;

impl Core {
    /// The loop's counts now.
    pub(crate) fn weighed(&self) -> Weighed {
        Weighed::of(&self.metrics, &self.work)
    }

    /// Charges the work since `earlier`.
    pub(crate) fn weigh(&mut self, earlier: Weighed) {
        self.work.spend(self.weighed().units_since(earlier));
    }

    fn receives_large(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.receives_large())
    }
}

impl Reactor {
    /// Calls a handler that is not caused by a peer's message, and charges its work.
    pub(crate) fn call_weighed<T>(
        &mut self,
        service: ServiceId,
        handler: impl FnOnce(&mut dyn Service, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let before = self.core.weighed();
        let result = self.call(service, handler);
        self.core.work.spend(MESSAGE_WORK);
        self.core.weigh(before);
        result
    }

    /// Reads from the first `queued` connections of the read queue, within the budget; returns the
    /// number of connections left. With few connections their shares bound the work, so it is not
    /// weighed.
    #[inline]
    pub(crate) fn read_queued(&mut self, queued: usize) -> usize {
        let is_weighed = queued > WEIGHED_AT_ONCE;
        let mut left = queued;
        while left > 0 && !self.core.work.is_phase_spent() {
            let before = is_weighed.then(|| self.core.weighed());
            left -= self.read_some(left.min(WEIGHED_AT_ONCE));
            if let Some(before) = before {
                self.core.weigh(before);
            }
        }
        left
    }

    /// Reads from the next connections of the read queue, or postpones them to the next turn;
    /// returns their number.
    #[inline(always)]
    fn read_some(&mut self, most: usize) -> usize {
        let mut read = 0;
        while read < most && !self.core.work.is_phase_spent() {
            let Some(id) = self.core.queues.read.pop_front() else {
                break;
            };
            read += 1;
            if self.core.work.had_large() && self.core.receives_large(id) {
                self.core.queues.postponed.push(id);
                continue;
            }
            if self.core.load.limits_reads && !self.limit_read(id, read == 1) {
                return read - 1;
            }
            self.core.work.serve(self.share.units);
            self.read(id);
        }
        read
    }

    /// Flushes the first `most` connections of the flush queue, within the budget of bytes.
    #[inline]
    pub(crate) fn flush_queued(&mut self, most: usize) {
        let bytes = self.core.metrics.bytes_written + FLUSH_BYTES as u64;
        let mut left = most;
        while left > 0 && self.core.metrics.bytes_written < bytes {
            let some = left.min(WEIGHED_AT_ONCE);
            for _ in 0..some {
                if let Some(id) = self.core.queues.flush.pop_front() {
                    self.core.flush(id);
                }
            }
            left -= some;
        }
        self.core.metrics.phases_cut += u64::from(left > 0);
    }
}
