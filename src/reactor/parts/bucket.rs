//! The token bucket: tokens return at a rate, up to a burst.
//!
//! It reads no clock and knows no setting: the caller passes the time and the rate. Tables of
//! buckets are in [`rates`](super::rates) and [`shared_rates`](super::shared_rates).

use std::time::Duration;

use crate::reactor::api::budget::{MESSAGES_PER_READ, READ_BYTES};
use crate::reactor::api::settings::Rate;
use crate::reactor::api::time::Time;

/// Binary digits of a nanosecond in the time between two tokens: a rate of 700 MB/s has a token
/// every 1.43 ns.
const FRACTION_BITS: u32 = 10;
const FRACTION_MAX: u64 = (1 << FRACTION_BITS) - 1;
/// The longest time between two tokens, 52 days, and the longest time to fill a bucket, 146 years,
/// so that sums of such times do not overflow.
const TIME_MAX: u64 = u64::MAX / 4;
/// Bytes that a bucket may owe: more than the largest read, into a message's buffer and the loop's.
const DEBT_BYTES_MAX: usize = 4 * READ_BYTES;
/// How often reading resumes in a second, at most.
const RESUMES_PER_SECOND: f64 = 10.0;

/// A rate in the numbers that a bucket needs. Computed once, since each needs a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Time between two tokens, in 2^-10 ns; at least 1, so 10^9 takes of a token per second.
    token: u64,
    /// Nanoseconds in which an empty bucket fills.
    capacity: u64,
    /// Nanoseconds that a bucket misses at most, tokens that it owes included.
    missing_max: u64,
    /// A bucket that misses less than this many nanoseconds has tokens for the largest read.
    /// Invariant: if it is above 0, the tokens of four such reads cost less than 2^64 * 2^-10 ns.
    plenty: u64,
    /// A bucket that misses this many nanoseconds has the tokens of a tenth of a second.
    resume: u64,
}

impl Pace {
    /// The pace of a rate whose bucket never owes tokens.
    fn of(rate: &Rate) -> Pace {
        Pace::new(rate, 1, 0)
    }

    /// The pace of a rate of messages. A bucket owes at most one burst.
    pub(crate) fn of_messages(rate: &Rate) -> Pace {
        Pace::new(rate, MESSAGES_PER_READ, rate.burst as usize)
    }

    /// The pace of a rate of bytes. A read may take more than the bucket has.
    pub(crate) fn of_bytes(rate: &Rate) -> Pace {
        Pace::new(rate, READ_BYTES, DEBT_BYTES_MAX.max(rate.burst as usize))
    }

    /// A pace for reads that take `largest` tokens at most, and for buckets that owe `debt`.
    fn new(rate: &Rate, largest: usize, debt: usize) -> Pace {
        let token = (1e9 / rate.per_second * f64::from(1 << FRACTION_BITS)) as u64;
        let token = token.clamp(1, TIME_MAX);
        let mut pace = Pace { token, capacity: 0, missing_max: 0, plenty: 0, resume: 0 };
        pace.capacity = pace.cost(rate.burst as usize);
        pace.missing_max = pace.capacity + pace.cost(debt);
        let is_small = token.checked_mul(4 * largest as u64).is_some();
        let largest = pace.cost(largest);
        let has_room = is_small && largest <= pace.capacity;
        pace.plenty = if has_room { pace.capacity - largest + 1 } else { 0 };
        let tenth = (rate.per_second / RESUMES_PER_SECOND) as usize;
        let tenth = tenth.clamp(1, (rate.burst as usize).max(1));
        pace.resume = pace.capacity.saturating_sub(pace.cost(tenth));
        pace
    }

    /// Nanoseconds in which so many tokens return, rounded up.
    #[inline]
    fn cost(&self, tokens: usize) -> u64 {
        let fine = u128::from(self.token) * tokens as u128 + u128::from(FRACTION_MAX);
        u64::try_from(fine >> FRACTION_BITS).unwrap_or(u64::MAX).min(TIME_MAX)
    }

