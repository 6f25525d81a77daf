//! Rates of events and requests: per connection, address and author (token buckets).
//!
//! Owns the buckets of addresses and authors; the relay keeps those of a connection with it. It reads
//! no clock. Further rates, in messages and bytes, belong to the loop.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::refusal::{Prefix, Refusal};
use super::tags::PublicKey;
use crate::reactor::Time;
use crate::reactor::limits::{Bucket, Buckets, counted_address, is_in};
use crate::reactor::settings::{self, Rate};

/// Addresses, and authors, with a bucket of their own. The others share one.
const ENTRIES_MAX: usize = 65_536;
/// Tables of authors: verify threads rarely wait for each other.
const SHARDS: usize = 64;
/// An event costs one token, and one more for each of these.
const BYTES_PER_TOKEN: usize = 4096;

/// The rates of a relay; `None` is off.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RateLimits {
    /// Events and AUTH of a connection.
    pub events: Option<Rate>,
    /// Events and AUTH of an address; an IPv6 address counts with its /64.
    pub events_per_address: Option<Rate>,
    /// Events of an author.
    pub events_per_author: Option<Rate>,
    /// REQ, COUNT, NEG-OPEN and NEG-MSG of a connection.
    pub requests: Option<Rate>,
    /// Addresses without these limits.
    pub exempt_addresses: Vec<settings::Prefix>,
    /// Authenticated keys without these limits, and authors.
    pub exempt_keys: Vec<PublicKey>,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        RateLimits {
            events: Some(Rate { per_second: 50.0, burst: 500 }),
            events_per_address: Some(Rate { per_second: 200.0, burst: 2000 }),
            events_per_author: None,
            requests: Some(Rate { per_second: 20.0, burst: 200 }),
            exempt_addresses: Vec::new(),
            exempt_keys: Vec::new(),
        }
    }
}

/// The buckets of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnRates {
    events: Bucket,
    requests: Bucket,
}

/// A client, as far as rates depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    /// Its address.
    pub address: IpAddr,
    /// The keys that it has authenticated.
    pub keys: &'a [PublicKey],
}

/// The rates of connections and addresses, on the loop.
#[derive(Debug)]
pub(super) struct Rates {
    limits: RateLimits,
    addresses: Buckets<IpAddr>,
    /// The bucket of addresses for which the table has no room.
    shared: Bucket,
}

impl Rates {
    /// Full buckets.
    pub(super) fn new(limits: RateLimits) -> Rates {
        let addresses = Buckets::new(ENTRIES_MAX);
        Rates { limits, addresses, shared: Bucket::default() }
    }

    /// Charges an event or an AUTH of so many bytes, to both buckets or to none.
    ///
    /// # Errors
    /// A bucket has too few tokens.
    pub(super) fn event(
        &mut self,
        conn: &mut ConnRates,
        client: Client<'_>,
        bytes: usize,
        now: Time,
    ) -> Result<(), Refusal> {
        if self.is_exempt(client) {
            return Ok(());
        }
        let tokens = cost(bytes);
        let mut events = conn.events;
        take(&mut events, self.limits.events, tokens, now, "events of a connection")?;
        let per_address = self.limits.events_per_address;
        if per_address.is_some() {
            let bucket = self.addresses.get(counted_address(client.address), now);
            let bucket = bucket.unwrap_or(&mut self.shared);
            take(bucket, per_address, tokens, now, "events of an address")?;
        }
        conn.events = events;
        Ok(())
    }

    /// Charges a request.
    ///
    /// # Errors
    /// The bucket has no token.
    pub(super) fn request(
        &mut self,
        conn: &mut ConnRates,
        client: Client<'_>,
        now: Time,
    ) -> Result<(), Refusal> {
        if self.is_exempt(client) {
            return Ok(());
        }
        take(&mut conn.requests, self.limits.requests, 1, now, "requests of a connection")
    }

