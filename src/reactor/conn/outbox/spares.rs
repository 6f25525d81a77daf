//! Queues that no outbox needs just now, kept for the next message.

use super::Pressure;
use super::queue::Queue;
use crate::reactor::api::budget::{SPARE_BYTES, SPARE_CHUNK_BYTES, SPARE_CHUNKS, SPARE_OUTBOXES};

/// Queues that nobody needs just now. Bounded by [`SPARE_OUTBOXES`] and [`SPARE_BYTES`], and each of
/// them by [`SPARE_CHUNK_BYTES`] and [`SPARE_CHUNKS`].
#[derive(Debug, Default)]
pub(crate) struct SpareQueues {
    // Boxed as the outboxes hold them: lending one moves eight bytes.
    #[allow(clippy::vec_box)]
    pub(super) kept: Vec<Box<Queue>>,
    /// Memory of their tails and spares.
    pub(super) bytes: usize,
    /// What the ledger has for them, though no connection holds them.
    charged: usize,
    /// What the ledger has to be charged for queues that changed on their way back, or were freed.
    uncharged: isize,
}

impl SpareQueues {
    pub(super) fn lend(&mut self) -> Box<Queue> {
        let Some(queue) = self.kept.pop() else {
            self.uncharged += size_of::<Queue>() as isize;
            return Box::default();
        };
        self.bytes -= queue.kept_bytes();
        self.charged -= charge(&queue);
        queue
    }

    /// What the ledger has for kept queues.
    #[inline(always)]
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Whether the ledger has to be charged for something.
    #[inline(always)]
    pub(crate) fn is_uncharged(&self) -> bool {
        self.uncharged != 0
    }

    /// What the ledger has to be charged: once, for this forgets it.
    pub(crate) fn take_uncharged(&mut self) -> isize {
        std::mem::take(&mut self.uncharged)
    }

    #[inline]
    pub(super) fn give_back(&mut self, mut queue: Box<Queue>) {
        if self.kept.len() == SPARE_OUTBOXES {
            self.uncharged -= charge(&queue) as isize;
            return;
        }
        let mut is_changed = false;
        for memory in [&mut queue.tail, &mut queue.spare] {
            let room = SPARE_CHUNK_BYTES.min(SPARE_BYTES - self.bytes);
            if memory.capacity() > room {
                *memory = Vec::new();
                is_changed = true;
            }
            self.bytes += memory.capacity();
        }
        if queue.chunks.capacity() > SPARE_CHUNKS {
            queue.chunks.shrink_to(SPARE_CHUNKS);
            is_changed = true;
        }
        if is_changed {
            queue.remeasure();
        }
        queue.pressure = Pressure::Easy;
        queue.is_stale = false;
        queue.above_soft_since = None;
        queue.blocked_since = None;
        if queue.charged != queue.allocated {
            self.uncharged += queue.allocated as isize - queue.charged as isize;
            queue.charged = queue.allocated;
        }
        self.charged += charge(&queue);
        self.kept.push(queue);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Frees those that were not needed since the last time; returns how many. The latest kept are lent
    /// first, so that these are as many as were never needed at once.
    pub(crate) fn trim(&mut self) -> usize {
        let before = self.kept.len();
        self.kept.retain_mut(|queue| !std::mem::replace(&mut queue.is_stale, true));
        self.bytes = self.kept.iter().map(|queue| queue.kept_bytes()).sum();
        let charged = self.kept.iter().map(|queue| charge(queue)).sum();
        self.uncharged -= (self.charged - charged) as isize;
        self.charged = charged;
        before - self.kept.len()
    }
}

/// What the ledger has for a queue.
fn charge(queue: &Queue) -> usize {
    size_of::<Queue>() + queue.charged
}
