//! Queues frames built from pieces, some of which are shared with other outboxes.
//!
//! Large shared pieces become chunks without a copy. [`shared`](crate::reactor::parts::shared)
//! counts them for the ledger.

use super::Outbox;
use super::queue::Chunk;
use super::spares::SpareQueues;
use crate::protocol::{Encoder, Opcode, Piece};
use crate::reactor::parts::shared::{Bytes, SharedSum};

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
        Encoder::header(&mut own, opcode, payload_len);
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
}
