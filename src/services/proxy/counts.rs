//! The counts of the proxy by pool, shared with the source of metrics on the same thread.
//!
//! What is counted by upstream is in [`PoolsCounts`](crate::upstream::PoolsCounts).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::failure::Failure;
use crate::reactor::PipeEnd;
use crate::upstream::Count;
use crate::upstream::upstream_counts::add;

/// The usual reasons for the end of a tunnel: they are shown from the start, so that a rate includes
/// the first count.
const ENDS: [&str; 18] = [
    "closed_mid_frame",
    "drained",
    "fragment_timeout",
    "heartbeat_timeout",
    "idle_timeout",
    "overloaded",
    "peer_closed",
    "peer_gone",
    "protocol",
    "shutdown",
    "too_big",
    "upstream_closed",
    "upstream_down",
    "upstream_lost",
    "upstream_protocol",
    "upstream_silent",
    "upstream_stuck",
    "write_timeout",
];

/// The counts of one pool.
#[derive(Debug, Default)]
pub struct ProxyPoolCounts {
    /// The name of the pool.
    pub pool: String,
    /// Tunnels that were joined.
    pub tunnels: Count,
    /// Responses of an upstream that ended before their end.
    pub cut: Count,
    /// Tries after a failed one.
    pub retries: Count,
    /// Tunnels that ended inside a frame of an unknown extension, so without a Close.
    pub closed_mid_frame: Count,
    /// Fragments that long frames were split into.
    pub fragments: Count,
    /// Times that reading from a client paused, because its upstream read too slowly.
    pub client_pauses: Count,
    /// Times that reading from an upstream paused, because its client read too slowly.
    pub upstream_pauses: Count,
    /// Responses forwarded, by the first digit of their status, from 2.
    forwarded: [Count; 4],
    refused: [Count; Failure::ALL.len()],
    /// Tunnels that ended, by reason.
    closed: RefCell<BTreeMap<&'static str, u64>>,
}

impl ProxyPoolCounts {
    /// Requests that got no response of an upstream, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Failure::ALL.iter().map(|failure| (failure.name(), self.refused[*failure as usize].get()))
    }

    /// Tunnels that ended, by reason.
    pub fn closed(&self) -> Vec<(&'static str, u64)> {
        self.closed.borrow().iter().map(|(reason, count)| (*reason, *count)).collect()
    }

    /// Responses forwarded, by class.
    pub fn forwarded(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let classes = ["2xx", "3xx", "4xx", "5xx"];
        classes.into_iter().zip(self.forwarded.iter().map(Count::get))
    }

    /// Counts a final response with this status. A status above 599 counts as 5xx.
    pub(super) fn forward(&self, status: u16) {
        let class = usize::from(status / 100).clamp(2, 5);
        add(&self.forwarded[class - 2], 1);
    }

    pub(super) fn refuse(&self, failure: Failure) {
        add(&self.refused[failure as usize], 1);
    }

    pub(super) fn end(&self, end: &PipeEnd, reason: &'static str) {
        *self.closed.borrow_mut().entry(reason).or_default() += 1;
        if reason == "closed_mid_frame" {
            add(&self.closed_mid_frame, 1);
        }
        let (client, upstream) = (end.from_client, end.from_upstream);
        for (count, by) in [
            (&self.fragments, client.fragments + upstream.fragments),
            (&self.client_pauses, client.pauses),
            (&self.upstream_pauses, upstream.pauses),
        ] {
            count.set(count.get() + by);
        }
    }
}

/// The counts of all pools that a route names.
#[derive(Debug, Default)]
pub struct ProxyCounts(RefCell<Vec<Rc<ProxyPoolCounts>>>);

impl ProxyCounts {
    /// The counts of each pool.
    pub fn pools(&self) -> Vec<Rc<ProxyPoolCounts>> {
        self.0.borrow().clone()
    }

    /// Forgets the counts of pools that no route and no tunnel names any more.
    pub(super) fn forget_unused(&self) {
        self.0.borrow_mut().retain(|counts| Rc::strong_count(counts) > 1);
    }

    /// The counts of the pool of this name.
    pub(super) fn of(&self, pool: &str) -> Rc<ProxyPoolCounts> {
        let mut all = self.0.borrow_mut();
        if let Some(counts) = all.iter().find(|counts| counts.pool == pool) {
            return Rc::clone(counts);
        }
        let closed = RefCell::new(ENDS.map(|reason| (reason, 0)).into());
        let counts =
            ProxyPoolCounts { pool: pool.to_owned(), closed, ..ProxyPoolCounts::default() };
        all.push(Rc::new(counts));
        all.last().map(Rc::clone).unwrap_or_default()
    }
}
