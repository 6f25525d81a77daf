//! HTTP requests without upgrade that services answer, one after another per connection. Responses
//! of the loop itself are in [`resource`](crate::reactor::effects::resource).
//!
//! A body has a Content-Length or is chunked, never both (RFC 9112, 6.3). Its announced size, or
//! that of each chunk, is checked against the route's limit before a byte is stored. The next
//! request is parsed only after the response to the last one was queued and written.

use std::time::SystemTime;

use crate::protocol::handshake::{ConnectionOption, EMPTY_SLOTS, Refusal, Request, Response};
use crate::protocol::http::{BodyDecoder, Framing};
use crate::protocol::secret::Secret;
use crate::reactor::Reactor;
use crate::reactor::api::budget::HTTP_REQUESTS_MAX;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId};
use crate::reactor::api::outcome::Decision;
use crate::reactor::api::request::{HttpRequest, Params};
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::gated::Gated;
use crate::reactor::conn::handshake::{PartialBody, PendingHttp};
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::Core;
use crate::reactor::effects::gate::Handled;
use crate::reactor::parts::cors::Cors;
use crate::reactor::parts::destination::Destination;
use crate::reactor::parts::origin;
use crate::reactor::parts::shared::Bytes;

impl Reactor {
    /// Handles a request without upgrade; `rest` is the input after its head. Returns the number of
    /// bytes of `rest` that belong to its body.
    pub(crate) fn handle_http_request(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        head: &[u8],
        rest: &[u8],
    ) -> Result<Handled, Refusal> {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return Ok(Handled::Taken(0));
        };
        let is_operator = conn.is_operator();
        let listener_group = conn.handshake().map_or(0, |handshake| handshake.listener_group);
        if is_operator && is_of_page(request) {
            return Err(Refusal::Origin);
        }
        let found =
            self.core.router.find_http(Destination::of(listener_group, request), request.method());
        let Some((route, params)) = found else {
            let answered = self.core.answer_without_service(id, listener_group, request);
            return answered.map(|()| Handled::Taken(0));
        };
        self.core.note_route(id, Some(route));
        self.core.check_admission(id)?;
        if let Err(refusal) = self.core.take_request(id, route) {
            let refused = self.core.refuse_client(id, request, route, refusal);
            return refused.map(|()| Handled::Taken(0));
        }
        self.core.observe_operator(id, request);
        if let Some(gate) = self.core.router.settings(route).gate {
            let is_exempt = request.method() == "OPTIONS";
            if !is_exempt {
                self.core.check_origin(route, request)?;
            }
            let asked = self.core.now;
            let gated = Gated { gate, route, params, is_upgrade: false, is_exempt, asked };
            return Ok(self.ask_gate(id, request, head, gated));
        }
        let taken = self.pass_http_request(id, request, head, rest, route, &params)?;
        Ok(Handled::Taken(taken))
    }

    /// Passes a request without upgrade to the service of its route, or waits for its body first.
    /// Returns the number of bytes of `rest` that belong to its body.
    pub(crate) fn pass_http_request(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        head: &[u8],
        rest: &[u8],
        route: RouteId,
        params: &Params,
    ) -> Result<usize, Refusal> {
        let identity = self.core.conns.get(id).and_then(Connection::identity);
        let wished = identity.and_then(|identity| identity.priority);
        if let Err(refusal) = self.core.admit_by_level(id, route, wished, false) {
            return self.core.refuse_client(id, request, route, refusal).map(|()| 0);
        }
        #[cfg(feature = "proxy")]
        if self.core.router.streams_http(self.core.router.service(route)) {
            return self.handle_request_head(id, request, head, route, params).map(|()| 0);
        }
        let framing = self.core.body_framing(route, request)?;
        let body_bytes_max = self.core.router.settings(route).message_bytes_max;
        let mut decoder = BodyDecoder::new(framing, body_bytes_max)?;
        // A body that arrived together with its head, the usual case, is not copied.
        if let Framing::Length(len) = framing
            && let Some(body) = usize::try_from(len).ok().and_then(|len| rest.get(..len))
        {
            self.call_on_http(id, request, route, params, body)?;
            return Ok(body.len());
        }
        let mut bytes = Vec::new();
        let taken = decoder.decode(rest, &mut bytes)?;
        if decoder.is_complete() {
            self.call_on_http(id, request, route, params, &bytes)?;
        } else {
            let head_only = request.method() == "HEAD";
            let params = params.clone();
            let body = PartialBody { route, params, decoder, bytes, head_only };
            self.core.await_body(id, request, head, body);
        }
        Ok(taken)
    }

    /// Takes bytes of a body that arrives in several reads; returns how many belong to it.
    pub(crate) fn handle_body(&mut self, id: ConnId, input: &[u8]) -> usize {
        let Some(handshake) = self.core.conns.get_mut(id).and_then(|conn| conn.handshake()) else {
            return input.len();
        };
        let Some(mut body) = handshake.body.take() else {
            return 0;
        };
        let head_only = body.head_only;
        let outcome = match body.decoder.decode(input, &mut body.bytes) {
            Ok(taken) if body.decoder.is_complete() => {
                let head = std::mem::take(&mut handshake.head);
                self.handle_complete_request(id, &head, &body).map(|()| taken)
            }
            Ok(taken) => {
                handshake.body = Some(body);
                Ok(taken)
            }
            Err(refusal) => Err(refusal),
        };
        outcome.unwrap_or_else(|refusal| {
            self.core.refuse(id, refusal, head_only);
            input.len()
        })
    }

    /// Handles a request whose body arrived in several reads and is complete. Its route is the one
    /// that admitted it: routes may have changed since.
    fn handle_complete_request(
        &mut self,
        id: ConnId,
        head: &[u8],
        body: &PartialBody,
    ) -> Result<(), Refusal> {
        let mut slots = EMPTY_SLOTS;
        let request = self.core.parse_request(id, head, &mut slots)?;
        self.call_on_http(id, &request, body.route, &body.params, &body.bytes)
    }

    /// Passes a complete request to its service.
    fn call_on_http(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        route: RouteId,
        params: &Params,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let service = self.core.router.service(route);
        let pending = PendingHttp::of(request, Cors::of(self.core.router.settings(route), request));
        let Some(conn) = self.core.conns.get_mut(id) else {
            return Ok(());
        };
        conn.route = route;
        conn.service = service;
        conn.path = self.core.router.intern(route, request.path());
        // Set first, so that a response from within the handler finds it.
        if let Some(handshake) = conn.handshake() {
            handshake.pending_http = Some(pending.clone());
        }
        let peer = conn.peer.into();
        let via = conn.proxy().map(|proxy| proxy.address);
        let is_secure = conn.is_client_secure();
        let tls = conn.session().map(|session| session.info());
        let tls = tls.as_ref();
        let identity = conn.identity().cloned();
        let identity = identity.as_deref();
        let http_request =
            HttpRequest { http: request, params, body, peer, via, is_secure, tls, identity };
        let answer = self
            .call(service, |service, cx| service.on_http(cx, id, &http_request))
            .ok_or(Refusal::Internal)?;
        match answer {
            Some(response) => self.core.respond(id, pending, response),
            None => self.core.defer_http(id),
        }
        Ok(())
    }
}

