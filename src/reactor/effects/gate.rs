//! Gates: asks the gate of a request's route, and carries out its verdict.
//!
//! A request comes here after the checks of host, path, origin and rates, with its route. Marked parts of
//! its head are overwritten before anything else sees it, so it is parsed again afterwards. A request
//! whose gate decides later waits as a half-done handshake: nothing is read, and no check is repeated.
//! Identities are stored in [`identity`](crate::reactor::effects::identity).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::protocol::handshake::{EMPTY_SLOTS, Refusal, Request, Response};
use crate::protocol::secret::Secret;
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::context::Context;
use crate::reactor::api::gate::Gate;
use crate::reactor::api::id::{ConnId, GateId, ServiceId};
use crate::reactor::api::identity::Identity;
use crate::reactor::api::outcome::Verdict;
use crate::reactor::api::request::GateRequest;
use crate::reactor::conn::gated::{AwaitedVerdict, Gated};
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::{Core, Decided};
use crate::reactor::parts::redaction::Redaction;

/// What became of a request.
pub(crate) enum Handled {
    /// It was handled, with this number of bytes after its head.
    Taken(usize),
    /// Its gate has looked at it: [`Reactor::conclude`] follows.
    Asked(Asked),
}

/// A request that a gate has looked at.
pub(crate) struct Asked {
    gated: Gated,
    /// `None`: the gate has panicked.
    verdict: Option<Verdict>,
    redaction: Option<Redaction>,
}

/// A refusal, and the response to send instead of its own.
type Refused = (Refusal, Option<Box<Response>>);

impl Reactor {
    /// Passes a request to the gate of its route. Until the verdict the connection is the gate's. One
    /// that passes without a verdict is only shown to the gate.
    pub(crate) fn ask_gate(
        &mut self,
        id: ConnId,
        request: &Request<'_>,
        head: &[u8],
        gated: Gated,
    ) -> Handled {
        let require = Arc::clone(&self.core.router.settings(gated.route).require);
        let is_forwarded = self.core.router.streams_http(self.core.router.service(gated.route));
        let path = self.core.router.intern(gated.route, request.path());
        let trace = self.core.trace(id);
        let Some(conn) = self.core.conns.get_mut(id) else {
            return Handled::Taken(0);
        };
        conn.route = gated.route;
        conn.service = gated.gate.service();
        conn.path = path;
        let peer = conn.peer.into();
        let via = conn.proxy().map(|proxy| proxy.address);
        let is_secure = conn.is_client_secure();
        let tls = conn.session().map(|session| session.info());
        let asked = GateRequest {
            http: request,
            head,
            route: gated.route,
            params: &gated.params,
            is_upgrade: gated.is_upgrade,
            is_forwarded,
            require: &require,
            peer,
            via,
            is_secure,
            tls: tls.as_ref(),
            trace,
        };
        self.core.redaction = Some(Redaction::new(id, head));
        let verdict = self.call_gate(gated.gate, |gate, cx| match gated.is_exempt {
            false => gate.on_gate(cx, id, &asked),
            true => {
                gate.on_exempt(cx, id, &asked);
                Verdict::Pass(None)
            }
        });
        let redaction = self.core.redaction.take();
        Handled::Asked(Asked { gated, verdict, redaction })
    }

    /// Overwrites what a gate has marked in a head, then carries out its verdict. Returns the number of
    /// consumed bytes of `rest`.
    pub(crate) fn conclude(
        &mut self,
        id: ConnId,
        asked: Asked,
        head: &mut [u8],
        rest: &[u8],
    ) -> usize {
        let Asked { gated, verdict, redaction } = asked;
        if let Some(redaction) = redaction {
            redaction.apply(head);
        }
        match verdict.unwrap_or(Verdict::Refuse(Refusal::Internal, None)) {
            Verdict::Later => {
                self.core.await_verdict(id, gated, head);
                0
            }
            verdict => self.apply_verdict(id, &gated, verdict, head, rest),
        }
    }

    /// Carries out a verdict that came later.
    pub(crate) fn continue_gated(&mut self, id: ConnId) {
        let conn = self.core.conns.get_mut(id).filter(|conn| conn.phase == Phase::Deferred);
        let Some(handshake) = conn.and_then(|conn| conn.handshake()) else {
            return;
        };
        let Some(awaited) = handshake.gated.take() else {
            return;
        };
        let AwaitedVerdict { gated, verdict, is_late } = *awaited;
        let head = std::mem::take(&mut handshake.head);
        if is_late {
            let reason = CloseReason::Refused(Refusal::GateTimeout);
            let gate = gated.gate.service();
            let _ = self.call_weighed(gate, |gate, cx| gate.on_close(cx, id, reason));
        }
        let Some(conn) = self.core.conns.get_mut(id).filter(|conn| conn.phase == Phase::Deferred)
        else {
            return;
        };
        conn.phase = Phase::Handshake;
        conn.set_registration(Registration::Admitted);
        let is_of_route = self.core.router.settings(gated.route).gate == Some(gated.gate);
        let verdict = match is_of_route || is_late {
            true => verdict.unwrap_or(Verdict::Refuse(Refusal::GateTimeout, None)),
            // The route has another gate since a reload.
            false => Verdict::Refuse(Refusal::GateFailed, None),
        };
        self.apply_verdict(id, &gated, verdict, &head, &[]);
        self.core.charge_input_or_close(id);
        self.core.arm(id);
        self.core.enqueue_read(id);
    }

