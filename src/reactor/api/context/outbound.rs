//! Connections that a service opens: WebSockets, and HTTP upstreams of a proxy.

use std::io;
#[cfg(feature = "proxy")]
use std::time::Duration;

use super::Context;
use crate::protocol::handshake::ClientRequest;
use crate::reactor::api::connect::Connect;
use crate::reactor::api::id::{ConnId, RouteId};
#[cfg(feature = "proxy")]
use crate::reactor::api::upstream::UpstreamRequest;

impl Context<'_> {
    /// Opens a connection to a WebSocket server, on this loop. Its outcome is reported by
    /// [`on_open`](crate::reactor::Service::on_open) or
    /// [`on_close`](crate::reactor::Service::on_close).
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use weir::protocol::handshake::ClientRequest;
    /// use weir::reactor::{Connect, Context, RouteId};
    ///
    /// fn dial(cx: &mut Context<'_>, route: RouteId, address: SocketAddr) -> std::io::Result<()> {
    ///     let request = ClientRequest::new("feed.example.org", "/prices").expect("a valid request");
    ///     let conn = cx.connect(Connect::to(address), route, &request)?;
    ///     println!("connecting {conn}");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The socket could not be created,
    /// [`outbound_max`](field@crate::reactor::settings::Settings::outbound_max) is reached, or the
    /// loop is shutting down. In the last two cases the kind is [`io::ErrorKind::QuotaExceeded`]. With a
    /// [local address](Connect::local_address) also: it is not an address of this machine, or of
    /// another family.
    pub fn connect(
        &mut self,
        to: Connect<'_>,
        route: RouteId,
        request: &ClientRequest,
    ) -> io::Result<ConnId> {
        self.core.connect(self.core.served, to, route, request)
    }

    /// Opens a connection to an HTTP upstream, on this loop. It counts in
    /// [`outbound_max`](crate::reactor::settings::Settings::outbound_max). TCP and TLS together may
    /// take `connect_timeout`. [`on_connect`](crate::reactor::Service::on_connect) reports the
    /// connection, [`on_close`](crate::reactor::Service::on_close) its end:
    ///
    /// | reason | before a response |
    /// |---|---|
    /// | [`ConnectFailed`](crate::reactor::CloseReason::ConnectFailed), [`TlsFailed`](crate::reactor::CloseReason::TlsFailed) | not established |
    /// | [`HandshakeTimeout`](crate::reactor::CloseReason::HandshakeTimeout) | before `on_connect`: `connect_timeout` has passed; after it: `answer_timeout` |
    /// | [`PeerGone`](crate::reactor::CloseReason::PeerGone), [`PeerReset`](crate::reactor::CloseReason::PeerReset), [`Truncated`](crate::reactor::CloseReason::Truncated) | the upstream ended it |
    /// | [`UpgradeFailed`](crate::reactor::CloseReason::UpgradeFailed) | the response is malformed or too long |
    /// | [`IdleTimeout`](crate::reactor::CloseReason::IdleTimeout) | the time of [`keep_idle`](Context::keep_idle) has passed |
    ///
    /// A service that forwards upgrades defers the client's request, dials, and sends its request with
    /// [`send_request`](Context::send_request). In
    /// [`on_response_head`](crate::reactor::Service::on_response_head) it joins the two connections
    /// ([`UpstreamDecision::Join`](crate::reactor::UpstreamDecision::Join)). From then on frames pass
    /// between them without a call of the service, until
    /// [`on_pipe_end`](crate::reactor::Service::on_pipe_end). [`close`](Context::close) of either side
    /// closes the client with that code, and its upstream with 1001 after the client's own Close;
    /// [`abort`](Context::abort) is like the loss of that side.
    ///
    /// Feature `proxy`.
    ///
    /// # Errors
    /// As for [`connect`](Context::connect).
    #[cfg(feature = "proxy")]
    pub fn dial(
        &mut self,
        to: Connect<'_>,
        route: RouteId,
        connect_timeout: Duration,
    ) -> io::Result<ConnId> {
        self.core.dial(self.core.served, to, route, connect_timeout)
    }

    /// Sends a request on a connection opened by [`dial`](Context::dial): once it is established, or
    /// at once on an idle connection, which is first read once: an end, an error or plaintext ends
    /// it. False if the connection has ended or is in use, if the client no longer waits, or if a part of
    /// its body was sent to another upstream; then nothing is sent. The response is reported by
    /// [`on_response_head`](crate::reactor::Service::on_response_head). Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn send_request(&mut self, upstream: ConnId, request: UpstreamRequest) -> bool {
        self.core.send_upstream_request(self.core.served, upstream, request)
    }

    /// Whether nothing of the body of a client's request has been read, so that the request may be sent
    /// to another upstream. False without a request that was passed to
    /// [`on_request_head`](crate::reactor::Service::on_request_head). Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn is_body_unread(&self, client: ConnId) -> bool {
        self.core.is_body_unread(self.core.served, client)
    }

    /// Whether a client's connection can stay open after the response to its pending request. False
    /// for an upgrade, during a shutdown, after
    /// [`HTTP_REQUESTS_MAX`](crate::reactor::budget::HTTP_REQUESTS_MAX) requests, and if a response
    /// comes before the body of a request with `Expect: 100-continue`. Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn keeps_alive(&self, client: ConnId) -> bool {
        self.core.keeps_alive(self.core.served, client)
    }

    /// Limits how long an idle connection opened by [`dial`](Context::dial) is kept from now on. By
    /// default there is no limit. Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn keep_idle(&mut self, upstream: ConnId, most: Duration) {
        if self.owns(upstream) {
            self.core.keep_idle(upstream, most);
        }
    }

    /// Bytes that connections hold for requests and tunnels of a route, of any service: incomplete
    /// frames, heads, and output that a client or an upstream has not read. Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn relayed_bytes(&self, route: RouteId) -> usize {
        self.core.outboxes.relayed(route)
    }
}
