//! Compresses messages with shared tails, and checks and counts batches that other threads have
//! compressed.
//!
//! [`joined`](crate::reactor::effects::joined) queues both.

use crate::protocol::shared_tail::stored_block;
use crate::protocol::{BatchCounts, DeflateTerms, FrameBatch, Opcode, Role, SharedTail};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::conn::connection::Connection;
use crate::reactor::core::Core;
use crate::reactor::effects::joined::Joined;

impl Core {
    /// Sends a message with a shared tail compressed; `None` if it must be sent uncompressed.
    ///
    /// The tail's compressed form is shared, behind the head as a stored block. With context
    /// takeover the whole message goes through the connection's window.
    pub(crate) fn send_joined_deflated(
        &mut self,
        id: ConnId,
        head: &[u8],
        tail: &SharedTail,
    ) -> Option<SendOutcome> {
        let plain = tail.as_bytes();
        let len = head.len() + plain.len();
        let bits = self.deflates(id, len)?;
        if self.outgoing_window(id).is_some() {
            let message = [head, plain].concat();
            return self.send_through_window(id, Opcode::Text, &message);
        }
        let stored = stored_block(u16::try_from(head.len()).ok()?);
        // The tail's compressed form may refer as far back as its own start.
        if plain.len() > 1 << bits {
            return None;
        }
        let mut deflater = self.take_deflater();
        if !tail.was_compressed() {
            self.work.spend_deflate(plain.len());
        }
        let compressed = tail.compressed(&mut deflater);
        self.deflate.deflater = Some(deflater);
        let Some(compressed) = compressed else {
            self.metrics.messages_not_deflated += 1;
            return None;
        };
        let joined = Joined { compressed: true, head: [&stored, head], tail: compressed };
        let outcome = self.queue_joined(id, &joined);
        if outcome.is_queued() {
            self.count_deflated(id, len, stored.len() + head.len() + compressed.len());
        }
        Some(outcome)
    }

    /// What a connection has agreed to, if messages to it may be compressed.
    pub(crate) fn deflate_terms(&self, id: ConnId) -> Option<DeflateTerms> {
        let conn = self.conns.get(id)?;
        let is_possible = conn.deflate_bits > 0
            && conn.decoder.role() == Role::Server
            && !self.load.is_uncompressed;
        is_possible.then(|| DeflateTerms {
            window_bits: conn.deflate_bits,
            bytes_min: self.router.settings(conn.route).deflate_bytes_min,
            level: self.settings.deflate_level,
            mem_level: self.settings.deflate_mem_level,
        })
    }

    /// Whether the connection's peer can inflate all messages of a batch.
    pub(crate) fn can_inflate(conn: &Connection, batch: &FrameBatch) -> bool {
        batch.window_bits() <= conn.deflate_bits
    }

    /// Counts the compressed messages of a queued batch. The outgoing window does not contain them,
    /// and later messages may refer only to the latest bytes: it is freed.
    pub(crate) fn note_deflated_batch(&mut self, id: ConnId, counts: BatchCounts) {
        let deflated = counts.deflated;
        self.metrics.messages_deflated += deflated.messages as u64;
        self.metrics.messages_not_deflated += deflated.not_smaller as u64;
        self.metrics.bytes_deflated_from += deflated.from as u64;
        self.metrics.bytes_deflated_to += deflated.to as u64;
        if deflated.messages > 0 && self.outgoing_window(id).is_some_and(|held| held > 0) {
            self.free_window(id);
        }
    }

    /// Bytes of a connection's outgoing window, if it has one.
    fn outgoing_window(&self, id: ConnId) -> Option<usize> {
        let windows = self.conns.get(id)?.cold.as_ref()?.windows.as_ref()?;
        windows.outgoing.as_ref().map(|outgoing| outgoing.held_bytes())
    }
}
