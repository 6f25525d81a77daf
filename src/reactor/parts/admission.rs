//! Limits on the number of connections and on the rate of new ones.
//!
//! Three quotas are independent: clients, outbound connections, operators. The limits per address
//! and the rates apply to clients only. A client is checked when it is accepted, so that
//! connections in their handshake count, too. Its refusal (503 or 429) waits for its request. Each
//! admission is followed by exactly one [`Admission::release`].
//!
//! A trusted proxy's connection counts towards `connections_max` only, until the address of its
//! client is known and the connection belongs to that client alone.
//!
//! It owns counts and token buckets, never a connection. Next: `rates.rs` for the buckets,
//! `effects/accept.rs` for the accept, `effects/client_address.rs` for proxies.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::bucket::Bucket;
use super::rates::{AddressRates, Limited};
use crate::protocol::handshake::Refusal;
use crate::reactor::api::budget::OPERATORS_MAX;
use crate::reactor::api::id::RouteId;
use crate::reactor::api::settings::{Limit, PER_ADDRESS_DEFAULT, Prefix, Rate, Settings};
use crate::reactor::api::time::Time;

/// The quota that a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// `connections_max` and the limits per address: accepted from clients.
    Clients,
    /// `connections_max`: a client that a limit per address or a rate in a dry run would have refused.
    /// It counts for no address, so that the dry run counts what the limit would refuse.
    Surplus,
    /// `connections_max`: accepted from trusted proxies, and not assigned to a client's address.
    Proxies,
    /// `outbound_max`: opened by services.
    Outbound,
    /// [`OPERATORS_MAX`]: accepted at listeners for operators.
    Operators,
}

/// How a client was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Admitted {
    /// In the reserve, until its priority is known.
    pub(crate) is_provisional: bool,
    /// The limit in a dry run that would have refused it: then it counts as [`Quota::Surplus`].
    pub(crate) surplus: Option<Limit>,
}

/// The number of connections of each kind, and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Occupancy {
    /// Admitted connections of clients.
    pub clients: usize,
    /// [`connections_max`](field@Settings::connections_max).
    pub clients_max: usize,
    /// Further clients are refused: the limit was reached, and the number has not dropped below
    /// 95 % of it since.
    pub is_full: bool,
    /// Connections opened by services.
    pub outbound: usize,
    /// [`outbound_max`](field@Settings::outbound_max).
    pub outbound_max: usize,
    /// Connections accepted at listeners for operators.
    pub operators: usize,
    /// [`OPERATORS_MAX`].
    pub operators_max: usize,
    /// The loop is shutting down: it admits no client and opens no outbound connection.
    pub is_draining: bool,
}

/// The counts that admission depends on.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    connections_max: usize,
    outbound: usize,
    outbound_max: usize,
    operators: usize,
    /// The last part of `connections_max`, for high priorities.
    reserve: usize,
    /// Connections in the reserve whose priority is not known yet.
    provisional: usize,
    /// The limit without the reserve was reached, and the number has not dropped below 95 % of it
    /// since.
    is_full: bool,
    /// The loop is shutting down: it admits no client and opens no outbound connection.
    is_closed: bool,
    /// The number rose above 80 % of the limit, and has not dropped below 70 % since.
    is_crowded: bool,
    /// Connections that wait for their request to be refused.
    refused: usize,
    /// `is_crowded` became true since the last `take_crowding`.
    is_crowding_new: bool,
    /// Invariant: the sum of the counts is the number of connections in [`Quota::Clients`].
    by_address: HashMap<IpAddr, usize>,
    rates: AddressRates,
    /// The bucket of `rate`: connections of all addresses.
    rate_of_all: Bucket,
}

impl Admission {
    pub(crate) fn new(settings: &Settings, rates_max: usize) -> Admission {
        Admission {
            connections: 0,
            connections_max: settings.connections_max,
            outbound: 0,
            outbound_max: settings.outbound_max,
            operators: 0,
            reserve: 0,
            provisional: 0,
            is_full: false,
            is_closed: false,
            is_crowded: false,
            refused: 0,
            is_crowding_new: false,
            by_address: HashMap::new(),
            rates: AddressRates::new(rates_max),
            rate_of_all: Bucket::default(),
        }
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        Occupancy {
            clients: self.connections,
            clients_max: self.connections_max,
            is_full: self.is_full,
            outbound: self.outbound,
            outbound_max: self.outbound_max,
            operators: self.operators,
            operators_max: OPERATORS_MAX,
            is_draining: self.is_closed,
        }
    }

