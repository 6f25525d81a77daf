//! Sends messages built from pieces; many connections may share large pieces.

use crate::protocol::encoder::frame_bytes;
use crate::protocol::{Opcode, Piece};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::core::Core;

impl Core {
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
        self.conns.get(id).is_none_or(|conn| {
            let held = self.outboxes.held_by(conn);
            self.outboxes.allows(held, frame_bytes(payload_len))
        })
    }
}
