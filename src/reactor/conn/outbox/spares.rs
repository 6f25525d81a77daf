//! Spare queues, kept for the next outbox that needs one.
//!
//! It owns the spares, bounds them, and counts what the ledger charges for them. Next: `trim.rs`
//! frees spares that were not needed for a while.

use super::pressure::Pressure;
use super::queue::Queue;
use crate::reactor::api::budget::{SPARE_BYTES, SPARE_CHUNK_BYTES, SPARE_CHUNKS, SPARE_OUTBOXES};

/// Spare queues. Bounded by [`SPARE_OUTBOXES`] and [`SPARE_BYTES`], and each of them by
/// [`SPARE_CHUNK_BYTES`] and [`SPARE_CHUNKS`].
#[derive(Debug, Default)]
pub(crate) struct SpareQueues {
    // Boxed as in outboxes: lending a queue moves eight bytes.
    #[allow(clippy::vec_box)]
    pub(super) kept: Vec<Box<Queue>>,
    /// Bytes that the ledger has charged for spares, which no connection owns: all that they
    /// allocate.
    charged: usize,
    /// Bytes to charge to (or, if negative, release from) the ledger, for queues that changed when
    /// they were returned, or were freed.
    uncharged: isize,
}

impl SpareQueues {
    #[inline(always)]
    pub(super) fn lend(&mut self) -> Box<Queue> {
        let Some(queue) = self.kept.pop() else {
            return self.make();
        };
        self.charged -= charge(&queue);
        queue
    }

    #[inline(never)]
    fn make(&mut self) -> Box<Queue> {
        self.uncharged += size_of::<Queue>() as isize;
        Box::default()
    }

    /// Bytes that the ledger has charged for spares.
    #[inline(always)]
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Whether the ledger must be updated.
    #[inline(always)]
    pub(crate) fn is_uncharged(&self) -> bool {
        self.uncharged != 0
    }

    /// The difference for the ledger; resets it.
    pub(crate) fn take_uncharged(&mut self) -> isize {
        std::mem::take(&mut self.uncharged)
    }

    /// Keeps an empty queue. Most queues return as they were lent: charged, and within all bounds.
    #[inline(always)]
    pub(super) fn give_back(&mut self, queue: Box<Queue>) {
        let is_within_bounds = queue.allocated <= SPARE_CHUNK_BYTES
            && queue.chunks.capacity() <= SPARE_CHUNKS
            && self.charged + charge(&queue) <= SPARE_BYTES
            && self.kept.len() < SPARE_OUTBOXES;
        if is_within_bounds && queue.charged == queue.allocated {
            self.keep(queue);
        } else {
            self.give_back_trimmed(queue);
        }
    }

    /// Keeps an empty queue and the part of its memory that is within the bounds.
    #[inline(never)]
    fn give_back_trimmed(&mut self, mut queue: Box<Queue>) {
        if self.kept.len() == SPARE_OUTBOXES {
            self.uncharged -= charge(&queue) as isize;
            return;
        }
        for memory in [&mut queue.tail, &mut queue.spare] {
            if memory.capacity() > SPARE_CHUNK_BYTES {
                *memory = Vec::new();
            }
        }
        queue.chunks.shrink_to(SPARE_CHUNKS);
        queue.remeasure();
        if self.charged + size_of::<Queue>() + queue.allocated > SPARE_BYTES {
            queue.tail = Vec::new();
            queue.spare = Vec::new();
            queue.chunks.shrink_to_fit();
            queue.remeasure();
        }
        self.uncharged += queue.allocated as isize - queue.charged as isize;
        queue.charged = queue.allocated;
        self.keep(queue);
    }

    #[inline(always)]
    fn keep(&mut self, mut queue: Box<Queue>) {
        queue.pressure = Pressure::Normal;
        queue.is_stale = false;
        queue.above_soft_since = None;
        queue.blocked_since = None;
        self.charged += charge(&queue);
        self.kept.push(queue);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Frees spares that were not used since the last call; returns their number. The latest
    /// returned queue is lent first, so that unused ones are those that were never needed at the
    /// same time.
    pub(crate) fn trim(&mut self) -> usize {
        let before = self.kept.len();
        self.kept.retain_mut(|queue| !std::mem::replace(&mut queue.is_stale, true));
        let charged = self.kept.iter().map(|queue| charge(queue)).sum();
        self.uncharged -= (self.charged - charged) as isize;
        self.charged = charged;
        before - self.kept.len()
    }
}

/// Bytes that the ledger has charged for a queue.
fn charge(queue: &Queue) -> usize {
    size_of::<Queue>() + queue.charged
}
