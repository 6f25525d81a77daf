//! Responses that are forwarded: from the head to the end of the body, which the loop passes, and
//! what becomes of the upstream's connection.

use std::time::Duration;

use log::{Level, warn};

use super::failure::Failure;
use super::responses::{Reading, is_unavailable};
use super::service::{Link, Proxy};
use crate::protocol::http::{BodyPass, ResponseHead, ResponseRules, write_response};
use crate::reactor::{
    ConnId, Context, ExchangeEnd, ExchangeOutcome, ForwardResponse, UpstreamDecision,
};
use crate::upstream::pools::{TryEnd, UpstreamId, Use};
use crate::upstream::upstream_counts::add;

/// Requests on one connection to an upstream.
const REQUESTS_MAX: u16 = 1000;
/// How much earlier than the upstream weir closes an idle connection: a request that crosses the
/// upstream's end would be lost.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

impl Proxy {
    /// Forwards a final response to any request.
    pub(super) fn forward(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        conn: ConnId,
        head: &ResponseHead<'_>,
        reading: &Reading,
    ) -> UpstreamDecision {
        let Some(Link::Try { attempt, requests, .. }) = self.links.remove(conn) else {
            return UpstreamDecision::Drop;
        };
        let (method, minor_version) = (reading.method, reading.minor_version);
        let Ok(body) = BodyPass::new(head.framing(method), minor_version, u64::MAX) else {
            self.end_try(cx, attempt, TryEnd::BadAnswer);
            self.answer(cx, client, Failure::BadAnswer);
            return UpstreamDecision::Drop;
        };
        let Some(pending) = self.take_pending(cx, client) else {
            self.end_try(cx, attempt, TryEnd::Cancelled);
            return UpstreamDecision::Drop;
        };
        let upstream = attempt.upstream();
        let end = if is_unavailable(head) { TryEnd::Status } else { TryEnd::Answered };
        self.record(cx, attempt, end);
        pending.route.counts.forward(head.status());
        let rules = ResponseRules {
            method,
            minor_version,
            keep_alive: cx.keeps_alive(client),
            cookie: reading.set_cookie.as_deref(),
            protocol: None,
        };
        let mut bytes = Vec::new();
        let keeps_client = write_response(head, &rules, &mut bytes);
        let keep_idle = self.keep_idle(upstream, head);
        let keeps_upstream = !keep_idle.is_zero()
            && requests < REQUESTS_MAX
            && !pending.exchange.is_upgrade()
            && !reading.binds_connection
            && !head.binds_connection()
            && head.keeps_alive(method);
        let route = pending.route;
        self.links.insert(cx, conn, Link::Response { upstream, route, requests, keep_idle });
        let response = ForwardResponse::new(bytes, body);
        UpstreamDecision::Forward(response.keep_client(keeps_client).keep_upstream(keeps_upstream))
    }

    /// How long the connection may be idle after this response; zero: not at all.
    fn keep_idle(&self, upstream: UpstreamId, head: &ResponseHead<'_>) -> Duration {
        let pool = self.pools.pool_of(upstream).and_then(|pool| self.pools.settings(pool));
        let Some(settings) = pool.filter(|settings| settings.idle_max() > 0) else {
            return Duration::ZERO;
        };
        match head.keep_alive_seconds().map(Duration::from_secs) {
            Some(stated) => stated.saturating_sub(KEEP_ALIVE_MARGIN).min(settings.keepalive_idle),
            None => settings.keepalive_idle,
        }
    }

    /// The body of a forwarded response has ended.
    pub(super) fn handle_exchange_end(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        end: &ExchangeEnd,
    ) {
        let Some(Link::Response { upstream, route, requests, keep_idle }) = self.links.remove(conn)
        else {
            return;
        };
        self.pools.count_bytes(upstream, end.request_bytes, end.response_bytes);
        if let ExchangeOutcome::Cut(why) = end.outcome {
            add(&route.counts.cut, 1);
            if cx.may_log(Level::Warn, "proxy_cut") {
                let name = self.pools.target(upstream).map_or("", |target| target.name);
                warn!(upstream = name; "response cut: {why}");
            }
        }
        if end.is_upstream_idle
            && self.has_idle_room(upstream)
            && self.links.insert(cx, conn, Link::Idle { upstream })
        {
            self.pools.change(upstream, Use::Exchange, Use::Idle);
            self.idle.add(upstream, conn, requests, cx.now());
            return cx.keep_idle(conn, keep_idle);
        }
        self.pools.release(upstream, Use::Exchange);
        if end.is_upstream_idle {
            cx.abort(conn);
        }
    }

    fn has_idle_room(&self, upstream: UpstreamId) -> bool {
        let pool = self.pools.pool_of(upstream).and_then(|pool| self.pools.settings(pool));
        let idle_max = pool.map_or(0, |settings| settings.idle_max());
        self.pools.is_listed(upstream) && self.idle.count(upstream) < idle_max
    }
}
