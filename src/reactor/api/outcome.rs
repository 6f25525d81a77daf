//! Results between services and the loop: [`Decision`] on a request, [`SendOutcome`] of a send,
//! [`More`] mail.
//!
//! Plain values. [`upgrade`](crate::reactor::effects::upgrade) carries out decisions,
//! [`send`](crate::reactor::effects::send) produces outcomes.

use crate::protocol::handshake::{Refusal, Response};

/// The decision on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Upgrade, with this subprotocol: an index into
    /// [`Service::protocols`](crate::reactor::Service::protocols).
    Accept {
        /// The index; `None` for no subprotocol.
        protocol: Option<usize>,
    },
    /// Send an HTTP response. After an upgrade request the connection is closed.
    Respond(Response),
    /// Refuse: the refusal is sent, counted and logged by its reason. The connection is closed.
    Refuse(Refusal),
    /// The service will call [`Context::answer`](crate::reactor::Context::answer), before the
    /// handshake timeout.
    Defer,
}

/// The outcome of a send.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// Queued.
    Queued,
    /// Queued, but the peer reads too slowly: pause sending until
    /// [`Service::on_drain`](crate::reactor::Service::on_drain).
    Congested,
    /// Not queued: the connection's queue is full, or the loop's memory limit is reached. The
    /// route's slow consumer policy decides whether the connection is closed.
    Refused,
    /// The connection has ended, or is not open.
    Gone,
}

/// Whether a mailbox may contain more mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Call again.
    Yes,
    /// The mailbox is empty.
    No,
}
