//! Pools as a whole: tries, breakers, checks, names, reloads, drains.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::id::PoolId;
use super::settings::{Choose, DownPolicy, HealthCheck, PoolSettings};
use super::upstream::Upstream;
use super::*;
use crate::reactor::Time;
use crate::reactor::settings::Rate;
use crate::upstream::resolve::{HostPort, Lookup};

fn at(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

fn pool(name: &str, upstreams: &[&str]) -> PoolSettings {
    let upstreams = upstreams.iter().map(|text| text.parse().unwrap()).collect();
    PoolSettings::new(name.to_owned(), upstreams)
}

fn loaded(settings: PoolSettings) -> LoadedPool {
    LoadedPool::load(settings).unwrap()
}

/// One pool, and its id.
fn pools(settings: PoolSettings) -> (UpstreamPools, PoolId) {
    let name = settings.name.clone();
    let pools = UpstreamPools::new(vec![loaded(settings)], at(0.0));
    let id = pools.find(&name).unwrap();
    (pools, id)
}

const TUNNEL: Wish<'static> = Wish { is_tunnel: true, key: None, sticky: None, tried: &[] };

fn chosen(pools: &mut UpstreamPools, pool: PoolId, wish: &Wish<'_>, now: Time) -> UpstreamId {
    match pools.choose(pool, wish, now) {
        Choice::Chosen(upstream) => upstream,
        other => panic!("{other:?}"),
    }
}

fn name(pools: &UpstreamPools, upstream: UpstreamId) -> String {
    pools.target(upstream).unwrap().name.to_owned()
}

/// The name of the upstream that a new tunnel gets, or why no upstream can be chosen.
fn next(pools: &mut UpstreamPools, pool: PoolId, now: Time) -> Result<String, Choice> {
    match pools.choose(pool, &TUNNEL, now) {
        Choice::Chosen(upstream) => Ok(name(pools, upstream)),
        other => Err(other),
    }
}

/// Opens a tunnel.
fn tunnel(pools: &mut UpstreamPools, pool: PoolId, now: Time) -> UpstreamId {
    let upstream = chosen(pools, pool, &TUNNEL, now);
    let attempt = pools.start(upstream, false, now);
    assert_eq!(pools.record(attempt, TryEnd::Answered, now), None);
    pools.change(upstream, Use::Exchange, Use::Tunnel);
    upstream
}

/// Tries the upstream that comes first, with this end.
fn try_next(
    pools: &mut UpstreamPools,
    pool: PoolId,
    end: TryEnd,
    now: Time,
) -> (String, Option<StateChange>) {
    let upstream = chosen(pools, pool, &TUNNEL, now);
    let attempt = pools.start(upstream, false, now);
    let name = name(pools, upstream);
    let change = pools.record(attempt, end, now);
    pools.release(attempt.upstream(), Use::Exchange);
    (name, change)
}

fn lookup(host: &str, last: &[u8]) -> Lookup {
    let address = |last: &u8| SocketAddr::from(([10, 0, 0, *last], 80));
    let found = match last {
        [] => Err("no answer".to_owned()),
        last => Ok(last.iter().map(address).collect()),
    };
    Lookup { host: (host.to_owned(), 80), found }
}

/// Holds a connection to an upstream for this use.
fn hold(pools: &mut UpstreamPools, id: UpstreamId, usage: Use, now: Time) {
    let attempt = pools.start(id, false, now);
    pools.record(attempt, TryEnd::Cancelled, now);
    pools.change(id, Use::Exchange, usage);
}

fn states(pools: &UpstreamPools, now: Time) -> Vec<(String, UpstreamState)> {
    let statuses = pools.statuses(now).into_iter();
    statuses.map(|status| (status.name.to_owned(), status.state)).collect()
}

fn state(pools: &UpstreamPools, name: &str, now: Time) -> UpstreamState {
    states(pools, now).into_iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn three_refused_connections_in_a_row_lead_to_the_next_upstream() {
    let (mut pools, pool) = pools(pool("p", &["http://a1.invalid", "http://127.0.0.1:2"]));
    assert_eq!(next(&mut pools, pool, at(0.0)).unwrap(), "127.0.0.1:2", "a name without address");
    let (mut pools, pool) =
        super::tests::pools(super::tests::pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"]));
    let ends = [TryEnd::Connect, TryEnd::Tls, TryEnd::ConnectTimeout];
    for (end, change) in ends.into_iter().zip([None, None, Some(StateChange::BreakerOpened)]) {
        let tried = try_next(&mut pools, pool, end, at(1.0));
        assert_eq!(tried, ("127.0.0.1:1".to_owned(), change));
    }
    assert_eq!(state(&pools, "127.0.0.1:1", at(1.0)), UpstreamState::BreakerOpen);
    assert_eq!(next(&mut pools, pool, at(5.9)).unwrap(), "127.0.0.1:2");
    let trial = chosen(&mut pools, pool, &TUNNEL, at(6.0));
    let trial = pools.start(trial, false, at(6.0));
    assert_eq!(next(&mut pools, pool, at(6.0)).unwrap(), "127.0.0.1:2", "one trial at a time");
    let change = pools.record(trial, TryEnd::Answered, at(6.1));
    assert_eq!(change, Some(StateChange::BreakerClosed));
    assert_eq!(next(&mut pools, pool, at(6.1)).unwrap(), "127.0.0.1:1");
}

#[test]
fn a_cancelled_trial_leaves_the_next_request_as_the_trial() {
    let (mut pools, pool) = pools(pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"]));
    for _ in 0..3 {
        let _ = try_next(&mut pools, pool, TryEnd::Connect, at(0.0));
    }
    let first = "127.0.0.1:1".to_owned();
    assert_eq!(try_next(&mut pools, pool, TryEnd::Cancelled, at(5.0)), (first.clone(), None));
    let (tried, change) = try_next(&mut pools, pool, TryEnd::Answered, at(5.1));
    assert_eq!((tried, change), (first, Some(StateChange::BreakerClosed)));
}

#[test]
fn half_of_ten_failed_tries_open_the_breaker() {
    for end in [TryEnd::Reset, TryEnd::AnswerTimeout, TryEnd::Status, TryEnd::BadAnswer] {
        let (mut pools, pool) = pools(pool("p", &["http://127.0.0.1:1"]));
        for outcome in 0..9 {
            let end = if outcome % 2 == 0 { TryEnd::Answered } else { end };
            assert_eq!(try_next(&mut pools, pool, end, at(1.0)).1, None);
        }
        let (_, change) = try_next(&mut pools, pool, end, at(1.0));
        assert_eq!(change, Some(StateChange::BreakerOpened), "{end:?}");
        let status = pools.statuses(at(1.0))[0];
        assert_eq!((status.tries, status.failures, status.opened), (10, 5, 1));
        let counts = &pools.counts().all()[0];
        let failed = counts.tries().find(|(name, _)| *name == end.name());
        assert_eq!(failed, Some((end.name(), 5)));
        assert_eq!((counts.up_now.get(), counts.breaker_now.get()), (0, 2));
    }
}

#[test]
fn a_pool_with_open_breakers_is_used_and_a_success_closes_one() {
    let (mut pools, pool) = pools(pool("p", &["http://127.0.0.1:1"]));
    for _ in 0..3 {
        let _ = try_next(&mut pools, pool, TryEnd::Connect, at(0.0));
    }
    assert!(!pools.is_any_up(pool, at(1.0)), "a client had better back off");
    assert_eq!(try_next(&mut pools, pool, TryEnd::Connect, at(1.0)).1, None);
    let (_, change) = try_next(&mut pools, pool, TryEnd::Answered, at(2.0));
    assert_eq!(change, Some(StateChange::BreakerClosed));
    assert!(pools.is_any_up(pool, at(2.0)));
}

#[test]
fn full_upstreams_are_passed_over() {
    let settings = pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    let (mut pools, pool) = pools(settings.upstream_connections_max(2));
    let first = tunnel(&mut pools, pool, at(0.0));
    let _ = pools.start(first, false, at(0.0));
    assert_eq!(next(&mut pools, pool, at(0.0)).unwrap(), "127.0.0.1:2");
    for _ in 0..2 {
        tunnel(&mut pools, pool, at(0.0));
    }
    assert_eq!(next(&mut pools, pool, at(0.0)), Err(Choice::AllFull));
    pools.change(first, Use::Exchange, Use::Idle);
    assert_eq!(next(&mut pools, pool, at(0.0)).unwrap(), "127.0.0.1:1", "idle ones do not count");
    let attempt = pools.start(first, true, at(0.0));
    let _ = pools.record(attempt, TryEnd::Answered, at(0.0));
    assert_eq!(next(&mut pools, pool, at(0.0)), Err(Choice::AllFull));
    let status = pools.statuses(at(0.0))[0];
    assert_eq!((status.tunnels, status.exchanges, status.idle), (1, 1, 0));
    let counts = &pools.counts().all()[0];
    assert_eq!((counts.tunnels_now.get(), counts.exchanges_now.get()), (1, 1));
}

#[test]
fn least_spreads_tunnels_by_weight() {
    let settings = pool("p", &["http://127.0.0.1:1 weight 3", "http://127.0.0.1:2"]);
    let (mut pools, pool) = pools(settings.choose(Choose::Least));
    for _ in 0..40 {
        tunnel(&mut pools, pool, at(0.0));
    }
    let tunnels: Vec<usize> = pools.statuses(at(0.0)).iter().map(|it| it.tunnels).collect();
    assert_eq!(tunnels, [30, 10]);
    let (mut pools, pool) = super::tests::pools(
        super::tests::pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"])
            .choose(Choose::Least),
    );
    let turns: Vec<String> =
        (0..4).map(|_| try_next(&mut pools, pool, TryEnd::Answered, at(0.0)).0).collect();
    assert_eq!(turns, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1", "127.0.0.1:2"]);
}

#[test]
fn the_sticky_value_is_the_same_in_two_pools_and_leads_back() {
    let upstreams = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];
    let (mut one, pool_of_one) = pools(pool("one", &upstreams));
    let reversed: Vec<&str> = upstreams.iter().rev().copied().collect();
    let (mut two, pool_of_two) = pools(pool("two", &reversed));
    let mut tried = Vec::new();
    for _ in upstreams {
        let wish = Wish { tried: &tried, ..TUNNEL };
        let upstream = chosen(&mut one, pool_of_one, &wish, at(0.0));
        let value = one.sticky_value(upstream).unwrap().to_owned();
        assert_eq!(value.len(), 16);
        let wish = Wish { sticky: Some(&value), ..TUNNEL };
        let same = chosen(&mut two, pool_of_two, &wish, at(0.0));
        assert_eq!(two.target(same).unwrap().name, one.target(upstream).unwrap().name);
        assert_eq!(two.sticky_value(same), Some(value.as_str()));
        tried.push(upstream);
    }
    for foreign in ["", "zz", "0000000000000001", "0123456789abcdef0"] {
        let wish = Wish { sticky: Some(foreign), ..TUNNEL };
        let upstream = chosen(&mut one, pool_of_one, &wish, at(0.0));
        assert_eq!(name(&one, upstream), "127.0.0.1:1");
    }
}

#[test]
fn an_upstream_that_sent_1012_gets_no_tunnel_for_two_seconds() {
    let (mut pools, pool) = pools(pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"]));
    let upstream = tunnel(&mut pools, pool, at(0.0));
    pools.avoid(upstream, at(1.0));
    assert_eq!(state(&pools, "127.0.0.1:1", at(1.0)), UpstreamState::Avoided);
    assert!(pools.is_any_up(pool, at(1.0)));
    assert_eq!(next(&mut pools, pool, at(2.9)).unwrap(), "127.0.0.1:2");
    assert_eq!(next(&mut pools, pool, at(3.0)).unwrap(), "127.0.0.1:1");
}

fn checked(pools: &mut UpstreamPools, results: &[Result<(), CheckFailure>], now: Time) {
    for result in results {
        let upstream = pools.next_check(now).unwrap();
        let _ = pools.checked(upstream, *result, now);
    }
}

#[test]
fn active_checks_are_due_every_interval_and_decide() {
    let settings = pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"])
        .health(HealthCheck::Connect)
        .health_interval(Duration::from_secs(10));
    let (mut pools, pool) = pools(settings);
    assert_eq!(pools.due(), at(0.0));
    let first = pools.next_check(at(0.0)).unwrap();
    let second = pools.next_check(at(0.0)).unwrap();
    assert!(first != second && pools.next_check(at(0.0)).is_none());
    assert_eq!(pools.due(), Time::MAX, "both are under way");
    assert_eq!(next(&mut pools, pool, at(0.0)).unwrap(), "127.0.0.1:1", "unknown counts as up");
    let refused = Err(CheckFailure::Connect);
    assert_eq!(
        pools.checked(first, refused, at(0.1)),
        Some(StateChange::Down(CheckFailure::Connect))
    );
    assert_eq!(pools.checked(second, Ok(()), at(0.1)), None);
    assert_eq!(next(&mut pools, pool, at(0.1)).unwrap(), "127.0.0.1:2");
    let due = pools.due();
    assert!(due >= at(9.0) && due <= at(11.0), "{due:?}");
    let mut changes = Vec::new();
    for round in 1..=2 {
        let now = at(f64::from(round) * 20.0);
        while let Some(upstream) = pools.next_check(now) {
            changes.extend(pools.checked(upstream, Ok(()), now));
        }
    }
    assert_eq!(changes, [StateChange::Up], "after two successes");
    assert_eq!(next(&mut pools, pool, at(40.0)).unwrap(), "127.0.0.1:1");
    let counts = &pools.counts().all()[0];
    assert_eq!((counts.checks_succeeded.get(), counts.checks_failed.get()), (2, 1));
}

#[test]
fn intervals_of_checks_differ_by_at_most_a_tenth() {
    let settings = pool("p", &["http://127.0.0.1:1"])
        .health(HealthCheck::Connect)
        .health_interval(Duration::from_secs(10));
    let (mut pools, _) = pools(settings);
    let mut waits = Vec::new();
    for _ in 0..50 {
        let now = pools.due();
        checked(&mut pools, &[Ok(())], now);
        waits.push(pools.due().since(now));
    }
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*least >= Duration::from_secs(9) && *most <= Duration::from_secs(11));
    assert!(*most - *least > Duration::from_millis(500), "they are spread");
}

#[test]
fn checks_under_way_are_bounded() {
    let upstreams: Vec<String> = (1..=64).map(|port| format!("http://127.0.0.1:{port}")).collect();
    let upstreams: Vec<&str> = upstreams.iter().map(String::as_str).collect();
    let settings = |name| loaded(pool(name, &upstreams).health(HealthCheck::Connect));
    let mut pools = UpstreamPools::new(vec![settings("a"), settings("b")], at(0.0));
    let mut under_way = Vec::new();
    while let Some(upstream) = pools.next_check(at(0.0)) {
        under_way.push(upstream);
    }
    assert_eq!((under_way.len(), pools.due()), (64, Time::MAX));
    let _ = pools.checked(under_way[0], Ok(()), at(0.1));
    assert_eq!(pools.due(), at(0.0));
    assert!(pools.next_check(at(0.1)).is_some() && pools.next_check(at(0.1)).is_none());
    pools.abandon_check(under_way[1]);
    assert!(pools.next_check(at(0.1)).is_some());
}

#[test]
fn each_address_of_a_name_is_an_upstream() {
    let (mut pools, pool) = pools(pool("p", &["http://Name", "https://127.0.0.1:7"]));
    assert_eq!(pools.next_lookup(at(0.0)), Some(("Name".to_owned(), 80)));
    assert!(pools.resolved(&lookup("Name", &[1, 2]), at(0.0)).is_empty());
    let names: Vec<String> = states(&pools, at(0.0)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["name:80/10.0.0.1", "name:80/10.0.0.2", "127.0.0.1:7"]);
    let first = tunnel(&mut pools, pool, at(0.0));
    let target = pools.target(first).unwrap();
    assert_eq!(target.address, SocketAddr::from(([10, 0, 0, 1], 80)));
    assert_eq!((target.authority, target.tls.is_none()), ("Name", true));
    // Retries take the next entry of the list before another address of the same name.
    let second = chosen(&mut pools, pool, &Wish { tried: &[first], ..TUNNEL }, at(0.0));
    assert_eq!(name(&pools, second), "127.0.0.1:7");
    assert!(pools.target(second).unwrap().tls.is_some());
    let third = chosen(&mut pools, pool, &Wish { tried: &[first, second], ..TUNNEL }, at(0.0));
    assert_eq!(name(&pools, third), "name:80/10.0.0.2");
    let all = [first, second, third];
    assert_eq!(pools.choose(pool, &Wish { tried: &all, ..TUNNEL }, at(0.0)), Choice::NoneUp);
    let counts = pools.counts().all();
    assert_eq!((counts.len(), counts[0].up_now.get()), (2, 2), "one label for all addresses");
}

#[test]
fn an_address_that_dns_no_longer_lists_keeps_its_tunnels() {
    let settings = pool("p", &["http://name"]).resolve_interval(None);
    let (mut pools, pool) = pools(settings.drain_after(Duration::from_secs(1)));
    assert_eq!(next(&mut pools, pool, at(0.0)), Err(Choice::NeverResolved));
    assert_eq!(pools.unresolved_pools().collect::<Vec<_>>(), ["p"]);
    assert_eq!(pools.resolved(&lookup("name", &[]), at(0.0)), []);
    assert_eq!(next(&mut pools, pool, at(0.0)), Err(Choice::NeverResolved));
    assert_eq!(pools.resolved(&lookup("name", &[1, 2]), at(0.0)), []);
    let old = tunnel(&mut pools, pool, at(0.0));
    hold(&mut pools, old, Use::Idle, at(0.0));
    assert_eq!(
        pools.resolved(&lookup("name", &[2, 3]), at(1.0)),
        [old],
        "its idle ones are closed"
    );
    pools.release(old, Use::Idle);
    assert!(pools.target(old).is_some());
    assert_eq!(next(&mut pools, pool, at(1.0)).unwrap(), "name:80/10.0.0.2");
    assert_eq!(pools.resolved(&lookup("name", &[]), at(2.0)), [], "the last addresses stay");
    assert_eq!(next(&mut pools, pool, at(2.0)).unwrap(), "name:80/10.0.0.2");
    assert_eq!(state(&pools, "name:80/10.0.0.1", at(2.0)), UpstreamState::Unlisted);
    for seconds in [1e6, 2e6] {
        assert_eq!(pools.next_ends(at(seconds)), None, "it is not drained");
    }
    pools.release(old, Use::Tunnel);
    assert!(pools.target(old).is_none(), "it is forgotten with its last tunnel");
    let counts = &pools.counts().all()[0];
    assert_eq!((counts.lookups_succeeded.get(), counts.lookups_failed.get()), (2, 2));
    assert_eq!(counts.tunnels_now.get(), 0);
}

#[test]
fn an_address_that_comes_back_is_the_same_upstream() {
    let (mut pools, pool) = pools(pool("p", &["http://name"]));
    assert_eq!(pools.resolved(&lookup("name", &[1]), at(0.0)), []);
    let upstream = tunnel(&mut pools, pool, at(0.0));
    assert_eq!(pools.resolved(&lookup("name", &[2]), at(1.0)), [upstream]);
    assert_eq!(pools.resolved(&lookup("name", &[1]), at(2.0)).len(), 1);
    assert_eq!(chosen(&mut pools, pool, &TUNNEL, at(2.0)), upstream);
}

#[test]
fn upstreams_of_the_same_name_survive_a_reload() {
    let settings =
        || pool("p", &["http://127.0.0.1:1", "http://127.0.0.1:2"]).health(HealthCheck::Connect);
    let (mut pools, id) = pools(settings());
    let kept = tunnel(&mut pools, id, at(0.0));
    for _ in 0..3 {
        let _ = try_next(&mut pools, id, TryEnd::Connect, at(0.0));
    }
    let second = chosen(&mut pools, id, &TUNNEL, at(0.0));
    for _ in 0..2 {
        let _ = pools.next_check(at(0.0));
    }
    let _ = pools.checked(second, Err(CheckFailure::Tls), at(0.0));
    let before = states(&pools, at(1.0));
    assert_eq!(before[0].1, UpstreamState::BreakerOpen);
    assert_eq!(before[1].1, UpstreamState::Down(CheckFailure::Tls));

    let mut changed = settings().upstream_connections_max(1).choose(Choose::Least);
    changed.upstreams.reverse();
    changed.upstreams[0].weight = 9;
    changed.upstreams.push("http://127.0.0.1:3 weight 2".parse().unwrap());
    let other = pool("other", &["http://127.0.0.1:1"]);
    assert_eq!(pools.swap(vec![loaded(other), loaded(changed)], at(1.0)), []);
    assert_eq!(pools.find("p"), Some(id));
    assert_eq!(pools.settings(id).unwrap().upstream_connections_max, Some(1));
    assert_eq!(state(&pools, "127.0.0.1:2", at(1.0)), before[1].1);
    let status = pools.statuses(at(1.0));
    let second = status.iter().find(|it| it.name == "127.0.0.1:2").unwrap();
    assert_eq!(second.weight, 9, "what the file says about it has changed");
    let first = status.iter().find(|it| it.pool == "p" && it.name == "127.0.0.1:1").unwrap();
    assert_eq!((first.state, first.tunnels, first.tries), (before[0].1, 1, 4));
    let other = status.iter().find(|it| it.pool == "other").unwrap();
    assert_eq!((other.state, other.tunnels), (UpstreamState::Up, 0), "another pool, another state");
    assert_eq!(next(&mut pools, id, at(1.0)).unwrap(), "127.0.0.1:3");
    pools.release(kept, Use::Tunnel);
    assert_eq!(pools.statuses(at(1.0)).iter().map(|it| it.tunnels).sum::<usize>(), 0);
    let shown = pools.counts().all().iter().map(|it| it.tunnels_now.get()).sum::<u64>();
    assert_eq!(shown, 0);
}

#[test]
fn a_removed_upstream_drains_at_the_rate() {
    let settings = |upstreams: &[&str]| {
        pool("p", upstreams)
            .drain_after(Duration::from_secs(60))
            .drain_rate(Rate { per_second: 10.0, burst: 10 })
    };
    let (mut pools, id) = pools(settings(&["http://127.0.0.1:1", "http://127.0.0.1:2"]));
    let old: Vec<UpstreamId> = (0..25).map(|_| tunnel(&mut pools, id, at(0.0))).collect();
    assert_eq!(pools.due(), Time::MAX);
    assert_eq!(pools.swap(vec![loaded(settings(&["http://127.0.0.1:2"]))], at(10.0)), [old[0]]);
    assert_eq!(state(&pools, "127.0.0.1:1", at(10.0)), UpstreamState::Removed);
    assert_eq!(next(&mut pools, id, at(10.0)).unwrap(), "127.0.0.1:2");
    assert_eq!((pools.next_ends(at(69.9)), pools.due()), (None, at(70.0)));
    let mut ended = 0;
    let mut now = at(70.0);
    // Each step ends at least one tunnel, or waits for the allowance.
    for _ in 0..100 {
        if pools.due() == Time::MAX {
            break;
        }
        now = pools.due().max(now);
        while let Some(ends) = pools.next_ends(now) {
            assert_eq!((ends.upstream, ends.why), (old[0], EndsWhy::Removed));
            // Half of them end at once, the others only after all are asked to.
            ended += ends.tunnels;
            assert!(ended <= 25, "no tunnel is asked to end twice");
            (0..ends.tunnels / 2).for_each(|_| pools.release(old[0], Use::Tunnel));
        }
        let allowed = now.since(at(70.0)).as_secs_f64() * 10.0;
        assert!(ended as f64 <= allowed + 1e-6, "{ended} after {:?}", now.since(at(70.0)));
    }
    assert_eq!(pools.due(), Time::MAX);
    assert_eq!(ended, 25);
    assert!(now >= at(72.4) && now <= at(73.0), "{now:?}");
}

#[test]
fn tunnels_of_a_removed_pool_continue_until_they_end() {
    let (mut pools, id) = pools(pool("p", &["http://127.0.0.1:1"]));
    let upstream = tunnel(&mut pools, id, at(0.0));
    assert_eq!(pools.swap(vec![], at(1.0)), [upstream]);
    assert_eq!((pools.find("p"), pools.is_any_up(id, at(1.0))), (None, false));
    assert_eq!(next(&mut pools, id, at(1.0)), Err(Choice::NoneUp));
    assert_eq!((pools.next_ends(at(1e6)), pools.due()), (None, Time::MAX), "drain_after is off");
    assert!(pools.settings(id).is_some());
    pools.swap(vec![loaded(pool("p", &["http://127.0.0.1:1"]))], at(2.0));
    let new = pools.find("p").unwrap();
    assert!(new != id, "a new pool");
    pools.release(upstream, Use::Tunnel);
    assert!(pools.settings(id).is_none() && pools.target(upstream).is_none());
    assert_eq!(next(&mut pools, new, at(2.0)).unwrap(), "127.0.0.1:1");
    assert_eq!(pools.counts().all().len(), 1);
    // Stale ids are ignored.
    pools.release(upstream, Use::Tunnel);
    pools.avoid(upstream, at(2.0));
    let stale = pools.start(upstream, false, at(2.0));
    assert_eq!(pools.record(stale, TryEnd::Connect, at(2.0)), None);
    assert_eq!(pools.choose(id, &TUNNEL, at(2.0)), Choice::NoneUp);
}

#[test]
fn the_tunnels_of_a_down_upstream_are_closed_if_the_pool_says_so() {
    for down in [DownPolicy::Keep, DownPolicy::Close] {
        let settings = pool("p", &["http://127.0.0.1:1"]).health(HealthCheck::Connect).down(down);
        let (mut pools, id) = pools(settings);
        let upstream = tunnel(&mut pools, id, at(0.0));
        checked(&mut pools, &[Err(CheckFailure::Connect)], at(0.0));
        assert_eq!(pools.next_ends(at(0.0)), None, "the allowance is empty at first");
        let expected = Ends { upstream, tunnels: 1, why: EndsWhy::Down };
        let expected = (down == DownPolicy::Close).then_some(expected);
        assert_eq!(pools.next_ends(at(0.02)), expected);
        assert_eq!(pools.next_ends(at(1.0)), None, "it is ending");
    }
}

#[test]
fn a_drained_upstream_gets_nothing_new_and_the_mark_outlives_a_reload() {
    let settings = || pool("p", &["http://127.0.0.1:1", "http://name"]);
    let (mut pools, id) = pools(settings());
    assert_eq!(pools.set_drained("127.0.0.1:9", true, at(0.0)), 0, "unknown");
    let tunnel = chosen(&mut pools, id, &TUNNEL, at(0.0));
    assert_eq!(pools.set_drained("127.0.0.1:1", true, at(0.0)), 1);
    assert_eq!(next(&mut pools, id, at(0.0)), Err(Choice::NoneUp));
    assert_eq!(pools.resolved(&lookup("name", &[1, 2]), at(0.0)), []);
    assert_eq!(pools.set_drained("name:80/10.0.0.1", true, at(0.0)), 1);
    assert_eq!(next(&mut pools, id, at(0.0)).unwrap(), "name:80/10.0.0.2");
    assert_eq!(pools.set_drained("name:80", true, at(0.0)), 2);
    assert_eq!(pools.resolved(&lookup("name", &[3]), at(1.0)).len(), 2);
    pools.swap(vec![loaded(settings())], at(2.0));
    assert_eq!(
        next(&mut pools, id, at(2.0)),
        Err(Choice::NoneUp),
        "new addresses are drained, too"
    );
    assert_eq!(pools.set_drained("name:80", false, at(3.0)), 1);
    assert_eq!(next(&mut pools, id, at(3.0)).unwrap(), "name:80/10.0.0.3");
    assert_eq!(pools.resolved(&lookup("name", &[1]), at(4.0)).len(), 1);
    assert_eq!(
        next(&mut pools, id, at(4.0)).unwrap(),
        "name:80/10.0.0.1",
        "undrained with its name"
    );
    hold(&mut pools, tunnel, Use::Tunnel, at(4.0));
    pools.swap(vec![loaded(pool("p", &["http://name"]))], at(5.0));
    assert_eq!(state(&pools, "127.0.0.1:1", at(5.0)), UpstreamState::Removed);
    pools.swap(vec![loaded(settings())], at(6.0));
    assert_eq!(next(&mut pools, id, at(6.0)).unwrap(), "127.0.0.1:1", "its mark was forgotten");
}

#[test]
fn names_of_a_new_configuration_can_be_resolved_in_advance() {
    let (mut pools, id) = pools(pool("p", &["http://name"]));
    assert_eq!(pools.resolved(&lookup("name", &[1]), at(0.0)), []);
    let mut new = vec![loaded(pool("p", &["http://new", "http://name"]))];
    let unknown: Vec<HostPort> = vec![("new".to_owned(), 80)];
    assert_eq!(pools.unresolved_names(&new), unknown);
    new[0].set_addresses(&lookup("new", &[9]));
    pools.swap(new, at(1.0));
    assert_eq!(next(&mut pools, id, at(1.0)).unwrap(), "new:80/10.0.0.9");
}

#[test]
fn a_check_that_ends_after_its_upstream_was_removed_changes_nothing() {
    let settings = pool("p", &["http://127.0.0.1:1"]).health(HealthCheck::Connect);
    let (mut pools, _) = pools(settings);
    let upstream = pools.next_check(at(0.0)).unwrap();
    pools.swap(vec![loaded(pool("p", &["http://127.0.0.1:2"]))], at(0.0));
    assert!(pools.target(upstream).is_some(), "the check is under way");
    assert_eq!(pools.checked(upstream, Err(CheckFailure::Timeout), at(1.0)), None);
    assert!(pools.target(upstream).is_none());
}

#[test]
fn an_upstream_that_was_removed_is_forgotten_once_its_check_is_abandoned() {
    let settings = pool("p", &["http://127.0.0.1:1"]).health(HealthCheck::Connect);
    let (mut pools, id) = pools(settings);
    let upstream = pools.next_check(at(0.0)).unwrap();
    pools.swap(Vec::new(), at(0.0));
    assert!(pools.target(upstream).is_some(), "the check is under way");
    pools.abandon_check(upstream);
    assert!(pools.target(upstream).is_none() && pools.settings(id).is_none());
}

#[test]
fn a_pool_that_is_not_checked_any_more_forgets_that_an_upstream_was_down() {
    let settings = || pool("p", &["http://127.0.0.1:1"]);
    let (mut pools, id) = pools(settings().health(HealthCheck::Connect));
    checked(&mut pools, &[Err(CheckFailure::Connect)], at(0.0));
    assert_eq!(next(&mut pools, id, at(0.0)), Err(Choice::NoneUp));
    pools.swap(vec![loaded(settings())], at(1.0));
    assert_eq!(next(&mut pools, id, at(1.0)).unwrap(), "127.0.0.1:1");
    assert_eq!(pools.due(), Time::MAX);
}

/// One random step of a service that uses `pools`; `held` are its connections.
fn random_step(
    pools: &mut UpstreamPools,
    held: &mut Vec<(UpstreamId, Use)>,
    random: &mut StdRng,
    now: Time,
) {
    let lists: [&[&str]; 4] = [
        &["http://127.0.0.1:1", "http://name"],
        &["http://name", "http://127.0.0.1:2 backup", "http://127.0.0.1:1 weight 3"],
        &["http://127.0.0.1:3"],
        &["http://other", "http://name"],
    ];
    let step = random.random_range(0..100);
    match step {
        0..60 => {
            let Some(pool) = pools.find("p") else {
                return;
            };
            let wish = Wish { key: Some(&[step]), is_tunnel: step % 2 == 0, ..Wish::default() };
            let Choice::Chosen(upstream) = pools.choose(pool, &wish, now) else {
                return;
            };
            let idle = held.iter().position(|it| *it == (upstream, Use::Idle));
            if let Some(idle) = idle {
                held.swap_remove(idle);
            }
            let attempt = pools.start(upstream, idle.is_some(), now);
            let end = TryEnd::ALL[random.random_range(0..TryEnd::ALL.len())];
            let _ = pools.record(attempt, end, now);
            match random.random_range(0..3) {
                0 => {
                    pools.change(upstream, Use::Exchange, Use::Tunnel);
                    held.push((upstream, Use::Tunnel));
                }
                1 if pools.upstream(upstream).is_some_and(Upstream::is_listed) => {
                    pools.change(upstream, Use::Exchange, Use::Idle);
                    held.push((upstream, Use::Idle));
                }
                _ => pools.release(upstream, Use::Exchange),
            }
        }
        60..80 if !held.is_empty() => {
            let (upstream, usage) = held.swap_remove(random.random_range(0..held.len()));
            if usage == Use::Tunnel && step % 2 == 0 {
                pools.avoid(upstream, now);
            }
            pools.release(upstream, usage);
        }
        80..88 => {
            let host = ["name", "other"][random.random_range(0..2)];
            let last: Vec<u8> = (1..5).filter(|_| random.random_bool(0.5)).collect();
            let gone = pools.resolved(&lookup(host, &last), now);
            close_idle(pools, held, &gone);
        }
        88..92 => {
            if let Some(upstream) = pools.next_check(now) {
                let result = if step % 2 == 0 { Ok(()) } else { Err(CheckFailure::Reset) };
                let _ = pools.checked(upstream, result, now);
            }
        }
        92..95 => {
            let _ = pools.set_drained("name:80", step % 2 == 0, now);
        }
        95..97 => while pools.next_ends(now).is_some() {},
        _ => {
            let list = lists[random.random_range(0..lists.len())];
            let settings = pool("p", list)
                .choose([Choose::Priority, Choose::Least, Choose::Hash][usize::from(step % 3)])
                .drain_after(Duration::from_secs(1))
                .upstream_connections_max(20);
            let settings = if random.random_bool(0.5) {
                settings.health(HealthCheck::Connect).down(DownPolicy::Close)
            } else {
                settings
            };
            let all = if random.random_bool(0.1) { vec![] } else { vec![loaded(settings)] };
            let gone = pools.swap(all, now);
            close_idle(pools, held, &gone);
        }
    }
}

fn close_idle(pools: &mut UpstreamPools, held: &mut Vec<(UpstreamId, Use)>, gone: &[UpstreamId]) {
    held.retain(|&(upstream, usage)| {
        let is_kept = usage != Use::Idle || !gone.contains(&upstream);
        if !is_kept {
            pools.release(upstream, usage);
        }
        is_kept
    });
}

#[test]
fn uses_are_counted_exactly_whatever_happens_to_the_pools() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pools = UpstreamPools::new(vec![], at(0.0));
        let mut held = Vec::new();
        for step in 0..1000 {
            random_step(&mut pools, &mut held, &mut random, at(f64::from(step) / 10.0));
            let held_by = |usage| held.iter().filter(|(_, it)| *it == usage).count();
            let (mut tunnels, mut idle) = (0, 0);
            for status in pools.statuses(at(f64::from(step) / 10.0)) {
                assert_eq!(status.exchanges, 0);
                tunnels += status.tunnels;
                idle += status.idle;
            }
            assert_eq!((tunnels, idle), (held_by(Use::Tunnel), held_by(Use::Idle)), "seed {seed}");
            let shown = pools.counts().all().iter().map(|it| it.tunnels_now.get()).sum::<u64>();
            assert_eq!(shown, tunnels as u64, "seed {seed}");
        }
        let gone = pools.swap(vec![], at(200.0));
        close_idle(&mut pools, &mut held, &gone);
        held.drain(..).for_each(|(upstream, usage)| pools.release(upstream, usage));
        assert!(pools.statuses(at(200.0)).is_empty() && pools.counts().all().is_empty());
        assert_eq!((pools.pools.len(), pools.upstreams.len()), (0, 0), "seed {seed}");
    }
}
