//! How tunnels end: Close frames that pass, ends by weir, and lost sides.
//!
//! A Close of one side is forwarded like any frame, and then the other side's is awaited. If weir
//! ends a tunnel, each side gets a Close of its own. At a planned end the client's frames still pass
//! until its Close, and only then the upstream gets one. A side that was lost is dropped; the reap
//! phase then ends its partner, because the service chooses the code for the client of a lost
//! upstream. How a client ends that violates the protocol is in
//! [`violation`](crate::reactor::effects::violation). A side that leaves its pipe
//! ([`pipe_leave`](crate::reactor::effects::pipe_leave)) is in the phase `Closing`, and
//! [`closing`](crate::reactor::effects::closing) applies to it.

use crate::protocol::{CloseCode, CloseFrame};
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::upstream::{ClientLost, PipeEnd};
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::Input;
use crate::reactor::conn::pipe::{Ending, Side};
use crate::reactor::core::Core;
use crate::reactor::effects::pipe_leave::{After, Farewell, GOING_AWAY};

impl Core {
    /// Ends a tunnel for a reason of one of its sides, or of weir.
    pub(crate) fn end_tunnel(&mut self, id: ConnId, reason: CloseReason, text: &str) {
        let Some(pipe) = self.conns.get(id).and_then(|conn| conn.pipe()) else {
            return;
        };
        let ((client, upstream), side) = (pipe.pair(id), pipe.side);
        match side {
            Side::Upstream => self.end_for_upstream(client, upstream, reason, text),
            Side::Client if self.finish_violation(client) => {}
            Side::Client => self.end_for_client(client, upstream, reason, text),
        }
    }

    fn end_for_upstream(
        &mut self,
        client: ConnId,
        upstream: ConnId,
        reason: CloseReason,
        text: &str,
    ) {
        match reason {
            CloseReason::Protocol(_) => {
                let broken = CloseReason::UpstreamProtocol;
                self.leave(client, broken, Farewell::of(broken, broken.text()), Input::AwaitClose);
                self.leave(upstream, reason, Farewell::of(reason, text), Input::Discard);
            }
            // The service chooses the code for the client, in the reap phase.
            CloseReason::WriteTimeout | CloseReason::HeartbeatTimeout => {
                self.drop_connection(upstream, reason);
            }
            // It follows its client.
            CloseReason::Shutdown => {}
            _ if self.conns.get(client).is_some_and(|conn| conn.is_piped()) => {
                self.end_for_client(client, upstream, reason, text);
            }
            _ => self.leave(upstream, reason, Farewell::of(reason, text), Input::AwaitClose),
        }
    }

    fn end_for_client(
        &mut self,
        client: ConnId,
        upstream: ConnId,
        reason: CloseReason,
        text: &str,
    ) {
        match reason {
            CloseReason::Shutdown | CloseReason::IdleTimeout | CloseReason::Service(_) => {
                self.end_as_planned(client, upstream, reason, text);
            }
            CloseReason::HeartbeatTimeout => {
                self.leave(client, reason, Farewell::of(reason, text), Input::AwaitClose);
                self.end_upstream(upstream, reason);
            }
            CloseReason::Protocol(error) => self.end_for_violation(client, upstream, error),
            CloseReason::Overloaded => {
                self.leave(client, reason, Farewell::of(reason, text), Input::Discard);
                self.end_upstream(upstream, reason);
            }
            _ => {
                self.leave(client, reason, Farewell::of(reason, text), Input::AwaitClose);
                self.end_upstream(upstream, reason);
            }
        }
    }

    /// Closes the client. Its frames still pass until its own Close; what the upstream sends is
    /// discarded.
    fn end_as_planned(
        &mut self,
        client: ConnId,
        upstream: ConnId,
        reason: CloseReason,
        text: &str,
    ) {
        let Some(tunnel) = self.conns.get_mut(client).and_then(|conn| conn.tunnel_mut()) else {
            return;
        };
        if tunnel.passage.has_closed() {
            self.leave(client, reason, Farewell::of(reason, text), Input::Discard);
            return self.end_upstream(upstream, reason);
        }
        let farewell = Farewell::of(reason, text);
        self.leave_with(client, reason, farewell, Input::AwaitClose, After::PassOn);
        if let Some(tunnel) = self.conns.get_mut(upstream).and_then(|conn| conn.tunnel_mut()) {
            tunnel.passage.discard();
            tunnel.is_following = true;
            self.charge_input_or_close(upstream);
        }
    }

