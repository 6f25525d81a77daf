//! The work of a phase: it is spent as handlers are called, and bounds the queues that are read and flushed.

use crate::reactor::Reactor;
use crate::reactor::api::budget::{FLUSH_BYTES, MESSAGE_WORK, WEIGHED_AT_ONCE};
use crate::reactor::api::context::Context;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::service::Service;
use crate::reactor::core::Core;
use crate::reactor::parts::work::Weighed;

impl Core {
    /// Where the loop's counts stand.
    pub(crate) fn weighed(&self) -> Weighed {
        Weighed::of(&self.metrics, &self.work)
    }

    /// Spends what was done since `earlier`.
    pub(crate) fn weigh(&mut self, earlier: Weighed) {
        self.work.spend(self.weighed().units_since(earlier));
    }

    fn receives_large(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.receives_large())
    }
}

impl Reactor {
    /// Calls a handler that no message of a peer has caused, and spends what it does.
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

    /// Reads from so many connections of the queue, as far as the budget reaches; returns how many are
    /// left. Few connections are bounded by the share of each, so that nothing needs to be weighed.
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

    /// Reads from the next connections of the queue, or puts them off to the next turn; returns how many
    /// those were.
    #[inline(always)]
    fn read_some(&mut self, most: usize) -> usize {
        let mut read = 0;
        while read < most && !self.core.work.is_phase_spent() {
            let Some(id) = self.core.queues.run.pop_front() else {
                break;
            };
            read += 1;
            if self.core.work.had_large() && self.core.receives_large(id) {
                self.core.queues.put_off.push(id);
                continue;
            }
            self.core.work.serve(self.share.units);
            self.read(id);
        }
        read
    }

    /// Flushes so many connections of the queue, as far as the budget of bytes reaches.
    #[inline]
    pub(crate) fn flush_queued(&mut self, most: usize) {
        let bytes = self.core.metrics.bytes_written + FLUSH_BYTES as u64;
        let mut left = most;
        while left > 0 && self.core.metrics.bytes_written < bytes {
            let some = left.min(WEIGHED_AT_ONCE);
            for _ in 0..some {
                if let Some(id) = self.core.queues.dirty.pop_front() {
                    self.core.flush(id);
                }
            }
            left -= some;
        }
        self.core.metrics.phases_cut += u64::from(left > 0);
    }
}
