//! The interface between the loop and the services that run on it.
//!
//! A service is a trait object on the loop's thread. It sees connections by [`ConnId`] and messages
//! by reference, never a socket; it acts through the [`Context`]. Handlers must not block: blocking
//! work belongs on a thread, and its results return through a mailbox.

use std::any::Any;
use std::fmt;

use super::close_reason::CloseReason;
use super::context::Context;
#[cfg(feature = "proxy")]
use super::exchange::{ExchangeEnd, HeadDecision};
use super::id::ConnId;
use super::level::Level;
use super::outcome::{Decision, More};
#[cfg(feature = "proxy")]
use super::request::RequestHead;
use super::request::{HttpRequest, UpgradeRequest};
#[cfg(feature = "proxy")]
use super::upstream::{PipeEnd, UpstreamDecision};
#[cfg(feature = "proxy")]
use crate::protocol::CloseCode;
use crate::protocol::Message;
use crate::protocol::handshake::{Refusal, Response};
#[cfg(feature = "proxy")]
use crate::protocol::http::ResponseHead;

/// A service of the loop. Only [`on_message`](Service::on_message) must be implemented.
///
/// Handlers are never nested: `send`, `publish` and `close` edit queues and return. If a handler
/// panics, its connection is closed with 1011; other connections are not affected.
pub trait Service: Any {
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
        request: &UpgradeRequest<'_>,
    ) -> Decision {
        let _ = (cx, conn);
        Decision::Accept(request.accept())
    }

    /// The methods of HTTP requests without upgrade that the service answers on its routes.
    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    /// An HTTP request without upgrade, by one of the service's [`methods`](Service::methods), with
    /// its whole body. `None` defers the response to [`Context::respond`]. Until then
    /// [`on_close`](Service::on_close) reports the end of the client, and
    /// [`is_busy`](Service::is_busy) should return true.
    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let _ = (cx, conn, request);
        Some(Response::text(501, "not implemented"))
    }

    /// Whether the service forwards HTTP requests without upgrade: it then gets those of any method by
    /// [`on_request_head`](Service::on_request_head), before their body is read, and neither
    /// [`methods`](Service::methods) nor [`on_http`](Service::on_http) is used. The `origins` of its
    /// routes apply to upgrades only, and on routes with a gate to requests that state an Origin. Asked once, when the service is added.
    #[cfg(feature = "proxy")]
    fn streams_http(&self) -> bool {
        false
    }

    /// The head of an HTTP request without upgrade, if the service
    /// [forwards](Service::streams_http) those. Nothing of the body is read before the request is sent
    /// to a connected upstream. The announced length of the body is within the route's limit.
    #[cfg(feature = "proxy")]
    fn on_request_head(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        request: &RequestHead<'_>,
    ) -> HeadDecision {
        let _ = (cx, client, request);
        HeadDecision::Respond(Response::text(501, "not implemented"))
    }

    /// The handshake is complete: messages can be sent and received.
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A complete message. It is in a buffer of the loop: copy what must be kept.
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>);

    /// The queue of a connection has fallen below low water, after `send` returned
    /// [`SendOutcome::Congested`](crate::reactor::SendOutcome::Congested) or
    /// [`SendOutcome::Full`](crate::reactor::SendOutcome::Full). Not called for a connection whose
    /// queue does not drain in time: with
    /// [`SlowPolicy::Close`](crate::reactor::settings::SlowPolicy::Close) it is closed with 1013
    /// after [`outbox_grace`](field@crate::reactor::settings::RouteSettings::outbox_grace).
    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A connection opened by [`Context::dial`] is established, its TLS handshake included. A request
    /// that was given already is queued.
    #[cfg(feature = "proxy")]
    fn on_connect(&mut self, cx: &mut Context<'_>, upstream: ConnId) {
        let _ = (cx, upstream);
    }

    /// The head of the response to [`Context::send_request`]: valid HTTP/1.1. A malformed head, or
    /// one that is too long, ends the connection with
    /// [`UpgradeFailed`](CloseReason::UpgradeFailed).
    #[cfg(feature = "proxy")]
    fn on_response_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        let _ = (cx, upstream, head);
        UpstreamDecision::Drop
    }

    /// The upstream of a tunnel was lost without a Close: by the end of its stream, a reset, or
    /// because it did not answer pings. Returns the code of the client's Close: 1012 for "reconnect
    /// now", 1013 for "back off".
    #[cfg(feature = "proxy")]
    fn on_upstream_lost(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        upstream: ConnId,
    ) -> CloseCode {
        let _ = (cx, client, upstream);
        CloseCode::SERVICE_RESTART
    }

    /// A tunnel has ended. Called once, before the first [`on_close`](Service::on_close) of its two
    /// connections.
    #[cfg(feature = "proxy")]
    fn on_pipe_end(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        upstream: ConnId,
        end: &PipeEnd,
    ) {
        let _ = (cx, client, upstream, end);
    }

    /// An exchange whose response was forwarded has ended. Called once, and [`on_close`](Service::on_close)
    /// is not called for the client then: its connection may stay open for further requests. If the
    /// upstream is not idle now, its `on_close` follows.
    #[cfg(feature = "proxy")]
    fn on_exchange_end(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        upstream: ConnId,
        end: &ExchangeEnd,
    ) {
        let _ = (cx, client, upstream, end);
    }

    /// The connection has ended; its id is stale from now on. Called exactly once for each
    /// connection that was accepted, deferred, or opened by [`Context::connect`]. After a deferred
    /// HTTP request it is called only if the client ends before the response.
    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let _ = (cx, conn, why);
    }

    /// The identity of an open connection was replaced ([`Context::set_identity`]): after a refresh,
    /// or by a token in a message. Called in the mail phase, once for all replacements until then.
    fn on_identity(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// The gate has decided on the token of [`Context::present`]: the connection has the identity of
    /// the token, or a refusal says why not. Called once for each token, unless the connection ends
    /// before.
    fn on_presented(&mut self, cx: &mut Context<'_>, conn: ConnId, outcome: Result<(), Refusal>) {
        let _ = (cx, conn, outcome);
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

    /// A timer set by [`Context::schedule`] or [`Context::schedule_every`] is due.
    fn on_timer(&mut self, cx: &mut Context<'_>, key: u64) {
        let _ = (cx, key);
    }

    /// The load level has changed. At [`Level::Elevated`] a service should free what it can: connections
    /// are closed only at the next one. The number of connections alone does not raise this level.
    fn on_load_level(&mut self, cx: &mut Context<'_>, level: Level) {
        let _ = (cx, level);
    }

    /// A signal with the action [`SignalAction::Call`](crate::reactor::SignalAction::Call) was
    /// received.
    #[cfg(feature = "signals")]
    fn on_signal(&mut self, cx: &mut Context<'_>, signal: i32) {
        let _ = (cx, signal);
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

impl fmt::Debug for dyn Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}
