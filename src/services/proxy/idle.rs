//! Idle connections to upstreams: which one is used next, and which one makes room for others.
//!
//! It knows ids only. Each connection in it is idle in the reactor.

use std::collections::HashMap;

use crate::reactor::{ConnId, Time};
use crate::upstream::pools::UpstreamId;

/// One idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) conn: ConnId,
    /// Requests that it has served.
    pub(super) requests: u16,
    /// Since when it is idle.
    since: Time,
}

/// The idle connections of all upstreams.
#[derive(Debug, Default)]
pub(super) struct IdleConnections {
    /// Invariant: no list is empty; each is in the order in which its connections became idle.
    by_upstream: HashMap<UpstreamId, Vec<Idle>>,
}

impl IdleConnections {
    pub(super) fn count(&self, upstream: UpstreamId) -> usize {
        self.by_upstream.get(&upstream).map_or(0, Vec::len)
    }

    pub(super) fn add(&mut self, upstream: UpstreamId, conn: ConnId, requests: u16, now: Time) {
        self.by_upstream.entry(upstream).or_default().push(Idle { conn, requests, since: now });
    }

    /// Takes the connection that became idle last: it is the most likely one to be open still.
    pub(super) fn take_youngest(&mut self, upstream: UpstreamId) -> Option<Idle> {
        let list = self.by_upstream.get_mut(&upstream)?;
        let idle = list.pop();
        if list.is_empty() {
            self.by_upstream.remove(&upstream);
        }
        idle
    }

    /// Takes the connection that has been idle for the longest time.
    pub(super) fn take_oldest(&mut self) -> Option<(UpstreamId, ConnId)> {
        let lists = self.by_upstream.iter();
        let firsts = lists.filter_map(|(upstream, list)| Some((*upstream, *list.first()?)));
        let (upstream, idle) = firsts.min_by_key(|(_, idle)| idle.since)?;
        self.remove(upstream, idle.conn);
        Some((upstream, idle.conn))
    }

    /// Takes all connections of an upstream.
    pub(super) fn take_all(&mut self, upstream: UpstreamId) -> Vec<Idle> {
        self.by_upstream.remove(&upstream).unwrap_or_default()
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, upstream: UpstreamId, conn: ConnId) {
        let Some(list) = self.by_upstream.get_mut(&upstream) else {
            return;
        };
        list.retain(|idle| idle.conn != conn);
        if list.is_empty() {
            self.by_upstream.remove(&upstream);
        }
    }
}
