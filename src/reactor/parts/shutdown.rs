//! The state of a shutdown: which connections are not closed yet, and its deadlines.
//!
//! [`shutdown`](crate::reactor::effects::shutdown) closes them.

use std::time::Duration;

use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;

/// Interval between log lines about the remaining connections.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The state of a shutdown.
#[derive(Debug)]
pub(crate) struct Shutdown {
    /// Connections that have not been closed yet.
    pub(crate) not_closed: Vec<ConnId>,
    /// Connections that wait until their service is not busy for them any more.
    pub(crate) busy: Vec<ConnId>,
    /// Until when busy connections may wait.
    pub(crate) busy_until: Time,
    pub(crate) deadline: Time,
    /// When the next progress line is logged.
    pub(crate) progress: Time,
}

impl Shutdown {
    pub(crate) fn new(not_closed: Vec<ConnId>, now: Time, timeout: Duration) -> Shutdown {
        Shutdown {
            not_closed,
            busy: Vec::new(),
            busy_until: now + timeout / 2,
            deadline: now + timeout,
            progress: now + PROGRESS_INTERVAL,
        }
    }

    pub(crate) fn has_closed_all(&self) -> bool {
        self.not_closed.is_empty()
    }
}
