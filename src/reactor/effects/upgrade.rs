//! Handshakes: from the bytes of a request head to a 101 or a refusal, and responses to our own
//! requests. Requests without upgrade are handled in [`http`](crate::reactor::effects::http), refusals in
//! [`refuse`](crate::reactor::effects::refuse).
//!
//! `protocol::handshake` does the checks of RFC 6455, 4.2.1. Here follow, in this order: the host
//! (403), the path (404), the origin (403), the subprotocol (400), admission (503, 429), the gate of the
//! route, the load level and the reserve (503), the route's connections (503), those of the subject
//! (429), then the service. The first check that fails determines the refusal, which always ends the
//! connection.

use std::num::NonZeroU8;

use crate::protocol::handshake::{
    self, Accept, EMPTY_SLOTS, FieldError, HeadScan, Refusal, TOKEN_PROTOCOL, Upgrade,
};
use crate::protocol::secret::Secret;
use crate::reactor::Reactor;
use crate::reactor::api::budget::HEAD_WORK;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId};
use crate::reactor::api::identity::Identity;
use crate::reactor::api::level::Level;
use crate::reactor::api::outcome::Decision;
use crate::reactor::api::priority::Priority;
use crate::reactor::api::request::{Params, UpgradeRequest};
use crate::reactor::conn::gated::Gated;
use crate::reactor::conn::handshake::Deferred;
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::{Core, Decided};
use crate::reactor::effects::gate::Handled;
use crate::reactor::parts::deflate::negotiate;
use crate::reactor::parts::destination::Destination;
use crate::reactor::parts::origin;

/// A request with its route.
struct Routed<'a> {
    route: RouteId,
    params: Params,
    protocol: Option<&'a str>,
}

impl Reactor {
    /// Handles bytes of a request, or of the response to ours; returns the number of consumed
    /// bytes. The rest belongs to what follows the head.
    pub(crate) fn handle_head(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        self.core.work.spend(HEAD_WORK);
        let head_bytes_max = self.core.settings.head_bytes_max;
        let Some(handshake) = self.core.conns.get_mut(id).and_then(|conn| conn.handshake()) else {
            return input.len();
        };
        if handshake.body.is_some() {
            return self.handle_body(id, input);
        }
        let mut kept = std::mem::take(&mut handshake.head);
        let before = kept.len();
        let input_len = input.len();
        let buffered = if before == 0 {
            input
        } else {
            kept.extend_from_slice(input);
            &mut kept
        };
        let is_answer = handshake.is_ours();
        match handshake.scan.scan(buffered, head_bytes_max) {
            Ok(None) => {
                handshake.head = if before == 0 { Secret(buffered.to_vec()) } else { kept };
                input_len
            }
            Ok(Some(len)) => {
                handshake.scan = HeadScan::default();
                let (head, rest) = buffered.split_at_mut(len);
                let taken = if is_answer {
                    self.handle_answer(id, head);
                    0
                } else {
                    self.handle_request(id, head, rest)
                };
                (len + taken).saturating_sub(before)
            }
            Err(refusal) => {
                if is_answer {
                    let reason = CloseReason::UpgradeFailed(refusal.into());
                    self.core.drop_connection(id, reason);
                } else {
                    self.core.forget_request(id);
                    self.core.refuse(id, refusal, false);
                }
                input_len
            }
        }
    }

    /// Handles a request with a complete head; returns the number of consumed bytes of `rest`.
    fn handle_request(&mut self, id: ConnId, head: &mut [u8], rest: &[u8]) -> usize {
        if self.core.has_trust_changed {
            self.core.review_trust(id);
        }
        match self.check_request(id, head, rest) {
            Handled::Taken(len) => len,
            Handled::Asked(asked) => self.conclude(id, asked, head, rest),
        }
    }

    /// Handles a request, up to the gate of its route if that has one.
    fn check_request(&mut self, id: ConnId, head: &[u8], rest: &[u8]) -> Handled {
        let mut slots = EMPTY_SLOTS;
        let parsed = self.core.parse_request(id, head, &mut slots);
        let head_only = parsed.is_ok_and(|request| request.method() == "HEAD");
        match &parsed {
            Ok(request) => {
                self.core.note_origin(id, request);
                self.core.note_route(id, None);
                self.core.note_trace(id, request);
            }
            Err(_) => self.core.forget_request(id),
        }
        let handled = parsed.and_then(|request| {
            self.core.find_client(id, &request)?;
            self.core.check_host(id, &request)?;
            match request.is_upgrade() {
                true => self.handle_upgrade(id, &request, head),
                false => self.handle_http_request(id, &request, head, rest),
            }
        });
        handled.unwrap_or_else(|refusal| {
            if let Ok(request) = &parsed {
                self.core.note_path(id, request);
            }
            match parsed {
                Ok(request) if refusal == Refusal::Method => {
                    self.core.refuse_method(id, &request, head_only);
                }
                _ => self.core.refuse(id, refusal, head_only),
            }
            Handled::Taken(0)
        })
    }

