//! The counts of one upstream. Whoever serves metrics reads them on the same thread.

use std::cell::Cell;

#[cfg(feature = "rpc")]
use crate::reactor::Durations;

/// A number that goes up; and down, if its name ends in `now`.
pub type Count = Cell<u64>;

/// The counts of one upstream.
#[cfg(feature = "rpc")]
#[derive(Debug, Default)]
pub struct UpstreamCounts {
    /// The redacted URL.
    pub name: String,
    /// Requests sent.
    pub sent: Count,
    /// Requests that failed: no answer, no answer in time, or one that is not used.
    pub failed: Count,
    /// Messages that were malformed.
    pub malformed: Count,
    /// Time from a request to its answer.
    pub latency: Durations,
    /// Requests that wait for their answer, now.
    pub in_flight_now: Count,
    /// Whether requests can be sent to it, 0 or 1: its WebSocket is open.
    pub ready: Count,
    /// The circuit breaker, now: 0 closed, 1 half-open, 2 open.
    pub breaker: Count,
    /// Times that the circuit breaker opened.
    pub opened: Count,
}

/// Adds to a count.
pub(crate) fn add(count: &Count, by: usize) {
    count.set(count.get() + by as u64);
}
