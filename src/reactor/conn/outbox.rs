//! What one connection has yet to be sent: a queue of chunks, written by one vectored write a turn.
//!
//! Owns the order of the bytes and nothing else: limits and policies are applied by the caller, who
//! reads [`Outbox::bytes`]. A frame on the wire is never split by another; frames that the kernel has
//! not begun to take can be dropped. An empty outbox owns no memory: its queue goes back to a pool.

use std::io::{self, Write};
use std::rc::Rc;

use self::queue::{Chunk, Queue};
use crate::protocol::encoder::clip;
use crate::protocol::frame::CONTROL_BYTES_MAX;
use crate::protocol::{CloseFrame, Encoder, Masked, Message, Opcode, SharedFrame};
use crate::reactor::api::time::Time;
use crate::reactor::parts::shared::Shared;

mod pieces;
mod queue;
#[cfg_attr(not(feature = "tls"), path = "../without/sealed.rs")]
mod sealed;
mod spares;

#[cfg(feature = "tls")]
pub(crate) use self::sealed::{Workspace, Written};
pub(crate) use self::spares::SpareQueues;

/// How full an outbox is, as its route's limits see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Pressure {
    /// Never above the soft limit since it was last below low water.
    #[default]
    Easy,
    /// Went above the soft limit; `on_drain` is owed when it falls below low water.
    Congested,
    /// The same, and messages are dropped until then.
    Shedding,
}

/// What one write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    Empty,
    /// The kernel takes no more for now.
    Blocked,
    /// The turn's budget is spent; the kernel might take more.
    Budget,
}

/// The queue of one connection; `None` while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Option<Box<Queue>>);

impl Outbox {
    /// Bytes queued and not yet with the kernel.
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

    /// Whether the ledger has something else for this outbox than it holds. A message that fits into what is
    /// allocated changes nothing.
    #[inline(always)]
    pub(crate) fn is_uncharged(&self) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.charged != queue.allocated)
    }

    /// What the ledger had for this outbox, and what it has from now on.
    pub(crate) fn charge(&mut self) -> (usize, usize) {
        self.0.as_mut().map_or((0, 0), |queue| {
            (std::mem::replace(&mut queue.charged, queue.allocated), queue.allocated)
        })
    }

    /// Bytes that other outboxes may refer to, too.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.shared)
    }

    /// Whether what [`Outbox::held_bytes`] returns is what is allocated. Looks at each chunk.
    pub(crate) fn is_measured(&self) -> bool {
        self.0.as_ref().is_none_or(|queue| queue.is_measured())
    }

    /// Whether a message of so many bytes needs no more memory.
    pub(crate) fn has_room(&self, payload_len: usize) -> bool {
        self.0.as_ref().is_some_and(|queue| queue.has_room(payload_len))
    }

    /// Frees what is allocated and not used.
    pub(crate) fn shrink(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.shrink();
        }
    }

    /// Since when the kernel takes nothing.
    pub(crate) fn blocked_since(&self) -> Option<Time> {
        self.0.as_ref().and_then(|queue| queue.blocked_since)
    }

    /// Since when more than the soft limit is queued.
    pub(crate) fn above_soft_since(&self) -> Option<Time> {
        self.0.as_ref().and_then(|queue| queue.above_soft_since)
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.0.as_ref().map_or(Pressure::Easy, |queue| queue.pressure)
    }

    /// Notes that the queue went above the soft limit.
    pub(crate) fn congest(&mut self, now: Time, pressure: Pressure) {
        if let Some(queue) = &mut self.0 {
            queue.above_soft_since.get_or_insert(now);
            queue.pressure = pressure;
        }
    }

    /// Notes that the queue may have fallen below the soft limit.
    pub(crate) fn relax(&mut self, soft: usize) {
        if let Some(queue) = self.0.as_mut().filter(|queue| queue.bytes <= soft) {
            queue.above_soft_since = None;
        }
    }

    /// Notes that the queue has fallen below low water.
    pub(crate) fn ease(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.pressure = Pressure::Easy;
        }
    }

    /// Queues the head of an HTTP message.
    pub(crate) fn push_head(&mut self, spares: &mut SpareQueues, head: Vec<u8>) {
        self.push_chunk(spares, Chunk::Head(head));
    }

    /// Queues a piece of the body of an HTTP answer, which other answers have, too.
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

    /// Notes that the kernel has taken these bytes of the one message that is queued, and no more.
    pub(crate) fn begun(&mut self, written: usize, now: Time) {
        if let Some(queue) = &mut self.0 {
            queue.advance(written);
            queue.blocked_since = Some(now);
        }
    }

    /// Queues some whole small frames.
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

    /// Queues a server's frame that other outboxes refer to, too.
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
    pub(crate) fn push_masked(
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

    /// Queues a pong in its place. While the peer does not read, only the latest is kept (RFC 6455,
    /// 5.5.3), and it goes out before the messages that wait.
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

    /// Queues a Close behind everything else.
    pub(crate) fn push_close(
        &mut self,
        spares: &mut SpareQueues,
        close: Option<CloseFrame<'_>>,
        mask: Option<[u8; 4]>,
    ) {
        self.append(spares, CONTROL_BYTES_MAX, |tail| Encoder::with_mask(tail, mask).close(close));
    }

    /// Drops the frames that the kernel has not started to take, except a Close; returns how many of them
    /// carry messages.
    pub(crate) fn cut(&mut self, spares: &mut SpareQueues) -> u64 {
        let Some(queue) = &mut self.0 else {
            return 0;
        };
        let dropped = queue.cut();
        self.recycle_if_empty(spares);
        dropped
    }

    /// Drops everything, for a connection that is gone; returns how many messages the kernel has not
    /// started to take.
    pub(crate) fn clear(&mut self, spares: &mut SpareQueues) -> u64 {
        let Some(mut queue) = self.0.take() else {
            return 0;
        };
        let dropped = queue.cut();
        queue.sealed = Default::default();
        queue.chunks.clear();
        queue.tail.clear();
        queue.written = 0;
        queue.bytes = 0;
        queue.remeasure();
        spares.give_back(queue);
        dropped
    }

    /// Writes once, as much as the turn's budget allows; returns the bytes that the kernel took.
    ///
    /// # Errors
    /// The connection is broken. That it takes nothing for now is no error.
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
        let taken = match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        queue.advance(taken);
        if taken < offered {
            // Progress begins the wait anew: only a peer that takes nothing at all is stuck.
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

    /// Queues a frame that is a message or a control frame of its own.
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

    /// Has whole small frames, of about so many bytes of payload, written behind all that is queued.
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