    fn handle_upgrade(
        &mut self,
        id: ConnId,
        request: &handshake::Request<'_>,
        head: &[u8],
    ) -> Result<Handled, Refusal> {
        let upgrade = request.upgrade()?;
        let listener_group = self
            .core
            .conns
            .get_mut(id)
            .and_then(|conn| conn.handshake())
            .map_or(0, |h| h.listener_group);
        let routed = self.core.route(Destination::of(listener_group, request), &upgrade)?;
        let route = routed.route;
        self.core.note_route(id, Some(route));
        let handled = self.admit_upgrade(id, request, head, &upgrade, routed);
        if handled.is_err() {
            self.core.note_refusable(id, route, &upgrade);
        }
        handled
    }

    /// Checks an upgrade with a route, then passes it to its gate or its service.
    fn admit_upgrade(
        &mut self,
        id: ConnId,
        request: &handshake::Request<'_>,
        head: &[u8],
        upgrade: &Upgrade<'_>,
        routed: Routed<'_>,
    ) -> Result<Handled, Refusal> {
        let route = routed.route;
        self.core.check_admission(id)?;
        self.core.assign_to_client(id)?;
        if !self.core.take_request(id, route)? {
            self.core.make_surplus(id);
        }
        self.core.check_key(upgrade)?;
        #[cfg(feature = "proxy")]
        self.core.check_path(id, request, route)?;
        match self.core.router.settings(route).gate {
            Some(gate) => {
                let params = routed.params;
                let asked = self.core.now;
                let gated =
                    Gated { gate, route, params, is_upgrade: true, is_exempt: false, asked };
                Ok(self.ask_gate(id, request, head, gated))
            }
            None => {
                let passed = self.pass_upgrade(id, request, head, upgrade, &routed, None);
                passed.map(|()| Handled::Taken(0))
            }
        }
    }

    /// Continues an upgrade that its gate has passed.
    pub(crate) fn pass_gated_upgrade(
        &mut self,
        id: ConnId,
        request: &handshake::Request<'_>,
        head: &[u8],
        gated: &Gated,
    ) -> Result<(), Refusal> {
        let upgrade = request.upgrade()?;
        let protocol = self.core.choose_protocol(gated.route, &upgrade);
        let routed = Routed { route: gated.route, params: gated.params.clone(), protocol };
        let identity = self.core.conns.get(id).and_then(|conn| conn.identity().cloned());
        self.pass_upgrade(id, request, head, &upgrade, &routed, identity.as_deref())
    }

    /// Passes an upgrade to the service of its route.
    fn pass_upgrade(
        &mut self,
        id: ConnId,
        request: &handshake::Request<'_>,
        head: &[u8],
        upgrade: &Upgrade<'_>,
        routed: &Routed<'_>,
        identity: Option<&Identity>,
    ) -> Result<(), Refusal> {
        let wished = identity.and_then(|identity| identity.priority);
        self.core.admit_identified(id, routed.route, wished)?;
        let path = request.path();
        let service = self.core.router.service(routed.route);
        let settings = self.core.router.settings(routed.route);
        let deflate = negotiate(settings, upgrade);
        let Some(conn) = self.core.conns.get_mut(id) else {
            return Ok(());
        };
        conn.route = routed.route;
        conn.service = service;
        conn.path = self.core.router.intern(routed.route, path);
        let peer = conn.peer.into();
        let via = conn.proxy().map(|proxy| proxy.address);
        let is_secure = conn.is_client_secure();
        let tls = conn.session().map(|session| session.info());

        let request = UpgradeRequest {
            http: request,
            head,
            route: routed.route,
            params: &routed.params,
            protocol: routed.protocol,
            peer,
            via,
            is_secure,
            tls: tls.as_ref(),
            identity,
        };
        let decision = self
            .call(service, |service, cx| service.on_request(cx, id, &request))
            .ok_or(Refusal::Internal)?;
        if let Some(conn) = self.core.conns.get_mut(id) {
            // Even if the service has closed the connection within the handler.
            if !matches!(decision, Decision::Respond(_) | Decision::Refuse(_)) {
                conn.set_registration(Registration::Announced);
            }
            if let Some(handshake) = conn.handshake() {
                let offered = Secret(upgrade.protocols().map(Box::from).collect());
                let digest = upgrade.accept();
                handshake.deferred = Some(Deferred { digest, offered, deflate });
            }
        }
        if decision == Decision::Defer {
            self.core.defer(id);
        } else {
            self.decide(id, decision);
        }
        Ok(())
    }

