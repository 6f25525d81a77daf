//! What follows from a connection's side of a pipe: what it may read, and its next deadline.
//!
//! The state itself is in [`pipe`](super::pipe).

use super::connection::Connection;
use super::due::Due;
use super::pause::PauseOwner;
use super::phase::{Input, Phase};
use super::pipe::{Ending, Flow, Pipe, Side, Tunnel};
use crate::protocol::ProtocolError;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::record::Traffic;
use crate::reactor::api::settings::{RouteSettings, Settings};
use crate::reactor::api::time::Time;
use crate::reactor::api::upstream::PipeTraffic;

impl Connection {
    pub(crate) fn is_piped(&self) -> bool {
        matches!(self.phase, Phase::Piped)
    }

    pub(crate) fn pipe(&self) -> Option<&Pipe> {
        self.cold.as_ref()?.pipe.as_deref()
    }

    /// The other side of its pipe, which may have ended.
    pub(crate) fn partner(&self) -> Option<ConnId> {
        Some(self.pipe()?.partner)
    }

    pub(crate) fn tunnel(&self) -> Option<&Tunnel> {
        let Flow::Frames(tunnel) = &self.pipe()?.flow;
        Some(tunnel)
    }

    pub(crate) fn tunnel_mut(&mut self) -> Option<&mut Tunnel> {
        Some(self.cold.as_mut()?.pipe.as_mut()?.tunnel_mut())
    }

    /// How a client has violated the protocol, if its Close waits for that of its upstream.
    pub(crate) fn violation(&self) -> Option<ProtocolError> {
        match self.tunnel().filter(|_| self.is_piped())?.ending {
            Ending::Violated(_, error) => Some(error),
            Ending::Open | Ending::ClosePassed(_) => None,
        }
    }

    /// Whether a part of a frame is held.
    pub(crate) fn holds_frame(&self) -> bool {
        self.pipe().is_some_and(|pipe| pipe.held_bytes() > 0)
    }

    /// Whether its input is followed frame by frame: it is joined, or its Close is awaited.
    pub(crate) fn passes_frames(&self) -> bool {
        match self.phase {
            Phase::Piped => !self.pauses.is_any(),
            Phase::Closing { input: Input::AwaitClose, .. } => {
                self.pipe().is_some() && !self.pauses.has(PauseOwner::Partner)
            }
            _ => false,
        }
    }

    /// Whether its input is frames that pass, now or when no pause is left.
    pub(crate) fn sends_frames(&self) -> bool {
        let passes =
            matches!(self.phase, Phase::Piped | Phase::Closing { input: Input::AwaitClose, .. });
        passes && self.pipe().is_some()
    }

    /// Notes that a write has reported a reset. The kernel does so once: reads then find the bytes
    /// that arrived before, and the end of the stream as after a FIN.
    pub(crate) fn note_reset(&mut self) {
        if let Some(tunnel) = self.tunnel_mut() {
            tunnel.was_reset = true;
        } else if let Some(dialed) = self.handshake().and_then(|it| it.dialed.as_mut()) {
            dialed.was_reset = true;
        }
    }

    /// The reason of the end of its stream, which is `reason` unless a write has reported a reset.
    pub(crate) fn end_or_reset(&self, reason: CloseReason) -> CloseReason {
        let dialed = self.handshake_ref().and_then(|handshake| handshake.dialed.as_ref());
        let was_reset = self.tunnel().is_some_and(|tunnel| tunnel.was_reset)
            || dialed.is_some_and(|dialed| dialed.was_reset);
        match reason {
            CloseReason::PeerGone if was_reset => CloseReason::PeerReset,
            reason => reason,
        }
    }

    /// Whether it is an upstream that has sent its Close: it ends the stream, so that the
    /// connection does not keep one of our ports for minutes (RFC 6455, 7.1.1).
    pub(crate) fn awaits_upstream_end(&self) -> bool {
        self.pipe().is_some_and(|pipe| {
            let Flow::Frames(tunnel) = &pipe.flow;
            pipe.side == Side::Upstream && tunnel.passage.has_closed()
        })
    }

