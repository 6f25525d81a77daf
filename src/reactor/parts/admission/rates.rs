//! Rates of new connections: a token bucket for each address and one for all connections.
//!
//! It owns the buckets and bounds their number. It does not know which addresses are exempt: see
//! `admission.rs`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::reactor::api::settings::{Rate, Settings};
use crate::reactor::api::time::Time;
use crate::reactor::parts::bucket::Bucket;

/// How often a full table of addresses is searched for entries that can be dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The buckets of all addresses, and the bucket of all connections.
#[derive(Debug)]
pub(super) struct Rates {
    by_address: HashMap<IpAddr, Bucket>,
    addresses_max: usize,
    /// When the table was last searched for full buckets.
    swept: Time,
    all: Bucket,
}

impl Rates {
    pub(super) fn new(settings: &Settings, addresses_max: usize) -> Rates {
        let burst = settings.rate.map_or(0, |rate| rate.burst);
        Rates {
            by_address: HashMap::new(),
            addresses_max,
            swept: Time::ZERO,
            all: Bucket::full(burst, Time::ZERO),
        }
    }

    /// Takes a token of all connections' bucket; false if it has none.
    pub(super) fn take_of_all(&mut self, rate: &Rate, now: Time) -> bool {
        self.all.take(rate, now)
    }

    /// Takes a token of an address's bucket; false if it has none, or if the address is new and the
    /// table has no room for it.
    pub(super) fn take_of_address(&mut self, address: IpAddr, rate: &Rate, now: Time) -> bool {
        if self.by_address.len() >= self.addresses_max && !self.by_address.contains_key(&address) {
            self.sweep(rate, now);
            if self.by_address.len() >= self.addresses_max {
                return false;
            }
        }
        let bucket = self.by_address.entry(address);
        bucket.or_insert_with(|| Bucket::full(rate.burst, now)).take(rate, now)
    }

    /// Drops full buckets: a new bucket would be equal. At most once per [`SWEEP_INTERVAL`],
    /// because the search costs more than an accept.
    fn sweep(&mut self, rate: &Rate, now: Time) {
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            self.by_address.retain(|_, bucket| !bucket.is_full(rate, now));
        }
    }
}
