//! A client of a tunnel that violates the protocol: its Close waits for what its upstream still sends.
//!
//! The upstream may be about to respond to messages before the violation. Without a proxy in between,
//! the client gets those responses before its Close. So nothing more is read from the client, the
//! upstream gets a Close, and its frames pass until its own Close, the end of its stream, or
//! `close_timeout`. Back-pressure and memory limits apply as before.

use crate::protocol::ProtocolError;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::Input;
use crate::reactor::conn::pipe::Ending;
use crate::reactor::core::Core;
use crate::reactor::effects::pipe_leave::{After, Farewell, GOING_AWAY};

impl Core {
    /// Starts the end of a tunnel whose client violated the protocol.
    pub(super) fn end_for_violation(
        &mut self,
        client: ConnId,
        upstream: ConnId,
        error: ProtocolError,
    ) {
        let now = self.now;
        let is_answered = self.may_still_answer(upstream);
        let tunnel = self.conns.get_mut(client).and_then(|conn| conn.tunnel_mut());
        let Some(tunnel) = tunnel.filter(|tunnel| is_answered && tunnel.ending == Ending::Open)
        else {
            return self.close_violator(client, upstream, error);
        };
        tunnel.ending = Ending::Violated(now, error);
        tunnel.passage.discard();
        if let Some(conn) = self.conns.get_mut(client) {
            conn.pauses.add(PauseOwner::Violation);
        }
        let ended = CloseReason::TunnelEnded;
        self.leave_with(upstream, ended, GOING_AWAY, Input::AwaitClose, After::PassOn);
        self.charge_input_or_close(client);
        self.enqueue_flush(client);
        self.arm(client);
    }

    /// Whether an upstream may send frames before its Close, and can get a Close of weir.
    fn may_still_answer(&self, upstream: ConnId) -> bool {
        let conn = self.conns.get(upstream).filter(|conn| conn.is_piped());
        let tunnel = conn.and_then(|conn| conn.tunnel());
        tunnel.is_some_and(|tunnel| !tunnel.passage.has_closed()) && self.is_at_boundary(upstream)
    }

    /// Closes a client that has violated the protocol, if its Close has waited for its upstream.
    /// Returns whether it has.
    pub(super) fn finish_violation(&mut self, client: ConnId) -> bool {
        let Some(conn) = self.conns.get(client) else {
            return false;
        };
        let (Some(error), Some(pipe)) = (conn.violation(), conn.pipe()) else {
            return false;
        };
        let upstream = pipe.partner;
        self.close_violator(client, upstream, error);
        // What it still sends is discarded.
        if let Some(tunnel) = self.conns.get_mut(upstream).and_then(|conn| conn.tunnel_mut()) {
            tunnel.passage.discard();
            self.charge_input_or_close(upstream);
        }
        self.resume(upstream, PauseOwner::Partner);
        true
    }

    fn close_violator(&mut self, client: ConnId, upstream: ConnId, error: ProtocolError) {
        let reason = CloseReason::Protocol(error);
        self.leave(client, reason, Farewell::of(reason, reason.text()), Input::Discard);
        self.end_upstream(upstream, reason);
    }
}
