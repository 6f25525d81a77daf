//! What follows the head of an upstream's response: a tunnel, a response for the client, or another
//! upstream.

use super::exchange::{Action, Event};
use super::failure::Failure;
use super::service::{Link, Pending, Proxy};
use crate::protocol::handshake::{EMPTY_SLOTS, Request, Response};
use crate::protocol::http::{
    ResponseHead, ResponseRules, check_switch, cookie, sticky_cookie, write_response,
};
use crate::protocol::passage::Extensions;
use crate::reactor::{ConnId, Context, TunnelSettings, UpstreamDecision};
use crate::upstream::pools::{TryEnd, UpstreamId, UpstreamPools, Use};
use crate::upstream::upstream_counts::add;

/// What a response means for its request.
struct Reading {
    event: Event,
    /// The extensions of a valid 101.
    extensions: Extensions,
    /// The `Set-Cookie` for the client.
    set_cookie: Option<String>,
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
        self.pools.count_answer(attempt.upstream(), cx.now().since(since));
        let Some(pending) = self.pending.get(client) else {
            return UpstreamDecision::Drop;
        };
        let reading = read(&self.pools, pending, attempt.upstream(), head);
        match self.step(client, reading.event) {
            Action::Join => self.join(cx, client, conn, head, &reading),
            Action::Forward => self.forward(cx, client, conn, head),
            Action::ChooseOrForward => self.choose_or_forward(cx, client, conn, head),
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
            (self.pending.remove(client), self.links.remove(conn))
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
        let rules = ResponseRules { method: "GET", minor_version: 1, keep_alive: true, cookie };
        let mut bytes = Vec::new();
        write_response(head, &rules, &mut bytes);
        let route = pending.route;
        self.links.insert(cx, conn, Link::Tunnel { client, upstream, route, ends: None });
        UpstreamDecision::Join { head: bytes, tunnel }
    }

    /// Forwards a response to an upgrade that is not a 101.
    fn forward(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        conn: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        if let (Some(_), Some(Link::Try { attempt, .. })) =
            (self.pending.remove(client), self.links.remove(conn))
        {
            self.end_try(cx, attempt, try_end(head));
            cx.respond(client, Response::text(head.status(), ""));
        }
        UpstreamDecision::Drop
    }

    /// Tries another upstream after a 502, 503 or 504; without one, forwards this response.
    fn choose_or_forward(
        &mut self,
        cx: &mut Context<'_>,
        client: ConnId,
        conn: ConnId,
        head: &ResponseHead<'_>,
    ) -> UpstreamDecision {
        let mut action = Action::ChooseOrForward;
        while action == Action::ChooseOrForward {
            let event = self.try_next(cx, client);
            action = self.step(client, event);
        }
        if action == Action::Forward {
            return self.forward(cx, client, conn, head);
        }
        if let Some(Link::Try { attempt, .. }) = self.links.remove(conn) {
            self.end_try(cx, attempt, TryEnd::Status);
        }
        UpstreamDecision::Drop
    }
}

/// What a try counts as whose response is forwarded.
fn try_end(head: &ResponseHead<'_>) -> TryEnd {
    if is_unavailable(head) { TryEnd::Status } else { TryEnd::Answered }
}

fn is_unavailable(head: &ResponseHead<'_>) -> bool {
    matches!(head.status(), 502..=504)
}

/// Reads a response as one to this request, of which the head is parsed again.
fn read(
    pools: &UpstreamPools,
    pending: &Pending,
    upstream: UpstreamId,
    head: &ResponseHead<'_>,
) -> Reading {
    const BAD: Event = Event::Failed(Failure::BadAnswer);
    let mut reading = Reading { event: BAD, extensions: Extensions::Nothing, set_cookie: None };
    let mut slots = EMPTY_SLOTS;
    let Ok(request) = pending.parse(&pending.head, &mut slots) else {
        return reading;
    };
    reading.set_cookie = set_cookie(pools, pending, upstream, &request);
    reading.event = match head.status() {
        101 => {
            let upgrade = request.upgrade().ok();
            let switched = upgrade.and_then(|upgrade| check_switch(&upgrade, head).ok());
            if let Some(switched) = switched {
                reading.extensions = switched.extensions;
            }
            if switched.is_some() { Event::Switched } else { BAD }
        }
        _ if is_unavailable(head) => Event::Unavailable,
        200.. => Event::Responded,
        _ => BAD,
    };
    reading
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
