//! What is due by time: lookups of names, active checks, and ends of tunnels.

use std::time::Duration;

use rand::RngExt as _;

use super::allowance::Allowance;
use super::health::CheckFailure;
use super::id::UpstreamId;
use super::settings::DownPolicy;
use super::table::{Pool, StateChange, UpstreamPools};
use super::upstream::{Listing, Upstream};
use crate::reactor::Time;
use crate::upstream::resolve::HostPort;

/// Active checks under way at a time, of all pools.
const CHECKS_MAX: usize = 64;
/// The shortest wait for the allowance of ends: the resolution of timers is no better.
const END_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Tunnels of one upstream that have to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) upstream: UpstreamId,
    /// How many of its tunnels: some that are not ending yet.
    pub(crate) tunnels: usize,
    pub(crate) why: EndsWhy,
}

/// Why tunnels have to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndsWhy {
    /// Active checks found the upstream down.
    Down,
    /// The upstream was removed or drained `drain_after` ago.
    Removed,
}

impl UpstreamPools {
    /// When something is due next. It changes with each call that changes an upstream.
    pub(crate) fn due(&self) -> Time {
        let checks = self.checked_upstreams().map(|upstream| upstream.health.due).min();
        let checks = if self.checks_under_way() < CHECKS_MAX { checks } else { None };
        let ends = self.upstreams.iter().filter_map(|(_, upstream)| self.end_due(upstream));
        let due = ends.min().into_iter().chain(checks).min().unwrap_or(Time::MAX);
        due.min(self.names.due())
    }

    /// The next name to look up now, if there is one. Its lookup is under way until
    /// [`resolved`](UpstreamPools::resolved).
    pub(crate) fn next_lookup(&mut self, now: Time) -> Option<HostPort> {
        self.names.next(now)
    }

    /// The next upstream to check now, if there is one. Its check is under way until
    /// [`checked`](UpstreamPools::checked).
    pub(crate) fn next_check(&mut self, now: Time) -> Option<UpstreamId> {
        if self.checks_under_way() >= CHECKS_MAX {
            return None;
        }
        let mut checked = self.checked_upstreams();
        let id = checked.find(|upstream| upstream.health.due <= now)?.id;
        drop(checked);
        let interval = self.settings(self.pool_of(id)?)?.health_interval;
        let interval = self.spread(interval);
        let upstream = self.upstream_mut(id)?;
        upstream.health.is_under_way = true;
        upstream.health.due = now + interval;
        Some(id)
    }

    /// Takes the result of an active check.
    pub(crate) fn checked(
        &mut self,
        id: UpstreamId,
        result: Result<(), CheckFailure>,
        now: Time,
    ) -> Option<StateChange> {
        let is_checked = |pool: &Pool| !pool.is_removed && pool.settings.health.is_some();
        let is_checked = self.pool(self.pool_of(id)?).is_some_and(is_checked);
        if !is_checked || !self.is_listed(id) {
            self.abandon_check(id);
            return None;
        }
        let upstream = self.upstream_mut(id)?;
        upstream.health.is_under_way = false;
        let counts = &upstream.entry.counts;
        let count = if result.is_ok() { &counts.checks_succeeded } else { &counts.checks_failed };
        count.set(count.get() + 1);
        let has_changed = upstream.health.record(result, now);
        self.show(id, now);
        has_changed.then_some(match result {
            Ok(()) => StateChange::Up,
            Err(failure) => StateChange::Down(failure),
        })
    }

    /// Ends an active check without a result.
    pub(crate) fn abandon_check(&mut self, id: UpstreamId) {
        if let Some(upstream) = self.upstream_mut(id) {
            upstream.health.is_under_way = false;
            self.forget_unused(id);
        }
    }

