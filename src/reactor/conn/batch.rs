//! What a topic's members are sent alike within one turn: small messages, gathered once for them all.
//!
//! A connection that is owed nothing else *rides* on its topic's batch: its outbox stays empty, and the
//! flush writes it the batch's own bytes. So the second message and all that follow cost the same for
//! one rider as for thousands. Whatever else is to happen to a rider, it is first given a copy of what it
//! rides on and stands aside, with the members that could not ride at all: those are sent each message
//! singly, as ever. Owns frames and counts; never writes, and judges no limits.
//!
//! Riders are accounted as if each had its copy, which is what each gets if its peer does not take all at
//! once: never less than is in memory, and no surprise when a thousand peers stop reading.

use std::num::NonZeroU8;

use super::connection::Connection;
use crate::protocol::SharedFrame;
use crate::reactor::api::budget::{BATCH_BYTES_MAX, STRAYS_KEPT};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::record::Traffic;
use crate::reactor::parts::batch_id::BatchId;
use crate::reactor::parts::topics::TopicId;

/// The batches of a turn, and the memory of past ones.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    all: Vec<Batch>,
    /// Those without riders.
    free: Vec<BatchId>,
}

#[derive(Debug, Default)]
struct Batch {
    /// The topic whose messages it still takes.
    open: Option<TopicId>,
    riders: usize,
    /// Whole frames.
    frames: Vec<u8>,
    /// How long `frames` may become: no rider may be congested by it.
    bytes_max: usize,
    /// What each rider will have been sent.
    traffic: Traffic,
    /// The topic's members that do not ride.
    strays: Vec<ConnId>,
}

impl Batches {
    /// A new batch for a topic; `None` if there are too many.
    pub(crate) fn open(&mut self, topic: TopicId) -> Option<BatchId> {
        let id = self.free.pop().or_else(|| self.add())?;
        let batch = &mut self.all[id.index()];
        batch.open = Some(topic);
        batch.bytes_max = BATCH_BYTES_MAX;
        Some(id)
    }

    fn add(&mut self) -> Option<BatchId> {
        let count = u8::try_from(self.all.len() + 1).ok()?;
        self.all.push(Batch::default());
        NonZeroU8::new(count).map(BatchId)
    }

    /// How many ride on the topic's batch, if that takes so many bytes more. It takes none any more once
    /// a rider was written to.
    pub(crate) fn riders(&self, id: BatchId, topic: TopicId, more: usize) -> Option<usize> {
        let batch = &self.all[id.index()];
        let takes = batch.open == Some(topic) && batch.frames.len() + more <= batch.bytes_max;
        takes.then_some(batch.riders)
    }

    /// Lets a connection ride on an empty batch, as long as that has no more than `bytes_max` bytes.
    #[inline]
    pub(crate) fn board(&mut self, id: BatchId, conn: &mut Connection, bytes_max: usize) {
        let batch = &mut self.all[id.index()];
        batch.riders += 1;
        batch.bytes_max = batch.bytes_max.min(bytes_max);
        conn.batch = Some(id);
    }

    /// Notes a member that does not ride.
    pub(crate) fn leave_aside(&mut self, id: BatchId, member: ConnId) {
        self.all[id.index()].strays.push(member);
    }

    /// Appends a frame; returns how many riders are sent it by that.
    pub(crate) fn push(&mut self, id: BatchId, frame: &SharedFrame) -> usize {
        let batch = &mut self.all[id.index()];
        batch.frames.extend_from_slice(frame.as_bytes());
        batch.traffic.count_out(frame.payload().len());
        batch.riders
    }

    /// The members that do not ride; to be given back.
    pub(crate) fn take_strays(&mut self, id: BatchId) -> Vec<ConnId> {
        std::mem::take(&mut self.all[id.index()].strays)
    }

    pub(crate) fn give_back_strays(&mut self, id: BatchId, strays: Vec<ConnId>) {
        let batch = &mut self.all[id.index()];
        batch.strays = strays;
        if batch.riders == 0 {
            self.free(id);
        }
    }

    /// The frames that a connection is to be sent by riding.
    pub(crate) fn frames(&self, conn: &Connection) -> &[u8] {
        conn.batch.map_or(&[], |id| &self.all[id.index()].frames)
    }

    /// What went over a connection, that by riding included.
    pub(crate) fn traffic(&self, conn: &Connection) -> Traffic {
        let mut traffic = conn.traffic;
        if let Some(id) = conn.batch {
            traffic.add_out(&self.all[id.index()].traffic);
        }
        traffic
    }

    /// Ends a ride: the frames were written, and nothing can be appended to them any more.
    pub(crate) fn written(&mut self, conn: &mut Connection) {
        if let Some(id) = conn.batch {
            self.all[id.index()].open = None;
            self.end_ride(id, conn);
        }
    }

    /// Makes a member, which has got its own copy of the frames, one that each message is queued for.
    pub(crate) fn leave(&mut self, member: ConnId, conn: &mut Connection) {
        if let Some(id) = conn.batch {
            self.all[id.index()].strays.push(member);
            self.end_ride(id, conn);
        }
    }

    fn end_ride(&mut self, id: BatchId, conn: &mut Connection) {
        let batch = &mut self.all[id.index()];
        conn.batch = None;
        conn.traffic.add_out(&batch.traffic);
        batch.riders -= 1;
        if batch.riders == 0 {
            self.free(id);
        }
    }

