//! Results between services and the loop: [`Verdict`] of a gate and [`Decision`] on a request,
//! [`SendOutcome`] of a send, [`More`] mail.
//!
//! Plain values. [`upgrade`](crate::reactor::effects::upgrade) carries out decisions,
//! [`send`](crate::reactor::effects::send) produces outcomes.

use super::identity::Identity;
use crate::protocol::handshake::{Accept, Refusal, Response};

/// The decision on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Upgrade. A subprotocol that the client did not offer is not sent: the client gets 500, and the
    /// error is logged.
    Accept(Accept),
    /// Send an HTTP response. After an upgrade request the connection is closed.
    Respond(Response),
    /// Refuse: the refusal is sent, counted and logged by its reason. The connection is closed.
    Refuse(Refusal),
    /// The service will call [`Context::accept`](crate::reactor::Context::accept),
    /// [`respond`](crate::reactor::Context::respond) or [`refuse`](crate::reactor::Context::refuse),
    /// before the handshake timeout.
    Defer,
}

/// The verdict of a [`Gate`](crate::reactor::Gate) on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Admit, with an identity if there is one.
    Pass(Option<Box<Identity>>),
    /// Refuse: counted and logged by the refusal's reason. A response replaces the refusal's own. The
    /// connection is closed.
    Refuse(Refusal, Option<Box<Response>>),
    /// The gate will call [`Context::verdict`](crate::reactor::Context::verdict) within
    /// [`handshake_timeout`](field@crate::reactor::settings::Settings::handshake_timeout) from now;
    /// otherwise the client gets 503. Until then nothing more is read from it.
    Later,
}

/// The outcome of a send, and what the sender should do.
///
/// [`Queued`](SendOutcome::Queued) and [`Congested`](SendOutcome::Congested) mean that the message
/// will be written in its order; [`is_queued`](SendOutcome::is_queued) combines them. After any
/// other outcome the message is not sent, and weir keeps no copy. The enum is exhaustive on
/// purpose: a new outcome would need a decision of each sender.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// Queued. Send on.
    Queued,
    /// Queued, but the queue is above `outbox_soft_bytes`: the peer reads too slowly. Stop sending,
    /// and [pause](crate::reactor::Context::pause) reading if messages cause messages, until
    /// [`on_drain`](crate::reactor::Service::on_drain). A pause does not stop the clock: after
    /// [`outbox_grace`](field@crate::reactor::settings::RouteSettings::outbox_grace) (10 s) above
    /// the soft limit the route's
    /// [`slow_policy`](field@crate::reactor::settings::RouteSettings::slow_policy) applies. By
    /// default the connection is closed with 1013.
    Congested,
    /// Not queued: the connection's queue has no room below `outbox_hard_bytes`, or its route drops
    /// messages until the queue has drained
    /// ([`SlowPolicy::Drop`](crate::reactor::settings::SlowPolicy::Drop)). Send nothing until
    /// [`on_drain`](crate::reactor::Service::on_drain). With
    /// [`SlowPolicy::Close`](crate::reactor::settings::SlowPolicy::Close) the connection is being
    /// closed with 1013, and [`on_close`](crate::reactor::Service::on_close) follows instead. A
    /// ping without room has no further effect.
    Full,
    /// Not queued: all connections together hold `buffered_bytes_max`, whether or not this peer
    /// reads. Free what the service holds for others, or try again later by a timer: no `on_drain`
    /// follows if this connection's own queue was empty. With
    /// [`SlowPolicy::Close`](crate::reactor::settings::SlowPolicy::Close) the connection is being
    /// closed with 1013.
    Overloaded,
    /// Not queued: the frame alone is larger than the route's `outbox_hard_bytes` and can never be
    /// queued. Send less, or raise the limit. The connection is not affected.
    TooLarge,
    /// Not queued: an error of the service. A [masked](crate::reactor::Context::send_masked) message
    /// for a connection that the peer opened, since a server must not mask (RFC 6455, 5.1); or a
    /// [batch](crate::reactor::Context::send_batch) for an outbound connection, or for one that has
    /// not agreed to its compression.
    WrongRole,
    /// Not queued: the connection has ended, is ending, or is not open yet. Forget it once
    /// [`on_close`](crate::reactor::Service::on_close) was called.
    Gone,
}

impl SendOutcome {
    /// Whether the message will be written.
    pub fn is_queued(self) -> bool {
        matches!(self, SendOutcome::Queued | SendOutcome::Congested)
    }

    /// Whether the connection is open and the message was not queued.
    pub(in crate::reactor) fn is_refused(self) -> bool {
        match self {
            SendOutcome::Queued | SendOutcome::Congested | SendOutcome::Gone => false,
            SendOutcome::Full
            | SendOutcome::Overloaded
            | SendOutcome::TooLarge
            | SendOutcome::WrongRole => true,
        }
    }
}

/// Whether a mailbox may contain more mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Call again.
    Yes,
    /// The mailbox is empty.
    No,
}
