//! Output: one vectored write per connection and turn, and what follows once the outbox is empty.
//!
//! It decides when a socket is written and shut down; the system calls of an outbox are in
//! `conn/outbox/`. Three writes are elsewhere: `pipe.rs` passes input of one connection straight to
//! another, `secure.rs` writes a last close_notify, and `parts/listener.rs` the 503 of a client without
//! a connection. The flush phase calls it once per
//! turn for each connection in the flush queue, so that all output of a turn goes to a peer in one
//! system call. Only a large message is written at once.

use std::io::{self, IoSlice, Write};
use std::net::Shutdown;

use log::debug;

use crate::protocol::encoder::frame_bytes;
use crate::protocol::{FrameHeader, Masked, Message, Opcode, Role};
use crate::reactor::api::budget::LINGER;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outbox::pressure::Pressure;
use crate::reactor::conn::outbox::spares::SpareQueues;
use crate::reactor::conn::outbox::{Flushed, Outbox};
use crate::reactor::conn::phase::{Input, Phase};
use crate::reactor::core::Core;

impl Core {
    /// Writes a connection's output, then updates its registered interest. Inlined: it is called
    /// for each connection with output, and a call would cost as much as the rest.
    #[inline(always)]
    pub(crate) fn flush(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.in_flush_queue = false;
        if !conn.is_open() {
            return self.flush_unopened(id);
        }
        if conn.batch.is_some() {
            self.flush_batch(id);
        } else if let Some(bytes) = conn.outbox.single_write()
            && !conn.is_secure()
        {
            let offered = bytes.len();
            match conn.socket.write(bytes) {
                Ok(taken) if taken == offered => {
                    self.metrics.bytes_written += taken as u64;
                    self.outboxes
                        .change_settled(conn, |open| open.outbox.finish_single_write(open.spares));
                }
                result => self.record_write(id, offered, result),
            }
        } else {
            self.write(id);
        }
        self.settle_interest(id);
    }

    /// Like [`Core::flush`], for a connection that is not open.
    #[inline(never)]
    fn flush_unopened(&mut self, id: ConnId) {
        match self.conns.get(id).map(|conn| conn.phase) {
            // Queued output of a dropped connection is lost.
            None | Some(Phase::Gone(_)) => return,
            Some(Phase::Connecting) => self.finish_connect(id),
            Some(_) => {}
        }
        self.write(id);
        self.settle_interest(id);
        if let Some(conn) = self.conns.get_mut(id) {
            self.outboxes.count_relayed(conn);
        }
    }