impl Core {
    /// How the request's body ends, if its origin is admitted.
    fn body_framing(&self, route: RouteId, request: &Request<'_>) -> Result<Framing, Refusal> {
        let settings = self.router.settings(route);
        if !origin::is_admitted(settings, request.header("Origin")) {
            return Err(Refusal::Origin);
        }
        request.body_framing()
    }

    /// Checks the origin of a request before its gate. A service that forwards requests gets those
    /// without Origin: a browser sends none when it opens a page.
    fn check_origin(&self, route: RouteId, request: &Request<'_>) -> Result<(), Refusal> {
        let (settings, origin) = (self.router.settings(route), request.header("Origin"));
        let is_forwarded = self.router.streams_http(self.router.service(route));
        let may_lack = is_forwarded && !request.has_header("Origin");
        match may_lack || origin::is_admitted(settings, origin) {
            true => Ok(()),
            false => Err(Refusal::Origin),
        }
    }

    /// Waits for the rest of a body, and sends 100 to a client that expects it (RFC 9110, 10.1.1).
    fn await_body(&mut self, id: ConnId, request: &Request<'_>, head: &[u8], body: PartialBody) {
        let now = self.now;
        self.note_path(id, request);
        let handshake = self.conns.get_mut(id).and_then(|conn| conn.handshake());
        if let Some(handshake) = handshake {
            handshake.head = Secret(head.to_vec());
            handshake.body = Some(body);
            handshake.since = now;
        }
        if request.expects_continue() {
            self.queue_head(id, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
        }
    }

    /// Defers the response. If the client ends before it, the service gets `on_close`.
    pub(crate) fn defer_http(&mut self, id: ConnId) {
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(id)
            && conn.phase == Phase::Handshake
        {
            conn.set_registration(Registration::Announced);
            if let Some(handshake) = conn.handshake() {
                handshake.since = now;
            }
            self.defer(id);
            self.arm(id);
        }
    }

    /// Carries out a service's decision on a deferred request.
    pub(crate) fn answer_deferred(
        &mut self,
        id: ConnId,
        mut pending: PendingHttp,
        decision: Decision,
    ) {
        // What is left of a body must not be taken for a request.
        pending.keep_alive &= self.abandon_exchange(id);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.set_registration(Registration::Admitted);
            conn.phase = Phase::Handshake;
        }
        match decision {
            Decision::Respond(response) => self.respond(id, pending, response),
            Decision::Refuse(refusal) => {
                let mut response = self.refusal_response(id, refusal);
                pending.cors.add_to(&mut response);
                self.refuse_with(id, refusal, &response, pending.head_only);
            }
            // Without an upgrade there is nothing to accept.
            Decision::Accept(_) | Decision::Defer => {
                self.refuse(id, Refusal::Internal, pending.head_only);
            }
        }
        self.arm(id);
        self.enqueue_read(id);
    }

