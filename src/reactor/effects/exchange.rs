//! HTTP exchanges through an upstream: requests whose body is passed on as it arrives, and their
//! responses.
//!
//! The body of a request stays unread until its head is queued on a connected upstream. Each read of
//! one side is passed to the other in the same turn, within the receiver's outbox: above its soft
//! limit, reading from the sender is paused, as in a tunnel ([`pipe`](crate::reactor::effects::pipe)).
//! Where bodies begin and end, `protocol::http::BodyPass` decides. How exchanges end is in
//! [`exchange_ends`](crate::reactor::effects::exchange_ends).

use crate::protocol::handshake::{ClientError, Refusal, Request};
use crate::protocol::http::{BodyPass, lenient_path};
use crate::reactor::Reactor;
use crate::reactor::api::budget::{FRAME_WORK, HTTP_REQUESTS_MAX, INTERIM_RESPONSES_MAX};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::exchange::{ForwardResponse, HeadDecision};
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::request::{Params, RequestHead};
use crate::reactor::api::time::Time;
use crate::reactor::conn::exchange::{RequestBody, ResponseBody};
use crate::reactor::conn::handshake::PendingHttp;
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::Core;
use crate::reactor::effects::pipe::Forwarded;
use crate::reactor::parts::cors::Cors;
use crate::reactor::parts::destination::Destination;

impl Reactor {
    /// Passes the head of a request to a service that forwards requests. Its body stays unread.
    pub(crate) fn handle_request_head(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        head: &[u8],
        route: RouteId,
        params: &Params,
    ) -> Result<(), Refusal> {
        self.core.check_path(id, request, route)?;
        let settings = self.core.router.settings(route);
        let body = BodyPass::new(request.body_framing()?, 1, settings.message_bytes_max as u64)?;
        let mut pending = PendingHttp::of(request, Cors::of(settings, request));
        let service = self.core.router.service(route);
        let Some(conn) = self.core.conns.get_mut(id) else {
            return Ok(());
        };
        conn.route = route;
        conn.service = service;
        conn.path = self.core.router.intern(route, request.path());
        if let Some(handshake) = conn.handshake() {
            let body = RequestBody::new(body, request.expects_continue());
            handshake.request_body = Some(Box::new(body));
            handshake.pending_http = Some(pending.clone());
        }
        let peer = conn.peer.into();
        let via = conn.proxy().map(|proxy| proxy.address);
        let is_secure = conn.is_client_secure();
        let tls = conn.session().map(|session| session.info());
        let tls = tls.as_ref();
        let identity = conn.identity().cloned();
        let identity = identity.as_deref();
        let request =
            RequestHead { http: request, head, route, params, peer, via, is_secure, tls, identity };
        let decision = self
            .call(service, |service, cx| service.on_request_head(cx, id, &request))
            .ok_or(Refusal::Internal)?;
        match decision {
            HeadDecision::Defer => self.core.defer_http(id),
            HeadDecision::Refuse(refusal) => return Err(refusal),
            HeadDecision::Respond(response) => {
                pending.keep_alive &= self.core.abandon_exchange(id);
                self.core.respond(id, pending, response);
            }
        }
        Ok(())
    }

    /// Passes input of one side of an exchange to the other; returns the number of bytes consumed.
    pub(crate) fn pass_body(&mut self, id: ConnId, input: &[u8]) -> usize {
        let consumed = self.core.pass_body(id, input);
        let response = self.core.conns.get(id).and_then(|conn| conn.response_body());
        if !response.is_some_and(|body| body.pass.is_complete()) {
            return consumed;
        }
        // Bytes behind the response belong to nothing.
        self.finish_exchange(id, consumed == input.len());
        input.len()
    }
}

impl Core {
    /// Refuses a path that an upstream may take for that of another route: it would pass by the
    /// limits of that route. Services that forward nothing get any path.
    pub(crate) fn check_path(
        &self,
        id: ConnId,
        request: &Request<'_>,
        route: RouteId,
    ) -> Result<(), Refusal> {
        let Some(reading) = lenient_path(request.path()) else {
            return Ok(());
        };
        let handshake = self.conns.get(id).and_then(|conn| conn.handshake_ref());
        let listener_group = handshake.map_or(0, |handshake| handshake.listener_group);
        let is_ambiguous =
            self.router.is_ambiguous(Destination::of(listener_group, request), &reading);
        match is_ambiguous && self.router.streams_http(self.router.service(route)) {
            true => Err(Refusal::AmbiguousPath),
            false => Ok(()),
        }
    }