    /// The next upstream of which tunnels have to end now, within the rate of its pool; `None`: no
    /// more until [`due`](UpstreamPools::due).
    pub(crate) fn next_ends(&mut self, now: Time) -> Option<Ends> {
        let upstreams = self.upstreams.iter();
        let ids: Vec<UpstreamId> = upstreams
            .filter(|(_, upstream)| self.end_due(upstream).is_some_and(|due| due <= now))
            .map(|(_, upstream)| upstream.id)
            .collect();
        let mut upstreams = ids.into_iter();
        let ends = upstreams.find_map(|upstream| self.take_ends(upstream, now));
        self.rest_allowances();
        ends
    }

    /// As many ends as the allowance of the pool has.
    fn take_ends(&mut self, id: UpstreamId, now: Time) -> Option<Ends> {
        let upstream = self.upstream(id)?;
        let pending = upstream.tunnels - upstream.ending;
        let pool = upstream.pool;
        let (_, why) = self.ends_since(upstream)?;
        let pool = self.pools.get_mut(pool.index)?;
        let rate = pool.settings.drain_rate;
        let allowance = pool.allowance.get_or_insert_with(|| Allowance::empty(now));
        let tunnels = allowance.take(&rate, pending, now);
        if tunnels < pending {
            let pause = Duration::from_secs_f64(1.0 / rate.per_second).max(END_PAUSE_MIN);
            pool.next_end = now + pause;
        }
        self.upstream_mut(id)?.ending += tunnels;
        (tunnels > 0).then_some(Ends { upstream: id, tunnels, why })
    }

    /// Forgets the allowance of pools without a tunnel that has to end: it does not grow meanwhile.
    fn rest_allowances(&mut self) {
        let upstreams = self.upstreams.iter().map(|(_, upstream)| upstream);
        let waiting = upstreams.filter(|upstream| self.end_due(upstream).is_some());
        let busy: Vec<usize> = waiting.map(|upstream| upstream.pool.index).collect();
        for (index, pool) in &mut self.pools {
            if !busy.contains(&index) {
                pool.allowance = None;
            }
        }
    }

    /// When the next tunnel of an upstream has to end; `None` if none has.
    fn end_due(&self, upstream: &Upstream) -> Option<Time> {
        if upstream.tunnels <= upstream.ending {
            return None;
        }
        let (since, _) = self.ends_since(upstream)?;
        let pool = self.pool(upstream.pool)?;
        let is_waiting = pool.allowance.is_some();
        Some(if is_waiting { since.max(pool.next_end) } else { since })
    }

    /// From when on the tunnels of an upstream have to end, and why.
    fn ends_since(&self, upstream: &Upstream) -> Option<(Time, EndsWhy)> {
        let settings = self.settings(upstream.pool)?;
        let removed = match upstream.listing {
            Listing::Removed { since } => Some(since),
            Listing::Listed | Listing::Unlisted => upstream.drained,
        };
        let removed = removed.zip(settings.drain_after);
        let removed = removed.map(|(since, after)| (since + after, EndsWhy::Removed));
        let is_down = settings.down == DownPolicy::Close && upstream.health.is_down();
        let down = is_down.then_some((Time::ZERO, EndsWhy::Down));
        down.or(removed)
    }

    /// The upstreams with active checks, without those that are being checked.
    fn checked_upstreams(&self) -> impl Iterator<Item = &Upstream> {
        let pools = self.pools.iter().filter(|(_, pool)| pool.settings.health.is_some());
        let members = pools.flat_map(|(_, pool)| &pool.members);
        let upstreams = members.filter_map(|member| self.upstreams.get(*member));
        upstreams.filter(|upstream| !upstream.health.is_under_way)
    }

    fn checks_under_way(&self) -> usize {
        let upstreams = self.upstreams.iter();
        upstreams.filter(|(_, upstream)| upstream.health.is_under_way).count()
    }

    /// An interval with 10 % more or less, at random: checks of many upstreams spread.
    fn spread(&mut self, interval: Duration) -> Duration {
        let tenth = interval / 10;
        match &mut self.random {
            Some(random) if !tenth.is_zero() => {
                random.random_range(interval - tenth..=interval + tenth)
            }
            _ => interval,
        }
    }
}
