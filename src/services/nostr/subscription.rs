//! Subscriptions from their stored to their live events, without a gap and without a repetition.
//!
//! Owns the open subscriptions of all connections, the live index and the ring of announced events. A
//! pure state machine: the relay calls it for each request, each page and end of a scan, each announced
//! event and each end of a connection, and sends what it returns.
//!
//! The store numbers its commits (`serial`). A scan reads the newest serial, `last`, from the snapshot
//! of its first slice and returns events up to it. Events above it were announced after the request,
//! because an announced event is in each later snapshot. So the ring has them when the scan has ended,
//! or the subscription knows that one was lost and needs a second scan, the catch-up, by serial.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use self::state::{Phase, Scanning, Subscription};
use super::compared::Compared;
use super::event::Event;
use super::filter::Filter;
use super::live::{LiveCounts, LiveFull, LiveIndex, LiveKey, LiveLimits};
use super::message::SubscriptionId;
use super::ring::{Announced, Ring, RingLimits};
use crate::reactor::Time;

pub(super) use self::query::{CatchUp, Ended, Lease, Opened, Query, QueryId};
pub(super) use self::recipients::Recipients;

mod query;
mod recipients;
mod state;
#[cfg(test)]
mod tests;

/// Values of filters that one call of [`Subscriptions::release`] removes, or one subscription if that has
/// more: about 0.5 ms. A connection may leave 1,000,000 behind.
const RELEASED_VALUES_MAX: usize = 5_000;

/// Limits of subscriptions.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubscriptionLimits {
    /// Limits of all connections together.
    pub live: LiveLimits,
    /// Open subscriptions of one connection.
    pub per_connection_max: usize,
    /// How long ephemeral events are offered to later requests; `None`: only to requests from before
    /// the event.
    pub ephemeral_keep: Option<Duration>,
}

impl Default for SubscriptionLimits {
    fn default() -> SubscriptionLimits {
        let live = LiveLimits::default();
        SubscriptionLimits { live, per_connection_max: 200, ephemeral_keep: None }
    }
}

/// Why a request opens no subscription: the limit, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// [`SubscriptionLimits::per_connection_max`].
    PerConnection(usize),
    /// A limit of the live index.
    Live(LiveFull),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::PerConnection(max) => write!(f, "at most {max} subscriptions per connection"),
            Refused::Live(full) => full.fmt(f),
        }
    }
}

/// The open subscriptions of all connections. `C` identifies a connection.
#[derive(Debug)]
pub(super) struct Subscriptions<C> {
    live: LiveIndex<Subscription<C>>,
    /// Subscriptions by connection. Invariant: no list is empty.
    connections: HashMap<C, Vec<LiveKey>>,
    /// Subscriptions of ended connections, to be removed from the live index.
    ended: VecDeque<LiveKey>,
    ring: Ring,
    hashing: RandomState,
    /// The number of the last query.
    queries: u64,
    /// The newest serial that was acknowledged: a subscription without a scan gets later ones.
    acknowledged: u64,
    /// Ephemeral events that a subscription did not get because the ring had lost them.
    dropped: u64,
    /// The recipients of the event that was announced last, by the hash of the subscription's id.
    found: Vec<(u64, LiveKey)>,
    limits: SubscriptionLimits,
}

impl<C: Copy + Eq + Hash> Subscriptions<C> {
    /// No subscriptions.
    pub(super) fn new(limits: SubscriptionLimits) -> Subscriptions<C> {
        Subscriptions::with_ring(limits, RingLimits::default())
    }

    fn with_ring(limits: SubscriptionLimits, ring: RingLimits) -> Subscriptions<C> {
        Subscriptions {
            live: LiveIndex::new(limits.live),
            connections: HashMap::new(),
            ended: VecDeque::new(),
            ring: Ring::new(ring),
            hashing: RandomState::new(),
            queries: 0,
            acknowledged: 0,
            dropped: 0,
            found: Vec::new(),
            limits,
        }
    }

