//! How one side leaves its pipe: the Close that it gets, and what happens to its input.
//!
//! [`pipe_ends`](crate::reactor::effects::pipe_ends) decides when and why.

use crate::protocol::{CloseCode, CloseFrame};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::{Input, Phase};
use crate::reactor::conn::pipe::Side;
use crate::reactor::core::Core;

/// What a side gets before its stream ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Farewell<'a> {
    /// No Close: its partner was lost, or it has got one.
    Nothing,
    /// A Close, which may be empty.
    Close(Option<CloseFrame<'a>>),
}

impl<'a> Farewell<'a> {
    pub(super) fn of(reason: CloseReason, text: &'a str) -> Farewell<'a> {
        Farewell::Close(reason.close_code().map(|code| CloseFrame::new(code, text)))
    }
}

pub(super) const GOING_AWAY: Farewell<'_> =
    Farewell::Close(Some(CloseFrame { code: CloseCode::GOING_AWAY, reason: "" }));

/// What happens to the input of a side that gets a Close of weir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It is discarded.
    Discard,
    /// It passes until its Close.
    PassOn,
}

impl Core {
    /// Like [`Core::leave_with`]; from now on its input passes no longer.
    pub(super) fn leave(
        &mut self,
        id: ConnId,
        reason: CloseReason,
        farewell: Farewell<'_>,
        input: Input,
    ) {
        self.leave_with(id, reason, farewell, input, After::Discard);
    }

    /// Moves one side from its pipe to the end of its connection. Where no Close can be placed, its
    /// stream ends without one.
    pub(super) fn leave_with(
        &mut self,
        id: ConnId,
        reason: CloseReason,
        farewell: Farewell<'_>,
        input: Input,
        after: After,
    ) {
        let is_at_boundary = self.is_at_boundary(id);
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.is_piped()) else {
            return;
        };
        let role = conn.decoder.role();
        let is_client = conn.pipe().is_some_and(|pipe| pipe.side == Side::Client);
        let Some(tunnel) = conn.tunnel_mut() else {
            return;
        };
        let farewell = match farewell {
            Farewell::Close(close) if !tunnel.has_got_close() => Some(close),
            _ => None,
        };
        let is_cut = farewell.is_some() && !is_at_boundary;
        let (reason, input) = match is_cut {
            true if is_client => (CloseReason::ClosedMidFrame, Input::Discard),
            true => (reason, Input::Discard),
            false if tunnel.passage.has_closed() => (reason, Input::Discard),
            false => (reason, input),
        };
        match after {
            After::PassOn if !is_cut => tunnel.passage.withhold_close(),
            _ => tunnel.passage.discard(),
        }
        let is_blocked = conn.outbox.blocked_since().is_some();
        conn.phase = Phase::Closing { since: self.now, reason, input };
        if after == After::Discard {
            conn.pauses.end(PauseOwner::Partner);
        }
        if let Some(close) = farewell.filter(|_| !is_cut) {
            let mask = self.masks.for_frame_of(role);
            self.outboxes.change(id, conn, |open| open.outbox.push_close(open.spares, close, mask));
        }
        if is_blocked {
            self.grow_send_buffer(id);
        }
        self.charge_input_or_close(id);
        self.enqueue_flush(id);
        self.enqueue_read(id);
        self.arm(id);
    }
}
