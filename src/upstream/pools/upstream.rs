//! The state of one upstream: of one address.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::counts::PoolUpstreamCounts;
use super::hashing::{hash, sticky_value};
use super::health::{CheckFailure, Health, Verdict};
use super::id::{PoolId, UpstreamId};
use super::tries::{TryEnd, Use};
use crate::reactor::{Time, TlsConnector};
use crate::upstream::breaker::{Breaker, State};

/// How long an upstream that closed a tunnel with 1012 or 1013 gets no new ones.
const AVOID: Duration = Duration::from_secs(2);

/// An entry in the list of a pool: what its addresses have in common.
#[derive(Debug)]
pub(super) struct Entry {
    /// The position in the list.
    pub(super) position: usize,
    pub(super) host_port: String,
    pub(super) authority: String,
    pub(super) tls: Option<TlsConnector>,
    pub(super) weight: u8,
    pub(super) is_backup: bool,
    pub(super) counts: Rc<PoolUpstreamCounts>,
}

/// Whether a pool has an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    Listed,
    /// DNS no longer has the address.
    Unlisted,
    /// The file no longer has it.
    Removed {
        since: Time,
    },
}

/// The state of an upstream for operators, by the first reason that keeps requests away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamState {
    /// It gets requests.
    Up,
    /// It has closed a tunnel with 1012 or 1013 a moment ago.
    Avoided,
    /// Too many tries have failed.
    BreakerOpen,
    /// Active checks have failed, at last so.
    Down(CheckFailure),
    /// An operator drains it.
    Drained,
    /// DNS no longer has the address.
    Unlisted,
    /// The configuration no longer has it.
    Removed,
}

/// One upstream of a pool.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) id: UpstreamId,
    pub(super) pool: PoolId,
    /// `host:port`, or `host:port/ADDRESS` for an address of a DNS name.
    pub(super) name: Box<str>,
    pub(super) name_hash: u64,
    /// The value of the sticky cookie.
    pub(super) sticky: Box<str>,
    pub(super) address: SocketAddr,
    pub(super) entry: Rc<Entry>,
    pub(super) listing: Listing,
    /// Since when an operator drains it.
    pub(super) drained: Option<Time>,
    pub(super) breaker: Breaker,
    pub(super) health: Health,
    avoid_until: Time,
    pub(super) tunnels: usize,
    pub(super) exchanges: usize,
    /// Connections whose tunnel has ended.
    closing: usize,
    pub(super) idle: usize,
    /// Tunnels that the service was asked to end and that have not ended.
    pub(super) ending: usize,
    pub(super) tries: u64,
    pub(super) failures: u64,
    /// The last state that was noted, and since when it holds.
    pub(super) noted: (UpstreamState, Time),
}

impl Upstream {
    pub(super) fn new(
        id: UpstreamId,
        pool: PoolId,
        name: &str,
        address: SocketAddr,
        entry: Rc<Entry>,
        now: Time,
    ) -> Upstream {
        let name_hash = hash(name.as_bytes());
        Upstream {
            id,
            pool,
            name: name.into(),
            name_hash,
            sticky: sticky_value(name_hash).into(),
            address,
            entry,
            listing: Listing::Listed,
            drained: None,
            breaker: Breaker::default(),
            health: Health::new(now),
            avoid_until: Time::ZERO,
            tunnels: 0,
            exchanges: 0,
            closing: 0,
            idle: 0,
            ending: 0,
            tries: 0,
            failures: 0,
            noted: (UpstreamState::Up, now),
        }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listing == Listing::Listed
    }

    /// Whether it gets requests.
    pub(super) fn is_up(&self, now: Time) -> bool {
        self.is_up_but_for_breaker() && self.breaker.is_admitting(now)
    }

    /// Whether it would get requests if its breaker were closed.
    pub(super) fn is_up_but_for_breaker(&self) -> bool {
        self.is_listed() && self.drained.is_none() && !self.health.is_down()
    }

    pub(super) fn is_avoided(&self, now: Time) -> bool {
        now < self.avoid_until
    }

    pub(super) fn avoid(&mut self, now: Time) {
        self.avoid_until = now + AVOID;
    }

    /// Connections that are not idle.
    pub(super) fn load(&self) -> usize {
        self.tunnels + self.closing + self.exchanges
    }

    /// Whether nothing refers to it: it can be forgotten.
    pub(super) fn is_unused(&self) -> bool {
        !self.is_listed() && self.load() + self.idle == 0 && !self.health.is_under_way
    }

    pub(super) fn hold(&mut self, usage: Use) {
        *self.count(usage) += 1;
        let shown = self.entry.counts.of_use(usage);
        shown.set(shown.get() + 1);
    }

    pub(super) fn release(&mut self, usage: Use) {
        let count = self.count(usage);
        debug_assert!(*count > 0, "{usage:?} was not held");
        if *count == 0 {
            return;
        }
        *count -= 1;
        let shown = self.entry.counts.of_use(usage);
        shown.set(shown.get().saturating_sub(1));
        if usage == Use::Tunnel {
            self.ending = self.ending.saturating_sub(1);
        }
    }

    fn count(&mut self, usage: Use) -> &mut usize {
        match usage {
            Use::Exchange => &mut self.exchanges,
            Use::Tunnel => &mut self.tunnels,
            Use::Closing => &mut self.closing,
            Use::Idle => &mut self.idle,
        }
    }

    pub(super) fn count_try(&mut self, end: TryEnd, is_failure: bool) {
        self.tries += 1;
        self.failures += u64::from(is_failure);
        self.entry.counts.tried(end);
    }

    /// Changes the entry, as a reload does. What is counted as current moves with the upstream.
    pub(super) fn set_entry(&mut self, entry: Rc<Entry>) {
        for (usage, held) in [
            (Use::Exchange, self.exchanges),
            (Use::Tunnel, self.tunnels),
            (Use::Closing, self.closing),
            (Use::Idle, self.idle),
        ] {
            let (old, new) = (self.entry.counts.of_use(usage), entry.counts.of_use(usage));
            old.set(old.get().saturating_sub(held as u64));
            new.set(new.get() + held as u64);
        }
        self.entry = entry;
    }

    pub(super) fn state(&self, now: Time) -> UpstreamState {
        match (self.listing, self.health.verdict()) {
            (Listing::Removed { .. }, _) => UpstreamState::Removed,
            (Listing::Unlisted, _) => UpstreamState::Unlisted,
            _ if self.drained.is_some() => UpstreamState::Drained,
            (_, Verdict::Down(failure)) => UpstreamState::Down(failure),
            _ if !self.breaker.is_admitting(now) => UpstreamState::BreakerOpen,
            _ if self.is_avoided(now) => UpstreamState::Avoided,
            _ => UpstreamState::Up,
        }
    }

    /// Notes the state, if it has changed.
    pub(super) fn note(&mut self, now: Time) {
        let state = self.state(now);
        if self.noted.0 != state {
            self.noted = (state, now);
        }
    }

    /// The breaker as a number for the metrics.
    pub(super) fn breaker_level(&self) -> u64 {
        match self.breaker.state() {
            State::Closed => 0,
            State::HalfOpen { .. } => 1,
            State::Open { .. } => 2,
        }
    }
}