    fn free(&mut self, id: BatchId) {
        let Batch { open, frames, traffic, strays, .. } = &mut self.all[id.index()];
        *open = None;
        *traffic = Traffic::default();
        frames.clear();
        strays.clear();
        strays.shrink_to(STRAYS_KEPT);
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::rc::Rc;

    use super::super::connection::Place;
    use super::super::outboxes::Outboxes;
    use super::*;
    use crate::protocol::{Decoder, Message, Role};
    use crate::reactor::api::id::RouteId;
    use crate::reactor::api::id::ServiceId;
    use crate::reactor::api::settings::Settings;
    use crate::reactor::api::time::Time;
    use crate::reactor::conn::handshake::Handshake;
    use crate::reactor::conn::phase::Phase;
    use crate::reactor::parts::ledger::Ledger;

    const TOPIC: TopicId = TopicId(0);

    /// Open connections that are not written to.
    fn connections(count: u32) -> Vec<(ConnId, Connection)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connection = |serial| {
            let id = ConnId::new(serial as usize, serial);
            let socket = mio::net::TcpStream::connect(address).unwrap();
            let decoder = Decoder::new(Role::Server);
            let handshake = Handshake::new(Time::ZERO);
            let (route, service) = (RouteId::default(), ServiceId::default());
            let place = Place { route, service, path: Rc::from("/") };
            let phase = Phase::Open;
            (id, Connection::new(id, socket, address, decoder, phase, handshake, place))
        };
        (1..=count).map(connection).collect()
    }

    fn frame(payload: &[u8]) -> SharedFrame {
        SharedFrame::message(Message::Binary(payload))
    }

    #[test]
    fn riders_have_all_that_is_pushed_until_one_is_written() {
        let mut outboxes = Outboxes::new(Ledger::new(&Settings::default()));
        let mut conns = connections(3);
        let batches = &mut outboxes.batches;
        let id = batches.open(TOPIC).unwrap();
        for (_, conn) in &mut conns {
            assert!(conn.can_ride());
            batches.board(id, conn, 1000);
            assert!(!conn.can_ride());
        }
        assert_eq!(batches.push(id, &frame(b"one")), 3);
        // A member that has its own copy gets no part of what follows.
        let (first, conn) = &mut conns[0];
        outboxes.ledger.replace(0, 3 * 5);
        outboxes.settle(*first, conn);
        assert_eq!(outboxes.held(), 2 * 5 + conn.outbox.held_bytes());
        let batches = &mut outboxes.batches;
        assert_eq!((conn.outbox.bytes(), batches.frames(conn).len()), (5, 0));
        assert_eq!(batches.take_strays(id), [*first]);
        assert_eq!(batches.push(id, &frame(b"three")), 2);
        assert_eq!((conn.outbox.bytes(), batches.traffic(conn).bytes_out), (5, 3));

        let conn = &mut conns[1].1;
        assert_eq!(batches.frames(conn), b"\x82\x03one\x82\x05three");
        assert_eq!(batches.riders(id, TOPIC, 1), Some(2));
        batches.written(conn);
        assert_eq!(batches.riders(id, TOPIC, 1), None);
        assert!(conn.can_ride());
        for (_, conn) in &conns[1..] {
            let traffic = batches.traffic(conn);
            assert_eq!((traffic.messages_out, traffic.bytes_out), (2, 8));
        }
    }

    #[test]
    fn a_batch_grows_to_the_least_of_all_limits() {
        let mut batches = Batches::default();
        let mut conns = connections(2);
        let id = batches.open(TOPIC).unwrap();
        batches.board(id, &mut conns[0].1, usize::MAX);
        assert_eq!(batches.riders(id, TOPIC, BATCH_BYTES_MAX), Some(1));
        assert_eq!(batches.riders(id, TOPIC, BATCH_BYTES_MAX + 1), None);
        batches.board(id, &mut conns[1].1, 100);
        batches.push(id, &frame(&[0; 58]));
        assert_eq!(batches.riders(id, TOPIC, 40), Some(2));
        assert_eq!(batches.riders(id, TOPIC, 41), None);
    }

    #[test]
    fn there_are_no_more_than_a_byte_can_name_and_their_memory_is_bounded() {
        let mut batches = Batches::default();
        let mut conns = connections(1);
        let conn = &mut conns[0].1;
        let ids: Vec<BatchId> = std::iter::from_fn(|| batches.open(TOPIC)).collect();
        assert_eq!(ids.len(), 255);
        let large = frame(&[0; 500]);
        for &id in &ids {
            batches.board(id, conn, usize::MAX);
            while batches.riders(id, TOPIC, large.as_bytes().len()).is_some() {
                batches.push(id, &large);
            }
            (0..10 * STRAYS_KEPT).for_each(|slot| batches.leave_aside(id, ConnId::new(slot, 1)));
            batches.written(conn);
        }
        let held = |batch: &Batch| (batch.frames.capacity(), batch.strays.capacity());
        for (frames, strays) in batches.all.iter().map(held) {
            assert!(frames < 2 * BATCH_BYTES_MAX && strays <= STRAYS_KEPT, "{frames}, {strays}");
        }
        // All of them may be used again, and remember nothing.
        for _ in &ids {
            let id = batches.open(TOPIC).unwrap();
            assert_eq!(batches.riders(id, TOPIC, BATCH_BYTES_MAX), Some(0));
            assert_eq!(batches.take_strays(id), []);
        }
        assert_eq!(batches.open(TOPIC), None);
    }

    #[test]
    fn a_batch_that_nobody_rides_on_is_free_at_once() {
        let mut batches = Batches::default();
        for _ in 0..1000 {
            let id = batches.open(TOPIC).unwrap();
            batches.leave_aside(id, ConnId::new(1, 1));
            let strays = batches.take_strays(id);
            batches.give_back_strays(id, strays);
        }
        assert_eq!(batches.all.len(), 1);
    }
}