    /// Continues after a write, and updates the poll registration if it must change.
    #[inline(always)]
    fn settle_interest(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| !conn.is_at_rest()) {
            self.after_write(id);
            self.sync_interest(id);
        }
    }

    /// Writes a large message at once if the outbox is empty, which saves the copy. If the kernel
    /// accepts only a part, the message is queued as partly written. `None` if the message must go
    /// through the outbox.
    pub(crate) fn write_at_once(
        &mut self,
        id: ConnId,
        message: Message<'_>,
    ) -> Option<SendOutcome> {
        let conn = self.conns.get(id)?;
        if conn.decoder.role() == Role::Client {
            return None;
        }
        let (opcode, payload_len) = (message.opcode(), message.len() as u64);
        let header = FrameHeader { fin: true, compressed: false, opcode, mask: None, payload_len };
        let written = self.write_frame(id, &header, message.as_bytes())?;
        Some(self.queue_rest(id, &header, written, |outbox, spares| {
            outbox.push_message(spares, message, None);
        }))
    }

    /// Likewise for a message that is masked already.
    pub(crate) fn write_masked_at_once(
        &mut self,
        id: ConnId,
        message: Masked<'_>,
    ) -> Option<SendOutcome> {
        let Masked { key, payload } = message;
        let payload_len = payload.len() as u64;
        let header = FrameHeader {
            fin: true,
            compressed: false,
            opcode: Opcode::Binary,
            mask: Some(key),
            payload_len,
        };
        let written = self.write_frame(id, &header, payload)?;
        Some(self.queue_rest(id, &header, written, |outbox, spares| {
            outbox.push_premasked(spares, message);
        }))
    }

    /// Writes one frame, bypassing an empty outbox; returns the accepted bytes, or `None` if it was
    /// not tried.
    #[inline]
    fn write_frame(&mut self, id: ConnId, header: &FrameHeader, payload: &[u8]) -> Option<usize> {
        let conn = self.conns.get_mut(id).filter(|conn| conn.is_open() && !conn.is_secure())?;
        let limits = self.router.settings(conn.route);
        let frame = frame_bytes(header.payload_len as usize);
        // A started frame must not be refused, so this path stays far below all limits.
        let fits = conn.outbox.is_empty()
            && conn.batch.is_none()
            && frame <= limits.outbox_soft_bytes
            && self.outboxes.fits_common(frame);
        if !fits {
            return None;
        }
        self.frame_head.clear();
        header.write(&mut self.frame_head);
        let slices = [IoSlice::new(&self.frame_head), IoSlice::new(payload)];
        let written = match conn.socket.write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // The flush will get the same error, and handles it.
            Err(_) => return None,
        };
        self.metrics.bytes_written += written as u64;
        Some(written)
    }

    /// Counts a frame of which the kernel accepted `written` bytes, and queues the rest.
    #[inline]
    fn queue_rest(
        &mut self,
        id: ConnId,
        header: &FrameHeader,
        written: usize,
        push: impl FnOnce(&mut Outbox, &mut SpareQueues),
    ) -> SendOutcome {
        let len = header.payload_len as usize;
        if written == self.frame_head.len() + len {
            self.metrics.messages_out += 1;
            if let Some(conn) = self.conns.get_mut(id) {
                conn.traffic.count_out(len);
            }
            return SendOutcome::Queued;
        }
        let now = self.now;
        self.queue(id, len, false, |outbox, spares, _| {
            push(outbox, spares);
            outbox.record_partial_write(written, now);
        })
    }

    /// Writes the frames of a batch to one of its members. If the kernel does not accept all of
    /// them, the rest moves to the outbox as a partial write; a second write finds the reason.
    #[inline(always)]
    fn flush_batch(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.is_secure() {
            // Its frames must be encrypted individually, from its own queue.
            self.outboxes.settle(id, conn);
            return self.write(id);
        }
        let frames = self.outboxes.batches.frames(conn);
        let queued = frames.len();
        let taken = conn.socket.write(frames).unwrap_or(0);
        self.metrics.bytes_written += taken as u64;
        if taken == queued {
            self.outboxes.end_batch(conn);
        } else {
            let now = self.now;
            self.outboxes.change(id, conn, |open| open.outbox.record_partial_write(taken, now));
            self.write(id);
        }
    }

    /// Writes the outbox of a connection in any state.
    #[inline(never)]
    fn write(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let was = Before::of(conn);
        let now = self.now;
        let result = match conn.is_secure() {
            false => self
                .outboxes
                .change_settled(conn, |open| open.outbox.flush(open.socket, open.spares, now)),
            true => self.outboxes.flush_sealed(conn, &mut self.tls.buffers, now),
        };
        self.note_written(id, was, result);
    }

    /// Handles a write of [`Outbox::single_write`] that the kernel accepted only in part, or not at
    /// all.
    #[inline(never)]
    fn record_write(&mut self, id: ConnId, offered: usize, result: io::Result<usize>) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let was = Before::of(conn);
        let now = self.now;
        let result = self.outboxes.change_settled(conn, |open| {
            open.outbox.record_write(offered, result, open.spares, now)
        });
        self.note_written(id, was, result);
    }

    /// Updates counts, pressure and deadlines after a write.
    fn note_written(&mut self, id: ConnId, was: Before, result: io::Result<(usize, Flushed)>) {
        let (taken, flushed) = match result {
            Ok(written) => written,
            Err(error) => {
                debug!("{id}: write failed: {error}");
                return self.fail_write(id, &error);
            }
        };
        self.metrics.bytes_written += taken as u64;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if was.held_up && taken > 0 {
            conn.heartbeat.peer_read();
            if conn.is_piped() {
                // The idle timeout restarts.
                conn.last_data = self.now;
            }
        }
        let limits = self.router.settings(conn.route);
        if was.pressed {
            self.outboxes
                .change(id, conn, |open| open.outbox.mark_below_soft(limits.outbox_soft_bytes));
            if conn.outbox.bytes() <= limits.outbox_low_bytes {
                self.outboxes.change(id, conn, |open| open.outbox.mark_drained());
                self.queues.drained.push_back(id);
            }
        }
        match flushed {
            Flushed::Empty => {
                // The close timeout starts when our Close is written.
                if let Phase::Closing { since, .. } = &mut conn.phase
                    && taken > 0
                {
                    *since = self.now;
                }
            }
            Flushed::Budget => self.enqueue_flush(id),
            Flushed::Blocked => self.arm(id),
        }
    }

    /// Continues after an empty outbox: with the next request, or the end of our side of the
    /// stream.
    fn after_write(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if !conn.outbox.is_empty() {
            return;
        }
        match conn.phase {
            Phase::Handshake => {
                #[cfg(feature = "proxy")]
                self.await_next_request(id);
                self.enqueue_read(id);
            }
            Phase::Closing { reason, input: Input::Discard, .. } if conn.awaits_upstream_end() => {
                let until = self.now + self.settings.close_timeout;
                conn.phase = Phase::Lingering { until, reason };
                conn.readable |= conn.read_closed;
                self.arm(id);
                self.enqueue_read(id);
            }
            Phase::Closing { since, reason, input: Input::Discard } => {
                // The peer may still be sending input that we discard. It gets the whole close
                // timeout to receive our Close, before a reset can overtake that.
                let until = match reason {
                    CloseReason::Protocol(_) | CloseReason::Overloaded => {
                        since + self.settings.close_timeout
                    }
                    _ => self.now + LINGER,
                };
                self.linger(id, reason, until);
            }
            Phase::Lingering { .. } if conn.awaits_upstream_end() => {}
            Phase::Lingering { .. } => self.end_output(id),
            _ => {}
        }
    }

    /// Shuts down our side of the stream and waits for the end of the peer's: closing now could
    /// cause a reset, and a reset can overtake our Close.
    fn linger(&mut self, id: ConnId, reason: CloseReason, until: Time) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.phase = Phase::Lingering { until, reason };
            // An end of the stream that was reported already causes no further event.
            conn.readable |= conn.read_closed;
            self.end_output(id);
            self.arm(id);
            self.enqueue_read(id);
        }
    }

    /// Ends our output. Under TLS first by a close_notify; once that is flushed, by shutting down
    /// the socket, as without TLS.
    fn end_output(&mut self, id: ConnId) {
        if self.queue_close_notify(id) {
            return;
        }
        if let Some(conn) = self.conns.get_mut(id) {
            shutdown_write(conn);
        }
    }

    /// Handles the end of the peer's side of the stream. The peer may still read (RFC 9293, 3.6):
    /// queued output is sent first.
    pub(crate) fn end_input(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.readable = false;
        conn.read_closed = true;
        self.outboxes.settle(id, conn);
        #[cfg(feature = "proxy")]
        if matches!(conn.phase, Phase::Deferred | Phase::Streaming) {
            return self.end_body(id, reason);
        }
        #[cfg(feature = "proxy")]
        if matches!(conn.phase, Phase::Piped | Phase::Idle) || conn.awaits_response() {
            let reason = self.end_of_side(id, reason);
            self.write_close_notify(id);
            return self.drop_connection(id, reason);
        }
        if conn.outbox.is_empty() || matches!(conn.phase, Phase::Lingering { .. }) {
            self.write_close_notify(id);
            return self.drop_connection(id, reason);
        }
        if conn.is_open() {
            conn.phase = Phase::Closing { since: self.now, reason, input: Input::Discard };
            self.enqueue_flush(id);
            self.arm(id);
        } else {
            self.finish_close(id);
        }
    }
}

/// The state of an outbox before a write.
struct Before {
    /// Whether it exceeded the soft limit, and has not fallen to low water since.
    pressed: bool,
    /// Whether the send buffer was full.
    held_up: bool,
}

impl Before {
    fn of(conn: &Connection) -> Before {
        let pressed = conn.outbox.pressure() != Pressure::Normal;
        Before { pressed, held_up: conn.outbox.blocked_since().is_some() }
    }
}

/// Shuts down our side of the stream. An error is ignored: the connection has ended already.
fn shutdown_write(conn: &Connection) {
    if let Err(error) = conn.socket.shutdown(Shutdown::Write) {
        debug!("shutdown of the write side failed: {error}");
    }
}
