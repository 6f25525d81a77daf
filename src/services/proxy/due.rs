//! The resolver of names, the timer of the service, and what it waits for beside the pools.

use std::collections::VecDeque;

use super::losses::Losses;
use super::mail::ProxyReload;
use crate::reactor::{ConnId, ServiceTimer, Time, Workers};
use crate::upstream::pools::UpstreamId;
use crate::upstream::resolve::{HostPort, Lookup};

/// The resolver and the timer.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// `None` before the start.
    pub(super) resolver: Option<Workers<HostPort, Lookup, HostPort>>,
    /// When the timer fires.
    pub(super) timer: Option<(Time, ServiceTimer)>,
    /// Checks that this machine had no connection or no memory for.
    pub(super) postponed: Vec<UpstreamId>,
    /// A reload that waits for lookups.
    pub(super) reload: Option<PendingReload>,
    /// Tunnels that ended by a fault of their upstream, to be logged.
    pub(super) losses: Losses,
    /// When the time of each started check is over, in this order. They may have ended before.
    pub(super) deadlines: VecDeque<(Time, ConnId)>,
}

impl Upkeep {
    /// The timer has fired.
    pub(super) fn forget_timer(&mut self) {
        self.timer = None;
    }

    /// A check was started, which must end until then.
    pub(super) fn await_check(&mut self, conn: ConnId, until: Time) {
        self.deadlines.push_back((until, conn));
    }
}

/// A reload that waits for lookups.
#[derive(Debug)]
pub(super) struct PendingReload {
    pub(super) reload: ProxyReload,
    /// Names that have no address yet.
    pub(super) missing: Vec<HostPort>,
    /// Those of them whose lookup has not started.
    pub(super) waiting: Vec<HostPort>,
    /// When the reload waits no longer.
    pub(super) until: Time,
}
