//! Tokens that came in messages: their gate decides, and their identity replaces that of the connection.
//!
//! A service [presents](Core::present) a token, the mail phase asks the gate, and the service gets the
//! outcome. The connection stays open and is read meanwhile.

use crate::protocol::handshake::Refusal;
use crate::reactor::Reactor;
use crate::reactor::api::budget::PRESENTED_BYTES_MAX;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, GateId, ServiceId};
use crate::reactor::api::identity::IdentityError;
use crate::reactor::api::outcome::Verdict;
use crate::reactor::api::token_request::{PresentError, TokenRequest};
use crate::reactor::core::{Core, Decided};
use crate::reactor::parts::presented::Next;
use crate::reactor::parts::schedule::Timer;

impl Reactor {
    /// Asks the gate about a token, or carries out its verdict.
    pub(in crate::reactor) fn continue_presented(&mut self, id: ConnId) {
        let Some((gate, next)) = self.core.presented.next(id) else {
            return;
        };
        let verdict = match next {
            Next::Ask(token) => self.ask_about(id, gate, &token),
            Next::Apply(verdict) => verdict,
        };
        if verdict == Verdict::Later {
            return self.core.schedule_late_verdicts();
        }
        let outcome = self.core.apply_presented(id, gate, verdict);
        let conn = self.core.conns.get(id).filter(|conn| conn.is_open());
        if let Some(service) = conn.map(|conn| conn.service) {
            self.call_for(id, service, |service, cx| service.on_presented(cx, id, outcome));
        }
    }

    fn ask_about(&mut self, id: ConnId, gate: GateId, token: &str) -> Verdict {
        let conn = self.core.conns.get(id).filter(|conn| conn.is_open());
        let Some((route, peer)) = conn.map(|conn| (conn.route, conn.peer.into())) else {
            return Verdict::Refuse(Refusal::Unauthorized, None);
        };
        let request = TokenRequest { token, route, peer };
        let verdict = self.call_gate(gate, |gate, cx| gate.on_token(cx, id, &request));
        verdict.unwrap_or(Verdict::Refuse(Refusal::Internal, None))
    }

    /// Refuses tokens whose gates have not decided in time.
    pub(in crate::reactor) fn give_up_presented(&mut self) {
        self.core.presented.is_timer_set = false;
        let since = self.core.now - self.core.settings.handshake_timeout;
        for (id, gate) in self.core.presented.late(since) {
            let refusal = Refusal::GateTimeout;
            self.core.give_verdict(gate.service(), id, Verdict::Refuse(refusal, None));
            let reason = CloseReason::Refused(refusal);
            let _ = self.call_weighed(gate.service(), |gate, cx| gate.on_close(cx, id, reason));
        }
        self.core.schedule_late_verdicts();
    }

    /// Informs the gate that its verdict is not needed: the connection has ended.
    pub(in crate::reactor) fn end_presented(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(presented) = self.core.presented.remove(id).filter(|it| it.is_asked()) {
            let gate = presented.gate.service();
            let _ = self.call_weighed(gate, |gate, cx| gate.on_close(cx, id, reason));
        }
    }
}

impl Core {
    /// See [`Context::present`](crate::reactor::Context::present).
    pub(crate) fn present(
        &mut self,
        service: ServiceId,
        id: ConnId,
        token: &str,
    ) -> Result<(), PresentError> {
        let conn = self.conns.owned(service, id).filter(|conn| conn.is_open());
        let conn = conn.ok_or(PresentError::Gone)?;
        let own = conn.held_identity().map(|held| held.gate);
        let gate = own.or(self.router.settings(conn.route).gate).ok_or(PresentError::NoGate)?;
        if token.len() > PRESENTED_BYTES_MAX {
            return Err(PresentError::TooLong);
        }
        self.presented.add(id, gate, token, self.now)?;
        self.queues.decisions.push_back(Decided::Presented(id));
        Ok(())
    }

    /// Replaces the identity of a connection by that of its token.
    fn apply_presented(
        &mut self,
        id: ConnId,
        gate: GateId,
        verdict: Verdict,
    ) -> Result<(), Refusal> {
        let presented = self.presented.remove(id).ok_or(Refusal::Internal)?;
        let identity = match verdict {
            Verdict::Pass(Some(identity)) => identity,
            Verdict::Pass(None) | Verdict::Later => return Err(Refusal::Unauthorized),
            Verdict::Refuse(refusal, _) => return Err(refusal),
        };
        if self.sign_outs.is_since(presented.since, gate, identity.shared_subject()) {
            return Err(Refusal::Unauthorized);
        }
        let service = self.conns.get(id).map_or(ServiceId::LOOP, |conn| conn.service);
        self.set_identity(service, id, identity).map_err(|error| match error {
            IdentityError::SubjectFull => Refusal::SubjectFull,
            IdentityError::Subject
            | IdentityError::Gone
            | IdentityError::NoGate
            | IdentityError::Forbidden => Refusal::Forbidden,
        })
    }

    fn schedule_late_verdicts(&mut self) {
        if !self.presented.is_timer_set
            && let Some(oldest) = self.presented.oldest()
        {
            self.presented.is_timer_set = true;
            let due = oldest + self.settings.handshake_timeout;
            self.schedule.insert(due.max(self.now), Timer::Presented);
        }
    }
}
