//! Counts and rates of connections, without any.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::reactor::api::id::RouteId;
use crate::reactor::api::settings::{PER_ADDRESS_DEFAULT, Rate};

const PLAIN: Admitted = Admitted { is_provisional: false, surplus: None };
const PROVISIONAL: Admitted = Admitted { is_provisional: true, surplus: None };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_full_server_admits_clients_again_below_95_percent() {
    let settings =
        Settings { connections_max: 100, connections_per_address: Some(0), ..Settings::default() };
    let mut admission = Admission::new(&settings, 10);
    let peer = ip("192.0.2.1");
    for _ in 0..100 {
        admission.admit(&settings, peer, Time::ZERO).unwrap();
    }
    assert_eq!(admission.admit(&settings, peer, Time::ZERO), Err(Refusal::Full));
    for _ in 0..5 {
        admission.release(Quota::Clients, peer);
        assert_eq!(admission.admit(&settings, peer, Time::ZERO), Err(Refusal::Full));
    }
    admission.release(Quota::Clients, peer);
    assert_eq!(admission.admit(&settings, peer, Time::ZERO), Ok(PLAIN));
    assert!(admission.is_crowded());
    for _ in 0..25 {
        admission.release(Quota::Clients, peer);
    }
    assert!(admission.is_crowded());
    admission.release(Quota::Clients, peer);
    assert!(!admission.is_crowded());
}

#[test]
fn the_reserve_admits_provisionally_while_the_share_below_it_is_full() {
    let settings =
        Settings { connections_max: 40, connections_per_address: Some(0), ..Settings::default() };
    let mut admission = Admission::new(&settings, 10);
    admission.set_reserve(20);
    let peer = ip("192.0.2.1");
    let admit = |admission: &mut Admission| admission.admit(&settings, peer, Time::ZERO);
    for _ in 0..20 {
        assert_eq!(admit(&mut admission), Ok(PLAIN));
    }
    assert!(admission.is_share_full());
    for provisional in 1..=20 {
        assert_eq!(admission.is_reserve_in_handshake(), provisional > 10);
        assert_eq!(admit(&mut admission), Ok(PROVISIONAL));
    }
    assert_eq!(admit(&mut admission), Err(Refusal::Full));
    admission.end_provisional();
    admission.release(Quota::Clients, peer);
    assert_eq!(admit(&mut admission), Ok(PROVISIONAL), "no hysteresis at the end of the reserve");
    // The share is free again below 95 % of it.
    for left in (18..40).rev() {
        assert!(admission.is_share_full(), "{left} connections are left");
        admission.release(Quota::Clients, peer);
    }
    assert!(!admission.is_share_full());
    assert_eq!(admit(&mut admission), Ok(PLAIN));
}

#[test]
fn small_limits_admit_clients_again_below_95_percent() {
    let peer = ip("127.0.0.1");
    for connections_max in 1..20 {
        let settings = Settings { connections_max, ..Settings::default() };
        let mut admission = Admission::new(&settings, 10);
        for _ in 0..connections_max {
            admission.admit(&settings, peer, Time::ZERO).unwrap();
        }
        assert_eq!(admission.admit(&settings, peer, Time::ZERO), Err(Refusal::Full));
        admission.release(Quota::Clients, peer);
        assert_eq!(admission.admit(&settings, peer, Time::ZERO), Ok(PLAIN), "{connections_max}");
    }
}

#[test]
fn an_ipv6_network_of_64_bits_counts_as_one_address() {
    let settings = Settings {
        connections_per_address: Some(1),
        exempt: vec!["198.51.100.0/24".parse().unwrap()],
        ..Settings::default()
    };
    let mut admission = Admission::new(&settings, 10);
    let mut admit = |peer| admission.admit(&settings, ip(peer), Time::ZERO);
    assert_eq!(admit("2001:db8:1:2::1"), Ok(PLAIN));
    assert_eq!(admit("2001:db8:1:2::2"), Err(Refusal::AddressFull));
    assert_eq!(admit("2001:db8:1:3::1"), Ok(PLAIN));
    assert_eq!(admit("192.0.2.1"), Ok(PLAIN));
    assert_eq!(admit("::ffff:192.0.2.1"), Err(Refusal::AddressFull));
    assert_eq!(admit("198.51.100.7"), Ok(PLAIN));
    assert_eq!(admit("198.51.100.7"), Ok(PLAIN));
    admission.release(Quota::Clients, ip("192.0.2.1"));
    assert_eq!(admission.admit(&settings, ip("192.0.2.1"), Time::ZERO), Ok(PLAIN));
}

