//! The queues of the loop that a connection is in.
//!
//! State only: [`Core`](crate::reactor::core::Core) puts connections on the queues, and its phases
//! take them off.

/// A queue of the loop that a connection enters once at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    Read = 1,
    Flush = 2,
}

/// The queues that a connection is in, one bit each: one byte per connection.
///
/// Invariant: a bit is set exactly while the connection is in that queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InQueues(u8);

impl InQueues {
    #[inline(always)]
    pub(crate) fn has(self, queue: Queue) -> bool {
        self.0 & queue as u8 != 0
    }

    #[inline(always)]
    pub(crate) fn enter(&mut self, queue: Queue) {
        self.0 |= queue as u8;
    }

    #[inline(always)]
    pub(crate) fn leave(&mut self, queue: Queue) {
        self.0 &= !(queue as u8);
    }
}
