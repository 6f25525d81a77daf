//! Forged and malformed tokens per client address: past a rate, no further signature is computed for it.

use std::net::IpAddr;
use std::time::Duration;

use crate::reactor::Time;
use crate::reactor::limits::{Bucket, Buckets, counted_address};
use crate::reactor::settings::Rate;

/// Maximum number of addresses with a bucket of their own; further ones share one.
const ADDRESSES_MAX: usize = 65_536;

/// The buckets of failures.
#[derive(Debug)]
pub(super) struct Failures {
    rate: Option<Rate>,
    buckets: Buckets<IpAddr>,
    overflow: Bucket,
}

impl Failures {
    pub(super) fn new(rate: Option<Rate>) -> Failures {
        Failures { rate, buckets: Buckets::new(ADDRESSES_MAX), overflow: Bucket::default() }
    }

    /// The time until a token of this address is checked; `None`: now.
    pub(super) fn wait(&mut self, client: IpAddr, now: Time) -> Option<Duration> {
        let (rate, bucket) = self.bucket(client, now)?;
        // On a copy: only failures take a token of the bucket.
        let mut copy = *bucket;
        copy.take(&rate, now).err()
    }

    /// Counts a failure.
    pub(super) fn count(&mut self, client: IpAddr, now: Time) {
        if let Some((rate, bucket)) = self.bucket(client, now) {
            // An empty bucket stays empty.
            let _ = bucket.take(&rate, now);
        }
    }

    /// `None`: the address is not limited. Front proxies without `trusted_proxies` and tests are on
    /// loopback.
    fn bucket(&mut self, client: IpAddr, now: Time) -> Option<(Rate, &mut Bucket)> {
        let rate = self.rate.filter(|_| !client.is_loopback())?;
        let bucket = self.buckets.get(counted_address(client), now);
        Some((rate, bucket.unwrap_or(&mut self.overflow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_of_an_address_stop_checks_until_its_bucket_has_a_token() {
        let rate = Rate { per_second: 0.1, burst: 3 };
        let mut failures = Failures::new(Some(rate));
        let bad: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(failures.wait(bad, at(0)), None);
            failures.count(bad, at(0));
        }
        assert_eq!(failures.wait(bad, at(0)), Some(Duration::from_secs(10)));
        failures.count(bad, at(1));
        assert_eq!(failures.wait(bad, at(4)), Some(Duration::from_secs(6)), "no debt");
        assert_eq!(failures.wait(bad, at(10)), None);
        assert_eq!(failures.wait("192.0.2.2".parse().unwrap(), at(0)), None);
    }

    #[test]
    fn a_prefix_of_64_bits_shares_a_bucket_and_loopback_has_none() {
        let mut failures = Failures::new(Some(Rate { per_second: 0.1, burst: 1 }));
        failures.count("2001:db8::1".parse().unwrap(), at(0));
        assert!(failures.wait("2001:db8::2".parse().unwrap(), at(0)).is_some());
        assert!(failures.wait("2001:db8:0:1::1".parse().unwrap(), at(0)).is_none());
        for loopback in ["127.0.0.1", "::1"] {
            let loopback = loopback.parse().unwrap();
            (0..5).for_each(|_| failures.count(loopback, at(0)));
            assert_eq!(failures.wait(loopback, at(0)), None);
        }
        let mut off = Failures::new(None);
        off.count("192.0.2.1".parse().unwrap(), at(0));
        assert_eq!(off.wait("192.0.2.1".parse().unwrap(), at(0)), None);
    }
}
