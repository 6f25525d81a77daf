//! A request that waits for the verdict of its gate.
//!
//! Its head is in the [`Handshake`](super::handshake::Handshake), with credentials overwritten.
//! [`effects::gate`](crate::reactor::effects::gate) continues it.

use crate::reactor::api::id::{GateId, RouteId};
use crate::reactor::api::outcome::Verdict;
use crate::reactor::api::request::Params;
use crate::reactor::api::time::Time;

/// A request that has passed all checks before its gate. They are not repeated after the verdict.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) gate: GateId,
    pub(crate) route: RouteId,
    pub(crate) params: Params,
    pub(crate) is_upgrade: bool,
    /// It passes whatever the gate would decide, which only marks credentials in its head.
    pub(crate) is_exempt: bool,
    /// When its gate was asked.
    pub(crate) asked: Time,
}

/// A request whose gate decides later.
#[derive(Debug)]
pub(crate) struct AwaitedVerdict {
    pub(crate) gated: Gated,
    /// The verdict, until the mail phase carries it out. The first one counts.
    pub(crate) verdict: Option<Verdict>,
    /// The loop has decided, because the gate did not in time.
    pub(crate) is_late: bool,
}
