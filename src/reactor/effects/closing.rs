//! Closing: from the reason to the Close frame, or to a dropped connection.
//!
//! The first reason is kept, whatever follows. A Close is sent after all queued output. For a peer
//! that does not read, frames of which it has received no byte are dropped, so that the Close is
//! the next frame. Next: `outbound.rs` writes, lingers and shuts down; the reap phase frees the
//! slot.

use std::net::SocketAddr;

use crate::protocol::CloseFrame;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::conn::phase::{Input, Phase, Registration};
use crate::reactor::core::Core;
use crate::reactor::parts::socket::grow_send_buffer;

impl Core {
    /// Closes a connection for a reason of the loop, with the reason's Close frame.
    pub(crate) fn close(&mut self, id: ConnId, reason: CloseReason) {
        self.begin_close(id, reason, reason.text());
    }

    /// Starts the end of an open connection: queues our Close, after which nothing is sent.
    ///
    /// In phases before `Open` no Close can be sent: the connection is dropped at once. A
    /// connection that is ending already stays as it is.
    pub(crate) fn begin_close(&mut self, id: ConnId, reason: CloseReason, text: &str) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        match conn.phase {
            Phase::Open => {}
            Phase::Connecting | Phase::Handshake | Phase::Deferred => {
                return self.drop_connection(id, reason);
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
        self.charge_input_or_close(id);
        if reason.cuts_queue() || blocked && reason == CloseReason::Shutdown {
            self.cut_to_close(id, reason);
        } else {
            self.push_close(id, reason, text);
        }
        // Paused or unread input can contain the peer's Close.
        self.enqueue_read(id);
        self.arm(id);
    }

    /// Queues the Close frame of `reason` after all queued frames.
    fn push_close(&mut self, id: ConnId, reason: CloseReason, text: &str) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let mask = self.masks.for_frame_of(conn.decoder.role());
        let close = reason.close_code().map(|code| CloseFrame::new(code, text));
        self.outboxes.change(id, conn, |open| open.outbox.push_close(open.spares, close, mask));
        self.enqueue_flush(id);
    }

    /// Closes a connection whose peer does not read. Drops frames not yet started, so that the
    /// Close is the next one, and lets the kernel accept the rest, so that the peer can receive it
    /// even after we have gone.
    fn cut_to_close(&mut self, id: ConnId, reason: CloseReason) {
        self.cut_queue(id);
        self.push_close(id, reason, reason.text());
        self.grow_send_buffer(id);
    }

    /// Likewise, if a Close is queued or partly written already.
    pub(crate) fn cut_before_close(&mut self, id: ConnId) {
        self.cut_queue(id);
        self.enqueue_flush(id);
        self.grow_send_buffer(id);
    }

    fn cut_queue(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            let dropped = self.outboxes.change(id, conn, |open| open.outbox.cut(open.spares));
            self.metrics.messages_dropped += dropped;
        }
    }

    fn grow_send_buffer(&self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            grow_send_buffer(&conn.socket, conn.outbox.bytes(), self.send_buffer_max);
        }
    }

    /// Drops a connection at once: nothing more is sent or read.
    pub(crate) fn drop_connection(&mut self, id: ConnId, reason: CloseReason) {
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

    /// Frees an ended connection; returns the topics that it left without members.
    pub(crate) fn free(&mut self, id: ConnId, reason: CloseReason) -> Vec<(ServiceId, Box<str>)> {
        let mut empty = Vec::new();
        self.set_windows(id, None);
        let Some(mut conn) = self.conns.remove(id) else {
            return empty;
        };
        conn.forget_unfinished();
        let dropped = self.outboxes.release(id, &mut conn);
        self.metrics.messages_dropped += dropped;
        if let Some(timer) = conn.timer {
            self.schedule.cancel(timer);
        }
        self.topics.leave_all(&mut conn.topics, |service, topic| {
            empty.push((ServiceId(service), topic.into()));
        });
        if conn.registration() == Registration::Refused {
            self.admission.release_refused();
        } else {
            self.admission.release(conn.quota(), SocketAddr::from(conn.peer).ip());
        }
        self.metrics.count_end(reason);
        self.log_end(id, &conn, reason);
        empty
    }
}