    /// Admits no further client and no further outbound connection.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether the loop is shutting down.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Counts a connection that waits for its refusal; false if `refused_max` connections wait.
    pub(crate) fn admit_refused(&mut self, settings: &Settings) -> bool {
        let fits = self.refused < settings.refused_max;
        self.refused += usize::from(fits);
        fits
    }

    /// Uncounts a connection that waited for its refusal.
    pub(crate) fn release_refused(&mut self) {
        debug_assert!(self.refused > 0, "more refusals ended than began");
        self.refused = self.refused.saturating_sub(1);
    }

    /// Connections that wait for their refusal.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Clients, as a part of their limit.
    pub(crate) fn occupied_part(&self) -> f64 {
        self.connections as f64 / self.connections_max as f64
    }

    /// Whether the accept budget is reduced.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// The number of clients and its limit, once after each rise above 80 %.
    pub(crate) fn take_crowding(&mut self) -> Option<(usize, usize)> {
        let is_new = std::mem::take(&mut self.is_crowding_new);
        is_new.then_some((self.connections, self.connections_max))
    }

    /// Reserves the last part of `connections_max` for high priorities.
    pub(crate) fn set_reserve(&mut self, reserve: usize) {
        self.reserve = reserve;
        self.update_flags();
    }

    /// Whether the connections that are not reserved are all in use: new ones are in the reserve.
    pub(crate) fn is_share_full(&self) -> bool {
        self.is_full
    }

    /// Whether at least half of the reserve is in use by connections whose priority is not known.
    pub(crate) fn is_reserve_in_handshake(&self) -> bool {
        self.reserve > 0 && 2 * self.provisional >= self.reserve
    }

    /// The number of connections that the reserve has room for.
    pub(crate) fn reserve(&self) -> usize {
        self.reserve
    }

    /// The priority of a provisional connection is known, or it has ended.
    pub(crate) fn end_provisional(&mut self) {
        self.provisional = decremented(self.provisional);
    }

    /// Admits one client and counts it.
    ///
    /// # Errors
    /// The refusal to answer with. Then nothing was counted.
    pub(crate) fn admit(
        &mut self,
        settings: &Settings,
        peer: IpAddr,
        now: Time,
    ) -> Result<Admitted, Refusal> {
        let is_provisional = self.check_room()?;
        let surplus = self.assign_to_address(settings, peer, now)?;
        self.count_client(is_provisional);
        Ok(Admitted { is_provisional, surplus })
    }

    /// Admits a connection of a trusted proxy, and counts it without an address.
    ///
    /// # Errors
    /// The refusal to answer with. Then nothing was counted.
    pub(crate) fn admit_proxy(&mut self) -> Result<Admitted, Refusal> {
        let is_provisional = self.check_room()?;
        self.count_client(is_provisional);
        Ok(Admitted { is_provisional, surplus: None })
    }

    /// Whether a new connection would be in the reserve.
    fn check_room(&self) -> Result<bool, Refusal> {
        if self.is_closed {
            return Err(Refusal::ShuttingDown);
        }
        let has_reserve = self.reserve > 0 && self.connections < self.connections_max;
        match self.is_full && !has_reserve {
            true => Err(Refusal::Full),
            false => Ok(self.is_full),
        }
    }

    fn count_client(&mut self, is_provisional: bool) {
        self.connections += 1;
        self.provisional += usize::from(is_provisional);
        self.update_flags();
    }

