//! The output queue of one connection: chunks, written by one vectored write per turn.
//!
//! It owns the order of the bytes. It applies no limits and no policies: `outboxes.rs` checks the
//! hard limit and the memory limit, `send.rs` and `deadlines.rs` apply the policy. A frame on the
//! wire is never split by another one; frames of which the kernel has accepted no byte can be
//! dropped. An empty outbox owns no memory: its queue returns to the spares.

use std::io::{self, Write};
use std::rc::Rc;

use self::pressure::Pressure;
use self::queue::{Chunk, Queue};
use self::spares::SpareQueues;
use crate::protocol::encoder::clip;
use crate::protocol::frame::CONTROL_BYTES_MAX;
use crate::protocol::{CloseFrame, Encoder, Masked, Message, Opcode, SharedFrame};
use crate::reactor::api::budget::WRITE_BYTES;
use crate::reactor::api::time::Time;
use crate::reactor::parts::shared::Shared;

mod pieces;
pub(crate) mod pressure;
mod queue;
#[cfg_attr(not(feature = "tls"), path = "../without/conn/outbox/records.rs")]
pub(crate) mod records;
#[cfg_attr(not(feature = "tls"), path = "../without/conn/outbox/sealed.rs")]
mod sealed;
pub(crate) mod spares;

/// The result of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All queued bytes were written.
    Empty,
    /// The kernel accepts no more bytes for now.
    Blocked,
    /// The turn's budget is spent; the kernel might accept more.
    Budget,
}

/// The queue of one connection. Invariant: `None` exactly while no byte is queued.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Queue>>);

