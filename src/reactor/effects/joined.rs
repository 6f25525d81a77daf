//! Queues messages whose bytes were made elsewhere: batches of frames from other threads, and
//! messages whose end many connections share.
//!
//! Both go through [`Core::queue`], so limits, policies and counts are those of any message.
//! [`deflate_joined`](crate::reactor::effects::deflate_joined) has their compressed forms.

use std::sync::Arc;

use crate::protocol::{BatchCounts, FrameBatch, Role, SharedTail};
use crate::reactor::api::budget::{DELIVERY_WORK, SHARE_BYTES_MIN};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::core::Core;
use crate::reactor::parts::shared::Bytes;

/// The payload of one text message, perhaps in compressed form.
pub(crate) struct Joined<'a> {
    pub(crate) compressed: bool,
    /// The start, in two parts; copied.
    pub(crate) head: [&'a [u8]; 2],
    /// The end; shared, if it is large.
    pub(crate) tail: &'a Arc<[u8]>,
}

impl Core {
    /// Queues a batch of frames, all or none of them.
    pub(crate) fn send_batch(&mut self, id: ConnId, batch: FrameBatch) -> SendOutcome {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.is_open()) else {
            return SendOutcome::Gone;
        };
        if conn.decoder.role() == Role::Client || !Core::can_inflate(conn, &batch) {
            return SendOutcome::WrongRole;
        }
        if batch.is_empty() {
            return SendOutcome::Queued;
        }
        let (counts, bytes) = (batch.counts, batch.bytes());
        let outcome = self.queue(id, bytes, false, |outbox, spares, _| {
            outbox.push_batch(spares, batch.into_frames());
        });
        if outcome.is_queued() {
            self.note_batch(id, counts, bytes);
        } else if outcome.is_refused() {
            self.metrics.messages_refused += counts.messages as u64 - 1;
        }
        outcome
    }

    /// Counts a queued batch: the queue has counted it as one message of `bytes` bytes.
    fn note_batch(&mut self, id: ConnId, counts: BatchCounts, bytes: usize) {
        let others = counts.messages as u64 - 1;
        self.metrics.messages_out += others;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.traffic.messages_out += others;
            conn.traffic.bytes_out -= bytes as u64;
            conn.traffic.bytes_out += counts.payload_bytes as u64;
        }
        self.note_deflated_batch(id, counts);
    }

    /// Queues one text message made of a head, which is copied, and a shared tail.
    pub(crate) fn send_joined(
        &mut self,
        id: ConnId,
        head: &[u8],
        tail: &SharedTail,
    ) -> SendOutcome {
        self.work.spend(DELIVERY_WORK);
        if head.len() + tail.as_bytes().len() >= self.deflate.bytes_min()
            && let Some(outcome) = self.send_joined_deflated(id, head, tail)
        {
            return outcome;
        }
        self.queue_joined(id, &Joined { compressed: false, head: [&[], head], tail: tail.bytes() })
    }

    /// Queues the payload of one text message.
    pub(crate) fn queue_joined(&mut self, id: ConnId, joined: &Joined<'_>) -> SendOutcome {
        let &Joined { compressed, head, tail } = joined;
        let is_large = tail.len() >= SHARE_BYTES_MIN;
        let shared = is_large.then(|| self.outboxes.ledger.share(Bytes::Piece(Arc::clone(tail))));
        let [first, second] = head;
        let payload_len = first.len() + second.len() + tail.len();
        self.queue(id, payload_len, false, |outbox, spares, mask| match (mask, shared) {
            (None, Some(shared)) => outbox.push_joined(spares, compressed, &head, shared),
            (mask, _) => outbox.push_parts(spares, compressed, &[first, second, tail], mask),
        })
    }
}