    /// Counts an admitted connection of a trusted proxy for its client, too: it moves from
    /// [`Quota::Proxies`] to [`Quota::Clients`], or to [`Quota::Surplus`] if it returns the limit that a
    /// dry run does not enforce.
    ///
    /// # Errors
    /// The refusal to answer with. Then nothing has changed.
    pub(crate) fn assign_to_address(
        &mut self,
        settings: &Settings,
        client: IpAddr,
        now: Time,
    ) -> Result<Option<Limit>, Refusal> {
        let address = counted_address(client);
        let is_exempt = is_exempt(settings, client);
        let per_address = match settings.connections_per_address {
            None if client.is_loopback() => 0,
            None => PER_ADDRESS_DEFAULT,
            Some(limit) => limit,
        };
        let is_dry = |limit| settings.limits_dry_run.contains(&limit);
        let mut surplus = None;
        let here = self.by_address.get(&address).copied().unwrap_or(0);
        if !is_exempt && per_address > 0 && here >= per_address {
            if !is_dry(Limit::AddressFull) {
                return Err(Refusal::AddressFull);
            }
            surplus = Some(Limit::AddressFull);
        }
        // A client that is refused takes no token.
        if surplus.is_none() || !is_dry(Limit::RateLimited) {
            let taken = self.take_connection(settings, address, is_exempt, now);
            if taken.is_err() && !is_dry(Limit::RateLimited) {
                return Err(Refusal::RateLimited);
            }
            surplus = surplus.or(taken.err().map(|_| Limit::RateLimited));
        }
        if surplus.is_none() {
            self.by_address.insert(address, here + 1);
        }
        Ok(surplus)
    }

    /// Takes the tokens of a new connection.
    ///
    /// # Errors
    /// A rate has none left; the time until it has one.
    fn take_connection(
        &mut self,
        settings: &Settings,
        address: IpAddr,
        is_exempt: bool,
        now: Time,
    ) -> Result<(), Duration> {
        // Checked first, so that a refused client takes no token of its address.
        let of_all = settings.rate.map(|rate| self.rate_of_all.wait(&rate, now));
        if let Some(wait) = of_all.filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        if let Some(rate) = settings.rate_per_address.filter(|_| !is_exempt) {
            self.rates.take(Limited::Connections, address, &rate, now)?;
        }
        settings.rate.map_or(Ok(()), |rate| self.rate_of_all.take(&rate, now))
    }

    /// The time until the rates of connections admit one of this client.
    pub(crate) fn connection_wait(
        &self,
        settings: &Settings,
        client: IpAddr,
        now: Time,
    ) -> Duration {
        let rate_per_address = settings.rate_per_address.filter(|_| !is_exempt(settings, client));
        let of_address = rate_per_address.map_or(Duration::ZERO, |rate| {
            self.rates.wait(Limited::Connections, counted_address(client), &rate, now)
        });
        let of_all = settings.rate.map_or(Duration::ZERO, |rate| self.rate_of_all.wait(&rate, now));
        of_address.max(of_all)
    }

    /// Takes a token for a request to a route with `requests_per_address`.
    ///
    /// # Errors
    /// The client's address has none left; the time until it has one.
    pub(crate) fn take_request(
        &mut self,
        settings: &Settings,
        route: RouteId,
        rate: &Rate,
        client: IpAddr,
        now: Time,
    ) -> Result<(), Duration> {
        if is_exempt(settings, client) {
            return Ok(());
        }
        self.rates.take(Limited::Requests(route), counted_address(client), rate, now)
    }

    /// Addresses with a token bucket, over all rates per address.
    pub(crate) fn rate_entries(&self) -> usize {
        self.rates.len()
    }

    /// How often an address shared a token bucket, because too many have one.
    pub(crate) fn rate_overflows(&self) -> u64 {
        self.rates.overflows()
    }

    /// Whether a service may open a connection: the limit is not reached, and no shutdown has
    /// started.
    pub(crate) fn has_outbound_room(&self) -> bool {
        !self.is_closed && self.outbound < self.outbound_max
    }

    /// Counts a connection that a service opens.
    pub(crate) fn admit_outbound(&mut self) {
        self.outbound += 1;
    }

    /// Admits one operator and counts it. Neither the limits of clients nor a shutdown prevent
    /// this.
    ///
    /// # Errors
    /// [`OPERATORS_MAX`] operators are connected. Then nothing was counted.
    pub(crate) fn admit_operator(&mut self) -> Result<(), Refusal> {
        if self.operators >= OPERATORS_MAX {
            return Err(Refusal::OperatorsFull);
        }
        self.operators += 1;
        Ok(())
    }