    /// Ends the upstream of a client that has ended, or is ending, for `reason`.
    pub(super) fn end_upstream(&mut self, upstream: ConnId, reason: CloseReason) {
        let Some(tunnel) = self.conns.get(upstream).and_then(|conn| conn.tunnel()) else {
            return;
        };
        if tunnel.passage.has_closed() {
            return self.answer_upstream(upstream);
        }
        let is_lost = matches!(
            reason,
            CloseReason::PeerGone
                | CloseReason::PeerReset
                | CloseReason::Truncated
                | CloseReason::TlsFailed
                | CloseReason::HeartbeatTimeout
                | CloseReason::Aborted
        );
        let ended = CloseReason::TunnelEnded;
        match tunnel.client_lost {
            ClientLost::End if is_lost && !tunnel.has_got_close() => {
                self.leave(upstream, ended, Farewell::Nothing, Input::Discard);
            }
            _ => self.leave(upstream, ended, GOING_AWAY, Input::AwaitClose),
        }
    }

    /// Answers the Close of an upstream whose client has not answered it.
    fn answer_upstream(&mut self, upstream: ConnId) {
        let Some(tunnel) = self.conns.get(upstream).and_then(|conn| conn.tunnel()) else {
            return;
        };
        let code = tunnel.close_code();
        let answer = Farewell::Close(code.map(|code| CloseFrame::new(code, "")));
        self.leave(upstream, CloseReason::PeerClosed(code), answer, Input::Discard);
    }

    /// Handles the Close of one side, which has been forwarded unless its partner got another one.
    pub(crate) fn note_close(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let is_piped = conn.is_piped();
        let Some(pipe) = conn.pipe() else {
            return;
        };
        let (partner, side) = (pipe.partner, pipe.side);
        if !is_piped {
            return self.finish_following(id, partner, side);
        }
        let other = self.conns.get_mut(partner).filter(|conn| conn.is_piped());
        let Some(tunnel) = other.and_then(|conn| conn.tunnel_mut()) else {
            // Its partner is closing, or has just ended; then the reap phase ends it.
            if side == Side::Upstream {
                self.answer_upstream(id);
            }
            return;
        };
        tunnel.ending = Ending::ClosePassed(now);
        if tunnel.passage.has_closed() {
            self.finish_tunnel(partner, id);
        } else {
            self.arm(partner);
        }
    }

    /// A Close has passed each way, first that of `first`.
    fn finish_tunnel(&mut self, first: ConnId, second: ConnId) {
        let Some(conn) = self.conns.get(first) else {
            return;
        };
        let code = conn.tunnel().and_then(|tunnel| tunnel.close_code());
        let is_of_client = conn.pipe().is_some_and(|pipe| pipe.side == Side::Client);
        let reason = match is_of_client {
            true => CloseReason::TunnelEnded,
            false => CloseReason::UpstreamClosed(code),
        };
        self.leave(first, CloseReason::PeerClosed(code), Farewell::Nothing, Input::Discard);
        self.leave(second, reason, Farewell::Nothing, Input::Discard);
    }

    /// A side has not answered the Close of its partner in time.
    pub(crate) fn give_up_answer(&mut self, id: ConnId) {
        let Some(pipe) = self.conns.get(id).and_then(|conn| conn.pipe()) else {
            return;
        };
        let ((client, upstream), side) = (pipe.pair(id), pipe.side);
        self.metrics.close_timeouts += 1;
        if self.finish_violation(client) {
            return;
        }
        if side == Side::Upstream {
            // The reap phase answers the client.
            return self.drop_connection(upstream, CloseReason::TunnelEnded);
        }
        let tunnel = self.conns.get(upstream).and_then(|conn| conn.tunnel());
        let code = tunnel.and_then(|tunnel| tunnel.close_code());
        let reason = CloseReason::UpstreamClosed(code);
        self.leave(client, reason, Farewell::Nothing, Input::Discard);
        self.answer_upstream(upstream);
    }