    /// Whether it waits for an upstream's response, or gets it, and its stream has ended.
    pub(crate) fn has_left(&self) -> bool {
        let handshake = self.cold.as_ref().and_then(|cold| cold.handshake.as_deref());
        let is_waiting = matches!(self.phase, Phase::Deferred | Phase::Streaming);
        let is_forwarded = handshake.is_some_and(|handshake| handshake.is_forwarded);
        self.read_closed && is_waiting && is_forwarded
    }

    /// Whether it is a connection to an upstream that is not idle.
    pub(crate) fn awaits_response(&self) -> bool {
        let handshake = self.cold.as_ref().and_then(|cold| cold.handshake.as_deref());
        matches!(self.phase, Phase::Handshake)
            && handshake.is_some_and(|handshake| handshake.dialed.is_some())
    }

    /// Until when it may be idle.
    pub(crate) fn idle_until(&self) -> Time {
        let handshake = self.cold.as_ref().and_then(|cold| cold.handshake.as_deref());
        let dialed = handshake.and_then(|handshake| handshake.dialed.as_ref());
        dialed.map_or(Time::MAX, |dialed| dialed.until)
    }

    /// What it has sent through its pipe.
    pub(crate) fn pipe_traffic(&self) -> PipeTraffic {
        let Traffic { messages_in, bytes_in, .. } = self.traffic;
        self.tunnel()
            .map_or_else(PipeTraffic::default, |tunnel| tunnel.traffic(messages_in, bytes_in))
    }

    /// The next deadline in the phase `Piped`.
    pub(crate) fn piped_deadline(&self, settings: &Settings, route: &RouteSettings) -> (Time, Due) {
        let blocked = self.outbox.blocked_since();
        let never = (Time::MAX, Due::Idle);
        let Some(tunnel) = self.tunnel() else {
            return never;
        };
        let is_stopped = self.pauses.is_any() || blocked.is_some() || tunnel.is_following;
        let heartbeat = route.heartbeat.or(settings.heartbeat);
        let heartbeat = heartbeat.filter(|_| tunnel.pings && !tunnel.is_ping_due);
        let heard = heartbeat
            .map(|heartbeat| self.heartbeat.deadline(&heartbeat, self.serial, self.last_heard));
        let idle = route.idle_timeout.map(|idle| (self.last_data + idle, Due::Idle));
        let fragment = (self.message_since + route.fragment_timeout, Due::Fragment);
        let candidates = [
            heard.filter(|_| !is_stopped),
            idle.filter(|_| !is_stopped),
            Some(fragment).filter(|_| !self.pauses.is_any() && !tunnel.is_following),
            blocked.map(|since| (since + route.write_timeout, Due::Write)),
            match tunnel.ending {
                Ending::Open => None,
                Ending::ClosePassed(since) => Some(blocked.map_or(since, |at| since.max(at))),
                // Its Close comes in time, however slowly it reads.
                Ending::Violated(since, _) => Some(since),
            }
            .map(|from| (from + settings.close_timeout, Due::Close)),
            Some((self.expires(), Due::Expiry)),
            self.refill_at().map(|until| (until, Due::Refill)),
        ];
        candidates.into_iter().flatten().min_by_key(|(due, _)| *due).unwrap_or(never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::conn::cold::ColdState;

    /// An idle tunnel, both connections with what belongs to them, fits in 1.2 KB.
    #[test]
    fn an_idle_tunnel_is_small() {
        // The wheel's memory for a key of 8 bytes, as asserted in `timer.rs`.
        const TIMER_BYTES: usize = 24;
        // See `CONNECTION_BYTES_MAX`.
        const DEBUG_BYTES: usize = if cfg!(debug_assertions) { 16 } else { 0 };
        let slot = size_of::<Option<Connection>>() + TIMER_BYTES - DEBUG_BYTES;
        let side = slot + size_of::<ColdState>() + size_of::<Pipe>();
        assert!(2 * side <= 1000, "{side} bytes for each side");
    }
}
