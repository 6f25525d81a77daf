//! Sending to one connection, and the memory that it takes.
//!
//! Messages are queued here; the flush phase writes them.

use super::Context;
use crate::protocol::{DeflateTerms, FrameBatch, Masked, Message, Piece, SharedFrame, SharedTail};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;

impl Context<'_> {
    /// Queues a message. It is written at the end of the turn, together with other output of the
    /// connection; a large one at once, if nothing is queued.
    pub fn send<'m>(&mut self, conn: ConnId, message: impl Into<Message<'m>>) -> SendOutcome {
        self.core.send(conn, message.into())
    }

    /// Queues a message that the service has masked. Only outbound connections accept it; others
    /// return [`SendOutcome::WrongRole`], since a server must not mask (RFC 6455, 5.1).
    pub fn send_masked(&mut self, conn: ConnId, message: Masked<'_>) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_masked(conn, message)
    }

    /// A new masking key for [`Context::send_masked`], from a generator seeded by the system.
    pub fn masking_key(&mut self) -> [u8; 4] {
        self.core.masks.key()
    }

    /// Queues a frame that is encoded already.
    pub fn send_shared(&mut self, conn: ConnId, frame: &SharedFrame) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_shared(conn, frame)
    }

    /// Queues one text message built from pieces, which together must be UTF-8 (RFC 6455, 5.6).
    /// Large shared pieces are queued without a copy, and uncompressed.
    pub fn send_pieces(&mut self, conn: ConnId, pieces: &[Piece]) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_pieces(conn, pieces)
    }

    /// Queues a batch of text frames that another thread has made: all of them, or none if they do
    /// not fit. The limits of the connection apply to it as to one message of that size.
    ///
    /// A connection with context takeover frees its outgoing window after a batch with compressed
    /// messages: the next message then refers to nothing before it.
    ///
    /// Returns [`SendOutcome::WrongRole`] for an outbound connection, whose messages must be masked,
    /// and for a batch that was compressed under terms of another connection.
    pub fn send_batch(&mut self, conn: ConnId, batch: FrameBatch) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_batch(conn, batch)
    }

    /// How messages to a connection may be compressed by other threads, for
    /// [`send_batch`](Context::send_batch). `None`: they may not.
    pub fn deflate_terms(&self, conn: ConnId) -> Option<DeflateTerms> {
        if !self.owns(conn) {
            return None;
        }
        self.core.deflate_terms(conn)
    }

    /// Queues one text message made of a head and a tail, which together must be UTF-8 (RFC 6455,
    /// 5.6). The tail is shared with other messages: it is in memory once, and compressed once for
    /// all connections without context takeover. A head of more than 65,535 bytes, or a tail that is
    /// longer than the peer's window, is sent uncompressed there.
    pub fn send_joined(&mut self, conn: ConnId, head: &[u8], tail: &SharedTail) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_joined(conn, head, tail)
    }

    /// Whether a message with a payload of this length fits into the memory limits of the loop. The
    /// limits of the connection's own queue are not considered.
    pub fn has_memory(&self, conn: ConnId, payload_len: usize) -> bool {
        self.owns(conn) && self.core.has_memory(conn, payload_len)
    }

    /// Charges memory that the service holds for a connection, such as a request that waits, to the
    /// memory limit of the loop. From now on it is `bytes`, instead of the number of the last call;
    /// the end of the connection releases it. False if the limit is reached, or above
    /// [`HOLD_BYTES_MAX`](crate::reactor::budget::HOLD_BYTES_MAX): the last number stays.
    ///
    /// ```
    /// use weir::reactor::{ConnId, Context};
    ///
    /// fn keep(cx: &mut Context<'_>, conn: ConnId, kept: &mut Vec<Vec<u8>>, job: Vec<u8>) -> bool {
    ///     let bytes = kept.iter().map(Vec::len).sum::<usize>() + job.len();
    ///     let fits = cx.hold(conn, bytes);
    ///     if fits {
    ///         kept.push(job);
    ///     }
    ///     fits
    /// }
    /// ```
    pub fn hold(&mut self, conn: ConnId, bytes: usize) -> bool {
        self.core.hold(self.core.served, conn, bytes)
    }

    /// Queues a ping with a payload of the service; it is cut at 125 bytes. The heartbeat sends its
    /// own pings.
    pub fn ping(&mut self, conn: ConnId, payload: &[u8]) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_ping(conn, payload)
    }

    /// Bytes queued for a connection that the kernel has not accepted yet.
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        let conn = self.core.conns.owned(self.core.served, conn);
        conn.map_or(0, |conn| self.core.outboxes.queued_bytes(conn))
    }
}