impl Outbox {
    /// Bytes queued that the kernel has not accepted yet.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes allocated for this outbox alone.
    #[inline(always)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.held_bytes())
    }

    /// Whether the ledger's charge for this outbox is out of date. A message that fits into
    /// allocated memory changes nothing.
    #[inline(always)]
    pub(crate) fn is_uncharged(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.charged != queue.allocated)
    }

    /// Updates the charge; returns the old and the new one, for the ledger.
    pub(crate) fn charge(&mut self) -> (usize, usize) {
        self.0.as_mut().map_or((0, 0), |queue| {
            (std::mem::replace(&mut queue.charged, queue.allocated), queue.allocated)
        })
    }

    /// Bytes that other outboxes may share.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.shared)
    }

    /// Whether the allocation counts are correct. Visits each chunk; for debug assertions and
    /// tests.
    pub(crate) fn is_measured(&self) -> bool {
        self.0.as_ref().is_none_or(|queue| queue.is_measured())
    }

    /// Whether a message with a payload of this length fits into allocated memory.
    pub(crate) fn has_room(&self, payload_len: usize) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.has_room(payload_len))
    }

    /// Frees unused capacity.
    pub(crate) fn shrink(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.shrink();
        }
    }

    /// When the kernel stopped accepting bytes, if it has.
    pub(crate) fn blocked_since(&self) -> Option<Time> {
        self.0.as_ref().and_then(|queue| queue.blocked_since)
    }

    /// Since when more bytes than the soft limit are queued.
    pub(crate) fn above_soft_since(&self) -> Option<Time> {
        self.0.as_ref().and_then(|queue| queue.above_soft_since)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.0.as_ref().map_or(Pressure::Normal, |queue| queue.pressure)
    }

    /// Records that the queue rose above the soft limit.
    pub(crate) fn mark_above_soft(&mut self, now: Time, pressure: Pressure) {
        if let Some(queue) = &mut self.0 {
            queue.above_soft_since.get_or_insert(now);
            queue.pressure = pressure;
        }
    }

    /// Records that the queue has fallen to the soft limit, if it has.
    pub(crate) fn mark_below_soft(&mut self, soft: usize) {
        if let Some(queue) = self.0.as_mut().filter(|queue| queue.bytes <= soft) {
            queue.above_soft_since = None;
        }
    }

    /// Records that the queue has fallen to low water.
    pub(crate) fn mark_drained(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.pressure = Pressure::Normal;
        }
    }

    /// Queues the head of an HTTP message.
    pub(crate) fn push_head(&mut self, spares: &mut SpareQueues, head: Vec<u8>) {
        self.push_chunk(spares, Chunk::Raw(head));
    }

    /// Queues bytes that are opaque to this outbox: it neither splits nor drops them.
    #[cfg(feature = "proxy")]
    pub(crate) fn push_raw(&mut self, spares: &mut SpareQueues, bytes: &[u8]) {
        if !bytes.is_empty() {
            let queue = self.queue(spares);
            queue.bytes += bytes.len();
            queue.push_raw(bytes);
        }
    }

    /// Records that the kernel accepts no bytes: a write that bypassed the outbox has shown it.
    #[cfg(feature = "proxy")]
    pub(crate) fn mark_blocked(&mut self, now: Time) {
        if let Some(queue) = &mut self.0 {
            queue.blocked_since = Some(now);
        }
    }

    /// Queues a piece of an HTTP response body, which other outboxes may share.
    pub(crate) fn push_body(&mut self, spares: &mut SpareQueues, piece: Rc<Shared>) {
        self.push_chunk(spares, Chunk::Body(piece));
    }

    /// Queues one message.
    #[inline]
    pub(crate) fn push_message(
        &mut self,
        spares: &mut SpareQueues,
        message: Message<'_>,
        mask: Option<[u8; 4]>,
    ) {
        self.push_frame(spares, message.opcode(), message.as_bytes(), mask);
    }

    /// Queues one message that is masked already.
    pub(crate) fn push_premasked(&mut self, spares: &mut SpareQueues, message: Masked<'_>) {
        self.append(
            spares,
            message.payload.len(),
            #[inline(always)]
            |tail| Encoder::masked(tail, message),
        );
    }

    /// Records a write that bypassed the outbox: the kernel has accepted the first `written` bytes
    /// of the only queued message.
    pub(crate) fn record_partial_write(&mut self, written: usize, now: Time) {
        if let Some(queue) = &mut self.0 {
            queue.advance(written);
            queue.blocked_since = Some(now);
        }
    }

    /// Queues whole small frames.
    pub(crate) fn push_frames(&mut self, spares: &mut SpareQueues, frames: &[u8]) {
        self.append(spares, frames.len(), |tail| tail.extend_from_slice(frames));
    }

    /// Queues a message in its compressed form.
    #[cfg(feature = "deflate")]
    pub(crate) fn push_compressed(
        &mut self,
        spares: &mut SpareQueues,
        opcode: Opcode,
        payload: &[u8],
        mask: Option<[u8; 4]>,
    ) {
        self.append(spares, payload.len(), |tail| {
            Encoder::with_mask(tail, mask).compressed(opcode, payload);
        });
    }

    /// Queues a server's frame that other outboxes share.
    pub(crate) fn push_shared(&mut self, spares: &mut SpareQueues, frame: Rc<Shared>) {
        self.push_chunk(spares, Chunk::Shared(frame));
    }

    fn push_chunk(&mut self, spares: &mut SpareQueues, chunk: Chunk) {
        let queue = self.queue(spares);
        queue.seal();
        queue.bytes += chunk.bytes().len();
        queue.push(chunk);
    }

    /// Queues the payload of a shared frame for a server, masked.
    pub(crate) fn push_with_mask(
        &mut self,
        spares: &mut SpareQueues,
        frame: &SharedFrame,
        mask: Option<[u8; 4]>,
    ) {
        self.push_frame(spares, frame.opcode(), frame.payload(), mask);
    }

    /// Queues a ping.
    pub(crate) fn push_ping(
        &mut self,
        spares: &mut SpareQueues,
        payload: &[u8],
        mask: Option<[u8; 4]>,
    ) {
        self.push_frame(spares, Opcode::Ping, clip(payload), mask);
    }

    /// Queues a pong. While the peer does not read, only the latest one is kept (RFC 6455, 5.5.3),
    /// and it is sent before the queued messages.
    pub(crate) fn push_pong(
        &mut self,
        spares: &mut SpareQueues,
        payload: &[u8],
        mask: Option<[u8; 4]>,
    ) {
        if self.blocked_since().is_none() {
            return self.push_frame(spares, Opcode::Pong, clip(payload), mask);
        }
        let mut pong = Vec::new();
        Encoder::with_mask(&mut pong, mask).pong(payload);
        self.queue(spares).place_pong(pong);
    }

    /// Queues a Close after all queued frames.
    pub(crate) fn push_close(
        &mut self,
        spares: &mut SpareQueues,
        close: Option<CloseFrame<'_>>,
        mask: Option<[u8; 4]>,
    ) {
        self.append(spares, CONTROL_BYTES_MAX, |tail| Encoder::with_mask(tail, mask).close(close));
    }

    /// Drops the frames of which the kernel has accepted no byte, except a Close. Returns the
    /// number of dropped messages.
    pub(crate) fn drop_unsent(&mut self, spares: &mut SpareQueues) -> u64 {
        let Some(queue) = &mut self.0 else {
            return 0;
        };
        let dropped = queue.drop_unsent();
        self.recycle_if_empty(spares);
        dropped
    }

    /// Drops the whole queue of an ended connection. Returns the number of messages of which the
    /// kernel has accepted no byte.
    pub(crate) fn clear(&mut self, spares: &mut SpareQueues) -> u64 {
        let Some(mut queue) = self.0.take() else {
            return 0;
        };
        let dropped = queue.drop_unsent();
        queue.sealed = Default::default();
        queue.chunks.clear();
        queue.tail.clear();
        queue.written = 0;
        queue.bytes = 0;
        queue.remeasure();
        spares.give_back(queue);
        dropped
    }

    /// The queued bytes, if a single write may carry them all and changes no other state: the
    /// peer keeps up, and nothing was written in part.
    #[inline(always)]
    pub(crate) fn single_write(&self) -> Option<&[u8]> {
        let queue = self.0.as_ref()?;
        let is_single = queue.chunks.is_empty()
            && queue.bytes == queue.tail.len()
            && queue.bytes <= WRITE_BYTES
            && queue.pressure == Pressure::Normal
            && queue.blocked_since.is_none();
        is_single.then_some(&queue.tail)
    }

    /// Empties the outbox: the kernel has accepted all that [`Outbox::single_write`] returned.
    #[inline(always)]
    pub(crate) fn finish_single_write(&mut self, spares: &mut SpareQueues) {
        if let Some(mut queue) = self.0.take() {
            queue.tail.clear();
            queue.bytes = 0;
            spares.give_back(queue);
        }
    }

    /// Writes once, within the turn's budget. Returns the number of bytes that the kernel accepted.
    ///
    /// # Errors
    /// The connection is broken. A full send buffer is not an error.
    pub(crate) fn flush(
        &mut self,
        socket: &mut impl Write,
        spares: &mut SpareQueues,
        now: Time,
    ) -> io::Result<(usize, Flushed)> {
        let Some(queue) = &mut self.0 else {
            return Ok((0, Flushed::Empty));
        };
        let (offered, result) = queue.write(socket);
        self.record_write(offered, result, spares, now)
    }

    /// Removes the bytes that a write of `offered` bytes has moved to the kernel; returns what
    /// [`Outbox::flush`] returns.
    ///
    /// # Errors
    /// As [`Outbox::flush`].
    pub(crate) fn record_write(
        &mut self,
        offered: usize,
        result: io::Result<usize>,
        spares: &mut SpareQueues,
        now: Time,
    ) -> io::Result<(usize, Flushed)> {
        let taken = match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let Some(queue) = &mut self.0 else {
            return Ok((0, Flushed::Empty));
        };
        queue.advance(taken);
        if taken < offered {
            // Progress restarts the wait: only a peer that accepts nothing at all is stuck.
            if taken > 0 || queue.blocked_since.is_none() {
                queue.blocked_since = Some(now);
            }
            return Ok((taken, Flushed::Blocked));
        }
        queue.blocked_since = None;
        if queue.bytes > 0 {
            return Ok((taken, Flushed::Budget));
        }
        self.recycle_if_empty(spares);
        Ok((taken, Flushed::Empty))
    }

    fn queue(&mut self, spares: &mut SpareQueues) -> &mut Queue {
        self.0.get_or_insert_with(|| spares.lend())
    }

    /// Queues one frame: an unfragmented message or a control frame.
    #[inline(always)]
    pub(crate) fn push_frame(
        &mut self,
        spares: &mut SpareQueues,
        opcode: Opcode,
        payload: &[u8],
        mask: Option<[u8; 4]>,
    ) {
        self.append(
            spares,
            payload.len(),
            #[inline(always)]
            |tail| Encoder::with_mask(tail, mask).frame(true, opcode, payload),
        );
    }

    /// Appends whole small frames with `encode`, for which about `payload_len` bytes are reserved.
    #[inline(always)]
    fn append(
        &mut self,
        spares: &mut SpareQueues,
        payload_len: usize,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let queue = self.queue(spares);
        let tail = queue.tail(payload_len);
        let (before, room) = (tail.len(), tail.capacity());
        encode(tail);
        debug_assert_eq!(tail.capacity(), room, "the frame is larger than its room");
        queue.bytes += tail.len() - before;
    }

    fn recycle_if_empty(&mut self, spares: &mut SpareQueues) {
        if let Some(queue) = self.0.take_if(|queue| queue.bytes == 0) {
            spares.give_back(queue);
        }
    }
}

#[cfg(test)]
mod tests;
