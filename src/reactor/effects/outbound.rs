//! Bytes out: one vectored write a connection and turn, and what follows from an empty outbox.
//!
//! The one place that writes sockets and shuts them. Runs once a turn for each connection that is
//! dirty, so that all that a turn has to say to a peer goes out in one system call. Only a large
//! message goes out at once.

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
    /// Writes what is queued for a connection, then asks the poll for what it wants now. Called for each
    /// connection that has something to send: a call would cost as much as the rest of it.
    #[inline(always)]
    pub(crate) fn flush(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.dirty = false;
        if !conn.is_open() {
            return self.flush_unopened(id);
        }
        if conn.batch.is_some() {
            self.flush_batch(id);
        } else if let Some(bytes) = conn.outbox.simple()
            && !conn.is_secure()
        {
            let offered = bytes.len();
            match conn.socket.write(bytes) {
                Ok(taken) if taken == offered => {
                    self.metrics.bytes_written += taken as u64;
                    self.outboxes.change_settled(conn, |open| open.outbox.end_simple(open.spares));
                }
                result => self.take_written(id, offered, result),
            }
        } else {
            self.write(id);
        }
        self.settle_interest(id);
    }

    /// As [`Core::flush`], for a connection that is not open.
    #[inline(never)]
    fn flush_unopened(&mut self, id: ConnId) {
        match self.conns.get(id).map(|conn| conn.phase) {
            // What is queued for a connection that was dropped is lost.
            None | Some(Phase::Gone(_)) => return,
            Some(Phase::Connecting) => self.finish_connect(id),
            Some(_) => {}
        }
        self.write(id);
        self.settle_interest(id);
    }

    /// Starts what a write allows, and updates the poll registration if it must change.
    #[inline(always)]
    fn settle_interest(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| !conn.is_at_rest()) {
            self.after_write(id);
            self.sync_interest(id);
        }
    }

    /// Writes a large message past an empty outbox, which is spared the copy. What the kernel does not
    /// take is queued as if it had been begun from there. `None` if the outbox must have it all.
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

    /// The same for one that is masked already.
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

    /// Writes one frame past an empty outbox; how much of it the kernel took, unless it was not tried.
    #[inline]
    fn write_frame(&mut self, id: ConnId, header: &FrameHeader, payload: &[u8]) -> Option<usize> {
        let conn = self.conns.get_mut(id).filter(|conn| conn.is_open() && !conn.is_secure())?;
        let limits = self.router.settings(conn.route);
        let frame = frame_bytes(header.payload_len as usize);
        // What is begun must not be refused: it stays far from all limits.
        let fits = conn.outbox.is_empty()
            && conn.batch.is_none()
            && frame <= limits.outbox_soft
            && self.outboxes.is_plenty(frame);
        if !fits {
            return None;
        }
        self.frame_head.clear();
        header.write(&mut self.frame_head);
        let slices = [IoSlice::new(&self.frame_head), IoSlice::new(payload)];
        let written = match conn.socket.write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // The flush will meet the error again, where it is dealt with.
            Err(_) => return None,
        };
        self.metrics.bytes_written += written as u64;
        Some(written)
    }

    /// Counts a frame of which the kernel took `written` bytes, and queues what it left.
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

    /// Writes the frames of a batch to one of its members. If the kernel does not accept them all, the
    /// rest moves to the outbox as a partial write; a second write finds out why.
    #[inline(always)]
    fn flush_batch(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.is_secure() {
            // What is sealed is taken from its own queue.
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

    /// Removes what the kernel has accepted of [`Outbox::simple`], which was not all.
    #[inline(never)]
    fn take_written(&mut self, id: ConnId, offered: usize, result: io::Result<usize>) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let was = Before::of(conn);
        let now = self.now;
        let result = self.outboxes.change_settled(conn, |open| {
            open.outbox.take_written(offered, result, open.spares, now)
        });
        self.note_written(id, was, result);
    }

    /// Updates counts, pressure and deadlines after a write.
    fn note_written(&mut self, id: ConnId, was: Before, result: io::Result<(usize, Flushed)>) {
        let (taken, flushed) = match result {
            Ok(written) => written,
            Err(error) => {
                debug!("{id}: write failed: {error}");
                return self.vanish(id, CloseReason::PeerReset);
            }
        };
        self.metrics.bytes_written += taken as u64;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if was.held_up && taken > 0 {
            conn.pulse.read();
        }
        let limits = self.router.settings(conn.route);
        if was.pressed {
            self.outboxes.change(id, conn, |open| open.outbox.relax(limits.outbox_soft));
            if conn.outbox.bytes() <= limits.outbox_low {
                self.outboxes.change(id, conn, |open| open.outbox.ease());
                self.queues.drained.push_back(id);
            }
        }
        match flushed {
            Flushed::Empty => {
                // The peer's time to answer begins when our Close is on its way.
                if let Phase::Closing { since, .. } = &mut conn.phase
                    && taken > 0
                {
                    *since = self.now;
                }
            }
            Flushed::Budget => self.mark_dirty(id),
            Flushed::Blocked => self.arm(id),
        }
    }

    /// What an empty outbox allows: the next request, or the end of our side of the stream.
    fn after_write(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if !conn.outbox.is_empty() {
            return;
        }
        match conn.phase {
            Phase::Handshake => self.run(id),
            Phase::Closing { since, reason, input: Input::Discard } => {
                // The peer may have much on its way that we do not want; it gets the whole close
                // deadline to find our Close before a reset can overtake it.
                let until = match reason {
                    CloseReason::Protocol(_) | CloseReason::Overloaded => {
                        since + self.settings.close_timeout
                    }
                    _ => self.now + LINGER,
                };
                self.linger(id, reason, until);
            }
            Phase::Lingering { .. } => self.end_output(id),
            _ => {}
        }
    }

    /// Shuts our side of the stream and waits for the end of the peer's: to close now could reset the
    /// connection, and a reset can overtake our Close.
    fn linger(&mut self, id: ConnId, reason: CloseReason, until: Time) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.phase = Phase::Lingering { until, reason };
            // Nothing promises that an end which was read already is told again.
            conn.readable |= conn.read_closed;
            self.end_output(id);
            self.arm(id);
            self.run(id);
        }
    }

    /// Nothing more will be sent. Under TLS that is said twice: by a close_notify, and when the flush has
    /// come back from it, as in the clear.
    fn end_output(&mut self, id: ConnId) {
        if self.queue_close_notify(id) {
            return;
        }
        if let Some(conn) = self.conns.get_mut(id) {
            shut_write(conn);
        }
    }

    /// The peer has ended its side of the stream. It may still read ours (RFC 9293, 3.6): what is queued
    /// for it goes out first.
    pub(crate) fn end_input(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.readable = false;
        conn.read_closed = true;
        self.outboxes.settle(id, conn);
        if conn.outbox.is_empty() || matches!(conn.phase, Phase::Lingering { .. }) {
            self.write_close_notify(id);
            return self.vanish(id, reason);
        }
        if conn.is_open() {
            conn.phase = Phase::Closing { since: self.now, reason, input: Input::Discard };
            self.mark_dirty(id);
            self.arm(id);
        } else {
            self.finish_close(id);
        }
    }

    /// The peer's Close has come, or will not: its input does not matter any more.
    pub(crate) fn finish_close(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && let Phase::Closing { input, .. } = &mut conn.phase
        {
            *input = Input::Discard;
            conn.forget_message();
            self.mark_dirty(id);
        }
    }

    /// The peer has not answered our Close in time. One that may not even have got it is given what the
    /// kernel can hold; any other is left.
    pub(crate) fn give_up_close(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(reason) = conn.reason() else {
            return;
        };
        self.metrics.close_timeouts += 1;
        if conn.outbox.is_empty() {
            return self.vanish(id, reason);
        }
        conn.phase = Phase::Lingering { until: self.now + LINGER, reason };
        if !reason.cuts_queue() && reason.close_code().is_some() {
            self.cut_before_close(id);
        }
        self.arm(id);
    }
}

/// The state of an outbox before a write.
struct Before {
    /// It exceeded the soft limit, and has not fallen to low water since.
    pressed: bool,
    /// The send buffer was full.
    held_up: bool,
}

impl Before {
    fn of(conn: &Connection) -> Before {
        let pressed = conn.outbox.pressure() != Pressure::Easy;
        Before { pressed, held_up: conn.outbox.blocked_since().is_some() }
    }
}

/// Says that we are done. A connection that is gone already does not need to hear it.
fn shut_write(conn: &Connection) {
    if let Err(error) = conn.socket.shutdown(Shutdown::Write) {
        debug!("shutdown: {error}");
    }
}