#[test]
fn loopback_is_unlimited_unless_the_limit_is_set() {
    let settings = Settings::default();
    let mut admission = Admission::new(&settings, 10);
    for _ in 0..PER_ADDRESS_DEFAULT {
        admission.admit(&settings, ip("127.0.0.1"), Time::ZERO).unwrap();
        admission.admit(&settings, ip("192.0.2.1"), Time::ZERO).unwrap();
    }
    assert_eq!(admission.admit(&settings, ip("127.0.0.1"), Time::ZERO), Ok(PLAIN));
    let refused = admission.admit(&settings, ip("192.0.2.1"), Time::ZERO);
    assert_eq!(refused, Err(Refusal::AddressFull));
}

#[test]
fn rates_of_new_connections_refill() {
    let rate = Rate { per_second: 1.0, burst: 2 };
    let settings = Settings { rate_per_address: Some(rate), ..Settings::default() };
    let mut admission = Admission::new(&settings, 2);
    let after = |seconds| Time::ZERO + Duration::from_secs(seconds);
    let mut admit = |peer, seconds| admission.admit(&settings, ip(peer), after(seconds));
    assert_eq!(admit("192.0.2.1", 0), Ok(PLAIN));
    assert_eq!(admit("192.0.2.1", 0), Ok(PLAIN));
    assert_eq!(admit("192.0.2.1", 0), Err(Refusal::RateLimited));
    assert_eq!(admit("192.0.2.1", 1), Ok(PLAIN));
    assert_eq!(admit("192.0.2.2", 1), Ok(PLAIN));
}

/// Arrivals and ends at fixed times, by address: which limits refuse, or would.
fn reached(settings: &Settings) -> BTreeMap<&'static str, usize> {
    let mut admission = Admission::new(settings, 10);
    let mut open: Vec<(IpAddr, Quota)> = Vec::new();
    let mut reached = BTreeMap::new();
    let mut random = 7_u64;
    for step in 0..5_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let now = Time::ZERO + Duration::from_millis(step * 20);
        // Some addresses come more often than others.
        let last = [0, 0, 0, 1, 1, 2, 3, 4][(random >> 33) as usize % 8];
        let peer = IpAddr::from([192, 0, 2, last]);
        // Each connection ends after 40 steps, whether it was admitted or refused.
        if open.len() == 40 {
            let (peer, quota) = open.remove(0);
            if quota != Quota::Operators {
                admission.release(quota, peer);
            }
        }
        let (quota, limit) = match admission.admit(settings, peer, now) {
            Ok(Admitted { surplus: None, .. }) => (Quota::Clients, None),
            Ok(Admitted { surplus: Some(limit), .. }) => (Quota::Surplus, Some(limit.name())),
            Err(refusal) => (Quota::Operators, Some(refusal.name())),
        };
        open.push((peer, quota));
        if let Some(limit) = limit {
            *reached.entry(limit).or_default() += 1;
        }
    }
    reached
}

#[test]
fn a_dry_run_counts_what_the_limits_refuse() {
    let limits = Settings {
        connections_per_address: Some(7),
        rate_per_address: Some(Rate { per_second: 8.0, burst: 20 }),
        rate: Some(Rate { per_second: 40.0, burst: 30 }),
        ..Settings::default()
    };
    let real = reached(&limits);
    assert!(real["address_full"] > 50 && real["rate_limited"] > 50, "{real:?}");
    let dry_run = vec![Limit::AddressFull, Limit::RateLimited];
    assert_eq!(reached(&limits.clone().limits_dry_run(dry_run)), real);
    let mixed = reached(&limits.limits_dry_run(vec![Limit::AddressFull]));
    assert!(mixed["rate_limited"] > real["rate_limited"], "{mixed:?}: an enforced rate holds");
}

