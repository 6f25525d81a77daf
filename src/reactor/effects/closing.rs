//! How connections end: from the reason to the Close frame, or to none.
//!
//! The first reason stands, whatever follows. A Close goes out behind what is queued, but for a peer that
//! does not read: what it has not begun to receive is dropped then, so that the Close is the next frame
//! it finds. Writing, lingering and freeing the slot are the turn's.

use crate::protocol::CloseFrame;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::phase::{Input, Phase};
use crate::reactor::core::Core;
use crate::reactor::parts::socket::widen_send_buffer;

impl Core {
    /// Ends a connection for a reason of ours, with the Close frame that belongs to it.
    pub(crate) fn close(&mut self, id: ConnId, reason: CloseReason) {
        self.begin_close(id, reason, reason.text());
    }

    /// Begins the end of an open connection: our Close is queued, nothing is sent after it.
    ///
    /// In another phase there is nobody to send a Close to: the connection is gone at once, unless
    /// its end has begun already.
    pub(crate) fn begin_close(&mut self, id: ConnId, reason: CloseReason, text: &str) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        match conn.phase {
            Phase::Open => {}
            Phase::Connecting | Phase::Handshake | Phase::Deferred => {
                return self.vanish(id, reason);
            }
            Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone(_) => return,
        }
        self.outboxes.settle(id, conn);
        let input = match reason {
            CloseReason::PeerClosed(_) | CloseReason::Protocol(_) | CloseReason::Overloaded => {
                Input::Discard
            }
            _ => Input::AwaitClose,
        };
        let blocked = conn.outbox.blocked_since().is_some();
        conn.phase = Phase::Closing { since: self.now, reason, input };
        conn.forget_unfinished();
        if input == Input::Discard {
            conn.forget_message();
        }
        self.account_input(id);
        if reason.cuts_queue() || blocked && reason == CloseReason::Shutdown {
            self.cut_to_close(id, reason);
        } else {
            self.push_close(id, reason, text);
        }
        // Input that was paused, or has not been looked at, can hold the peer's Close.
        self.run(id);
        self.arm(id);
    }

    /// Queues the Close frame of `reason` behind what is queued.
    fn push_close(&mut self, id: ConnId, reason: CloseReason, text: &str) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let mask = self.masks.for_frame_of(conn.decoder.role());
        let close = reason.close_code().map(|code| CloseFrame::new(code, text));
        self.outboxes.change(id, conn, |open| open.outbox.push_close(open.spares, close, mask));
        self.mark_dirty(id);
    }

    /// For a peer that does not read: drops the frames not begun, so that the Close is the next one,
    /// and makes the kernel take what is left, so that the peer finds it even if we are gone by then.
    fn cut_to_close(&mut self, id: ConnId, reason: CloseReason) {
        self.cut_queue(id);
        self.push_close(id, reason, reason.text());
        self.widen(id);
    }

    /// The same where a Close stands in the queue already, or the peer has a part of it.
    pub(crate) fn cut_before_close(&mut self, id: ConnId) {
        self.cut_queue(id);
        self.mark_dirty(id);
        self.widen(id);
    }

    fn cut_queue(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            let dropped = self.outboxes.change(id, conn, |open| open.outbox.cut(open.spares));
            self.metrics.messages_dropped += dropped;
        }
    }

    fn widen(&self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            widen_send_buffer(&conn.socket, conn.outbox.bytes(), self.send_buffer_max);
        }
    }

    /// Ends a connection at once: nothing more is sent or read.
    pub(crate) fn vanish(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let Phase::Gone(_) = conn.phase {
            return;
        }
        self.outboxes.settle(id, conn);
        let reason = conn.reason().unwrap_or(reason);
        conn.phase = Phase::Gone(reason);
        self.queues.reap.push_back(id);
    }
}