    fn apply_verdict(
        &mut self,
        id: ConnId,
        gated: &Gated,
        verdict: Verdict,
        head: &[u8],
        rest: &[u8],
    ) -> usize {
        if self.core.conns.get(id).is_none_or(|conn| conn.phase != Phase::Handshake) {
            // The gate has closed the connection.
            return rest.len();
        }
        let mut slots = EMPTY_SLOTS;
        let request = match self.core.parse_request(id, head, &mut slots) {
            Ok(request) => request,
            Err(refusal) => {
                self.core.refuse(id, refusal, false);
                return 0;
            }
        };
        let outcome = match verdict {
            Verdict::Pass(identity) => self.pass(id, gated, identity, &request, head, rest),
            Verdict::Refuse(refusal, response) => Err((refusal, response)),
            // Neither `conclude` nor `give_verdict` passes it on.
            Verdict::Later => Err((Refusal::Internal, None)),
        };
        outcome.unwrap_or_else(|(refusal, response)| {
            self.core.refuse_gated(id, gated, &request, refusal, response);
            0
        })
    }

    /// Continues a request that its gate has passed.
    fn pass(
        &mut self,
        id: ConnId,
        gated: &Gated,
        identity: Option<Box<Identity>>,
        request: &Request<'_>,
        head: &[u8],
        rest: &[u8],
    ) -> Result<usize, Refused> {
        let require = &self.core.router.settings(gated.route).require;
        let is_met = |identity: &Identity| require.iter().all(|required| identity.holds(required));
        let is_restricted = !require.is_empty() && !gated.is_exempt;
        if is_restricted && !identity.as_deref().is_some_and(is_met) {
            let response = self.call_gate(gated.gate, |gate, cx| gate.on_forbidden(cx, id));
            return Err((Refusal::Forbidden, response.flatten()));
        }
        let refused = |refusal| (refusal, None);
        if let Some(identity) = identity {
            self.core.begin_identity(id, gated, *identity).map_err(refused)?;
        }
        let passed = if gated.is_upgrade {
            self.pass_gated_upgrade(id, request, head, gated).map(|()| 0)
        } else {
            self.pass_http_request(id, request, head, rest, gated.route, &gated.params)
        };
        passed.map_err(refused)
    }

    /// Calls a gate; `None` if it panicked.
    pub(crate) fn call_gate<T>(
        &mut self,
        id: GateId,
        handler: impl FnOnce(&mut dyn Gate, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let (_, as_gate) = self.gates.iter().find(|(gate, _)| *gate == id)?;
        let gate = as_gate(&mut *self.services[id.service().index()])?;
        let mut context = Context::new(&mut self.core, id.service());
        let result = catch_unwind(AssertUnwindSafe(|| handler(gate, &mut context)));
        if result.is_err() {
            self.core.note_panic(id.service());
        }
        result.ok()
    }
}

impl Core {
    /// Holds a request back until its gate has decided. Nothing is read until then.
    fn await_verdict(&mut self, id: ConnId, gated: Gated, head: &[u8]) {
        let now = self.now;
        let conn = self.conns.get_mut(id).filter(|conn| conn.phase == Phase::Handshake);
        let Some(conn) = conn else {
            return;
        };
        conn.set_registration(Registration::Announced);
        if let Some(handshake) = conn.handshake() {
            handshake.head = Secret(head.to_vec());
            handshake.since = now;
            let awaited = AwaitedVerdict { gated, verdict: None, is_late: false };
            handshake.gated = Some(Box::new(awaited));
        }
        self.defer(id);
        self.charge_input_or_close(id);
        self.arm(id);
    }

    /// Queues a verdict on a request or a token that waits for it; the mail phase carries it out.
    pub(crate) fn give_verdict(&mut self, gate: ServiceId, id: ConnId, verdict: Verdict) {
        if verdict == Verdict::Later {
            return;
        }
        let handshake = self.conns.owned_mut(gate, id).and_then(|conn| conn.handshake());
        let awaited = handshake.and_then(|handshake| handshake.gated.as_mut());
        if let Some(awaited) = awaited {
            if awaited.verdict.is_none() {
                awaited.verdict = Some(verdict);
                self.queues.decisions.push_back(Decided::Verdict(id));
            }
        } else if self.presented.decide(gate, id, verdict) {
            self.queues.decisions.push_back(Decided::Presented(id));
        }
    }

    /// Refuses a request whose gate has not decided in time; false for other connections.
    pub(crate) fn refuse_late_verdict(&mut self, id: ConnId) -> bool {
        let now = self.now;
        let Some(handshake) = self.conns.get_mut(id).and_then(|conn| conn.handshake()) else {
            return false;
        };
        let Some(awaited) = &mut handshake.gated else {
            return false;
        };
        // Until the mail phase of the next turn.
        handshake.since = now;
        if awaited.verdict.is_none() {
            awaited.verdict = Some(Verdict::Refuse(Refusal::GateTimeout, None));
            awaited.is_late = true;
            self.queues.decisions.push_back(Decided::Verdict(id));
        }
        true
    }

    /// Refuses a request of a route with a gate.
    fn refuse_gated(
        &mut self,
        id: ConnId,
        gated: &Gated,
        request: &Request<'_>,
        refusal: Refusal,
        response: Option<Box<Response>>,
    ) {
        let own = || self.refusal_response(id, refusal);
        let mut response = response.map_or_else(own, |response| *response);
        self.add_retry_after(id, refusal, &mut response);
        if !gated.is_upgrade {
            return self.refuse_http(id, request, gated.route, refusal, response);
        }
        if let Ok(upgrade) = request.upgrade() {
            self.note_refusable(id, gated.route, &upgrade);
        }
        self.refuse_with(id, refusal, &response, false);
    }
}
