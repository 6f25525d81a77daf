//! The counts of the proxy by pool, shared with the source of metrics on the same thread.
//!
//! What is counted by upstream is in [`PoolsCounts`](crate::upstream::PoolsCounts).

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::{Rc, Weak};

use super::failure::Failure;
use crate::reactor::{Context, PipeEnd, RouteId};
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
    /// The routes that name the pool, or did when they were removed: they may still have tunnels.
    routes: RefCell<HashSet<RouteId>>,
}

impl ProxyPoolCounts {
    /// Bytes held for requests and tunnels of the pool's routes, now.
    pub fn held_bytes(&self, cx: &Context<'_>) -> usize {
        self.routes.borrow().iter().map(|route| cx.relayed_bytes(*route)).sum()
    }

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
pub struct ProxyCounts {
    by_pool: RefCell<BTreeMap<String, Rc<ProxyPoolCounts>>>,
    /// The pool that each route names, or did when it was removed.
    by_route: RefCell<HashMap<RouteId, Weak<ProxyPoolCounts>>>,
}

impl ProxyCounts {
    /// The counts of each pool.
    pub fn pools(&self) -> Vec<Rc<ProxyPoolCounts>> {
        self.by_pool.borrow().values().cloned().collect()
    }

    /// The counts of the pool of this name.
    pub(super) fn get(&self, pool: &str) -> Option<Rc<ProxyPoolCounts>> {
        self.by_pool.borrow().get(pool).cloned()
    }

    /// Forgets the counts of pools that no route and no tunnel names any more.
    pub(super) fn forget_unused(&self) {
        self.by_pool.borrow_mut().retain(|_, counts| Rc::strong_count(counts) > 1);
    }

    /// The counts of the pool that this route names from now on.
    pub(super) fn assign(&self, route: RouteId, pool: &str) -> Rc<ProxyPoolCounts> {
        let mut by_pool = self.by_pool.borrow_mut();
        let new = || {
            let closed = RefCell::new(ENDS.map(|reason| (reason, 0)).into());
            Rc::new(ProxyPoolCounts { pool: pool.to_owned(), closed, ..ProxyPoolCounts::default() })
        };
        let counts = Rc::clone(by_pool.entry(pool.to_owned()).or_insert_with(new));
        let previous = self.by_route.borrow_mut().insert(route, Rc::downgrade(&counts));
        if let Some(previous) = previous.and_then(|previous| previous.upgrade()) {
            previous.routes.borrow_mut().remove(&route);
        }
        counts.routes.borrow_mut().insert(route);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::settings::{RouteSettings, Settings};
    use crate::reactor::{Reactor, ServiceId};

    #[test]
    fn a_route_belongs_to_the_pool_that_it_names_now() {
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = ServiceId::default();
        let mut route = || reactor.add_outbound(service, RouteSettings::default()).unwrap();
        let (a, b) = (route(), route());
        let counts = ProxyCounts::default();
        let (old, same) = (counts.assign(a, "old"), counts.assign(b, "old"));
        assert!(Rc::ptr_eq(&old, &same));
        let new = counts.assign(b, "new");
        let routes = |counts: &ProxyPoolCounts| counts.routes.borrow().clone();
        assert_eq!((routes(&old), routes(&new)), (HashSet::from([a]), HashSet::from([b])));
        drop((old, same));
        counts.forget_unused();
        assert!(counts.get("old").is_none() && counts.get("new").is_some());
        assert_eq!(routes(&counts.assign(a, "old")), HashSet::from([a]));
    }
}
