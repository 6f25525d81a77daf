//! Closing: from the reason to the Close frame, or to a dropped connection.
//!
//! The first reason wins. A Close is sent after all queued output. For a peer that does not read,
//! frames of which the kernel has accepted no byte are dropped, so that the Close is the next
//! frame.
//!
//! The rest of a close is elsewhere. `inbound.rs` handles the peer's Close. `conn/deadline.rs` and
//! `deadlines.rs` apply the close timeout, which `outbound.rs` restarts when the outbox is empty.
//! `outbound.rs` also lingers, ends our output, and handles the end of the peer's: that starts a
//! close without a Close frame. The reap phase frees the slot.

use std::net::SocketAddr;

use crate::protocol::CloseFrame;
use crate::reactor::api::budget::LINGER;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::conn::phase::{Input, Phase};
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
    /// connection that is already closing is left unchanged.
    pub(crate) fn begin_close(&mut self, id: ConnId, reason: CloseReason, text: &str) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        match conn.phase {
            Phase::Open => {}
            #[cfg(feature = "proxy")]
            Phase::Piped => return self.end_tunnel(id, reason, text),
            #[cfg(feature = "proxy")]
            Phase::Idle => return self.drop_connection(id, reason),
            // A response under way may take until the end of the shutdown.
            #[cfg(feature = "proxy")]
            Phase::Streaming if reason == CloseReason::Shutdown => return,
            #[cfg(feature = "proxy")]
            Phase::Streaming => return self.drop_connection(id, reason),
            // A response under way may take until the end of the shutdown.
            Phase::Responding if reason == CloseReason::Shutdown => return,
            Phase::Connecting | Phase::Handshake | Phase::Deferred | Phase::Responding => {
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
        // At shutdown, queued messages to a peer that accepts no bytes would delay the Close past
        // the drain timeout.
        if reason.cuts_queue() || (blocked && reason == CloseReason::Shutdown) {
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
    /// even after our socket is closed.
    fn cut_to_close(&mut self, id: ConnId, reason: CloseReason) {
        self.cut_queue(id);
        self.push_close(id, reason, reason.text());
        self.grow_send_buffer(id);
    }

    /// Like `cut_to_close`, for a connection whose Close is already queued or partly written.
    pub(crate) fn cut_before_close(&mut self, id: ConnId) {
        self.cut_queue(id);
        self.enqueue_flush(id);
        self.grow_send_buffer(id);
    }

    fn cut_queue(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            let dropped =
                self.outboxes.change(id, conn, |open| open.outbox.drop_unsent(open.spares));
            self.metrics.messages_dropped += dropped;
        }
    }

    pub(crate) fn grow_send_buffer(&self, id: ConnId) {
        if let Some(conn) = self.conns.get(id) {
            grow_send_buffer(&conn.socket, conn.outbox.bytes(), self.send_buffer_max);
        }
    }

    /// The peer's Close was received, or will not be: discards its further input.
    pub(crate) fn finish_close(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && let Phase::Closing { input, .. } = &mut conn.phase
        {
            *input = Input::Discard;
            conn.forget_message();
            self.enqueue_flush(id);
        }
    }

    /// Handles a missing answer to our Close. A peer that may not have received it gets what the
    /// kernel's send buffer can hold; other connections are dropped.
    pub(crate) fn give_up_close(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(reason) = conn.reason() else {
            return;
        };
        if conn.awaits_refused() && conn.outbox.is_empty() {
            // Our side of the stream ends, and the peer's is awaited.
            return self.finish_close(id);
        }
        self.metrics.close_timeouts += 1;
        if conn.outbox.is_empty() {
            return self.drop_connection(id, reason);
        }
        conn.phase = Phase::Lingering { until: self.now + LINGER, reason };
        if !reason.cuts_queue() && reason.close_code().is_some() {
            self.cut_before_close(id);
        }
        self.arm(id);
    }

    /// Drops a connection at once: nothing more is sent or read. If it was closing already, that
    /// reason is kept. A service does it by [`Context::abort`](crate::reactor::Context::abort).
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
        self.leave_route(&mut conn);
        if let Some(rates) = conn.rates() {
            self.end_rates(rates);
        }
        if let Some(timer) = conn.timer {
            self.schedule.cancel(timer);
        }
        self.topics.leave_all(&mut conn.topics, |service, topic| {
            empty.push((ServiceId(service), topic.into()));
        });
        if let Some(member) = conn.take_member() {
            self.subjects.leave(member);
        }
        if conn.is_provisional() {
            self.admission.end_provisional();
        }
        if conn.is_refused() {
            self.admission.release_refused();
        } else {
            self.admission.release(conn.quota(), SocketAddr::from(conn.peer).ip());
        }
        self.metrics.count_end(reason);
        self.log_end(id, &conn, reason);
        self.observe_end(id, &conn, reason);
        empty
    }
}