    fn is_exempt(&self, client: Client<'_>) -> bool {
        let RateLimits { exempt_addresses, exempt_keys, .. } = &self.limits;
        is_in(exempt_addresses, client.address)
            || client.keys.iter().any(|key| exempt_keys.contains(key))
    }
}

/// The rates of authors, for verify threads: charged after the signature was verified, so that a
/// forged event spends no tokens of the author.
pub(super) struct AuthorRates {
    rate: Option<Rate>,
    exempt: Vec<PublicKey>,
    hashing: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

struct Shard {
    authors: Buckets<PublicKey>,
    /// The bucket of authors for whom the table has no room.
    shared: Bucket,
}

impl AuthorRates {
    /// Full buckets.
    pub(super) fn new(limits: &RateLimits) -> AuthorRates {
        let shard =
            || Shard { authors: Buckets::new(ENTRIES_MAX / SHARDS), shared: Bucket::default() };
        AuthorRates {
            rate: limits.events_per_author,
            exempt: limits.exempt_keys.clone(),
            hashing: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect(),
        }
    }

    /// Charges an event of so many bytes to its author.
    ///
    /// # Errors
    /// The bucket has too few tokens.
    pub(super) fn event(&self, author: &PublicKey, bytes: usize, now: Time) -> Result<(), Refusal> {
        if self.rate.is_none() || self.exempt.contains(author) {
            return Ok(());
        }
        let shard = &self.shards[self.hashing.hash_one(author) as usize % SHARDS];
        // Buckets are valid after a panic of another thread.
        let Shard { authors, shared } = &mut *shard.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = authors.get(*author, now).unwrap_or(shared);
        take(bucket, self.rate, cost(bytes), now, "events of an author")
    }
}

impl fmt::Debug for AuthorRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorRates").field("rate", &self.rate).finish_non_exhaustive()
    }
}

fn cost(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX)
}