    /// Like [`cost`](Pace::cost), for the tokens of a read from a bucket that had plenty.
    #[inline(always)]
    fn cost_of_read(&self, tokens: usize) -> u64 {
        (self.token.wrapping_mul(tokens as u64) + FRACTION_MAX) >> FRACTION_BITS
    }

    /// Whether a bucket can have plenty of tokens: its burst suffices for the largest read.
    pub(crate) fn allows_plenty(&self) -> bool {
        self.plenty > 0
    }
}

/// A token bucket.
///
/// It is the time at which the bucket will be full (GCRA): the missing tokens follow from it, and
/// time alone refills it. A new bucket is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
        let pace = Pace::of(rate);
        let cost = pace.cost(tokens.min(rate.burst) as usize);
        let missing = self.missing(now).saturating_add(cost);
        // Time ends 584 years after the start: a bucket that would be full later counts as empty.
        match now.as_nanos().checked_add(missing) {
            Some(full_at) if missing <= pace.capacity => {
                self.full_at = Time::from_nanos(full_at);
                Ok(())
            }
            _ => Err(Duration::from_nanos(missing.saturating_sub(pace.capacity).max(1))),
        }
    }

    /// The time until it has a token; zero if it has one.
    pub(crate) fn wait(mut self, rate: &Rate, now: Time) -> Duration {
        self.take(rate, now).err().unwrap_or(Duration::ZERO)
    }

    /// Nanoseconds until it is full.
    #[inline]
    fn missing(self, now: Time) -> u64 {
        self.full_at.as_nanos().saturating_sub(now.as_nanos())
    }

    /// Whether it has the tokens of the largest read.
    #[inline]
    pub(crate) fn has_plenty(self, pace: &Pace, now: Time) -> bool {
        self.missing(now) < pace.plenty
    }

    /// Takes the tokens of the last read, which started at the last call, and starts the next read.
    /// Whether the bucket has the tokens of the largest read, as it had at the last call.
    ///
    /// This is [`spend`](Bucket::spend) in two parts. The first call notes the time at which a read
    /// takes its tokens; the second one, their number. A bucket that had plenty owes less than its
    /// limit after one read.
    #[inline(always)]
    pub(crate) fn start_read(&mut self, pace: &Pace, tokens: usize, now: Time) -> bool {
        let full_at = Time::from_nanos(self.full_at.as_nanos() + pace.cost_of_read(tokens));
        self.full_at = full_at.max(now);
        full_at.as_nanos() < now.as_nanos() + pace.plenty
    }

    /// The whole tokens that it has.
    pub(crate) fn tokens(self, pace: &Pace, now: Time) -> usize {
        let left = pace.capacity.saturating_sub(self.missing(now));
        let tokens = match left.checked_mul(1 << FRACTION_BITS) {
            Some(left) => left / pace.token,
            None => left / (pace.token >> FRACTION_BITS).max(1),
        };
        usize::try_from(tokens).unwrap_or(usize::MAX)
    }

    /// The time until it has a token, tokens that it owes included; zero if it has one.
    pub(crate) fn wait_for_token(self, pace: &Pace, now: Time) -> Duration {
        let missing = self.missing(now).saturating_add(pace.cost(1));
        Duration::from_nanos(missing.saturating_sub(pace.capacity))
    }

    /// Takes tokens that were used already: it may owe some afterwards.
    #[inline]
    pub(crate) fn spend(&mut self, pace: &Pace, tokens: usize, now: Time) {
        let full_at = self.full_at.max(now).as_nanos().saturating_add(pace.cost(tokens));
        let latest = now.as_nanos().saturating_add(pace.missing_max);
        self.full_at = Time::from_nanos(full_at.min(latest));
    }

    /// When reading may resume: a tenth of a second's tokens are back, at least one.
    pub(crate) fn resume_at(self, pace: &Pace) -> Time {
        Time::from_nanos(self.full_at.as_nanos().saturating_sub(pace.resume))
    }

    /// Whether dropping the bucket changes nothing, because a new one is full, too.
    pub(crate) fn is_full(self, now: Time) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests;
