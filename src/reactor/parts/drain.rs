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
pub(crate) struct Drain {
    /// Connections that have not been closed yet.
    pub(crate) untold: Vec<ConnId>,
    /// Connections that wait until their service is not busy for them any more.
    pub(crate) busy: Vec<ConnId>,
    /// Until when busy connections may wait.
    pub(crate) patience: Time,
    pub(crate) deadline: Time,
    /// When the next progress line is logged.
    pub(crate) progress: Time,
}

impl Drain {
    pub(crate) fn new(untold: Vec<ConnId>, now: Time, timeout: Duration) -> Drain {
        Drain {
            untold,
            busy: Vec::new(),
            patience: now + timeout / 2,
            deadline: now + timeout,
            progress: now + PROGRESS_INTERVAL,
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }
}
