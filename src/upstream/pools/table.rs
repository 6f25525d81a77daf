//! [`UpstreamPools`]: all pools with their upstreams. Choices, tries and uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use slab::Slab;

use super::allowance::Allowance;
use super::choose::{Candidate, Choice, Rules, choose};
use super::counts::{PoolUpstreamCounts, PoolsCounts};
use super::hashing::{hash, parse_sticky};
use super::health::CheckFailure;
use super::id::{PoolId, UpstreamId};
use super::names::Names;
use super::settings::{Choose, PoolSettings};
use super::tries::{Effect, Try, TryEnd, Use};
use super::upstream::{Entry, Upstream};
use crate::reactor::{Time, TlsConnector};

/// The pools of the proxy and their upstreams.
#[derive(Debug)]
pub(crate) struct UpstreamPools {
    pub(super) pools: Slab<Pool>,
    pub(super) upstreams: Slab<Upstream>,
    pub(super) names: Names,
    /// The names that an operator drains, and since when. Each was known when it was added.
    pub(super) drained: BTreeMap<String, Time>,
    pub(super) counts: Rc<PoolsCounts>,
    /// Spreads checks; `None` if the system has no entropy.
    pub(super) random: Option<StdRng>,
    /// The serial of the last pool or upstream.
    pub(super) last_serial: u32,
    /// Scratch memory of a choice; empty between choices.
    candidates: Vec<Candidate>,
}

/// One pool.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) id: PoolId,
    pub(super) settings: PoolSettings,
    pub(super) entries: Vec<Rc<Entry>>,
    /// The listed upstreams in the order of the list.
    pub(super) members: Vec<usize>,
    /// The configuration no longer has it: it exists while its upstreams do.
    pub(super) is_removed: bool,
    /// The member behind the last one that `least` chose.
    turn: usize,
    /// The allowance for ends of tunnels, while some are due.
    pub(super) allowance: Option<Allowance>,
    /// When the allowance admits the next end.
    pub(super) next_end: Time,
}

/// What a client asks of [`UpstreamPools::choose`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Whether the request is an upgrade.
    pub(crate) is_tunnel: bool,
    /// The key that [`PoolSettings::hash_by`] names: the octets of the address, the path, or the
    /// value of the header. `None`: there is no such header.
    pub(crate) key: Option<&'a [u8]>,
    /// The value of the sticky cookie.
    pub(crate) sticky: Option<&'a str>,
    /// The upstreams that were tried for this request.
    pub(crate) tried: &'a [UpstreamId],
}

/// Where and how to connect to an upstream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    /// `host:port`, or `host:port/ADDRESS`.
    pub(crate) name: &'a str,
    /// The value of `Host` for `host = "upstream"`: without the scheme's default port.
    pub(crate) authority: &'a str,
    pub(crate) tls: Option<&'a TlsConnector>,
}

/// A change of an upstream that is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateChange {
    BreakerOpened,
    BreakerClosed,
    /// Active checks found it down, at last so.
    Down(CheckFailure),
    /// Active checks found it up again.
    Up,
}

impl UpstreamPools {
    /// No pools: [`swap`](UpstreamPools::swap) adds them.
    pub(super) fn empty() -> UpstreamPools {
        UpstreamPools {
            pools: Slab::new(),
            upstreams: Slab::new(),
            names: Names::default(),
            drained: BTreeMap::new(),
            counts: Rc::default(),
            random: StdRng::try_from_rng(&mut SysRng).ok(),
            last_serial: 0,
            candidates: Vec::new(),
        }
    }

    /// The pool of this name.
    pub(crate) fn find(&self, name: &str) -> Option<PoolId> {
        let mut pools = self.pools.iter().map(|(_, pool)| pool);
        pools.find(|pool| !pool.is_removed && pool.settings.name == name).map(|pool| pool.id)
    }

    /// The settings of a pool; `None` if it is gone.
    pub(crate) fn settings(&self, pool: PoolId) -> Option<&PoolSettings> {
        self.pool(pool).map(|pool| &pool.settings)
    }

    /// The pool of an upstream.
    pub(crate) fn pool_of(&self, upstream: UpstreamId) -> Option<PoolId> {
        self.upstream(upstream).map(|upstream| upstream.pool)
    }

    /// The counts of all upstreams, for metrics.
    pub(crate) fn counts(&self) -> Rc<PoolsCounts> {
        Rc::clone(&self.counts)
    }

    /// Chooses an upstream for a request. It is not tried yet: [`start`](UpstreamPools::start)
    /// begins the try.
    pub(crate) fn choose(&mut self, pool: PoolId, wish: &Wish<'_>, now: Time) -> Choice {
        let mut candidates = std::mem::take(&mut self.candidates);
        let choice = self.choose_among(&mut candidates, pool, wish, now);
        candidates.clear();
        self.candidates = candidates;
        choice
    }

