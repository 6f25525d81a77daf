//! Events of a reactor for an audit log: [`Observer`], and what it is given.
//!
//! They arise in the loop, which calls the observer at once. Nothing is called, and nothing is
//! collected, without an observer.

use std::fmt;
use std::net::SocketAddr;

use super::close_reason::CloseReason;
use super::id::ConnId;
use crate::protocol::http::TraceParent;

/// Receives the events of a reactor, by
/// [`Reactor::set_observer`](crate::reactor::Reactor::set_observer).
pub trait Observer {
    /// An event has occurred. Called on the loop's thread, also inside handlers of services: it must
    /// neither block nor panic.
    fn on_event(&mut self, event: &Event<'_>);
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// One event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Event<'a> {
    /// What has occurred.
    pub kind: EventKind<'a>,
    /// The client's connection; `None` for events of the whole loop.
    pub conn: Option<EventConn<'a>>,
}

/// The connection that an event is about. It has no payload, and no header but `traceparent`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EventConn<'a> {
    /// The connection's id.
    pub id: ConnId,
    /// The client's address, as in
    /// [`UpgradeRequest::peer`](crate::reactor::UpgradeRequest::peer).
    pub client: SocketAddr,
    /// The trusted proxy that the request came through. Not known of an open WebSocket.
    pub via: Option<SocketAddr>,
    /// The pattern of the route, once it is known.
    pub route: Option<&'a str>,
    /// The subject of the connection's identity.
    pub subject: Option<&'a str>,
    /// The trace, with the setting [`trace`](field@crate::reactor::settings::Settings::trace).
    pub trace: Option<TraceParent>,
}

/// What has occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A client's WebSocket is open.
    Connected,
    /// A request was refused, or a connection ended before its first request for a fault of the
    /// client. At most ten a second are reported for each reason.
    Refused {
        /// The HTTP status; `None` if nothing was sent.
        status: Option<u16>,
        /// The name of the refusal or of the [`CloseReason`].
        reason: &'static str,
    },
    /// Further refusals for this reason, within about one second.
    RefusedMore {
        /// The reason.
        reason: &'static str,
        /// How many were not reported.
        count: u64,
    },
    /// A client that its gate has identified is admitted: directly before [`EventKind::Connected`].
    Identity,
    /// The identity has expired: the connection is being closed, also if it is not open yet.
    Expired,
    /// The connection has a new identity.
    Refreshed,
    /// The subject was signed out: the connection is being closed, also if it is not open yet.
    SignedOut,
    /// A WebSocket that was open has ended.
    Closed(CloseReason),
    /// A request at a listener for operators.
    Admin {
        /// The method.
        method: &'a str,
        /// Path and query.
        target: &'a str,
    },
    /// The load level has changed.
    Level {
        /// The new level.
        level: &'static str,
        /// The resource that determines it.
        resource: &'static str,
    },
    /// The connection is being closed because the server is overloaded.
    Shed,
}

impl EventKind<'_> {
    /// A short name for logs. Both kinds of refusal have the same.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::Connected => "connected",
            EventKind::Refused { .. } | EventKind::RefusedMore { .. } => "refused",
            EventKind::Identity => "identity",
            EventKind::Expired => "expired",
            EventKind::Refreshed => "refreshed",
            EventKind::SignedOut => "signed_out",
            EventKind::Closed(_) => "closed",
            EventKind::Admin { .. } => "admin",
            EventKind::Level { .. } => "level",
            EventKind::Shed => "shed",
        }
    }
}
