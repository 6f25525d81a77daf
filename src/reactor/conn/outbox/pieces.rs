//! Queues frames built from pieces, some of which are shared with other outboxes, and frames that
//! were encoded elsewhere.
//!
//! Large shared pieces become chunks without a copy. [`shared`](crate::reactor::parts::shared)
//! counts them for the ledger.

use std::rc::Rc;

use super::Outbox;
use super::queue::Chunk;
use super::spares::SpareQueues;
use crate::protocol::frame::HEADER_BYTES_MAX;
use crate::protocol::{Encoder, Opcode, Piece};
use crate::reactor::api::budget::SHARE_BYTES_MIN;
use crate::reactor::parts::shared::{Bytes, Shared, SharedSum};

impl Outbox {
    /// Queues a server's message as one frame built from pieces. Shared pieces are not copied.
    pub(crate) fn push_pieces(
        &mut self,
        spares: &mut SpareQueues,
        sum: &SharedSum,
        opcode: Opcode,
        pieces: &[Piece],
    ) {
        let payload_len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let queue = self.queue(spares);
        queue.seal();
        let mut own = Vec::new();
        Encoder::header(&mut own, false, opcode, payload_len);
        queue.bytes += own.len() + payload_len;
        let mut chunk: fn(Vec<u8>) -> Chunk = Chunk::Start;
        for piece in pieces {
            match Bytes::of_piece(piece) {
                Some(shared) => {
                    if !own.is_empty() {
                        queue.push(chunk(std::mem::take(&mut own)));
                        chunk = Chunk::Rest;
                    }
                    queue.push(Chunk::SharedRest(sum.hold(shared)));
                }
                None => own.extend_from_slice(piece),
            }
        }
        if !own.is_empty() {
            queue.push(chunk(own));
        }
    }

    /// Queues a server's text message as one frame whose payload is `head` and a shared tail. Both
    /// together may be a compressed form.
    pub(crate) fn push_joined(
        &mut self,
        spares: &mut SpareQueues,
        compressed: bool,
        head: &[&[u8]],
        tail: Rc<Shared>,
    ) {
        let head_len: usize = head.iter().map(|part| part.len()).sum();
        let payload_len = head_len + tail.len();
        let mut own = Vec::with_capacity(HEADER_BYTES_MAX + head_len);
        Encoder::header(&mut own, compressed, Opcode::Text, payload_len);
        head.iter().for_each(|part| own.extend_from_slice(part));
        let queue = self.queue(spares);
        queue.seal();
        queue.bytes += own.len() + tail.len();
        queue.push(Chunk::Start(own));
        queue.push(Chunk::SharedRest(tail));
    }

    /// Queues a text message as one frame; the parts together are its payload.
    pub(crate) fn push_parts(
        &mut self,
        spares: &mut SpareQueues,
        compressed: bool,
        parts: &[&[u8]],
        mask: Option<[u8; 4]>,
    ) {
        let payload_len = parts.iter().map(|part| part.len()).sum();
        self.append(spares, payload_len, |tail| {
            Encoder::with_mask(tail, mask).parts(compressed, parts);
        });
    }

    /// Queues whole frames, as a chunk of their own if there are many bytes.
    pub(crate) fn push_batch(&mut self, spares: &mut SpareQueues, mut frames: Vec<u8>) {
        if frames.len() < SHARE_BYTES_MIN {
            return self.push_frames(spares, &frames);
        }
        if frames.capacity() / 2 > frames.len() {
            frames.shrink_to_fit();
        }
        self.push_chunk(spares, Chunk::Frames(frames));
    }
}
