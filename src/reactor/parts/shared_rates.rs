//! Buckets that open connections share: of addresses and subjects, by rate and route.
//!
//! A connection enters a bucket when it opens, reads by its id, and leaves when it ends. A bucket
//! without connections stays until it is full, so that a client which returns finds its own. The
//! number of buckets is limited: further keys share one bucket per rate and route.
//! [`effects::rates`](crate::reactor::effects::rates) takes the tokens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use slab::Slab;

use super::bucket::{Bucket, Pace};
use super::rates::SWEEP_INTERVAL;
use crate::reactor::api::id::{GateId, RouteId};
use crate::reactor::api::settings::{Limit, Rate, RouteSettings};
use crate::reactor::api::time::Time;

/// A rate of a route that several connections share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SharedRate {
    MessagesPerAddress,
    BytesPerAddress,
    MessagesPerSubject,
}

impl SharedRate {
    pub(crate) const ALL: [SharedRate; 3] = [
        SharedRate::MessagesPerAddress,
        SharedRate::BytesPerAddress,
        SharedRate::MessagesPerSubject,
    ];

    pub(crate) fn limit(self) -> Limit {
        match self {
            SharedRate::MessagesPerAddress => Limit::MessagesPerAddress,
            SharedRate::BytesPerAddress => Limit::BytesPerAddress,
            SharedRate::MessagesPerSubject => Limit::MessagesPerSubject,
        }
    }

    pub(crate) fn counts_bytes(self) -> bool {
        self == SharedRate::BytesPerAddress
    }
}

/// The rates of a route, in the numbers that buckets need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RouteRates {
    pub(crate) messages: Option<Pace>,
    pub(crate) bytes: Option<Pace>,
    /// By [`SharedRate`].
    pub(crate) shared: [Option<Pace>; SharedRate::ALL.len()],
}

impl RouteRates {
    pub(crate) fn is_any(&self) -> bool {
        *self != RouteRates::default()
    }

    /// The limits that are set.
    pub(crate) fn limits(&self) -> impl Iterator<Item = Limit> {
        let own = [(self.messages, Limit::Messages), (self.bytes, Limit::Bytes)];
        let shared = SharedRate::ALL.map(|rate| (self.shared[rate as usize], rate.limit()));
        own.into_iter().chain(shared).filter_map(|(pace, limit)| pace.map(|_| limit))
    }
}

impl From<&RouteSettings> for RouteRates {
    fn from(settings: &RouteSettings) -> RouteRates {
        let messages = |rate: &Option<Rate>| rate.as_ref().map(Pace::of_messages);
        let bytes = |rate: &Option<Rate>| rate.as_ref().map(Pace::of_bytes);
        RouteRates {
            messages: messages(&settings.messages_rate),
            bytes: bytes(&settings.bytes_rate),
            shared: SharedRate::ALL.map(|rate| match rate {
                SharedRate::MessagesPerAddress => messages(&settings.messages_rate_per_address),
                SharedRate::BytesPerAddress => bytes(&settings.bytes_rate_per_address),
                SharedRate::MessagesPerSubject => messages(&settings.messages_rate_per_subject),
            }),
        }
    }
}

/// Which bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) rate: SharedRate,
    pub(crate) route: RouteId,
    pub(crate) owner: Owner,
}

/// The common property of the connections that share a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// As counted by admission: of an IPv6 address, the /64.
    Address(IpAddr),
    /// A subject of a gate.
    Subject(GateId, Arc<str>),
}

/// A bucket that a connection has entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SharedId(
    /// One more than the index of the entry, so that an `Option` takes four bytes.
    NonZeroU32,
);

impl SharedId {
    /// The bucket of keys without room: no entry has its index.
    const OVERFLOW: SharedId = SharedId(NonZeroU32::MAX);