    /// Carries out what a service or a gate has decided.
    pub(in crate::reactor) fn carry_out(&mut self, decided: Decided) {
        match decided {
            Decided::Request(id, decision) => self.decide(id, decision),
            Decided::Verdict(id) => self.continue_gated(id),
            Decided::SignOut(sign_out) => self.continue_sign_out(sign_out),
            Decided::Presented(id) => self.continue_presented(id),
            Decided::Identity(id) => self.report_identity(id),
        }
    }

    /// Carries out a service's decision on a request, deferred or not.
    fn decide(&mut self, id: ConnId, decision: Decision) {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return;
        };
        if !matches!(conn.phase, Phase::Handshake | Phase::Deferred) {
            return;
        }
        let Some(handshake) = conn.handshake() else {
            return;
        };
        if let Some(pending) = handshake.pending_http.take() {
            return self.core.answer_deferred(id, pending, decision);
        }
        if handshake.deferred.is_none() {
            return;
        }
        match decision {
            // Neither `pass_upgrade` nor `answer` passes it on.
            Decision::Defer => {}
            Decision::Respond(response) => self.core.respond_and_close(id, &response),
            Decision::Refuse(refusal) => self.core.refuse(id, refusal, false),
            Decision::Accept(accept) => self.accept_upgrade(id, &accept),
        }
    }

    /// Sends the 101: from now on the connection is a WebSocket.
    fn accept_upgrade(&mut self, id: ConnId, accept: &Accept) {
        let handshake = self.core.conns.get_mut(id).and_then(|conn| conn.handshake());
        let Some(deferred) = handshake.and_then(|handshake| handshake.deferred.take()) else {
            return;
        };
        let deflate = deferred.deflate.map(|agreed| {
            let fits = self.core.load.work_level() == Level::Normal
                && self.core.has_window_room(agreed.window_bytes_max());
            if fits { agreed } else { agreed.without_takeover() }
        });
        let extensions = deflate.map_or(String::new(), |agreed| agreed.to_string());
        let protocol = accept.agreed_protocol();
        let mut head = Vec::new();
        let written = match protocol {
            Some(name) if !deferred.offers(name) => Err(FieldError::NotOffered),
            None if self.core.is_gated(id) && deferred.offers(TOKEN_PROTOCOL) => {
                let accept = accept.clone().protocol(TOKEN_PROTOCOL);
                accept.write(&mut head, &deferred.digest, &extensions)
            }
            _ => accept.write(&mut head, &deferred.digest, &extensions),
        };
        if let Err(error) = written {
            self.core.log_accept_failed(id, error);
            if let Some(handshake) = self.core.conns.get_mut(id).and_then(|conn| conn.handshake()) {
                handshake.deferred = Some(deferred);
            }
            return self.core.refuse(id, Refusal::Internal, false);
        }
        // Releases the charge for the offered subprotocols.
        self.core.charge_input_or_close(id);
        self.core.queue_head(id, head);
        if let Some(agreed) = deflate {
            self.core.begin_deflate(id, &agreed);
        }
        self.open(id, protocol);
    }

    /// Completes the handshake, in either role.
    pub(crate) fn open(&mut self, id: ConnId, protocol: Option<&str>) {
        let now = self.core.now;
        if let Some(name) = protocol {
            self.core.set_protocol(id, name);
        }
        self.core.observe_connected(id);
        let Some(conn) = self.core.conns.get_mut(id) else {
            return;
        };
        conn.phase = Phase::Open;
        conn.last_heard = now;
        conn.last_data = now;
        self.core.outboxes.forget_relayed(conn);
        let handshake = conn.cold().handshake.take();
        let started = handshake.map_or(conn.opened, |handshake| handshake.since);
        conn.free_empty_cold();
        let service = conn.service;
        self.core.begin_rates(id);
        self.core.log_opened(id);
        self.core.metrics.opened += 1;
        self.core.metrics.handshakes_took.count(now.since(started));
        self.core.arm(id);
        self.core.enqueue_flush(id);
        self.core.enqueue_read(id);
        self.call_for(id, service, |service, cx| service.on_open(cx, id));
    }
}