fn take(
    bucket: &mut Bucket,
    rate: Option<Rate>,
    tokens: u32,
    now: Time,
    what: &str,
) -> Result<(), Refusal> {
    let Some(rate) = rate else {
        return Ok(());
    };
    let text = |_| Prefix::RateLimited.text(format!("{what} are limited to {rate}"));
    bucket.take_many(&rate, tokens, now).map_err(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Time = Time::from_nanos(1_000_000_000_000);
    const SLOW: Rate = Rate { per_second: 0.1, burst: 3 };
    const SECONDS_30: Duration = Duration::from_secs(30);

    fn client(last: u8, keys: &[PublicKey]) -> Client<'_> {
        Client { address: IpAddr::from([192, 0, 2, last]), keys }
    }

    fn limits() -> RateLimits {
        RateLimits {
            events: None,
            events_per_address: None,
            events_per_author: None,
            requests: None,
            ..RateLimits::default()
        }
    }

    #[test]
    fn an_event_costs_a_token_and_one_per_4_kib() {
        let mut rates = Rates::new(RateLimits { events: Some(SLOW), ..limits() });
        let mut conn = ConnRates::default();
        assert_eq!(rates.event(&mut conn, client(1, &[]), 4096, NOW), Ok(()));
        let refusal = rates.event(&mut conn, client(1, &[]), 4096, NOW).unwrap_err();
        let text = "rate-limited: events of a connection are limited to 6/min burst 3";
        assert_eq!(refusal.to_string(), text);
        assert_eq!(rates.event(&mut conn, client(1, &[]), 4095, NOW), Ok(()));
        // An event that costs more than a full bucket needs a full one.
        let large = 512 * 1024;
        assert!(rates.event(&mut conn, client(1, &[]), large, NOW + SECONDS_30 / 2).is_err());
        assert_eq!(rates.event(&mut conn, client(1, &[]), large, NOW + SECONDS_30), Ok(()));
    }

    #[test]
    fn connections_of_one_address_share_its_bucket() {
        let mut rates = Rates::new(RateLimits { events_per_address: Some(SLOW), ..limits() });
        let mut take = |last| rates.event(&mut ConnRates::default(), client(last, &[]), 0, NOW);
        assert!((0..3).all(|_| take(1).is_ok()));
        let text = "rate-limited: events of an address are limited to 6/min burst 3";
        assert_eq!(take(1).unwrap_err().to_string(), text);
        assert_eq!(take(2), Ok(()));
    }

    #[test]
    fn a_refusal_by_the_address_costs_the_connection_nothing() {
        let both = RateLimits { events: Some(SLOW), events_per_address: Some(SLOW), ..limits() };
        let mut rates = Rates::new(both);
        let mut first = ConnRates::default();
        assert!((0..3).all(|_| rates.event(&mut first, client(1, &[]), 0, NOW).is_ok()));
        let mut second = ConnRates::default();
        assert!((0..9).all(|_| rates.event(&mut second, client(1, &[]), 0, NOW).is_err()));
        // The same connection from another address, to see its bucket.
        assert!((0..3).all(|_| rates.event(&mut second, client(2, &[]), 0, NOW).is_ok()));
    }

    #[test]
    fn requests_have_their_own_bucket() {
        let limits = RateLimits { events: Some(SLOW), requests: Some(SLOW), ..limits() };
        let mut rates = Rates::new(limits);
        let mut conn = ConnRates::default();
        assert!((0..3).all(|_| rates.request(&mut conn, client(1, &[]), NOW).is_ok()));
        let text = "rate-limited: requests of a connection are limited to 6/min burst 3";
        assert_eq!(rates.request(&mut conn, client(1, &[]), NOW).unwrap_err().to_string(), text);
        assert_eq!(rates.event(&mut conn, client(1, &[]), 0, NOW), Ok(()));
    }

    #[test]
    fn exempt_addresses_and_keys_are_not_limited() {
        let limits = RateLimits {
            events: Some(SLOW),
            events_per_author: Some(SLOW),
            requests: Some(SLOW),
            exempt_addresses: vec!["192.0.2.8/30".parse().unwrap()],
            exempt_keys: vec![[7; 32]],
            ..limits()
        };
        let authors = AuthorRates::new(&limits);
        let mut rates = Rates::new(limits);
        let mut accepted = |client| {
            let mut conn = ConnRates::default();
            let accepted = |result: Result<(), Refusal>| usize::from(result.is_ok());
            let events = (0..9).map(|_| accepted(rates.event(&mut conn, client, 0, NOW)));
            let events: usize = events.sum();
            let requests = (0..9).map(|_| accepted(rates.request(&mut conn, client, NOW)));
            (events, requests.sum::<usize>())
        };
        assert_eq!(accepted(client(11, &[])), (9, 9));
        assert_eq!(accepted(client(12, &[])), (3, 3));
        assert_eq!(accepted(client(12, &[[6; 32], [7; 32]])), (9, 9));
        let by = |author| (0..9).filter(|_| authors.event(&author, 0, NOW).is_ok()).count();
        assert_eq!((by([7; 32]), by([6; 32])), (9, 3));
    }

    #[test]
    fn each_author_has_a_bucket_and_those_beyond_the_tables_share_one() {
        let authors = AuthorRates::new(&RateLimits { events_per_author: Some(SLOW), ..limits() });
        let mut author = [0; 32];
        let mut refused = 0;
        for number in 0..ENTRIES_MAX as u32 * 2 {
            author[..4].copy_from_slice(&number.to_be_bytes());
            refused += usize::from(authors.event(&author, 0, NOW).is_err());
        }
        // Each of the tables had room for its share.
        assert!(refused >= ENTRIES_MAX - 3 * SHARDS, "{refused} refused");
        let text = "rate-limited: events of an author are limited to 6/min burst 3";
        assert_eq!(authors.event(&author, 0, NOW).unwrap_err().to_string(), text);
        // The first one has two tokens left.
        assert!(authors.event(&[0; 32], 2 * 4096, NOW).is_err());
        assert_eq!(authors.event(&[0; 32], 4096, NOW), Ok(()));
    }
}
