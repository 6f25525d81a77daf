//! The interface between the loop and the services that run on it.
//!
//! A service is a trait object on the loop's thread. It sees connections by [`ConnId`] and messages
//! by reference, never a socket; it acts through the [`Context`]. Handlers must not block: blocking
//! work belongs on a thread, and its results return through a mailbox.

use std::fmt;
use std::net::SocketAddr;

use super::close_reason::CloseReason;
use super::context::Context;
use super::id::ConnId;
use super::tls_info::TlsInfo;
use crate::protocol::Message;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::reactor::parts::router::Params;

/// A service of the loop. Only [`on_message`](Service::on_message) must be implemented.
///
/// Handlers are never nested: `send`, `publish` and `close` edit queues and return. If a handler
/// panics, its connection is closed with 1011; other connections are not affected.
pub trait Service {
    /// The subprotocols of the service, the preferred one first.
    fn protocols(&self) -> &[&str] {
        &[]
    }

    /// Called once, before the loop runs: the place to create mailboxes, threads and timers. A
    /// panic fails the start: [`Reactor::run`](crate::reactor::Reactor::run) returns an error.
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// A valid upgrade request for one of the service's routes. Origin and subprotocol are checked
    /// already.
    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &Request<'_>,
    ) -> Decision {
        let _ = (cx, conn);
        Decision::Accept { protocol: request.protocol }
    }

    /// The methods of HTTP requests without upgrade that the service answers on its routes.
    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    /// An HTTP request without upgrade, by one of the service's [`methods`](Service::methods), with
    /// its whole body. `None` defers the response to [`Context::answer`]. Until then
    /// [`on_close`](Service::on_close) reports the end of the client, and
    /// [`is_busy`](Service::is_busy) should return true.
    fn on_plain(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &PlainRequest<'_>,
    ) -> Option<Response> {
        let _ = (cx, conn, request);
        Some(Response::text(501, "not implemented"))
    }

    /// The handshake is complete: messages can be sent and received.
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A complete message. It is in a buffer of the loop: copy what must be kept.
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>);

    /// The queue of a connection has fallen below low water, after `send` returned
    /// [`SendOutcome::Congested`], or [`SendOutcome::Refused`] because the queue was full.
    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// The connection has ended; its id is stale from now on. Called exactly once for each
    /// connection that was accepted, deferred, or opened by [`Context::connect`]. After a deferred
    /// HTTP request it is called only if the client ends before the response.
    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let _ = (cx, conn, why);
    }

    /// Whether a response to this connection is pending that a shutdown should wait for. A busy
    /// connection is closed only after that, or when half of the drain timeout has passed.
    fn is_busy(&self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// A topic lost its last member because that member's connection ended.
    fn on_empty(&mut self, cx: &mut Context<'_>, topic: &str) {
        let _ = (cx, topic);
    }

    /// A timer set by [`Context::schedule`] is due.
    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        let _ = (cx, key);
    }

    /// There is mail in a mailbox created by [`Context::mailbox`]. Take one mail or a few, and
    /// return whether there may be more: then it is called again, within the turn's budget. After a
    /// panic it is called again after 1 s, then 2 s, up to 60 s, with or without new mail, until it
    /// returns.
    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        let _ = cx;
        More::No
    }
}

/// An upgrade request, for a service.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The request head: path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The subprotocol that client and service have in common and the service prefers: an index
    /// into [`Service::protocols`].
    pub protocol: Option<usize>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The TLS session, with the client's certificate if it sent one; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
}

/// An HTTP request without upgrade, for a service.
#[derive(Debug, Clone, Copy)]
pub struct PlainRequest<'a> {
    /// The request head: method, path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The whole body. It is in a buffer of the loop: copy what must be kept.
    pub body: &'a [u8],
    /// The client's address.
    pub peer: SocketAddr,
    /// The TLS session, with the client's certificate if it sent one; `None` without TLS.
    pub tls: Option<&'a TlsInfo>,
}

/// The decision on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Upgrade, with this subprotocol: an index into [`Service::protocols`].
    Accept {
        /// The index; `None` for no subprotocol.
        protocol: Option<usize>,
    },
    /// Send an HTTP response. After an upgrade request the connection is closed.
    Respond(Response),
    /// Refuse: the refusal is sent, counted and logged by its reason. The connection is closed.
    Refuse(Refusal),
    /// The service will call [`Context::answer`], before the handshake timeout.
    Defer,
}

/// The outcome of a send.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// Queued.
    Queued,
    /// Queued, but the peer reads too slowly: pause sending until [`Service::on_drain`].
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

impl fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}