    /// Uncounts a connection that was admitted.
    pub(crate) fn release(&mut self, quota: Quota, peer: IpAddr) {
        match quota {
            Quota::Clients => {
                self.release_address(peer);
                self.release_client();
            }
            Quota::Surplus | Quota::Proxies => self.release_client(),
            Quota::Outbound => self.outbound = decremented(self.outbound),
            Quota::Operators => self.operators = decremented(self.operators),
        }
    }

    /// Uncounts a connection for its address, which is now that of a trusted proxy: it moves from
    /// [`Quota::Clients`] to [`Quota::Proxies`].
    pub(crate) fn release_to_proxy(&mut self, peer: IpAddr) {
        self.release_address(peer);
    }

    fn release_address(&mut self, peer: IpAddr) {
        let address = counted_address(peer);
        let count = self.by_address.get_mut(&address);
        debug_assert!(count.is_some(), "a connection was released twice");
        if let Some(count) = count {
            *count = decremented(*count);
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    fn release_client(&mut self) {
        self.connections = decremented(self.connections);
        self.update_flags();
    }

    /// Updates the flags. Each threshold has a lower one for the way back, so that no flag
    /// oscillates.
    fn update_flags(&mut self) {
        // Multiplied, not divided: with two connections at most, one is below 95 %.
        let used = self.connections.saturating_mul(100);
        let percent = |share: usize| self.connections_max.saturating_mul(share);
        let was_crowded = self.is_crowded;
        let share = self.connections_max - self.reserve;
        self.is_full = used >= share.saturating_mul(if self.is_full { 95 } else { 100 });
        self.is_crowded = if self.is_crowded { used >= percent(70) } else { used > percent(80) };
        self.is_crowding_new |= self.is_crowded && !was_crowded;
    }
}

/// One less, saturating: an erroneous second release must not wrap around and refuse all clients.
fn decremented(count: usize) -> usize {
    debug_assert!(count > 0, "a connection was released twice");
    count.saturating_sub(1)
}

/// The address that a client is counted by: of an IPv6 address, the network of 64 bits, since a
/// customer usually gets at least that.
pub(crate) fn counted_address(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

/// Whether an address is exempt from the limits per address.
fn is_exempt(settings: &Settings, client: IpAddr) -> bool {
    is_in(&settings.exempt, client)
}

/// Whether one of these prefixes contains an address.
pub(crate) fn is_in(prefixes: &[Prefix], peer: IpAddr) -> bool {
    prefixes.iter().any(|prefix| contains(prefix, peer))
}

/// Whether `prefix` contains an address. An IPv4 address may be mapped into IPv6.
pub(crate) fn contains(prefix: &Prefix, peer: IpAddr) -> bool {
    let (range, peer, width) = match (prefix.address, peer.to_canonical()) {
        (IpAddr::V4(range), IpAddr::V4(peer)) => {
            (u128::from(range.to_bits()), u128::from(peer.to_bits()), 32)
        }
        (IpAddr::V6(range), IpAddr::V6(peer)) => (range.to_bits(), peer.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - u32::from(prefix.bits);
    (range ^ peer).checked_shr(ignored).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PLAIN: Admitted = Admitted { is_provisional: false, surplus: None };
    const PROVISIONAL: Admitted = Admitted { is_provisional: true, surplus: None };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_full_server_admits_clients_again_below_95_percent() {
        let settings = Settings {
            connections_max: 100,
            connections_per_address: Some(0),
            ..Settings::default()
        };
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
        let settings = Settings {
            connections_max: 40,
            connections_per_address: Some(0),
            ..Settings::default()
        };
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
        assert_eq!(
            admit(&mut admission),
            Ok(PROVISIONAL),
            "no hysteresis at the end of the reserve"
        );
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
            assert_eq!(
                admission.admit(&settings, peer, Time::ZERO),
                Ok(PLAIN),
                "{connections_max}"
            );
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
}