    /// Opens a subscription for a REQ. It replaces the connection's subscription with the same id
    /// (NIP-01), also if it is refused.
    ///
    /// # Errors
    /// A limit is reached.
    pub(super) fn request(
        &mut self,
        conn: C,
        id: SubscriptionId,
        filters: Arc<[Filter]>,
    ) -> Result<Opened, Refused> {
        self.close(conn, &id);
        let per_connection_max = self.limits.per_connection_max;
        if self.of_connection(conn).len() >= per_connection_max {
            return Err(Refused::PerConnection(per_connection_max));
        }
        let scans = filters.iter().any(|filter| filter.limit() != Some(0));
        let id_hash = self.hashing.hash_one(&id);
        let phase = Phase::Live { floor: self.acknowledged };
        let subscription = Subscription { conn, id, id_hash, phase };
        let key = self.live.insert(subscription, filters).map_err(Refused::Live)?;
        self.connections.entry(conn).or_default().push(key);
        Ok(if scans { Opened::Scan(self.scan(key, false)) } else { Opened::Live })
    }

    /// Makes a subscription wait for a new scan.
    fn scan(&mut self, key: LiveKey, is_catch_up: bool) -> Query {
        self.queries += 1;
        let number = self.queries;
        let lease = Arc::new(());
        let query = Query { id: QueryId { key, number }, lease: Lease(Arc::downgrade(&lease)) };
        let since = self.ring.next();
        let scanning =
            Scanning { number, _lease: lease, is_catch_up, since, missed: None, ephemeral: 0 };
        self.live[key].phase = Phase::Scanning(Box::new(scanning));
        query
    }

    /// The connection and the id of the subscription that waits for a page of this scan; `None` if it
    /// has ended or was replaced.
    pub(super) fn page(&self, query: QueryId) -> Option<(C, &SubscriptionId)> {
        let (subscription, _) = self.live.get(query.key)?;
        let scanning = subscription.scanning()?;
        (scanning.number == query.number).then_some((subscription.conn, &subscription.id))
    }

    /// Handles the end of a scan that returned all matches with serials up to `last`. `None` if the
    /// subscription has ended or was replaced.
    pub(super) fn end(&mut self, query: QueryId, last: u64, now: Time) -> Option<Ended<C>> {
        self.page(query)?;
        let (subscription, filters) = self.live.get(query.key)?;
        let scanning = subscription.scanning()?;
        let (conn, id, eose) = (subscription.conn, subscription.id.clone(), !scanning.is_catch_up);
        let mut events = if eose { self.kept(scanning.since, filters, now) } else { Vec::new() };
        let Some(missed) = self.missed(scanning, filters, last) else {
            let ephemeral = self.ephemeral(scanning, filters);
            self.dropped += scanning.ephemeral - ephemeral.len() as u64;
            events.extend(ephemeral);
            let filters = Arc::clone(filters);
            let query = self.scan(query.key, true);
            let catch_up = Some(CatchUp { query, filters, after: last });
            return Some(Ended { conn, id, eose, events, catch_up });
        };
        events.extend(missed);
        self.live[query.key].phase = Phase::Live { floor: last };
        Some(Ended { conn, id, eose, events, catch_up: None })
    }

    /// The events announced during a scan that it did not return; `None` if the ring has lost some, or
    /// if too many would be compared.
    fn missed(
        &self,
        scanning: &Scanning,
        filters: &[Filter],
        last: u64,
    ) -> Option<Vec<Arc<Event>>> {
        let Some(first) = scanning.missed else {
            return Some(Vec::new());
        };
        let announced = self.ring.since(first)?;
        let above =
            announced.filter(|(_, announced)| announced.serial.is_none_or(|serial| serial > last));
        Some(matching(above, filters))
    }

    /// The ephemeral events announced during a scan, before a catch-up scan, which cannot return them.
    fn ephemeral(&self, scanning: &Scanning, filters: &[Filter]) -> Vec<Arc<Event>> {
        let announced = self.ring.last();
        let ephemeral = announced
            .filter(|(number, announced)| announced.serial.is_none() && *number >= scanning.since);
        matching(ephemeral, filters)
    }

    /// Kept ephemeral events from before event `number` of the ring.
    fn kept(&self, number: u64, filters: &[Filter], now: Time) -> Vec<Arc<Event>> {
        let Some(keep) = self.limits.ephemeral_keep else {
            return Vec::new();
        };
        let kept = self.ring.last().filter(|(announced_number, announced)| {
            let is_kept = announced.serial.is_none() && now.since(announced.at) <= keep;
            is_kept && *announced_number < number
        });
        matching(kept, filters)
    }

    /// Ends the subscription whose scan failed. `None` if it has ended or was replaced.
    pub(super) fn fail(&mut self, query: QueryId) -> Option<(C, SubscriptionId)> {
        self.page(query)?;
        let subscription = self.remove(query.key);
        Some((subscription.conn, subscription.id))
    }

