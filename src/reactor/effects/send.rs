//! Queues output: checks the limits of the connection, then appends to its outbox.
//!
//! [`Core::queue`] is the only way into an outbox for frames that are queued individually. Batches,
//! HTTP heads and our Close have ways of their own. The flush phase writes, and a large message that
//! finds nothing queued is written at once, both in [`outbound`](crate::reactor::effects::outbound).

use std::rc::Rc;

use crate::protocol::encoder::frame_bytes;
use crate::protocol::{Masked, Message, Opcode, Piece, Role, SharedFrame};
use crate::reactor::api::budget::{SHARE_BYTES_MIN, WRITE_AT_ONCE_BYTES_MIN};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::settings::SlowPolicy;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outbox::Outbox;
use crate::reactor::conn::outbox::pressure::Pressure;
use crate::reactor::conn::outbox::spares::SpareQueues;
use crate::reactor::core::Core;
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::shared::{Bytes, Shared};

impl Core {
    /// Queues one message of the service that is [served](Core::served) for one of its connections.
    /// Checks here that it is one: a check by the caller would need another lookup in the table for
    /// each message.
    pub(crate) fn send(&mut self, id: ConnId, message: Message<'_>) -> SendOutcome {
        let (opcode, payload) = (message.opcode(), message.as_bytes());
        if payload.len() >= self.deflate.large_bytes_min()
            && let Some(outcome) = self.send_large(id, message)
        {
            return outcome;
        }
        let service = self.served;
        self.queue_if(
            id,
            #[inline(always)]
            |conn| conn.service == service,
            payload.len(),
            false,
            #[inline(always)]
            |outbox, spares, mask| outbox.push_frame(spares, opcode, payload, mask),
        )
    }

    /// Tries ways of sending that pay off only for large messages: compression, and an immediate
    /// write.
    #[inline(never)]
    fn send_large(&mut self, id: ConnId, message: Message<'_>) -> Option<SendOutcome> {
        self.conns.owned(self.served, id)?;
        if message.len() >= self.deflate.bytes_min()
            && let Some(outcome) = self.send_deflated(id, message)
        {
            return Some(outcome);
        }
        if message.len() >= WRITE_AT_ONCE_BYTES_MIN {
            return self.write_at_once(id, message);
        }
        None
    }

