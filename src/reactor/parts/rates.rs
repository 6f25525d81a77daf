//! Rates: the token bucket, and tables of the buckets of addresses and of other keys.
//!
//! It reads no clock and knows no setting: the caller passes the time and the rate. Which addresses
//! are limited is decided in `admission.rs`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use crate::reactor::api::id::RouteId;
use crate::reactor::api::settings::Rate;
use crate::reactor::api::time::Time;

/// How often a full table is searched for entries that can be dropped: the search costs more than
/// an accept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time between two tokens, 146 years, so that sums of two such times do not overflow.
const TOKEN_NANOS_MAX: u64 = u64::MAX / 4;

/// A token bucket: tokens return at a rate, up to a burst.
///
/// It is the time at which the bucket will be full (GCRA): the missing tokens follow from it, and
/// time alone refills it. A new bucket is full.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    full_at: Time,
}

impl Bucket {
    /// Takes a token.
    ///
    /// # Errors
    /// The bucket is empty; the time until it has a token.
    pub(crate) fn take(&mut self, rate: &Rate, now: Time) -> Result<(), Duration> {
        self.take_many(rate, 1, now)
    }

    /// Takes several tokens, but at most a full bucket.
    ///
    /// # Errors
    /// The bucket has fewer, and loses none; the time until it has them.
    pub(crate) fn take_many(
        &mut self,
        rate: &Rate,
        tokens: u32,
        now: Time,
    ) -> Result<(), Duration> {
        let token = token_nanos(rate);
        let capacity = u128::from(token) * u128::from(rate.burst);
        let cost = u128::from(token) * u128::from(tokens.min(rate.burst));
        let missing = self.full_at.since(now).as_nanos() + cost;
        // Time ends 584 years after the start: a bucket that would be full later counts as empty.
        let full_at = u64::try_from(u128::from(now.as_nanos()) + missing);
        match full_at {
            Ok(full_at) if missing <= capacity => {
                self.full_at = Time::from_nanos(full_at);
                Ok(())
            }
            _ => {
                let wait = missing.saturating_sub(capacity).max(1);
                Err(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
            }
        }
    }

    /// Whether dropping the bucket changes nothing, because a new one is full, too.
    fn is_full(self, now: Time) -> bool {
        self.full_at <= now
    }
}

/// The time between two tokens, in nanoseconds: at least one, so at most 10^9 tokens per second.
fn token_nanos(rate: &Rate) -> u64 {
    ((1e9 / rate.per_second) as u64).clamp(1, TOKEN_NANOS_MAX)
}

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

    /// Tokens as exact fractions: `tokens` counts nanoseconds of refill, at `nanos` per token.
    struct Model {
        nanos: u64,
        burst: u64,
        tokens: u64,
        filled: u64,
    }

    impl Model {
        fn take(&mut self, now: u64) -> bool {
            let full = self.nanos * self.burst;
            self.tokens = full.min(self.tokens + (now - self.filled));
            self.filled = now;
            let has_one = self.tokens >= self.nanos;
            self.tokens -= if has_one { self.nanos } else { 0 };
            has_one
        }
    }

    #[test]
    fn a_bucket_equals_an_exact_count_of_tokens() {
        // Rates whose token is a whole number of nanoseconds.
        for (per_second, nanos, burst) in [
            (1.0, SECOND, 1),
            (10.0, SECOND / 10, 3),
            (1000.0, SECOND / 1000, 50),
            (0.5, 2 * SECOND, 7),
        ] {
            let rate = Rate { per_second, burst: burst as u32 };
            let mut model = Model { nanos, burst, tokens: nanos * burst, filled: 0 };
            let mut bucket = Bucket::default();
            let (mut now, mut random) = (0, 12_345_u64);
            for step in 0..250_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                now += (random >> 33) % (nanos * 2);
                let taken = bucket.take(&rate, at(now));
                assert_eq!(taken.is_ok(), model.take(now), "step {step} of {rate:?}");
                if let Err(wait) = taken {
                    let wait = wait.as_nanos() as u64;
                    assert_eq!(wait, nanos - model.tokens, "step {step} of {rate:?}");
                }
            }
        }
    }

    #[test]
    fn extreme_rates_neither_overflow_nor_admit_more_than_their_burst() {
        for (per_second, burst) in
            [(f64::MIN_POSITIVE, 1), (1.0 / 3600.0, 3), (f64::MIN_POSITIVE, 2)]
        {
            let rate = Rate { per_second, burst };
            for start in [0, SECOND, u64::MAX / 8] {
                let mut bucket = Bucket::default();
                for _ in 0..burst {
                    bucket.take(&rate, at(start)).unwrap();
                }
                assert!(bucket.take(&rate, at(start + SECOND)).is_err(), "{rate:?}");
            }
        }
        let fast = Rate { per_second: f64::MAX, burst: u32::MAX };
        let mut bucket = Bucket::default();
        assert!((0..1000).all(|_| bucket.take(&fast, Time::MAX).is_err()));
        assert!((0..1000).all(|_| bucket.take(&fast, at(SECOND)).is_ok()));
    }

    #[test]
    fn many_tokens_are_taken_whole_or_not_at_all() {
        let rate = Rate { per_second: 1.0, burst: 10 };
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take_many(&rate, 8, at(0)), Ok(()));
        assert_eq!(bucket.take_many(&rate, 4, at(0)), Err(Duration::from_secs(2)));
        assert_eq!(bucket.take_many(&rate, 2, at(0)), Ok(()));
        assert_eq!(bucket.take(&rate, at(0)), Err(Duration::from_secs(1)));
        // More than a full bucket would never be there: a full one suffices.
        assert_eq!(bucket.take_many(&rate, 1000, at(10 * SECOND)), Ok(()));
        assert_eq!(bucket.take(&rate, at(10 * SECOND)), Err(Duration::from_secs(1)));
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
