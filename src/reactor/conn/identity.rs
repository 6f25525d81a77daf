//! The identity of a connection, as its gate has determined it.
//!
//! It is in the cold state: from the verdict of the gate to the end of an upgraded connection, or to
//! the response to a request without upgrade. [`effects::identity`](crate::reactor::effects::identity)
//! sets and ends it; what follows from it for a connection is in [`identified`](super::identified).

use std::rc::Rc;

use crate::reactor::api::id::GateId;
use crate::reactor::api::identity::Identity;
use crate::reactor::api::time::Time;
use crate::reactor::parts::subjects::MemberId;
use crate::reactor::parts::wall_clock::Offset;

/// An identity that a connection has.
#[derive(Debug)]
pub(crate) struct HeldIdentity {
    /// Shared with the handler that gets the request.
    pub(crate) identity: Rc<Identity>,
    pub(crate) gate: GateId,
    /// When the connection is closed; [`Time::MAX`]: never.
    pub(crate) until: Time,
    /// The offset of the wall clock that `until` was computed with.
    pub(crate) offset: Offset,
    /// Its entry in the table of subjects. `None` for a request without upgrade, which does not
    /// count.
    pub(crate) member: Option<MemberId>,
    /// Whether it has replaced another one, and its service is not informed yet.
    pub(crate) is_unreported: bool,
}