impl Core {
    /// The route and subprotocol of a valid upgrade request.
    fn route<'a>(&self, to: Destination<'_>, upgrade: &Upgrade<'a>) -> Result<Routed<'a>, Refusal> {
        let mut refusal = Refusal::NotFound;
        let mut without_protocol = None;
        for (route, params) in self.router.find(to) {
            let settings = self.router.settings(route);
            if !origin::is_admitted(settings, upgrade.origin()) {
                refusal = Refusal::Origin;
                continue;
            }
            let protocol = self.choose_protocol(route, upgrade);
            let routed = Routed { route, params, protocol };
            if protocol.is_some() {
                return Ok(routed);
            }
            if settings.require_protocol {
                refusal = Refusal::ProtocolUnsupported;
            } else {
                without_protocol.get_or_insert(routed);
            }
        }
        without_protocol.ok_or(refusal)
    }

    /// The subprotocol that the service of a route prefers, among those that the client offers.
    fn choose_protocol<'a>(&self, route: RouteId, upgrade: &Upgrade<'a>) -> Option<&'a str> {
        let names = self.router.protocols(self.router.service(route));
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let chosen = upgrade.choose(&names).map(|index| names[index]);
        chosen.and_then(|name| upgrade.protocols().find(|it| *it == name))
    }

    /// Whether the route of a connection has a gate.
    fn is_gated(&self, id: ConnId) -> bool {
        let conn = self.conns.get(id);
        conn.is_some_and(|conn| self.router.settings(conn.route).gate.is_some())
    }

    /// Stores the agreed subprotocol: as an index if the service lists it, else by its name.
    fn set_protocol(&mut self, id: ConnId, name: &str) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let listed = self.router.protocols(conn.service).iter();
        let index = listed.zip(1..).find(|(other, _)| ***other == *name).map(|(_, index)| index);
        match index.and_then(NonZeroU8::new) {
            Some(index) => conn.protocol = Some(index),
            None => conn.cold().labels.get_or_insert_default().protocol = Some(name.into()),
        }
    }

    /// Returns the refusal of a connection that was not admitted.
    pub(crate) fn check_admission(&mut self, id: ConnId) -> Result<(), Refusal> {
        let handshake = self.conns.get_mut(id).and_then(|conn| conn.handshake());
        handshake.and_then(|handshake| handshake.refused).map_or(Ok(()), Err)
    }

    /// The checks of an upgrade that follow its gate: its priority, then the connections of its route,
    /// then those of its subject. A refusal leaves it counted for neither.
    fn admit_identified(
        &mut self,
        id: ConnId,
        route: RouteId,
        wished: Option<Priority>,
    ) -> Result<(), Refusal> {
        self.admit_by_level(id, route, wished, true)?;
        self.enter_route(id, route)?;
        self.count_for_subject(id).inspect_err(|_| self.leave_route_of(id))
    }

    /// Checks that the key of an upgrade is new.
    fn check_key(&mut self, upgrade: &Upgrade<'_>) -> Result<(), Refusal> {
        match self.settings.key_reuse_window {
            Some(window) if !self.handshake_keys.is_new(upgrade.key(), window, self.now) => {
                Err(Refusal::KeyReused)
            }
            _ => Ok(()),
        }
    }

    /// Defers the request until the service decides. Nothing is read until then, so that only a
    /// socket error shows a reset: a reset that arrived with the request is checked here, a later
    /// one is an event.
    pub(crate) fn defer(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.phase == Phase::Handshake
        {
            conn.phase = Phase::Deferred;
            if conn.read_closed && !matches!(conn.socket.take_error(), Ok(None)) {
                self.drop_connection(id, CloseReason::PeerReset);
            }
        }
    }

    /// Queues a decision on a deferred request; the mail phase carries it out, since that calls the
    /// service. A decision may also come before `on_request` has returned.
    pub(crate) fn answer(&mut self, id: ConnId, decision: Decision) {
        let phase = self.conns.get(id).map(|conn| conn.phase);
        let is_awaited = matches!(phase, Some(Phase::Handshake | Phase::Deferred));
        if is_awaited {
            self.queues.decisions.push_back(Decided::Request(id, decision));
        }
    }
}
