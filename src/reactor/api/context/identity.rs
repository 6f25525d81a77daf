//! Gates and identities: verdicts, marked credentials, subjects, and the wall clock.

use std::time::Duration;

use super::Context;
use crate::protocol::CloseCode;
use crate::reactor::api::id::{ConnId, GateId};
use crate::reactor::api::identity::{Identity, IdentityError};
use crate::reactor::api::outcome::Verdict;
use crate::reactor::api::time::Time;
use crate::reactor::api::token_request::PresentError;

impl Context<'_> {
    /// A gate's verdict on a request or a token, after [`on_gate`](crate::reactor::Gate::on_gate) or
    /// [`on_token`](crate::reactor::Gate::on_token) has returned [`Verdict::Later`]. The mail phase
    /// carries it out. The first verdict on a request counts; later ones change nothing, and neither does
    /// one on a request that has ended.
    pub fn verdict(&mut self, conn: ConnId, verdict: Verdict) {
        self.core.give_verdict(self.core.served, conn, verdict);
    }

    /// Marks a part of the head that [`on_gate`](crate::reactor::Gate::on_gate) is looking at, such as a
    /// token: when that returns, the loop overwrites it with `*`, whatever the verdict. So neither the
    /// service nor a log sees it. False if it is not a part of
    /// [`head`](crate::reactor::GateRequest::head): nothing is marked.
    pub fn redact(&mut self, conn: ConnId, part: &[u8]) -> bool {
        let redaction = self.core.redaction.as_mut();
        redaction.is_some_and(|redaction| redaction.mark(conn, part))
    }

    /// The identity of a connection: for its service, and for the gate that has determined it.
    pub fn identity(&self, conn: ConnId) -> Option<&Identity> {
        self.core.identity(self.core.served, conn)
    }

    /// The gate that the called service is; `None` if it is not a gate.
    pub fn own_gate(&self) -> Option<GateId> {
        let gate = GateId(self.core.served);
        self.core.router.gate(gate).is_some().then_some(gate)
    }

    /// The connections of a subject that have not ended, with their identities, the newest first.
    pub fn subject(
        &self,
        gate: GateId,
        subject: &str,
    ) -> impl Iterator<Item = (ConnId, &Identity)> {
        self.core.connections_of(gate, subject)
    }

    /// Replaces the identity of an upgraded connection, for its service or for the gate that has
    /// determined its present one. It counts for its new subject from now on, and is closed when the
    /// new identity expires.
    ///
    /// # Errors
    /// See [`IdentityError`]: the present identity stays. After [`IdentityError::Forbidden`] the
    /// connection is closed.
    pub fn set_identity(
        &mut self,
        conn: ConnId,
        identity: Box<Identity>,
    ) -> Result<(), IdentityError> {
        self.core.set_identity(self.core.served, conn, identity)
    }

    /// Asks the gate of an open connection to check a token that came in a message. It is the gate that
    /// has determined the identity of the connection, else that of its route.
    /// [`on_presented`](crate::reactor::Service::on_presented) reports the verdict. A token that passes
    /// replaces the identity as [`set_identity`](Context::set_identity) does.
    ///
    /// # Errors
    /// See [`PresentError`]: nothing follows.
    pub fn present(&mut self, conn: ConnId, token: &str) -> Result<(), PresentError> {
        self.core.present(self.core.served, conn, token)
    }

    /// Signs a subject out: its gate is called, and its connections are closed with this code, some in
    /// each turn. Returns their number. A verdict on a request or a token that came before does not pass
    /// any more: the gate may have asked before the sign-out.
    pub fn sign_out(&mut self, gate: GateId, subject: &str, code: CloseCode) -> usize {
        self.core.sign_out(gate, subject, code)
    }

    /// The wall time now, since 1970.
    pub fn unix_time(&mut self) -> Duration {
        self.core.read_wall_clock()
    }

    /// The loop's time at a wall time, given since 1970. If the wall clock is set, identities that
    /// expire at such a time follow it.
    pub fn time_at(&self, unix: Duration) -> Time {
        self.core.wall_clock.offset().time_at(unix)
    }
}