    /// Whether nothing of a client's body has been read yet.
    pub(crate) fn is_body_unread(&self, service: ServiceId, client: ConnId) -> bool {
        let body = self.conns.owned(service, client).and_then(|conn| conn.request_body());
        body.is_some_and(|body| body.bytes == 0)
    }

    /// Whether a client's connection can stay open after the response to its pending request.
    pub(crate) fn keeps_alive(&self, service: ServiceId, client: ConnId) -> bool {
        let is_closed = self.admission.is_closed();
        let Some(conn) = self.conns.owned(service, client) else {
            return false;
        };
        // The rest of a body is not read if the response overtakes its start.
        let is_overtaken = conn.request_body().is_some_and(|body| body.awaits_continue);
        conn.handshake_ref().is_some_and(|handshake| {
            let wishes = handshake.pending_http.as_ref().is_some_and(|pending| pending.keep_alive);
            let has_more = handshake.answered + 1 < HTTP_REQUESTS_MAX && !conn.is_provisional();
            wishes && !is_closed && !is_overtaken && has_more
        })
    }

    /// Whether a client's request may be sent to an upstream: it waits for a response, and nothing
    /// of its body was passed to another upstream. True for other clients.
    pub(crate) fn can_forward(&self, service: ServiceId, client: ConnId) -> bool {
        let Some(conn) = self.conns.owned(service, client) else {
            return true;
        };
        let is_waiting = matches!(conn.phase, Phase::Handshake | Phase::Deferred);
        conn.request_body()
            .is_none_or(|body| is_waiting && body.upstream.is_none() && body.bytes == 0)
    }

    /// The head of a request is queued: from now on its client's body is passed to the upstream.
    pub(crate) fn begin_exchange(&mut self, upstream: ConnId) {
        let now = self.now;
        let request = self.conns.get(upstream).and_then(|conn| conn.upstream_request());
        let Some((client, timeout)) =
            request.and_then(|request| Some((request.client?, request.body_timeout)))
        else {
            return;
        };
        let Some(conn) = self.conns.get_mut(client) else {
            return;
        };
        let (route, phase) = (conn.route, conn.phase);
        let Some(body) = conn.request_body_mut() else {
            return;
        };
        if !matches!(phase, Phase::Handshake | Phase::Deferred) {
            return self.drop_connection(upstream, CloseReason::Aborted);
        }
        body.upstream = Some(upstream);
        body.timeout = timeout;
        let is_read_now = !body.is_done() && !body.awaits_continue;
        conn.last_heard = now;
        self.arm(client);
        self.enqueue_read(client);
        if let Some(conn) = self.conns.get_mut(upstream) {
            conn.route = route;
        }
        if is_read_now {
            self.await_response(upstream, false);
        }
    }

    /// Starts the time limit for the response, or stops it while the body is read.
    pub(crate) fn await_response(&mut self, upstream: ConnId, is_body_done: bool) {
        let now = self.now;
        let conn = self.conns.get_mut(upstream).filter(|conn| conn.awaits_response());
        let dialed = conn.and_then(|conn| conn.handshake()?.dialed.as_mut());
        if let Some(dialed) = dialed
            && let Some(request) = &dialed.request
        {
            dialed.until = if is_body_done { now + request.answer_timeout } else { Time::MAX };
            self.arm(upstream);
        }
    }

    /// The client that waits for this upstream's response, by a request of either kind.
    fn client_of(&self, upstream: ConnId) -> Option<ConnId> {
        let conn = self.conns.get(upstream)?;
        let client = conn.upstream_request()?.client?;
        let waiting = self.conns.owned(conn.service, client);
        waiting.filter(|conn| conn.phase == Phase::Deferred)?;
        Some(client)
    }

    /// Forwards an interim response (RFC 9110, 15.2). After a 100 the client sends its body.
    pub(crate) fn forward_interim(&mut self, upstream: ConnId, status: u16, head: Vec<u8>) {
        let now = self.now;
        let Some(client) = self.client_of(upstream) else {
            return self.drop_connection(upstream, CloseReason::Aborted);
        };
        let conn = self.conns.get_mut(upstream);
        if let Some(dialed) = conn.and_then(|conn| conn.handshake()?.dialed.as_mut()) {
            dialed.interims += 1;
            if dialed.interims > INTERIM_RESPONSES_MAX {
                let reason = CloseReason::UpgradeFailed(ClientError::Malformed);
                return self.drop_connection(upstream, reason);
            }
        }
        self.queue_head(client, head);
        let Some(conn) = self.conns.get_mut(client) else {
            return;
        };
        if let Some(body) = conn.request_body_mut()
            && status == 100
            && body.awaits_continue
        {
            body.awaits_continue = false;
            conn.last_heard = now;
            self.arm(client);
            self.await_response(upstream, false);
        }
    }

