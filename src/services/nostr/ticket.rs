//! What identifies an event on its way to its OK, and the clock of events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::reactor::{ConnId, Time};

/// An event message on its way to an OK.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) conn: ConnId,
    /// Bytes of the message.
    pub(super) bytes: usize,
    /// How long a thread has checked it; zero until then.
    pub(super) verified: Duration,
    /// When the loop received it.
    pub(super) at: Time,
}

/// The Unix time.
pub(super) fn unix_seconds() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_secs())
}