    fn choose_among(
        &mut self,
        candidates: &mut Vec<Candidate>,
        id: PoolId,
        wish: &Wish<'_>,
        now: Time,
    ) -> Choice {
        let Some(pool) = self.pool(id) else {
            return Choice::NoneUp;
        };
        if pool.members.is_empty() && !pool.is_removed {
            return Choice::NeverResolved;
        }
        let connections_max = pool.settings.upstream_connections_max.unwrap_or(usize::MAX);
        let entry_of = |tried: &UpstreamId| Some(self.upstream(*tried)?.entry.position);
        let is_entry_tried =
            |entry: usize| wish.tried.iter().any(|tried| entry_of(tried) == Some(entry));
        let members = pool.members.iter().filter_map(|member| self.upstreams.get(*member));
        candidates.extend(members.enumerate().map(|(position, upstream)| Candidate {
            id: upstream.id,
            position,
            name_hash: upstream.name_hash,
            weight: upstream.entry.weight,
            is_backup: upstream.entry.is_backup,
            load: upstream.load(),
            has_room: upstream.load() < connections_max,
            is_up: upstream.is_up(now),
            is_up_but_for_breaker: upstream.is_up_but_for_breaker(),
            is_avoided: upstream.is_avoided(now),
            is_tried: wish.tried.contains(&upstream.id),
            is_entry_tried: is_entry_tried(upstream.entry.position),
        }));
        let rules = Rules {
            choose: pool.settings.choose,
            key_hash: wish.key.map(hash),
            sticky: wish.sticky.and_then(parse_sticky),
            is_tunnel: wish.is_tunnel,
            turn: pool.turn,
        };
        match choose(candidates, &rules) {
            Ok(chosen) => {
                if let Some(pool) = self.pools.get_mut(id.index)
                    && pool.settings.choose != Choose::Priority
                {
                    pool.turn = chosen.position + 1;
                }
                Choice::Chosen(chosen.id)
            }
            Err(choice) => choice,
        }
    }

    /// Whether an upstream of the pool is up: a client that reconnects finds one.
    pub(crate) fn is_any_up(&self, pool: PoolId, now: Time) -> bool {
        self.pool(pool).is_some_and(|pool| {
            let mut members = pool.members.iter().filter_map(|member| self.upstreams.get(*member));
            members.any(|upstream| upstream.is_up(now))
        })
    }

    /// The value of the sticky cookie for an upstream: 16 hexadecimal digits.
    pub(crate) fn sticky_value(&self, upstream: UpstreamId) -> Option<&str> {
        self.upstream(upstream).map(|upstream| &*upstream.sticky)
    }