    /// Queues a response, and keeps the connection open if client and service agree.
    pub(crate) fn respond(&mut self, id: ConnId, pending: PendingHttp, mut response: Response) {
        pending.cors.add_to(&mut response);
        let Some(connection) = self.begin_response(id, &pending, &response) else {
            return;
        };
        self.metrics.http_answered += 1;
        if (400..500).contains(&response.status()) {
            self.log_refused_by_service(id, &response);
        }
        self.finish_response(id, &pending, &response, connection);
    }

    /// Refuses a request by a limit of its client, once it has a route. A connection of a trusted
    /// proxy stays open if the request has no body, because it has other clients, too.
    ///
    /// # Errors
    /// The refusal, if the connection must be closed.
    fn refuse_client(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        route: RouteId,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        if !self.outlives_refusal(id, request, refusal) {
            return Err(refusal);
        }
        let response = self.refusal_response(id, refusal);
        self.refuse_http(id, request, route, refusal, response);
        Ok(())
    }

    /// Whether a connection stays open after the refusal of a request. Not after a late verdict: when
    /// it comes, it must not be taken for that on the next request, of another client.
    fn outlives_refusal(&self, id: ConnId, request: &Request<'_>, refusal: Refusal) -> bool {
        let is_shared = self.conns.get(id).is_some_and(|conn| conn.proxy().is_some());
        is_shared && !request.has_body() && refusal != Refusal::GateTimeout
    }

    /// Refuses a request without upgrade that has a route, readable for pages that may read the
    /// responses of the route.
    pub(crate) fn refuse_http(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        route: RouteId,
        refusal: Refusal,
        mut response: Response,
    ) {
        let is_kept = self.outlives_refusal(id, request, refusal);
        let pending = PendingHttp::of(request, Cors::of(self.router.settings(route), request));
        pending.cors.add_to(&mut response);
        self.note_path(id, request);
        if !is_kept {
            return self.refuse_with(id, refusal, &response, pending.head_only);
        }
        response.allow_keep_alive();
        if let Some(connection) = self.begin_response(id, &pending, &response) {
            self.log_refused(id, refusal);
            self.metrics.count_refusal(refusal);
            self.finish_response(id, &pending, &response, connection);
        }
    }

    /// Counts a response, and decides whether the connection stays open after it; `None` if the
    /// connection is not waiting for one, or was refused because memory is short.
    fn begin_response(
        &mut self,
        id: ConnId,
        pending: &PendingHttp,
        response: &Response,
    ) -> Option<ConnectionOption> {
        let is_closed = self.admission.is_closed();
        let now = self.now;
        let conn = self.conns.get_mut(id).filter(|conn| conn.phase == Phase::Handshake)?;
        let (is_operator, is_provisional) = (conn.is_operator(), conn.is_provisional());
        let held = self.outboxes.held_by(conn);
        let handshake = conn.handshake()?;
        handshake.pending_http = None;
        handshake.answered += 1;
        handshake.since = now;
        let has_more = handshake.answered < HTTP_REQUESTS_MAX && !is_closed && !is_provisional;
        let wished = pending.keep_alive && has_more;
        let wished = if wished { ConnectionOption::KeepAlive } else { ConnectionOption::Close };
        let connection = response.connection(wished);
        let body_len = response.body_len(pending.head_only);
        if !is_operator && !self.outboxes.allows(held, body_len) {
            self.metrics.buffered_refused += 1;
            self.refuse(id, Refusal::OutOfResources, pending.head_only);
            return None;
        }
        Some(connection)
    }

    fn finish_response(
        &mut self,
        id: ConnId,
        pending: &PendingHttp,
        response: &Response,
        connection: ConnectionOption,
    ) {
        self.queue_response(id, response, connection, pending.head_only);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.end_request_identity();
        }
        if connection == ConnectionOption::Close {
            self.end_http(id, CloseReason::HttpDone);
        }
    }

    /// Queues a response: small pieces in one chunk with the head, large shared ones without a
    /// copy.
    pub(crate) fn queue_response(
        &mut self,
        id: ConnId,
        response: &Response,
        connection: ConnectionOption,
        head_only: bool,
    ) {
        let mut bytes = Vec::new();
        let date = self.dates.at(self.now, SystemTime::now);
        response.write_head(&mut bytes, connection, Some(date));
        for piece in response.pieces(head_only) {
            match Bytes::of_piece(piece) {
                Some(shared) => {
                    self.queue_head(id, std::mem::take(&mut bytes));
                    self.queue_body(id, shared);
                }
                None => bytes.extend_from_slice(piece),
            }
        }
        self.queue_head(id, bytes);
    }

    fn queue_body(&mut self, id: ConnId, piece: Bytes) {
        if let Some(conn) = self.conns.get_mut(id) {
            let shared = self.outboxes.ledger.share(piece);
            self.outboxes.change(id, conn, |open| open.outbox.push_body(open.spares, shared));
        }
    }
}

/// Whether a page of a site may have sent a request that changes something: browsers state the origin
/// of such requests. The admin address asks for no login, so it must not accept them.
fn is_of_page(request: &Request<'_>) -> bool {
    !matches!(request.method(), "GET" | "HEAD") && request.has_header("Origin")
}
