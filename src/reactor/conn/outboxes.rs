//! The only way to change a connection's outbox, and what each change needs: batches, spare queues,
//! ledger.
//!
//! [`Outboxes::change`] first copies the frames of the connection's batch, so that nothing
//! overtakes them. Afterwards it updates the ledger, whether the change succeeded or not: a failed
//! write releases exactly the bytes that it removed from the queue.

pub(crate) mod output;

use std::io;

use mio::net::TcpStream;

use super::batch::Batches;
use super::cold::ColdState;
use super::connection::Connection;
use super::outbox::pressure::Pressure;
use super::outbox::records::flush_session;
use super::outbox::spares::SpareQueues;
use super::outbox::{Flushed, Outbox};
use crate::protocol::encoder::frame_bytes;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;
use crate::reactor::parts::ledger::Ledger;
#[cfg(feature = "proxy")]
use crate::reactor::parts::relayed::RelayedSums;
use crate::reactor::parts::tls::SessionBuffers;

/// What a change may access.
pub(crate) struct Open<'a> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) spares: &'a mut SpareQueues,
    pub(crate) socket: &'a mut TcpStream,
    pub(crate) cold: &'a mut Option<Box<ColdState>>,
}

/// Data shared by all outboxes.
#[derive(Debug)]
pub(crate) struct Outboxes {
    pub(crate) batches: Batches,
    pub(crate) spares: SpareQueues,
    pub(crate) ledger: Ledger,
    #[cfg(feature = "proxy")]
    pub(super) relayed: RelayedSums,
}

impl Outboxes {
    pub(crate) fn new(ledger: Ledger) -> Outboxes {
        Outboxes {
            batches: Batches::default(),
            spares: SpareQueues::default(),
            ledger,
            #[cfg(feature = "proxy")]
            relayed: RelayedSums::default(),
        }
    }

