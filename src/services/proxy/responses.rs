//! What follows the head of an upstream's response: a tunnel, another upstream, or a response for the
//! client, which [`forwarding`](super::forwarding) passes on.

use super::exchange::{Action, Event};
use super::failure::Failure;
use super::service::{Link, Pending, Proxy};
use crate::protocol::handshake::{EMPTY_SLOTS, Request, TOKEN_PROTOCOL};
use crate::protocol::http::{
    ResponseHead, ResponseRules, binds_connection, check_switch, cookie, offers_used_token,
    sticky_cookie, write_response,
};
use crate::protocol::passage::Extensions;
use crate::reactor::{ConnId, Context, TunnelSettings, UpstreamDecision};
use crate::upstream::pools::{TryEnd, UpstreamId, UpstreamPools, Use};
use crate::upstream::upstream_counts::add;

/// What a response means for its request, and what of the request the client's response depends on.
pub(super) struct Reading {
    event: Event,
    /// The extensions of a valid 101.
    extensions: Extensions,
    /// The `Set-Cookie` for the client.
    pub(super) set_cookie: Option<String>,
    /// HEAD, or GET for any method whose response has a body.
    pub(super) method: &'static str,
    /// The `x` of the client's HTTP/1.x.
    pub(super) minor_version: u8,
    /// Whether the request belongs to its connection: no other client may use that.
    pub(super) binds_connection: bool,
    /// The subprotocol of a 101 whose upstream selects none.
    protocol: Option<&'static str>,
}

impl Proxy {
    pub(super) fn handle_response(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        let Some(&Link::Try { client, attempt, since, .. }) = self.links.get(conn) else {
            return UpstreamDecision::Drop;
        };
        let Some(pending) = self.pending.get(client) else {
            return UpstreamDecision::Drop;
        };
        let reading = read(&self.pools, pending, attempt.upstream(), head);
        if reading.event != Event::Interim {
            self.pools.count_answer(attempt.upstream(), cx.now().since(since));
        }
        match self.step(client, reading.event) {
            Action::ForwardInterim => UpstreamDecision::Interim(interim(head, &reading)),
            Action::Join => self.join(cx, client, conn, head, &reading),
            Action::Forward => self.forward(cx, client, conn, head, &reading),
            Action::ChooseOrForward => self.choose_or_forward(cx, client, conn, head, &reading),
            Action::Answer(failure) => {
                self.links.remove(conn);
                self.end_try(cx, attempt, failure.try_end());
                self.answer(cx, client, failure);
                UpstreamDecision::Drop
            }
            Action::Wait | Action::Choose => UpstreamDecision::Drop,
        }
    }

    fn join(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        conn: ConnId,
        head: &ResponseHead<'_>,
        reading: &Reading,
    ) -> UpstreamDecision {
        let (Some(pending), Some(Link::Try { attempt, .. })) =
            (self.take_pending(cx, client), self.links.remove(conn))
        else {
            return UpstreamDecision::Drop;
        };
        let upstream = attempt.upstream();
        self.record(cx, attempt, TryEnd::Answered);
        self.pools.change(upstream, Use::Exchange, Use::Tunnel);
        add(&pending.route.counts.tunnels, 1);
        let settings = &pending.route.settings;
        let tunnel = TunnelSettings::default()
            .extensions(reading.extensions)
            .hold_bytes_max(settings.hold_bytes_max)
            .pings(settings.tunnel_pings)
            .client_lost(settings.client_lost);
        let cookie = reading.set_cookie.as_deref();
        let protocol = reading.protocol;
        let rules =
            ResponseRules { method: "GET", minor_version: 1, keep_alive: true, cookie, protocol };
        let mut bytes = Vec::new();
        write_response(head, &rules, &mut bytes);
        let route = pending.route;
        self.links.insert(cx, conn, Link::Tunnel { client, upstream, route, ends: None });
        UpstreamDecision::Join { head: bytes, tunnel }
    }

    /// Tries another upstream after a 502, 503 or 504; without one, forwards this response.
    fn choose_or_forward(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        conn: ConnId,
        head: &ResponseHead<'_>,
        reading: &Reading,
    ) -> UpstreamDecision {
        let mut action = Action::ChooseOrForward;
        while action == Action::ChooseOrForward {
            let event = self.try_next(cx, client);
            action = self.step(client, event);
        }
        if action == Action::Forward {
            return self.forward(cx, client, conn, head, reading);
        }
        if let Some(Link::Try { attempt, .. }) = self.links.remove(conn) {
            self.end_try(cx, attempt, TryEnd::Status);
        }
        UpstreamDecision::Drop
    }
}

pub(super) fn is_unavailable(head: &ResponseHead<'_>) -> bool {
    matches!(head.status(), 502..=504)
}

/// The head of an interim response for the client; empty for HTTP/1.0, which has none.
fn interim(head: &ResponseHead<'_>, reading: &Reading) -> Vec<u8> {
    let mut bytes = Vec::new();
    if reading.minor_version > 0 {
        let (method, minor_version) = (reading.method, reading.minor_version);
        let (cookie, protocol) = (None, None);
        let rules = ResponseRules { method, minor_version, keep_alive: true, cookie, protocol };
        write_response(head, &rules, &mut bytes);
    }
    bytes
}

/// Reads a response as one to this request, of which the head is parsed again.
fn read(
    pools: &UpstreamPools,
    pending: &Pending,
    upstream: UpstreamId,
    head: &ResponseHead<'_>,
) -> Reading {
    let mut reading = Reading {
        event: Event::Failed(Failure::BadAnswer),
        extensions: Extensions::Nothing,
        set_cookie: None,
        method: "GET",
        minor_version: 0,
        binds_connection: true,
        protocol: None,
    };
    let mut slots = EMPTY_SLOTS;
    let Ok(request) = pending.parse(&pending.head, &mut slots) else {
        return reading;
    };
    if request.method() == "HEAD" {
        reading.method = "HEAD";
    }
    reading.minor_version = request.minor_version();
    reading.binds_connection = binds_connection(&request);
    reading.protocol = offers_used_token(&request).then_some(TOKEN_PROTOCOL);
    reading.set_cookie = set_cookie(pools, pending, upstream, &request);
    reading.event = match head.status() {
        101 => match agreed_extensions(pending, &request, head) {
            Some(extensions) => {
                reading.extensions = extensions;
                Event::Switched
            }
            None => Event::Failed(Failure::BadAnswer),
        },
        ..200 => Event::Interim,
        _ if is_unavailable(head) => Event::Unavailable,
        200.. => Event::Responded,
    };
    reading
}

/// The extensions of a valid 101 to an upgrade.
fn agreed_extensions(
    pending: &Pending,
    request: &Request<'_>,
    head: &ResponseHead<'_>,
) -> Option<Extensions> {
    let upgrade = request.upgrade().ok().filter(|_| pending.exchange.is_upgrade())?;
    check_switch(&upgrade, head).ok().map(|switched| switched.extensions)
}

/// The sticky cookie, if the client does not have it.
fn set_cookie(
    pools: &UpstreamPools,
    pending: &Pending,
    upstream: UpstreamId,
    request: &Request<'_>,
) -> Option<String> {
    let pool = pools.settings(pools.pool_of(upstream)?)?;
    let name = pool.sticky_cookie.as_deref()?;
    let value = pools.sticky_value(upstream)?;
    let has_it = cookie(request, name) == Some(value);
    if has_it { None } else { sticky_cookie(name, value, pending.origin.is_secure).ok() }
}