    /// There are fewer than 2^32 entries.
    fn of(index: usize) -> SharedId {
        SharedId(NonZeroU32::MIN.saturating_add(index as u32))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The shared buckets.
#[derive(Debug)]
pub(crate) struct SharedRates {
    entries: Slab<Entry>,
    by_key: HashMap<Key, SharedId>,
    overflow: HashMap<(SharedRate, RouteId), Bucket>,
    overflows: u64,
    entries_max: usize,
    swept: Time,
    /// The number of entries, by [`SharedRate`].
    counts: [usize; SharedRate::ALL.len()],
}

#[derive(Debug)]
struct Entry {
    key: Key,
    bucket: Bucket,
    /// Open connections that have entered.
    connections: usize,
}

impl SharedRates {
    pub(crate) fn new(entries_max: usize) -> SharedRates {
        SharedRates {
            entries: Slab::new(),
            by_key: HashMap::new(),
            overflow: HashMap::new(),
            overflows: 0,
            entries_max,
            swept: Time::ZERO,
            counts: Default::default(),
        }
    }

    /// Enters the bucket of a key for one more connection.
    pub(crate) fn enter(&mut self, key: Key, now: Time) -> SharedId {
        if let Some(&id) = self.by_key.get(&key) {
            self.entries[id.index()].connections += 1;
            return id;
        }
        if self.entries.len() >= self.entries_max {
            self.sweep(now);
        }
        if self.entries.len() >= self.entries_max {
            self.overflows += 1;
            return SharedId::OVERFLOW;
        }
        self.counts[key.rate as usize] += 1;
        let entry = Entry { key: key.clone(), bucket: Bucket::default(), connections: 1 };
        let id = SharedId::of(self.entries.insert(entry));
        self.by_key.insert(key, id);
        id
    }

    /// Leaves a bucket at the end of a connection.
    pub(crate) fn leave(&mut self, id: SharedId, now: Time) {
        let Some(entry) = self.entries.get_mut(id.index()) else {
            return;
        };
        debug_assert!(entry.connections > 0, "a connection left a bucket twice");
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 && entry.bucket.is_full(now) {
            let entry = self.entries.remove(id.index());
            self.by_key.remove(&entry.key);
            self.counts[entry.key.rate as usize] -= 1;
        }
    }

    /// A bucket that a connection of this route has entered.
    pub(crate) fn bucket(&mut self, id: SharedId, rate: SharedRate, route: RouteId) -> &mut Bucket {
        match self.entries.get_mut(id.index()) {
            Some(entry) => &mut entry.bucket,
            None => self.overflow.entry((rate, route)).or_default(),
        }
    }

    /// The number of buckets of a rate, over all routes.
    pub(crate) fn len(&self, rate: SharedRate) -> usize {
        self.counts[rate as usize]
    }

    /// How often a connection entered a common bucket because the table was full.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Drops full buckets without connections, at most once per [`SWEEP_INTERVAL`].
    fn sweep(&mut self, now: Time) {
        if now.since(self.swept) < SWEEP_INTERVAL {
            return;
        }
        self.swept = now;
        let SharedRates { entries, by_key, counts, .. } = self;
        entries.retain(|_, entry| {
            let stays = entry.connections > 0 || !entry.bucket.is_full(now);
            if !stays {
                by_key.remove(&entry.key);
                counts[entry.key.rate as usize] -= 1;
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn key(last: u8) -> Key {
        let owner = Owner::Address([192, 0, 2, last].into());
        Key { rate: SharedRate::MessagesPerAddress, route: RouteId(0), owner }
    }

    fn pace() -> Pace {
        Pace::of_messages(&Rate { per_second: 1.0, burst: 5 })
    }

    /// Takes up to `wanted` tokens of the bucket; returns how many it had.
    fn take(rates: &mut SharedRates, id: SharedId, wanted: usize, now: Time) -> usize {
        let bucket = rates.bucket(id, SharedRate::MessagesPerAddress, RouteId(0));
        let taken = bucket.tokens(&pace(), now).min(wanted);
        bucket.spend(&pace(), taken, now);
        taken
    }

    fn len(rates: &SharedRates) -> usize {
        rates.len(SharedRate::MessagesPerAddress)
    }

    #[test]
    fn connections_of_a_key_share_a_bucket_which_outlives_them_until_it_is_full() {
        let mut rates = SharedRates::new(10);
        let (one, two) = (rates.enter(key(1), at(0)), rates.enter(key(1), at(0)));
        assert_eq!(one, two);
        assert_eq!((take(&mut rates, one, 3, at(0)), take(&mut rates, two, 3, at(0))), (3, 2));
        rates.leave(one, at(0));
        rates.leave(two, at(1000));
        assert_eq!(len(&rates), 1);
        let again = rates.enter(key(1), at(2000));
        assert_eq!(take(&mut rates, again, 9, at(2000)), 2, "it came back to its own bucket");
        rates.leave(again, at(7000));
        assert_eq!((len(&rates), rates.by_key.len()), (0, 0), "it was full");
        let fresh = rates.enter(key(1), at(7000));
        assert_eq!(take(&mut rates, fresh, 9, at(7000)), 5);
    }

    #[test]
    fn keys_beyond_the_table_share_a_bucket_and_known_keys_keep_theirs() {
        let mut rates = SharedRates::new(2);
        let (one, two) = (rates.enter(key(1), at(2000)), rates.enter(key(2), at(2000)));
        assert_eq!(take(&mut rates, one, 9, at(2000)), 5);
        let (three, four) = (rates.enter(key(3), at(2000)), rates.enter(key(4), at(2000)));
        assert_eq!(
            (take(&mut rates, three, 3, at(2000)), take(&mut rates, four, 9, at(2000))),
            (3, 2)
        );
        rates.leave(one, at(2000));
        let again = rates.enter(key(1), at(2000));
        assert_eq!(take(&mut rates, again, 9, at(2000)), 0);
        assert_eq!(take(&mut rates, two, 9, at(2000)), 5);
        assert_eq!((len(&rates), rates.overflows()), (2, 2));
        for id in [again, two, three, four] {
            rates.leave(id, at(2000));
        }
        // Both buckets are full again: the next key finds room, and only an empty bucket stays.
        let five = rates.enter(key(5), at(9000));
        assert_eq!(take(&mut rates, five, 9, at(9000)), 5);
        assert_eq!((len(&rates), rates.by_key.len()), (1, 1));
    }

    #[test]
    fn a_full_table_drops_no_bucket_of_an_open_connection() {
        let mut rates = SharedRates::new(1);
        let one = rates.enter(key(1), at(5000));
        let two = rates.enter(key(2), at(9000));
        assert_eq!((one, two), (SharedId::of(0), SharedId::OVERFLOW));
        rates.leave(one, at(9000));
        assert_ne!(rates.enter(key(2), at(9001)), SharedId::OVERFLOW);
    }
}
