//! The one way to change a connection's outbox, and what every change needs: batches, spare queues, ledger.
//!
//! [`Outboxes::change`] first copies the frames of a batch that the connection is a member of, so that
//! nothing overtakes them, and afterwards has the ledger compare, whatever became of the change: a write
//! that failed has released exactly what it took off the queue.

pub(crate) mod output;

use std::io;

use mio::net::TcpStream;

use super::batch::Batches;
use super::connection::{Connection, Rare};
use super::outbox::pressure::Pressure;
use super::outbox::records::flush_session;
use super::outbox::spares::SpareQueues;
use super::outbox::{Flushed, Outbox};
use crate::protocol::encoder::frame_bytes;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;
use crate::reactor::parts::ledger::Ledger;
use crate::reactor::parts::tls::SessionBuffers;

/// What a change may work with.
pub(crate) struct Open<'a> {
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) spares: &'a mut SpareQueues,
    pub(crate) socket: &'a mut TcpStream,
    pub(crate) rare: &'a mut Option<Box<Rare>>,
}

/// What all outboxes have in common.
#[derive(Debug)]
pub(crate) struct Outboxes {
    pub(crate) batches: Batches,
    pub(crate) spares: SpareQueues,
    pub(crate) ledger: Ledger,
}

impl Outboxes {
    pub(crate) fn new(ledger: Ledger) -> Outboxes {
        Outboxes { batches: Batches::default(), spares: SpareQueues::default(), ledger }
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

    /// The same for a connection that was [settled](Outboxes::settle) just now.
    #[inline(always)]
    pub(crate) fn change_settled<T>(
        &mut self,
        conn: &mut Connection,
        change: impl FnOnce(Open<'_>) -> T,
    ) -> T {
        debug_assert!(conn.batch.is_none(), "a change before the frames of the batch");
        let Connection { outbox, socket, rare, .. } = conn;
        let open = Open { outbox: &mut outbox.0, spares: &mut self.spares, socket, rare };
        let result = change(open);
        self.charge(&mut outbox.0);
        result
    }

    /// Has the ledger count what an outbox, and a queue that came back from it, hold by now.
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

    /// Has the ledger count queues that were made, changed on their way back, or freed.
    pub(crate) fn charge_spares(&mut self) {
        match self.spares.take_uncharged() {
            0 => {}
            more @ 1.. => self.ledger.replace(0, more as usize),
            less => self.ledger.replace(less.unsigned_abs(), 0),
        }
    }

    /// Bytes that all connections hold: the ledger has queues that no connection holds, too.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        self.ledger.held().saturating_sub(self.spares.charged())
    }

    /// Whether any connection may hold `more` bytes, even if all queues that no connection holds were in use.
    #[inline(always)]
    pub(crate) fn is_surely_plenty(&self, more: usize) -> bool {
        self.ledger.is_plenty(self.ledger.held(), more)
    }

    /// Whether any connection may hold `more` bytes.
    #[inline(always)]
    pub(crate) fn is_plenty(&self, more: usize) -> bool {
        self.ledger.is_plenty(self.held(), more)
    }

    /// Whether a connection that holds `held` bytes may hold `more`.
    pub(crate) fn allows(&self, held: usize, more: usize) -> bool {
        self.ledger.allows(self.held(), held, more)
    }

    /// Writes what is queued for a secure connection, as records.
    #[inline(never)]
    pub(crate) fn flush_sealed(
        &mut self,
        conn: &mut Connection,
        buffers: &mut SessionBuffers,
        now: Time,
    ) -> io::Result<(usize, Flushed)> {
        self.change_settled(conn, |open| {
            let Open { outbox, spares, socket, rare } = open;
            match rare.as_mut().and_then(|rare| rare.session.as_mut()) {
                None => outbox.flush(socket, spares, now),
                Some(session) => flush_session(buffers, session, outbox, socket, spares, now),
            }
        })
    }

    /// Ends the membership in a batch, if there is one: the connection gets a copy of the frames.
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

    /// Ends the membership in a batch whose frames the kernel has taken.
    pub(crate) fn end_batch(&mut self, conn: &mut Connection) {
        self.ledger.replace(self.batches.frames(conn).len(), 0);
        self.batches.written(conn);
    }

    /// Bytes that a connection is to be sent and the kernel has not taken yet.
    pub(crate) fn queued_bytes(&self, conn: &Connection) -> usize {
        conn.outbox.bytes() + self.batches.frames(conn).len()
    }

    /// Bytes that a connection holds for itself, as the ledger counts them.
    pub(crate) fn own_bytes(&self, conn: &Connection) -> usize {
        let output = conn.outbox.held_bytes() + self.batches.frames(conn).len();
        conn.input_bytes as usize + output
    }

    /// Bytes that a connection holds, as its own limits count them: shared bytes fully.
    pub(crate) fn held_by(&self, conn: &Connection) -> usize {
        self.own_bytes(conn) + conn.outbox.shared_bytes()
    }

    /// Why a frame with so many bytes of payload is not queued, if it is not. Pings and pongs are not shed.
    pub(crate) fn refusal(
        &mut self,
        id: ConnId,
        conn: &mut Connection,
        limits: &RouteSettings,
        payload_len: usize,
        is_control: bool,
    ) -> Option<CloseReason> {
        let frame = frame_bytes(payload_len);
        let is_shed = conn.outbox.pressure() == Pressure::Shedding && !is_control;
        if is_shed || conn.outbox.bytes() + frame > limits.outbox_hard {
            return Some(CloseReason::SlowConsumer);
        }
        let is_allowed = self.is_plenty(frame)
            || conn.outbox.has_room(payload_len)
            || self.fits_share(id, conn, frame);
        (!is_allowed).then_some(CloseReason::Overloaded)
    }

    /// Whether a connection may hold `frame` bytes more when buffers is short. What it has allocated and does
    /// not use is freed first. The outbox may allocate more than `frame`: at most the rest of a chunk, which
    /// is charged right after.
    fn fits_share(&mut self, id: ConnId, conn: &mut Connection, frame: usize) -> bool {
        self.change(id, conn, |open| open.outbox.shrink());
        self.allows(self.held_by(conn), frame)
    }

    /// Replaces what a connection is charged for its input; whether that is more than before.
    pub(crate) fn charge_input(&mut self, conn: &mut Connection) -> bool {
        let (before, held) = (conn.input_bytes as usize, conn.measure_input());
        self.ledger.replace(before, held);
        // The cast holds: head, unread bytes and message are each bounded far below 4 GiB.
        conn.input_bytes = held as u32;
        held > before
    }

    /// Releases all that a connection is charged for, because it is freed; returns how many messages were
    /// not sent.
    pub(crate) fn release(&mut self, id: ConnId, conn: &mut Connection) -> u64 {
        let dropped = self.change(id, conn, |open| open.outbox.clear(open.spares));
        self.ledger.replace(conn.input_bytes as usize, 0);
        conn.input_bytes = 0;
        dropped
    }
}