    /// Forwards the head of the final response. Its body follows.
    pub(crate) fn forward_response(&mut self, upstream: ConnId, response: ForwardResponse) {
        let now = self.now;
        let ForwardResponse { head, body, keeps_client, keeps_upstream } = response;
        let Some(client) = self.client_of(upstream) else {
            return self.drop_connection(upstream, CloseReason::Aborted);
        };
        let Some(conn) = self.conns.get_mut(client) else {
            return;
        };
        conn.phase = Phase::Streaming;
        conn.last_heard = now;
        // The service gets `on_exchange_end` instead of `on_close`.
        conn.set_registration(Registration::Admitted);
        let route = conn.route;
        let Some(handshake) = conn.handshake() else {
            return;
        };
        handshake.deferred = None;
        // An upgrade has no body, and closes after another response than a 101.
        let request = handshake.request_body.get_or_insert_with(|| Box::new(RequestBody::none()));
        request.upstream = Some(upstream);
        request.is_answered = true;
        request.is_stopped |= request.awaits_continue;
        let wishes = handshake.pending_http.as_ref().is_some_and(|pending| pending.keep_alive);
        let keeps_client = keeps_client && wishes;
        self.queue_head(client, head);
        self.charge_input_or_close(client);
        self.metrics.http_answered += 1;
        let Some(conn) = self.conns.get_mut(upstream) else {
            return;
        };
        conn.phase = Phase::Streaming;
        conn.last_heard = now;
        conn.route = route;
        if let Some(dialed) = conn.handshake().and_then(|handshake| handshake.dialed.as_mut()) {
            let body = ResponseBody { pass: body, bytes: 0, keeps_client, keeps_upstream };
            dialed.response = Some(Box::new(body));
        }
        for id in [client, upstream] {
            self.arm(id);
            self.enqueue_flush(id);
            self.enqueue_read(id);
        }
    }

    /// Passes a part of a body; returns the number of bytes that belong to it.
    fn pass_body(&mut self, id: ConnId, input: &[u8]) -> usize {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.passes_body()) else {
            return 0;
        };
        let Some(partner) = conn.exchange_partner() else {
            return 0;
        };
        let Some((pass, bytes)) = conn.sent_body_mut() else {
            return 0;
        };
        let mut written = Vec::new();
        let passed = match pass.pass(input, &mut written) {
            Ok(passed) => passed,
            Err(refusal) => {
                self.fail_body(id, refusal);
                return input.len();
            }
        };
        *bytes += passed.consumed as u64;
        self.work.spend(FRAME_WORK);
        let output = if passed.is_unchanged { &input[..passed.consumed] } else { &written };
        if !self.forward_body(id, partner, output) {
            return input.len();
        }
        self.note_request_body(id, partner);
        passed.consumed
    }

    /// Sends a part of a body to the other side; false if the exchange cannot go on.
    pub(crate) fn forward_body(&mut self, from: ConnId, to: ConnId, output: &[u8]) -> bool {
        if output.is_empty() {
            return true;
        }
        match self.forward(to, [&[], output], 0, true) {
            Forwarded::Sent => {}
            Forwarded::Congested => self.pause_for_partner(from),
            Forwarded::NoMemory => {
                self.metrics.buffered_refused += 1;
                self.fail_body(from, Refusal::OutOfResources);
                return false;
            }
        }
        true
    }

    /// A part of a request's body was passed. The time limit for the response starts at its end.
    fn note_request_body(&mut self, client: ConnId, upstream: ConnId) {
        let body = self.conns.get_mut(client).and_then(|conn| conn.request_body_mut());
        let Some(body) = body.filter(|body| body.bytes > 0) else {
            return;
        };
        let was_awaited = std::mem::take(&mut body.awaits_continue);
        let is_complete = body.pass.is_complete();
        if is_complete || was_awaited {
            self.await_response(upstream, is_complete);
            self.arm(client);
        }
    }
}
