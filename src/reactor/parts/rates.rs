//! Tables of token buckets: of addresses, and of other keys.
//!
//! It reads no clock: the caller passes the time and the rate. Which addresses are limited is
//! decided in `admission.rs`. Buckets that open connections share are in
//! [`shared_rates`](super::shared_rates).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use super::bucket::Bucket;
use crate::reactor::api::id::RouteId;
use crate::reactor::api::settings::Rate;
use crate::reactor::api::time::Time;

/// How often a full table is searched for entries that can be dropped: the search costs more than
/// an accept.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What a bucket of the table limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Limited {
    /// New connections: `rate_per_address`.
    Connections,
    /// Requests to a route: its `requests_per_address`.
    Requests(RouteId),
}

/// Buckets by key. Their number is limited.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    buckets: HashMap<K, Bucket>,
    entries_max: usize,
    /// When the table was last searched for full buckets.
    swept: Time,
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(entries_max: usize) -> Buckets<K> {
        Buckets { buckets: HashMap::new(), entries_max, swept: Time::ZERO }
    }

    /// The key's bucket; `None` if the key is new and the table has no room for it.
    pub(crate) fn get(&mut self, key: K, now: Time) -> Option<&mut Bucket> {
        if self.buckets.len() >= self.entries_max && !self.buckets.contains_key(&key) {
            self.sweep(now);
            if self.buckets.len() >= self.entries_max {
                return None;
            }
        }
        Some(self.buckets.entry(key).or_default())
    }

    /// Drops full buckets, at most once per [`SWEEP_INTERVAL`].
    fn sweep(&mut self, now: Time) {
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
    }
}

/// The buckets of all addresses.
#[derive(Debug)]
pub(super) struct AddressRates {
    buckets: Buckets<(Limited, IpAddr)>,
    /// While the table is full, the addresses that are not in it share a bucket per limit. There
    /// are at most as many limits as routes, and one.
    overflow: HashMap<Limited, Bucket>,
    /// How often a shared bucket was used.
    overflows: u64,
}

impl AddressRates {
    pub(super) fn new(entries_max: usize) -> AddressRates {
        let buckets = Buckets::new(entries_max);
        AddressRates { buckets, overflow: HashMap::new(), overflows: 0 }
    }

    /// Takes a token of the address's bucket, or of the shared one if the address is new and the
    /// table has no room for it.
    ///
    /// # Errors
    /// The bucket is empty; the time until it has a token.
    pub(super) fn take(
        &mut self,
        limited: Limited,
        address: IpAddr,
        rate: &Rate,
        now: Time,
    ) -> Result<(), Duration> {
        if let Some(bucket) = self.buckets.get((limited, address), now) {
            return bucket.take(rate, now);
        }
        self.overflows += 1;
        self.overflow.entry(limited).or_default().take(rate, now)
    }

    /// The time until the bucket from which [`take`](AddressRates::take) would take has a token.
    pub(super) fn wait(
        &self,
        limited: Limited,
        address: IpAddr,
        rate: &Rate,
        now: Time,
    ) -> Duration {
        let own = self.buckets.buckets.get(&(limited, address));
        let bucket = own.or_else(|| self.overflow.get(&limited));
        bucket.map_or(Duration::ZERO, |bucket| bucket.wait(rate, now))
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.buckets.len()
    }

    /// How often an address shared a bucket because the table was full.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn each_limit_has_its_own_buckets() {
        let mut rates = AddressRates::new(10);
        let rate = Rate { per_second: 1.0, burst: 1 };
        let address = IpAddr::from([192, 0, 2, 1]);
        let limits =
            [Limited::Connections, Limited::Requests(RouteId(0)), Limited::Requests(RouteId(1))];
        for limited in limits {
            assert_eq!(rates.take(limited, address, &rate, at(0)), Ok(()));
            assert_eq!(rates.take(limited, address, &rate, at(0)), Err(Duration::from_secs(1)));
        }
        assert_eq!((rates.len(), rates.overflows()), (3, 0));
    }

    #[test]
    fn addresses_beyond_the_table_share_a_bucket_per_limit() {
        let mut rates = AddressRates::new(2);
        let rate = Rate { per_second: 0.001, burst: 2 };
        let mut take = |limited, last| {
            rates.take(limited, IpAddr::from([192, 0, 2, last]), &rate, at(5 * SECOND)).is_ok()
        };
        let (connections, requests) = (Limited::Connections, Limited::Requests(RouteId(0)));
        assert!(take(connections, 1) && take(connections, 2));
        let shared = [3, 4, 5, 3].map(|last| take(connections, last));
        assert_eq!(shared, [true, true, false, false]);
        assert!(take(requests, 6) && take(requests, 7) && !take(requests, 8));
        // Addresses that have a bucket keep it.
        assert!(take(connections, 1) && !take(connections, 1));
        assert_eq!((rates.len(), rates.overflows()), (2, 7));
    }

    #[test]
    fn a_full_table_is_swept_at_most_once_a_second() {
        let mut rates = AddressRates::new(1);
        let rate = Rate { per_second: 10.0, burst: 1 };
        let mut take = |last, millis: u64| {
            let address = IpAddr::from([192, 0, 2, last]);
            rates.take(Limited::Connections, address, &rate, at(millis * 1_000_000)).is_ok()
        };
        assert!(take(1, 1000) && take(2, 1001) && !take(2, 1002));
        // The first bucket is full again, and the next sweep drops it.
        assert!(take(3, 1900) && !take(4, 1901));
        assert!(take(4, 2001));
        assert_eq!(rates.overflows(), 4);
    }
}