    /// Ends a side whose frames can pass no longer: it violated the protocol, or memory is used up.
    pub(crate) fn fail_side(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if conn.is_piped() {
            return self.close(id, reason);
        }
        if let Some((partner, side)) = conn.pipe().map(|pipe| (pipe.partner, pipe.side)) {
            self.finish_following(id, partner, side);
        }
    }

    /// A side that was closing, and whose frames passed until now, sends no more of them.
    fn finish_following(&mut self, id: ConnId, partner: ConnId, side: Side) {
        self.finish_close(id);
        match side {
            Side::Client => self.end_upstream(partner, CloseReason::TunnelEnded),
            Side::Upstream => drop(self.finish_violation(partner)),
        }
    }

    /// The reason of a joined connection whose stream has ended, for `reason` unless its Close has
    /// passed.
    pub(crate) fn end_of_side(&self, id: ConnId, reason: CloseReason) -> CloseReason {
        let Some(conn) = self.conns.get(id) else {
            return reason;
        };
        match conn.tunnel().filter(|tunnel| tunnel.passage.has_closed()) {
            Some(tunnel) => CloseReason::PeerClosed(tunnel.close_code()),
            None => conn.end_or_reset(reason),
        }
    }

    /// Drops a connection that its peer has reset.
    pub(crate) fn end_by_reset(&mut self, id: ConnId) {
        let reason = self.end_of_side(id, CloseReason::PeerReset);
        self.drop_connection(id, reason);
    }
}

impl Reactor {
    /// Ends the partner of a joined connection that has ended, and reports the end of the pipe. The
    /// reap phase calls it for each ended connection; the second one of a pipe finds no partner.
    pub(crate) fn end_pipe(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.core.conns.get(id) else {
            return;
        };
        let service = conn.service;
        let Some(pipe) = conn.pipe() else {
            return;
        };
        let (client, upstream) = pipe.pair(id);
        let (partner, side) = (pipe.partner, pipe.side);
        if self.core.conns.get(partner).is_none() {
            return;
        }
        match side {
            Side::Client => self.core.end_upstream(upstream, reason),
            Side::Upstream => self.end_client(client, upstream, reason),
        }
        let conn_of = |id| self.core.conns.get(id);
        let (Some(of_client), Some(of_upstream)) = (conn_of(client), conn_of(upstream)) else {
            return;
        };
        let end = PipeEnd {
            reason: of_client.reason().unwrap_or(reason),
            from_client: of_client.pipe_traffic(),
            from_upstream: of_upstream.pipe_traffic(),
        };
        let _ = self.call_weighed(service, |service, cx| {
            service.on_pipe_end(cx, client, upstream, &end);
        });
    }

    /// Ends the client of an upstream that has ended for `lost`.
    fn end_client(&mut self, client: ConnId, upstream: ConnId, lost: CloseReason) {
        if self.core.finish_violation(client) {
            return;
        }
        let Some(conn) = self.core.conns.get_mut(client) else {
            return;
        };
        let (service, is_piped) = (conn.service, conn.is_piped());
        let Some(tunnel) = conn.tunnel_mut() else {
            return;
        };
        if !is_piped {
            // It is closing. What it sent has passed until now.
            tunnel.passage.discard();
            self.core.charge_input_or_close(client);
            return self.core.resume(client, PauseOwner::Partner);
        }
        let has_closed = matches!(lost, CloseReason::PeerClosed(_));
        if tunnel.passage.has_closed() && !has_closed {
            // Its Close has passed, and the upstream has not sent one.
            let code = tunnel.close_code();
            let answer = Farewell::Close(code.map(|code| CloseFrame::new(code, "")));
            return self.core.leave(client, CloseReason::PeerClosed(code), answer, Input::Discard);
        }
        let reason = match lost {
            CloseReason::PeerClosed(code) => CloseReason::UpstreamClosed(code),
            CloseReason::WriteTimeout => CloseReason::UpstreamStuck,
            _ => {
                let code = self.call_weighed(service, |service, cx| {
                    service.on_upstream_lost(cx, client, upstream)
                });
                let code = code.unwrap_or(CloseCode::TRY_AGAIN_LATER);
                match lost {
                    CloseReason::HeartbeatTimeout => CloseReason::UpstreamSilent(code),
                    _ => CloseReason::UpstreamLost(code),
                }
            }
        };
        let farewell = Farewell::of(reason, reason.text());
        self.core.leave(client, reason, farewell, Input::AwaitClose);
    }
}
