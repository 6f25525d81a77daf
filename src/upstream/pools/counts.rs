//! What the metrics show of each upstream: by pool and `host:port`, so that addresses that come and
//! go by DNS do not add labels.

use std::cell::RefCell;
use std::rc::Rc;

use super::tries::{TryEnd, Use};
use crate::reactor::Durations;
use crate::upstream::upstream_counts::Count;

/// The counts of one entry in the list of a pool.
#[derive(Debug, Default)]
pub struct PoolUpstreamCounts {
    /// The name of the pool.
    pub pool: String,
    /// `host:port`.
    pub upstream: String,
    /// Addresses that are up, now: by their active checks and their breaker.
    pub up_now: Count,
    /// The breaker, now: 0 closed, 1 half-open, 2 open; of several addresses the highest.
    pub breaker_now: Count,
    /// Connections with a tunnel, now.
    pub tunnels_now: Count,
    /// Connections whose tunnel has ended, until they are closed, now.
    pub closing_now: Count,
    /// Connections with a request, now, tries included.
    pub exchanges_now: Count,
    /// Idle connections, now.
    pub idle_now: Count,
    /// Time from a connection's start to its end of TCP and TLS handshakes.
    pub connect: Durations,
    /// Time from the end of a request to the head of its response.
    pub answer: Durations,
    /// Bytes sent to it.
    pub sent_bytes: Count,
    /// Bytes received from it.
    pub received_bytes: Count,
    /// Active checks that succeeded.
    pub checks_succeeded: Count,
    /// Active checks that failed.
    pub checks_failed: Count,
    /// Lookups of its name that succeeded.
    pub lookups_succeeded: Count,
    /// Lookups of its name that failed.
    pub lookups_failed: Count,
    tries: [Count; TryEnd::ALL.len()],
}

impl PoolUpstreamCounts {
    pub(super) fn new(pool: &str, upstream: &str) -> PoolUpstreamCounts {
        let (pool, upstream) = (pool.to_owned(), upstream.to_owned());
        PoolUpstreamCounts { pool, upstream, ..PoolUpstreamCounts::default() }
    }

    /// The tries by their outcome.
    pub fn tries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TryEnd::ALL.iter().map(|end| (end.name(), self.tries[*end as usize].get()))
    }

    pub(super) fn tried(&self, end: TryEnd) {
        let count = &self.tries[end as usize];
        count.set(count.get() + 1);
    }

    pub(super) fn of_use(&self, usage: Use) -> &Count {
        match usage {
            Use::Exchange => &self.exchanges_now,
            Use::Tunnel => &self.tunnels_now,
            Use::Closing => &self.closing_now,
            Use::Idle => &self.idle_now,
        }
    }
}

/// The counts of all pools. They change with a reload.
#[derive(Debug, Default)]
pub struct PoolsCounts(RefCell<Vec<Rc<PoolUpstreamCounts>>>);

impl PoolsCounts {
    /// The counts of each upstream in each pool.
    pub fn all(&self) -> Vec<Rc<PoolUpstreamCounts>> {
        self.0.borrow().clone()
    }

    /// The counts of this entry, which are new if there are none.
    pub(super) fn of(&self, pool: &str, upstream: &str) -> Rc<PoolUpstreamCounts> {
        let mut all = self.0.borrow_mut();
        let found = all.iter().find(|counts| counts.pool == pool && counts.upstream == upstream);
        if let Some(counts) = found {
            return Rc::clone(counts);
        }
        let counts = Rc::new(PoolUpstreamCounts::new(pool, upstream));
        all.push(Rc::clone(&counts));
        counts
    }

    /// Forgets the counts that no upstream has any more.
    pub(super) fn forget_unused(&self) {
        self.0.borrow_mut().retain(|counts| Rc::strong_count(counts) > 1);
    }
}
