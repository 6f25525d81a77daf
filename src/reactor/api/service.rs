//! The contract between the loop and what runs on it.
//!
//! A service is a trait object on the loop's thread. It sees connections by [`ConnId`] and messages
//! by reference, never a socket; what it wants done it asks of the [`Context`]. Handlers must not
//! block: work that does belongs on a thread, its results come back through a mailbox.

use std::fmt;
use std::net::SocketAddr;

use super::close_reason::CloseReason;
use super::context::Context;
use super::id::ConnId;
use super::tls_info::TlsInfo;
use crate::protocol::Message;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::reactor::parts::router::Params;

/// What runs on the loop. All but [`on_message`](Service::on_message) may be left as they are.
///
/// No handler is called from within another: `send`, `publish` and `close` edit queues and return.
/// A handler that panics costs its connection, which is closed with 1011, and nobody else anything.
pub trait Service {
    /// The subprotocols that it speaks, the preferred one first.
    fn protocols(&self) -> &[&str] {
        &[]
    }

    /// Called once, before the loop runs: the place to make mailboxes, threads and timers. A panic ends
    /// the start: [`Reactor::run`](crate::reactor::Reactor::run) returns an error.
    fn on_start(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// A valid upgrade request for one of its routes. Origin and subprotocol were checked already.
    fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &Request<'_>,
    ) -> Decision {
        let _ = (cx, conn);
        Decision::Accept { protocol: request.protocol }
    }

    /// The methods of plain requests, those that ask for no upgrade, that it answers on its routes.
    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    /// A plain request by one of its [`methods`](Service::methods), with its whole body. `None` promises
    /// a [`Context::answer`] later; until then, [`on_close`](Service::on_close) tells if the client has
    /// gone, and [`is_busy`](Service::is_busy) should say so.
    fn on_plain(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &PlainRequest<'_>,
    ) -> Option<Response> {
        let _ = (cx, conn, request);
        Some(Response::text(501, "not implemented"))
    }

    /// The handshake is done: messages go both ways.
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A whole message. It lies in the loop's buffers: what is kept must be copied.
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>);

    /// The queue of a connection for which `send` answered [`SendOutcome::Congested`], or refused
    /// because it was full, has fallen below low water.
    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// The connection is over; the id finds nothing from here on. Called exactly once for every
    /// connection that was accepted, deferred, or made by [`Context::connect`]; of those that were
    /// deferred with a plain request, only for who goes before the answer.
    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let _ = (cx, conn, why);
    }

    /// Whether something is on its way to this connection that is worth waiting for when the loop goes
    /// down: it is told to go only afterwards, or when half of the drain deadline has passed.
    fn is_busy(&self, conn: ConnId) -> bool {
        let _ = conn;
        false
    }

    /// The last member of a topic has left it by the end of its connection.
    fn on_empty(&mut self, cx: &mut Context<'_>, topic: &str) {
        let _ = (cx, topic);
    }

    /// A timer that was set with [`Context::schedule`] is due.
    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        let _ = (cx, key);
    }

    /// A mailbox made with [`Context::mailbox`] was rung. Take one mail, or a few, and say whether
    /// there may be more: then it is called again, within the turn's budget. After a panic it is called
    /// again, whether there is new mail or not, after 1 s, then 2 s, up to 60 s, until it returns.
    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        let _ = cx;
        More::No
    }
}

/// An upgrade request on its way to a service.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The request as sent: path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The subprotocol that both sides speak and the service prefers: an index into
    /// [`Service::protocols`].
    pub protocol: Option<usize>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The TLS that it came by, with the client's certificate if it showed one; `None` in the clear.
    pub tls: Option<&'a TlsInfo>,
}

/// A plain request on its way to a service.
#[derive(Debug, Clone, Copy)]
pub struct PlainRequest<'a> {
    /// The request as sent: method, path, query, headers.
    pub http: &'a handshake::Request<'a>,
    /// The values of the route's parameters.
    pub params: &'a Params,
    /// The whole body. It lies in the loop's buffers: what is kept must be copied.
    pub body: &'a [u8],
    /// Where it came from.
    pub peer: SocketAddr,
    /// The TLS that it came by, with the client's certificate if it showed one; `None` in the clear.
    pub tls: Option<&'a TlsInfo>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is upgraded, with this subprotocol: an index into [`Service::protocols`].
    Accept {
        /// The index, or none.
        protocol: Option<usize>,
    },
    /// It is answered with plain HTTP. After an upgrade request the connection is closed.
    Respond(Response),
    /// It is refused: answered, counted and logged under this reason. The connection is closed.
    Refuse(Refusal),
    /// The service will call [`Context::answer`], at the latest by the handshake deadline.
    Defer,
}

/// What became of something to be sent.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It is queued.
    Queued,
    /// It is queued, but the peer reads too slowly: slow down, [`Service::on_drain`] tells when to go on.
    Congested,
    /// It is not queued: the connection's queue or all memory is full. The route's policy decides
    /// what becomes of the connection.
    Refused,
    /// There is no such connection, or it is not open.
    Gone,
}

/// Whether there may be more mail.
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
