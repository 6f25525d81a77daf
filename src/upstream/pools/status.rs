//! What operators see of each upstream, at one moment.

use std::fmt;

use super::health::CheckFailure;
use super::table::UpstreamPools;
use super::upstream::{Upstream, UpstreamState};
use crate::reactor::Time;

/// An upstream as it is now.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct UpstreamStatus<'a> {
    /// The name of the pool.
    pub pool: &'a str,
    /// `host:port`, or `host:port/ADDRESS` for an address of a DNS name.
    pub name: &'a str,
    /// Whether it gets requests, and if not, why.
    pub state: UpstreamState,
    /// Since when the state holds.
    pub since: Time,
    /// Whether it is used only while all others are down.
    pub is_backup: bool,
    /// Its weight.
    pub weight: u8,
    /// Connections with a tunnel.
    pub tunnels: usize,
    /// Connections with a request, tries included.
    pub exchanges: usize,
    /// Idle connections.
    pub idle: usize,
    /// Tries so far.
    pub tries: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Times that the breaker opened.
    pub opened: u64,
    /// `closed`, `half-open` or `open`.
    pub breaker: &'static str,
    /// When the last active check ended, and how.
    pub last_check: Option<(Time, Result<(), CheckFailure>)>,
}

impl UpstreamPools {
    /// All upstreams by pool, in the order of the lists; those that are no longer listed last.
    pub(crate) fn statuses(&self, now: Time) -> Vec<UpstreamStatus<'_>> {
        let of_pool = |pool: &super::table::Pool| {
            let id = pool.id;
            let listed = pool.members.iter().filter_map(|member| self.upstreams.get(*member));
            let all = self.upstreams.iter().map(|(_, upstream)| upstream);
            let others = all.filter(move |it| it.pool == id && !it.is_listed());
            listed.chain(others).collect::<Vec<_>>()
        };
        let status = |pool, upstream| status(pool, upstream, now);
        let mut statuses = Vec::with_capacity(self.upstreams.len());
        for (_, pool) in &self.pools {
            let upstreams = of_pool(pool).into_iter();
            statuses.extend(upstreams.map(|upstream| status(&pool.settings.name, upstream)));
        }
        statuses
    }

    /// The pools of which no name was ever resolved, by name.
    pub(crate) fn unresolved_pools(&self) -> impl Iterator<Item = &str> {
        let pools = self.pools.iter().map(|(_, pool)| pool);
        let unresolved = pools.filter(|pool| pool.members.is_empty() && !pool.is_removed);
        unresolved.map(|pool| pool.settings.name.as_str())
    }
}

fn status<'a>(pool: &'a str, upstream: &'a Upstream, now: Time) -> UpstreamStatus<'a> {
    let state = upstream.state(now);
    let (noted, since) = upstream.noted;
    UpstreamStatus {
        pool,
        name: &upstream.name,
        state,
        // A state that time alone ended, such as a pause of the breaker, was not noted.
        since: if noted == state { since } else { now },
        is_backup: upstream.entry.is_backup,
        weight: upstream.entry.weight,
        tunnels: upstream.tunnels,
        exchanges: upstream.exchanges,
        idle: upstream.idle,
        tries: upstream.tries,
        failures: upstream.failures,
        opened: upstream.breaker.opened(),
        breaker: match upstream.breaker_level() {
            0 => "closed",
            1 => "half-open",
            _ => "open",
        },
        last_check: upstream.health.last.map(|last| (last.at, last.result)),
    }
}

impl fmt::Display for UpstreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpstreamState::Up => f.write_str("up"),
            UpstreamState::Avoided => f.write_str("avoided: closed a tunnel with 1012 or 1013"),
            UpstreamState::BreakerOpen => f.write_str("down: too many tries failed"),
            UpstreamState::Down(failure) => write!(f, "down: health check: {failure}"),
            UpstreamState::Drained => f.write_str("drained"),
            UpstreamState::Unlisted => f.write_str("unlisted: DNS no longer has this address"),
            UpstreamState::Removed => f.write_str("removed from the configuration"),
        }
    }
}