    /// All events up to this serial are acknowledged, or will be in this turn. Some may not have been
    /// announced yet.
    pub(super) fn acknowledge(&mut self, serial: u64) {
        self.acknowledged = serial;
    }

    /// Announces an event: stored by the commit `serial`, or ephemeral. Commits are announced in their
    /// order, each event once.
    pub(super) fn announce(
        &mut self,
        event: Arc<Event>,
        serial: Option<u64>,
        now: Time,
    ) -> Recipients<'_, C> {
        let number = self.ring.next();
        let mut waiting = 0;
        let found = &mut self.found;
        found.clear();
        self.live.matching(&event, |key, subscription| match &mut subscription.phase {
            Phase::Scanning(scanning) => {
                scanning.missed.get_or_insert(number);
                scanning.ephemeral += u64::from(serial.is_none());
                waiting += 1;
            }
            Phase::Live { floor } => {
                if serial.is_none_or(|serial| serial > *floor) {
                    found.push((subscription.id_hash, key));
                }
            }
            Phase::Ended => {}
        });
        found.sort_unstable();
        self.ring.push(Announced { event, serial, at: now });
        Recipients { live: &self.live, found: &self.found, waiting }
    }

    /// Ends a subscription, and its scan. Returns whether there was one.
    pub(super) fn close(&mut self, conn: C, id: &SubscriptionId) -> bool {
        let key = self.of_connection(conn).iter().copied().find(|key| {
            self.live.get(*key).is_some_and(|(subscription, _)| subscription.id == *id)
        });
        if let Some(key) = key {
            self.remove(key);
        }
        key.is_some()
    }

    /// Ends all subscriptions of a connection. [`release`](Subscriptions::release) has to follow, until
    /// none is [left](Subscriptions::ended).
    pub(super) fn forget(&mut self, conn: C) {
        for key in self.connections.remove(&conn).unwrap_or_default() {
            self.live[key].phase = Phase::Ended;
            self.ended.push_back(key);
        }
    }

    /// Removes some subscriptions of ended connections from the live index.
    pub(super) fn release(&mut self) {
        let mut left = RELEASED_VALUES_MAX;
        while let Some(&key) = self.ended.front() {
            let values = self.live.values(key);
            let is_first = left == RELEASED_VALUES_MAX;
            if values > left && !is_first {
                return;
            }
            left = left.saturating_sub(values);
            self.live.remove(key);
            self.ended.pop_front();
        }
    }

    /// Subscriptions of ended connections that are still in the live index, and in
    /// [`counts`](Subscriptions::counts).
    pub(super) fn ended(&self) -> usize {
        self.ended.len()
    }

    fn remove(&mut self, key: LiveKey) -> Subscription<C> {
        let subscription = self.live.remove(key);
        if let Some(keys) = self.connections.get_mut(&subscription.conn) {
            keys.retain(|open| *open != key);
            if keys.is_empty() {
                self.connections.remove(&subscription.conn);
            }
        }
        subscription
    }

    fn of_connection(&self, conn: C) -> &[LiveKey] {
        self.connections.get(&conn).map_or(&[], Vec::as_slice)
    }

    /// How many subscriptions a connection has open.
    pub(super) fn count(&self, conn: C) -> usize {
        self.of_connection(conn).len()
    }

    /// How many of a connection's subscriptions wait for a scan.
    #[cfg(test)]
    pub(super) fn scans(&self, conn: C) -> usize {
        let subscriptions = self.of_connection(conn).iter().filter_map(|key| self.live.get(*key));
        subscriptions.filter(|(subscription, _)| subscription.scanning().is_some()).count()
    }

    /// What the live index holds.
    pub(super) fn counts(&self) -> LiveCounts {
        self.live.counts()
    }

    /// Bytes of the events that were announced last.
    #[cfg(test)]
    pub(super) fn ring_bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// Ephemeral events that subscriptions did not get, because the ring had lost them when their scans
    /// had ended.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn matching<'a>(
    announced: impl Iterator<Item = (u64, &'a Announced)>,
    filters: &[Filter],
) -> Vec<Arc<Event>> {
    let events = announced.map(|(_, announced)| &announced.event);
    let is_match = |event: &&Arc<Event>| {
        let compared = Compared::new(&***event);
        filters.iter().any(|filter| compared.matches(filter))
    };
    events.filter(is_match).cloned().collect()
}
