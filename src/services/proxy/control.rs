//! What an operator changes and sees while the proxy runs: its pools, and the upstreams that are
//! drained.
//!
//! A service that wraps a [`Proxy`] calls these functions from a handler of its own.

use super::service::Proxy;
use crate::reactor::{Context, Time};
use crate::upstream::resolve::HostPort;
use crate::upstream::{LoadedPool, UpstreamStatus};

impl Proxy {
    /// The names of these pools whose addresses are not known yet. With
    /// [`LoadedPool::set_addresses`] their upstreams are used as soon as the pools are.
    pub fn unresolved_names(&self, pools: &[LoadedPool]) -> Vec<HostPort> {
        self.pools.unresolved_names(pools)
    }

    /// Replaces all pools. An upstream of the same name in the same pool keeps its state; tunnels to
    /// others stay open until `drain_after` has passed.
    pub fn set_pools(&mut self, cx: &mut Context<'_>, pools: Vec<LoadedPool>) {
        self.pools.swap(pools, cx.now());
        self.keep_up(cx);
    }

    /// Drains all upstreams with this name, or with this `host:port`: they get nothing new. Or ends
    /// that. Returns how many there are.
    pub fn set_drained(&mut self, cx: &mut Context<'_>, name: &str, is_drained: bool) -> usize {
        let count = self.pools.set_drained(name, is_drained, cx.now());
        self.keep_up(cx);
        count
    }

    /// All upstreams by pool, in the order of the lists.
    pub fn upstreams(&self, now: Time) -> Vec<UpstreamStatus<'_>> {
        self.pools.statuses(now)
    }

    /// The pools that cannot be used because no name was resolved yet.
    pub fn unresolved_pools(&self) -> impl Iterator<Item = &str> {
        self.pools.unresolved_pools()
    }
}