    /// Queues a masked message for an outbound connection.
    pub(crate) fn send_masked(&mut self, id: ConnId, message: Masked<'_>) -> SendOutcome {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.is_open()) else {
            return SendOutcome::Gone;
        };
        if conn.decoder.role() == Role::Server {
            return SendOutcome::WrongRole;
        }
        if message.payload.len() >= WRITE_AT_ONCE_BYTES_MIN
            && let Some(outcome) = self.write_masked_at_once(id, message)
        {
            return outcome;
        }
        self.queue(id, message.payload.len(), false, |outbox, spares, _| {
            outbox.push_premasked(spares, message);
        })
    }

    /// Queues a frame that other connections are sent, too.
    pub(crate) fn send_shared(&mut self, id: ConnId, frame: &SharedFrame) -> SendOutcome {
        let shared = self.share(frame);
        self.send_counted(id, frame, shared.as_ref())
    }

    /// Counts a frame as shared, if it is large enough to be shared and not copied.
    pub(crate) fn share(&self, frame: &SharedFrame) -> Option<Rc<Shared>> {
        let bytes = frame.bytes();
        let is_large = bytes.len() >= SHARE_BYTES_MIN;
        is_large.then(|| self.outboxes.ledger.share(Bytes::Frame(Rc::clone(bytes))))
    }

    /// Queues a frame; `shared` is its counted buffer if it is large enough to be shared.
    pub(crate) fn send_counted(
        &mut self,
        id: ConnId,
        frame: &SharedFrame,
        shared: Option<&Rc<Shared>>,
    ) -> SendOutcome {
        let payload = frame.payload();
        let is_control = frame.opcode().is_control();
        if payload.len() >= self.deflate.bytes_min()
            && let Some(outcome) = self.send_shared_deflated(id, frame)
        {
            return outcome;
        }
        self.queue(id, payload.len(), is_control, |outbox, spares, mask| match (mask, shared) {
            (None, Some(shared)) => outbox.push_shared(spares, Rc::clone(shared)),
            (None, None) => outbox.push_frames(spares, frame.as_bytes()),
            (Some(_), _) => outbox.push_with_mask(spares, frame, mask),
        })
    }

    /// Queues a ping of a service.
    pub(crate) fn send_ping(&mut self, id: ConnId, payload: &[u8]) -> SendOutcome {
        self.queue(id, payload.len(), true, |outbox, spares, mask| {
            outbox.push_ping(spares, payload, mask);
        })
    }

    /// Queues a pong.
    pub(crate) fn send_pong(&mut self, id: ConnId, payload: &[u8]) -> SendOutcome {
        self.queue(id, payload.len(), true, |outbox, spares, mask| {
            outbox.push_pong(spares, payload, mask);
        })
    }

    /// The only way into an outbox for frames that are queued individually: limits first, then the
    /// bytes. A ping or pong that does not fit is dropped without further consequence, and never
    /// shed by the slow consumer policy.
    #[inline(always)]
    pub(crate) fn queue(
        &mut self,
        id: ConnId,
        payload_len: usize,
        is_control: bool,
        push: impl FnOnce(&mut Outbox, &mut SpareQueues, Option<[u8; 4]>),
    ) -> SendOutcome {
        self.queue_if(id, |_| true, payload_len, is_control, push)
    }

    /// Like [`Core::queue`], if `may_send` allows it for the connection.
    #[inline(always)]
    fn queue_if(
        &mut self,
        id: ConnId,
        may_send: impl FnOnce(&Connection) -> bool,
        payload_len: usize,
        is_control: bool,
        push: impl FnOnce(&mut Outbox, &mut SpareQueues, Option<[u8; 4]>),
    ) -> SendOutcome {
        let conn = self.conns.get_mut(id);
        let Some(conn) = conn.filter(|conn| conn.is_open() && may_send(conn)) else {
            return SendOutcome::Gone;
        };
        self.outboxes.settle(id, conn);
        let limits = self.router.settings(conn.route);
        let frame = frame_bytes(payload_len);
        let takes_fast_path = conn.outbox.bytes() + frame <= limits.outbox_soft_bytes
            && conn.outbox.pressure() == Pressure::Normal
            && self.outboxes.surely_fits_common(frame)
            && conn.decoder.role() == Role::Server;
        if !takes_fast_path {
            return self.queue_checked(id, payload_len, is_control, push);
        }
        self.outboxes.change_settled(conn, |open| push(open.outbox, open.spares, None));
        debug_assert!(conn.outbox.bytes() <= limits.outbox_soft_bytes, "{id}: {payload_len} bytes");
        self.queues.enqueue_flush(id, conn);
        count_queued(conn, &mut self.metrics, payload_len, is_control);
        SendOutcome::Queued
    }

    /// Queues a frame that must be masked, or that may exceed a limit. Separate from
    /// [`Core::queue`], so that other frames do not pay for it.
    #[inline(never)]
    fn queue_checked(
        &mut self,
        id: ConnId,
        payload_len: usize,
        is_control: bool,
        push: impl FnOnce(&mut Outbox, &mut SpareQueues, Option<[u8; 4]>),
    ) -> SendOutcome {
        let Some(conn) = self.conns.get_mut(id) else {
            return SendOutcome::Gone;
        };
        let limits = self.router.settings(conn.route);
        if let Some(outcome) = self.outboxes.check_room(id, conn, limits, payload_len, is_control) {
            self.metrics.buffered_refused += u64::from(outcome == SendOutcome::Overloaded);
            self.metrics.messages_refused += u64::from(!is_control);
            if !is_control {
                self.apply_policy_after(outcome, id);
            }
            return outcome;
        }
        let mask = self.masks.for_frame_of(conn.decoder.role());
        self.outboxes.change_settled(conn, |open| push(open.outbox, open.spares, mask));
        let is_congested = conn.outbox.bytes() > limits.outbox_soft_bytes;
        let is_first = is_congested && conn.outbox.above_soft_since().is_none();
        count_queued(conn, &mut self.metrics, payload_len, is_control);
        self.enqueue_flush(id);
        if is_first {
            self.metrics.congested += 1;
            self.mark_above_soft(id, Pressure::Congested);
            self.arm(id);
        }
        if is_congested { SendOutcome::Congested } else { SendOutcome::Queued }
    }

    /// Records that a connection's outbox rose above its soft limit.
    pub(crate) fn mark_above_soft(&mut self, id: ConnId, pressure: Pressure) {
        if let Some(conn) = self.conns.get_mut(id) {
            let now = self.now;
            self.outboxes.change(id, conn, |open| open.outbox.mark_above_soft(now, pressure));
        }
    }

    /// Queues an HTTP head, which no limit applies to.
    pub(crate) fn queue_head(&mut self, id: ConnId, head: Vec<u8>) {
        if let Some(conn) = self.conns.get_mut(id).filter(|_| !head.is_empty()) {
            self.outboxes.change(id, conn, |open| open.outbox.push_head(open.spares, head));
            self.enqueue_flush(id);
        }
    }

    /// Applies the slow consumer policy after a message that did not fit. The receiver is not at
    /// fault for a message larger than any queue.
    fn apply_policy_after(&mut self, outcome: SendOutcome, id: ConnId) {
        match outcome {
            SendOutcome::TooLarge => {}
            SendOutcome::Overloaded => self.apply_slow_policy(id, CloseReason::Overloaded),
            _ => self.apply_slow_policy(id, CloseReason::SlowConsumer),
        }
    }

    /// Applies the route's slow consumer policy: closes the connection for `reason`, or drops
    /// messages for it until its outbox has drained.
    pub(crate) fn apply_slow_policy(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(conn) = self.conns.get(id) {
            match self.router.settings(conn.route).slow_policy {
                SlowPolicy::Close => self.close(id, reason),
                SlowPolicy::Drop => self.mark_above_soft(id, Pressure::Shedding),
            }
        }
    }

    /// Queues one text message built from pieces. Shared pieces are neither copied nor compressed.
    pub(crate) fn send_pieces(&mut self, id: ConnId, pieces: &[Piece]) -> SendOutcome {
        let sum = self.outboxes.ledger.shared_sum();
        let payload_len = pieces.iter().map(|piece| piece.len()).sum();
        self.queue(id, payload_len, false, |outbox, spares, mask| match mask {
            None => outbox.push_pieces(spares, &sum, Opcode::Text, pieces),
            Some(_) => {
                let mut whole = Vec::with_capacity(payload_len);
                pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                outbox.push_frame(spares, Opcode::Text, &whole, mask);
            }
        })
    }

    /// Whether memory for a message to this connection is available.
    pub(crate) fn has_memory(&self, id: ConnId, payload_len: usize) -> bool {
        self.conns.get(id).is_some_and(|conn| {
            let held = self.outboxes.held_by(conn);
            self.outboxes.allows(held, frame_bytes(payload_len))
        })
    }
}

/// Counts a queued frame that carries a message.
#[inline(always)]
fn count_queued(
    conn: &mut Connection,
    metrics: &mut Metrics,
    payload_len: usize,
    is_control: bool,
) {
    if !is_control {
        metrics.messages_out += 1;
        conn.traffic.count_out(payload_len);
    }
}