#[test]
fn a_refused_connection_knows_when_its_rates_admit_one() {
    let settings = Settings {
        rate_per_address: Some(Rate { per_second: 0.5, burst: 1 }),
        rate: Some(Rate { per_second: 0.25, burst: 2 }),
        ..Settings::default()
    };
    let mut admission = Admission::new(&settings, 10);
    let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    let wait = |admission: &Admission, peer| {
        admission.connection_wait(&settings, peer, Time::ZERO).as_secs()
    };
    assert_eq!(wait(&admission, one), 0);
    admission.admit(&settings, one, Time::ZERO).unwrap();
    assert_eq!((wait(&admission, one), wait(&admission, other)), (2, 0));
    admission.admit(&settings, other, Time::ZERO).unwrap();
    assert_eq!((wait(&admission, one), wait(&admission, ip("192.0.2.3"))), (4, 4));
}

#[test]
fn requests_are_limited_per_route_and_address() {
    let rate = Rate { per_second: 1.0, burst: 1 };
    let settings =
        Settings { exempt: vec!["198.51.100.0/24".parse().unwrap()], ..Settings::default() };
    let mut admission = Admission::new(&settings, 10);
    let mut take = |route, peer| {
        admission.take_request(&settings, RouteId(route), &rate, ip(peer), Time::ZERO)
    };
    let second = Err(Duration::from_secs(1));
    assert_eq!(take(0, "2001:db8:1:2::1"), Ok(()));
    assert_eq!(take(0, "2001:db8:1:2::2"), second);
    assert_eq!(take(1, "2001:db8:1:2::2"), Ok(()));
    assert_eq!(take(0, "127.0.0.1"), Ok(()));
    assert_eq!(take(0, "127.0.0.1"), second);
    assert!((0..9).all(|_| take(0, "198.51.100.1").is_ok()));
    assert_eq!((admission.rate_entries(), admission.rate_overflows()), (3, 0));
}

#[test]
fn a_proxy_is_not_counted_by_address_until_it_is_assigned_to_a_client() {
    let settings = Settings { connections_per_address: Some(1), ..Settings::default() };
    let mut admission = Admission::new(&settings, 10);
    for _ in 0..3 {
        admission.admit_proxy().unwrap();
    }
    let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    assert_eq!(admission.assign_to_address(&settings, one, Time::ZERO), Ok(None));
    let refused = admission.assign_to_address(&settings, one, Time::ZERO);
    assert_eq!(refused, Err(Refusal::AddressFull));
    assert_eq!(admission.assign_to_address(&settings, other, Time::ZERO), Ok(None));
    assert_eq!(admission.occupancy().clients, 3);
    admission.release(Quota::Clients, one);
    admission.release(Quota::Proxies, one);
    admission.release(Quota::Clients, other);
    assert_eq!((admission.occupancy().clients, admission.by_address.len()), (0, 0));
    assert_eq!(admission.admit(&settings, one, Time::ZERO), Ok(PLAIN));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "more refusals ended than began"))]
fn releasing_a_refusal_twice_never_wraps() {
    let settings = Settings { refused_max: 1, ..Settings::default() };
    let mut admission = Admission::new(&settings, 10);
    assert!(admission.admit_refused(&settings));
    admission.release_refused();
    admission.release_refused();
    assert_eq!(admission.refused(), 0);
    assert!(admission.admit_refused(&settings) && !admission.admit_refused(&settings));
}

fn release_without_admission(quota: Quota) {
    let mut admission = Admission::new(&Settings::default(), 10);
    admission.release(quota, ip("192.0.2.1"));
    let Occupancy { clients, outbound, operators, .. } = admission.occupancy();
    assert_eq!((clients, outbound, operators), (0, 0, 0));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "a connection was released twice"))]
fn releasing_a_client_twice_never_wraps() {
    release_without_admission(Quota::Clients);
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "a connection was released twice"))]
fn releasing_a_proxy_twice_never_wraps() {
    release_without_admission(Quota::Proxies);
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "a connection was released twice"))]
fn releasing_an_outbound_connection_twice_never_wraps() {
    release_without_admission(Quota::Outbound);
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "a connection was released twice"))]
fn releasing_an_operator_twice_never_wraps() {
    release_without_admission(Quota::Operators);
}
