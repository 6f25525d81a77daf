//! Active checks: a connection, a GET or a WebSocket handshake with each upstream, by the interval of
//! its pool.
//!
//! The pools decide what is due and what a result means.

use std::io;

use log::{info, warn};

use super::service::{Link, Proxy};
use super::tries::{is_local, is_local_end, write_proxy_header};
use crate::protocol::CloseCode;
use crate::protocol::handshake::{ClientError, ClientRequest};
use crate::protocol::http::ResponseHead;
use crate::reactor::{
    CloseReason, ConnId, Connect, Context, RouteId, UpstreamDecision, UpstreamRequest,
};
use crate::upstream::pools::{CHECK_TIMEOUT, CheckFailure, StateChange, Target, UpstreamId};
use crate::upstream::{HealthCheck, PoolSettings};

impl Proxy {
    /// Starts the check of an upstream. Returns false if this machine lacks what it needs, or has no
    /// room for a connection: that says nothing about the upstream.
    pub(super) fn start_check(&mut self, cx: &mut Context<'_>, upstream: UpstreamId) -> bool {
        let pool = self.pools.pool_of(upstream).and_then(|pool| self.pools.settings(pool));
        let pool = pool.filter(|settings| settings.health.is_some());
        let (Some(settings), Some(target)) = (pool, self.pools.target(upstream)) else {
            // A reload has removed it, or its checks, after this one became due.
            self.pools.abandon_check(upstream);
            return true;
        };
        match connect(cx, self.outbound, settings, &target) {
            Ok(conn) => {
                if !self.links.insert(cx, conn, Link::Check { upstream }) {
                    return false;
                }
                self.upkeep.await_check(conn, cx.now() + CHECK_TIMEOUT);
                true
            }
            Err(error) if is_local(&error) || error.kind() == io::ErrorKind::QuotaExceeded => false,
            Err(_) => {
                self.handle_checked(cx, upstream, Err(CheckFailure::Connect));
                true
            }
        }
    }

    /// The connection of a check is established, but not by a WebSocket handshake.
    pub(super) fn handle_check_connected(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let Some(&Link::Check { upstream }) = self.links.get(conn) else {
            return;
        };
        let pool = self.pools.pool_of(upstream).and_then(|pool| self.pools.settings(pool));
        let health = pool.and_then(|settings| settings.health.as_ref());
        let (Some(HealthCheck::Http(path)), Some(target)) = (health, self.pools.target(upstream))
        else {
            self.end_check(cx, conn, Ok(()));
            return cx.abort(conn);
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: weir\r\nConnection: close\r\n\r\n",
            target.authority
        );
        cx.send_request(conn, UpstreamRequest::new(head.into_bytes(), CHECK_TIMEOUT));
    }

    pub(super) fn handle_check_response(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        let result = match head.status() {
            200..300 => Ok(()),
            status => Err(CheckFailure::Status(status)),
        };
        self.end_check(cx, conn, result);
        UpstreamDecision::Drop
    }

    /// A WebSocket of a check is open.
    pub(super) fn handle_check_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.end_check(cx, conn, Ok(()));
        cx.close(conn, CloseCode::NORMAL, "");
    }

    /// The connection of a check has ended without a result.
    pub(super) fn handle_check_end(
        &mut self,
        cx: &mut Context<'_>,
        upstream: UpstreamId,
        why: CloseReason,
    ) {
        if is_local_end(why) {
            return self.postpone_check(cx, upstream);
        }
        let failure = match why {
            CloseReason::ConnectFailed(_) => CheckFailure::Connect,
            CloseReason::TlsFailed => CheckFailure::Tls,
            CloseReason::HandshakeTimeout => CheckFailure::Timeout,
            CloseReason::UpgradeFailed(ClientError::Status(status)) => CheckFailure::Status(status),
            CloseReason::UpgradeFailed(_) => CheckFailure::BadAnswer,
            _ => CheckFailure::Reset,
        };
        self.handle_checked(cx, upstream, Err(failure));
        self.keep_up(cx);
    }

    /// The time of a check is over.
    pub(super) fn time_out_check(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Some(Link::Check { upstream }) = self.links.get(conn) {
            let upstream = *upstream;
            self.links.remove(conn);
            self.handle_checked(cx, upstream, Err(CheckFailure::Timeout));
            cx.abort(conn);
        }
    }

    /// Takes the result of a check; what happens to its connection now is of no interest.
    fn end_check(&mut self, cx: &mut Context<'_>, conn: ConnId, result: Result<(), CheckFailure>) {
        if let Some(Link::Check { upstream }) = self.links.remove(conn) {
            self.handle_checked(cx, upstream, result);
            self.keep_up(cx);
        }
    }

    fn handle_checked(
        &mut self,
        cx: &Context<'_>,
        upstream: UpstreamId,
        result: Result<(), CheckFailure>,
    ) {
        let change = self.pools.checked(upstream, result, cx.now());
        let name = self.pools.target(upstream).map_or("", |target| target.name);
        match change {
            Some(StateChange::Down(failure)) => {
                warn!(upstream = name; "upstream is down: health check: {failure}");
            }
            Some(StateChange::Up) => info!(upstream = name; "upstream is up"),
            Some(StateChange::BreakerOpened | StateChange::BreakerClosed) | None => {}
        }
    }
}

/// Connects to an upstream for a check of its pool.
fn connect(
    cx: &mut Context<'_>,
    outbound: RouteId,
    settings: &PoolSettings,
    target: &Target<'_>,
) -> io::Result<ConnId> {
    let mut preface = Vec::new();
    if let Some(version) = settings.send_proxy {
        // The connection is weir's own.
        write_proxy_header(version, None, &mut preface);
    }
    let to = Connect::to(target.address).tls(target.tls).preface(&preface);
    match &settings.health {
        Some(HealthCheck::WebSocket(path)) => {
            let request = ClientRequest::new(target.authority, path).map_err(io::Error::other)?;
            cx.connect(to, outbound, &request)
        }
        _ => cx.dial(to, outbound, CHECK_TIMEOUT),
    }
}
