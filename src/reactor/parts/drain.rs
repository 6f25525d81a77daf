//! The state of a shutdown: which connections are not closed yet, and its deadlines.
//!
//! [`shutdown`](crate::reactor::effects::shutdown) closes them.

use std::time::Duration;

use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;

/// From one line of the log about the connections that are left to the next.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A shutdown under way.
#[derive(Debug)]
pub(crate) struct Drain {
    /// Connections that have not been closed yet.
    pub(crate) untold: Vec<ConnId>,
    /// Connections that are closed once their service is not busy for them any more.
    pub(crate) busy: Vec<ConnId>,
    /// Until when that is waited for.
    pub(crate) patience: Time,
    pub(crate) deadline: Time,
    /// When the log reports how many connections are left.
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