    /// Where and how to connect to an upstream.
    pub(crate) fn target(&self, upstream: UpstreamId) -> Option<Target<'_>> {
        self.upstream(upstream).map(|upstream| Target {
            address: upstream.address,
            name: &upstream.name,
            authority: &upstream.entry.authority,
            tls: upstream.entry.tls.as_ref(),
        })
    }

    /// Whether the pool still has this upstream. If not, an idle connection to it must be closed.
    pub(crate) fn is_listed(&self, upstream: UpstreamId) -> bool {
        self.upstream(upstream).is_some_and(Upstream::is_listed)
    }

    /// Starts a try at an upstream that [`choose`](UpstreamPools::choose) has returned. If its
    /// breaker waits for a trial, this is the trial. The caller holds [`Use::Exchange`] from here
    /// on; an `idle` connection that it uses is idle no longer.
    pub(crate) fn start(&mut self, id: UpstreamId, is_idle_used: bool, now: Time) -> Try {
        let mut is_forced = false;
        if let Some(upstream) = self.upstream_mut(id) {
            let level = upstream.breaker_level();
            is_forced = !upstream.breaker.admit(now);
            upstream.hold(Use::Exchange);
            if is_idle_used {
                upstream.release(Use::Idle);
            }
            if upstream.breaker_level() != level {
                self.show(id, now);
            }
        }
        Try { upstream: id, since: now, is_forced }
    }

    /// Takes the end of a try; once for each. The use of its connection goes on until
    /// [`release`](UpstreamPools::release).
    pub(crate) fn record(&mut self, attempt: Try, end: TryEnd, now: Time) -> Option<StateChange> {
        let Try { upstream: id, since, is_forced } = attempt;
        let upstream = self.upstream_mut(id)?;
        let effect = end.effect();
        let level = upstream.breaker_level();
        upstream.count_try(end, matches!(effect, Effect::Failure | Effect::Unreachable));
        match effect {
            // All upstreams were down by their breakers, and this one works.
            Effect::Success if is_forced => upstream.breaker.close(),
            _ if is_forced => {}
            Effect::Success => upstream.breaker.record(true, since, now),
            Effect::Failure => upstream.breaker.record(false, since, now),
            Effect::Unreachable => upstream.breaker.record_unreachable(since, now),
            Effect::None => upstream.breaker.cancel(since, now),
        }
        let level_now = upstream.breaker_level();
        if level_now == level {
            return None;
        }
        self.show(id, now);
        match (level, level_now) {
            (0, _) => Some(StateChange::BreakerOpened),
            (_, 0) => Some(StateChange::BreakerClosed),
            // Half-open, or open again: known to operators since it opened.
            _ => None,
        }
    }

    /// Counts one use less. An upstream that is not listed is forgotten with its last use.
    pub(crate) fn release(&mut self, id: UpstreamId, usage: Use) {
        if let Some(upstream) = self.upstream_mut(id) {
            upstream.release(usage);
            self.forget_unused(id);
        }
    }

    /// A connection changes its use, such as from an exchange to a tunnel.
    pub(crate) fn change(&mut self, id: UpstreamId, from: Use, to: Use) {
        if let Some(upstream) = self.upstream_mut(id) {
            upstream.hold(to);
            upstream.release(from);
        }
    }

    /// The upstream has closed a tunnel with 1012 or 1013: for a moment others get new ones.
    pub(crate) fn avoid(&mut self, upstream: UpstreamId, now: Time) {
        if let Some(upstream) = self.upstream_mut(upstream) {
            upstream.avoid(now);
            upstream.note(now);
        }
    }

    /// Counts the duration of connecting, TLS included.
    pub(crate) fn count_connect(&self, upstream: UpstreamId, took: Duration) {
        if let Some(counts) = self.counts_of(upstream) {
            counts.connect.count(took);
        }
    }

    /// Counts the time from the end of a request to its response head.
    pub(crate) fn count_answer(&self, upstream: UpstreamId, took: Duration) {
        if let Some(counts) = self.counts_of(upstream) {
            counts.answer.count(took);
        }
    }

    /// Counts bytes sent to an upstream, and received from it.
    pub(crate) fn count_bytes(&self, upstream: UpstreamId, sent: u64, received: u64) {
        if let Some(counts) = self.counts_of(upstream) {
            counts.sent_bytes.set(counts.sent_bytes.get() + sent);
            counts.received_bytes.set(counts.received_bytes.get() + received);
        }
    }

    fn counts_of(&self, upstream: UpstreamId) -> Option<&PoolUpstreamCounts> {
        self.upstream(upstream).map(|upstream| &*upstream.entry.counts)
    }

    /// Updates what operators see of an upstream.
    pub(super) fn show(&mut self, id: UpstreamId, now: Time) {
        let Some(upstream) = self.upstream_mut(id) else {
            return;
        };
        upstream.note(now);
        let (pool, entry) = (upstream.pool, Rc::clone(&upstream.entry));
        if let Some(pool) = self.pool(pool) {
            self.show_entry(pool, &entry);
        }
    }

    /// Updates the gauges of an entry, from all its addresses.
    pub(super) fn show_entry(&self, pool: &Pool, entry: &Rc<Entry>) {
        let members = pool.members.iter().filter_map(|member| self.upstreams.get(*member));
        let (mut up, mut breaker) = (0, 0);
        for upstream in members.filter(|upstream| Rc::ptr_eq(&upstream.entry, entry)) {
            let level = upstream.breaker_level();
            up += u64::from(upstream.is_up_but_for_breaker() && level == 0);
            breaker = level.max(breaker);
        }
        entry.counts.up_now.set(up);
        entry.counts.breaker_now.set(breaker);
    }

    /// Forgets an upstream that is neither listed nor used, and its pool with the last one.
    pub(super) fn forget_unused(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstream(id).filter(|upstream| upstream.is_unused()) else {
            return;
        };
        let pool = upstream.pool;
        self.upstreams.remove(id.index);
        let is_last = !self.upstreams.iter().any(|(_, upstream)| upstream.pool == pool);
        if is_last && self.pool(pool).is_some_and(|pool| pool.is_removed) {
            self.pools.remove(pool.index);
        }
        self.counts.forget_unused();
    }

    pub(super) fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.index).filter(|pool| pool.id == id)
    }

    pub(super) fn upstream(&self, id: UpstreamId) -> Option<&Upstream> {
        self.upstreams.get(id.index).filter(|upstream| upstream.id == id)
    }

    pub(super) fn upstream_mut(&mut self, id: UpstreamId) -> Option<&mut Upstream> {
        self.upstreams.get_mut(id.index).filter(|upstream| upstream.id == id)
    }

    pub(super) fn next_serial(&mut self) -> u32 {
        self.last_serial = self.last_serial.wrapping_add(1);
        self.last_serial
    }
}

impl Pool {
    pub(super) fn new(id: PoolId, settings: PoolSettings) -> Pool {
        Pool {
            id,
            settings,
            entries: Vec::new(),
            members: Vec::new(),
            is_removed: false,
            turn: 0,
            allowance: None,
            next_end: Time::ZERO,
        }
    }
}