    /// Changes the outbox of a connection.
    #[inline(always)]
    pub(crate) fn change<T>(
        &mut self,
        id: ConnId,
        conn: &mut Connection,
        change: impl FnOnce(Open<'_>) -> T,
    ) -> T {
        self.settle(id, conn);
        self.change_settled(conn, change)
    }

    /// Changes an outbox that was [settled](Outboxes::settle) just before.
    #[inline(always)]
    pub(crate) fn change_settled<T>(
        &mut self,
        conn: &mut Connection,
        change: impl FnOnce(Open<'_>) -> T,
    ) -> T {
        debug_assert!(conn.batch.is_none(), "a change before the frames of the batch");
        let Connection { outbox, socket, cold, .. } = conn;
        let open = Open { outbox: &mut outbox.0, spares: &mut self.spares, socket, cold };
        let result = change(open);
        self.charge(&mut outbox.0);
        result
    }

    /// Updates the ledger for an outbox, and for a queue that it may have returned to the spares.
    #[inline(always)]
    fn charge(&mut self, outbox: &mut Outbox) {
        if outbox.is_uncharged() || self.spares.is_uncharged() {
            self.replace_charge(outbox);
        }
    }

    #[inline(never)]
    fn replace_charge(&mut self, outbox: &mut Outbox) {
        let (before, held) = outbox.charge();
        self.ledger.replace(before, held);
        self.charge_spares();
    }

    /// Updates the ledger for spare queues that were created, changed on their return, or freed.
    pub(crate) fn charge_spares(&mut self) {
        match self.spares.take_uncharged() {
            0 => {}
            more @ 1.. => self.ledger.replace(0, more as usize),
            less => self.ledger.replace(less.unsigned_abs(), 0),
        }
    }

    /// Bytes that all connections hold: the ledger's sum without spare queues.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        self.ledger.held().saturating_sub(self.spares.charged())
    }

    /// What all connections hold, as a part of what is available to every connection.
    pub(crate) fn common_part(&self) -> f64 {
        self.ledger.common_part(self.held())
    }

    /// Whether any connection may hold `more` bytes, even if all spare queues were in use.
    #[inline(always)]
    pub(crate) fn surely_fits_common(&self, more: usize) -> bool {
        self.ledger.fits_common(self.ledger.held(), more)
    }

    /// Whether any connection may hold `more` bytes.
    #[inline(always)]
    pub(crate) fn fits_common(&self, more: usize) -> bool {
        self.ledger.fits_common(self.held(), more)
    }

    /// Whether a connection that holds `held` bytes may hold `more`.
    pub(crate) fn allows(&self, held: usize, more: usize) -> bool {
        self.ledger.allows(self.held(), held, more)
    }

    /// Encrypts and writes the output of a TLS connection.
    #[inline(never)]
    pub(crate) fn flush_sealed(
        &mut self,
        conn: &mut Connection,
        buffers: &mut SessionBuffers,
        now: Time,
    ) -> io::Result<(usize, Flushed)> {
        self.change_settled(conn, |open| {
            let Open { outbox, spares, socket, cold } = open;
            match cold.as_mut().and_then(|cold| cold.session.as_mut()) {
                None => outbox.flush(socket, spares, now),
                Some(session) => flush_session(buffers, session, outbox, socket, spares, now),
            }
        })
    }

    /// Ends a connection's membership in its batch, if any: copies the batch's frames into its
    /// outbox.
    #[inline(always)]
    pub(crate) fn settle(&mut self, id: ConnId, conn: &mut Connection) {
        if conn.batch.is_some() {
            self.copy_batch(id, conn);
        }
    }

    #[inline(never)]
    fn copy_batch(&mut self, id: ConnId, conn: &mut Connection) {
        debug_assert!(conn.outbox.is_empty(), "{id}: a batch member's outbox is not empty");
        let frames = self.batches.frames(conn);
        let before = frames.len();
        conn.outbox.0.push_frames(&mut self.spares, frames);
        self.ledger.replace(before, 0);
        self.charge(&mut conn.outbox.0);
        self.batches.leave(id, conn);
    }

    /// Ends the membership in a batch whose frames the kernel has accepted.
    pub(crate) fn end_batch(&mut self, conn: &mut Connection) {
        self.ledger.replace(self.batches.frames(conn).len(), 0);
        self.batches.written(conn);
    }

    /// Bytes queued for a connection that the kernel has not accepted yet.
    pub(crate) fn queued_bytes(&self, conn: &Connection) -> usize {
        conn.outbox.bytes() + self.batches.frames(conn).len()
    }

    /// Bytes that a connection holds alone, as the ledger counts them.
    pub(crate) fn own_bytes(&self, conn: &Connection) -> usize {
        let output = conn.outbox.held_bytes() + self.batches.frames(conn).len();
        conn.input_bytes as usize + output
    }

    /// Bytes that a connection holds for its own limits: shared buffers count fully.
    pub(crate) fn held_by(&self, conn: &Connection) -> usize {
        self.own_bytes(conn) + conn.outbox.shared_bytes()
    }

    /// Checks whether a frame with a payload of this length fits within the hard limit and the
    /// memory limit; returns the outcome if it does not. Pings and pongs are not shed.
    pub(crate) fn check_room(
        &mut self,
        id: ConnId,
        conn: &mut Connection,
        limits: &RouteSettings,
        payload_len: usize,
        is_control: bool,
    ) -> Option<SendOutcome> {
        let frame = frame_bytes(payload_len);
        if frame > limits.outbox_hard_bytes {
            return Some(SendOutcome::TooLarge);
        }
        let is_shed = conn.outbox.pressure() == Pressure::Shedding && !is_control;
        if is_shed || conn.outbox.bytes() + frame > limits.outbox_hard_bytes {
            return Some(SendOutcome::Full);
        }
        let is_allowed = self.fits_common(frame)
            || conn.outbox.has_room(payload_len)
            || self.fits_share(id, conn, frame);
        (!is_allowed).then_some(SendOutcome::Overloaded)
    }

    /// Whether a connection may hold `frame` more bytes when memory is short. Its unused capacity
    /// is freed first. The outbox may allocate more than `frame`, at most the rest of a chunk; that
    /// is charged right after.
    pub(crate) fn fits_share(&mut self, id: ConnId, conn: &mut Connection, frame: usize) -> bool {
        self.change(id, conn, |open| open.outbox.shrink());
        self.allows(self.held_by(conn), frame)
    }

    /// Updates a connection's charge for input; true if it has grown.
    pub(crate) fn charge_input(&mut self, conn: &mut Connection) -> bool {
        let (before, held) = (conn.input_bytes as usize, conn.measure_input());
        self.ledger.replace(before, held);
        // The cast is safe: head, unread bytes and message are each limited far below 4 GiB.
        conn.input_bytes = held as u32;
        self.count_relayed(conn);
        held > before
    }

    /// Releases all charges of a connection that is freed; returns the number of messages that were
    /// not sent.
    pub(crate) fn release(&mut self, id: ConnId, conn: &mut Connection) -> u64 {
        let dropped = self.change(id, conn, |open| open.outbox.clear(open.spares));
        self.ledger.replace(conn.input_bytes as usize, 0);
        conn.input_bytes = 0;
        self.forget_relayed(conn);
        dropped
    }
}
