//! Batches: small messages for a topic's members, gathered once per turn for all of them.
//!
//! A connection without other output becomes a *member* of its topic's batch. Its outbox stays
//! empty, and the flush writes the batch's bytes. The second message and each later one therefore
//! cost the same for one member as for thousands. Before anything else touches such a connection,
//! [`settle`](super::outboxes::Outboxes::settle) copies the batch's bytes into its outbox. It then
//! is an *individual member* of the topic, like members that cannot join: each message is queued
//! for it individually. Batches own frames and counts; they write nothing and check no limits.
//!
//! Members are charged as if each had a copy. A member gets that copy if its peer does not accept
//! all bytes at once, so the charge never falls below the memory in use, even when a thousand peers
//! stop reading.

use std::num::NonZeroU8;

use super::connection::Connection;
use crate::protocol::SharedFrame;
use crate::reactor::api::budget::{BATCH_BYTES_MAX, INDIVIDUALS_KEPT};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::record::Traffic;
use crate::reactor::parts::batch_id::BatchId;
use crate::reactor::parts::topics::TopicId;

/// The batches of a turn, and free ones for later turns.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    all: Vec<Batch>,
    /// Batches without members.
    free: Vec<BatchId>,
}

#[derive(Debug, Default)]
struct Batch {
    /// The topic whose messages it still accepts.
    open: Option<TopicId>,
    members: usize,
    /// Whole frames, encoded.
    frames: Vec<u8>,
    /// Maximum length of `frames`, so that it congests no member.
    bytes_max: usize,
    /// The messages and bytes of `frames`, which each member is sent.
    traffic: Traffic,
    /// The topic's members that are not members of the batch.
    individuals: Vec<ConnId>,
}

impl Batches {
    /// Opens a batch for a topic; `None` if 255 are in use.
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

    /// The number of members of the topic's batch, if it accepts `more` bytes. It accepts none once
    /// it was written to a member.
    pub(crate) fn members_with_room(
        &self,
        id: BatchId,
        topic: TopicId,
        more: usize,
    ) -> Option<usize> {
        let batch = &self.all[id.index()];
        let takes = batch.open == Some(topic) && batch.frames.len() + more <= batch.bytes_max;
        takes.then_some(batch.members)
    }

    /// Makes a connection a member of an empty batch, and limits the batch to `bytes_max`.
    #[inline]
    pub(crate) fn join(&mut self, id: BatchId, conn: &mut Connection, bytes_max: usize) {
        let batch = &mut self.all[id.index()];
        batch.members += 1;
        batch.bytes_max = batch.bytes_max.min(bytes_max);
        conn.batch = Some(id);
    }

    /// Adds an individual member.
    pub(crate) fn add_individual(&mut self, id: BatchId, member: ConnId) {
        self.all[id.index()].individuals.push(member);
    }

    /// Appends a frame; returns the number of batch members that are sent it.
    pub(crate) fn push(&mut self, id: BatchId, frame: &SharedFrame) -> usize {
        let batch = &mut self.all[id.index()];
        batch.frames.extend_from_slice(frame.as_bytes());
        batch.traffic.count_out(frame.payload().len());
        batch.members
    }

    /// Takes the list of individual members; to be returned with `return_individuals`.
    pub(crate) fn take_individuals(&mut self, id: BatchId) -> Vec<ConnId> {
        std::mem::take(&mut self.all[id.index()].individuals)
    }

    pub(crate) fn return_individuals(&mut self, id: BatchId, individuals: Vec<ConnId>) {
        let batch = &mut self.all[id.index()];
        batch.individuals = individuals;
        if batch.members == 0 {
            self.free(id);
        }
    }

    /// The batch's frames that a connection is to be sent.
    pub(crate) fn frames(&self, conn: &Connection) -> &[u8] {
        conn.batch.map_or(&[], |id| &self.all[id.index()].frames)
    }

    /// The traffic of a connection, including its batch.
    pub(crate) fn traffic(&self, conn: &Connection) -> Traffic {
        let mut traffic = conn.traffic;
        if let Some(id) = conn.batch {
            traffic.add_out(&self.all[id.index()].traffic);
        }
        traffic
    }

    /// Ends a membership after the frames were written. Nothing can be appended to the batch any
    /// more.
    pub(crate) fn written(&mut self, conn: &mut Connection) {
        if let Some(id) = conn.batch {
            self.all[id.index()].open = None;
            self.end_membership(id, conn);
        }
    }

    /// Ends a membership after the frames were copied: the connection becomes an individual member.
    pub(crate) fn leave(&mut self, member: ConnId, conn: &mut Connection) {
        if let Some(id) = conn.batch {
            self.all[id.index()].individuals.push(member);
            self.end_membership(id, conn);
        }
    }

    fn end_membership(&mut self, id: BatchId, conn: &mut Connection) {
        let batch = &mut self.all[id.index()];
        conn.batch = None;
        conn.traffic.add_out(&batch.traffic);
        batch.members -= 1;
        if batch.members == 0 {
            self.free(id);
        }
    }

    fn free(&mut self, id: BatchId) {
        let Batch { open, frames, traffic, individuals, .. } = &mut self.all[id.index()];
        *open = None;
        *traffic = Traffic::default();
        frames.clear();
        individuals.clear();
        individuals.shrink_to(INDIVIDUALS_KEPT);
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

    /// Open connections without output.
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
    fn members_share_all_frames_until_one_is_written() {
        let mut outboxes = Outboxes::new(Ledger::new(&Settings::default()));
        let mut conns = connections(3);
        let batches = &mut outboxes.batches;
        let id = batches.open(TOPIC).unwrap();
        for (_, conn) in &mut conns {
            assert!(conn.can_join_batch());
            batches.join(id, conn, 1000);
            assert!(!conn.can_join_batch());
        }
        assert_eq!(batches.push(id, &frame(b"one")), 3);
        // A member with its own copy gets no further frames of the batch.
        let (first, conn) = &mut conns[0];
        outboxes.ledger.replace(0, 3 * 5);
        outboxes.settle(*first, conn);
        assert_eq!(outboxes.held(), 2 * 5 + conn.outbox.held_bytes());
        let batches = &mut outboxes.batches;
        assert_eq!((conn.outbox.bytes(), batches.frames(conn).len()), (5, 0));
        assert_eq!(batches.take_individuals(id), [*first]);
        assert_eq!(batches.push(id, &frame(b"three")), 2);
        assert_eq!((conn.outbox.bytes(), batches.traffic(conn).bytes_out), (5, 3));

        let conn = &mut conns[1].1;
        assert_eq!(batches.frames(conn), b"\x82\x03one\x82\x05three");
        assert_eq!(batches.members_with_room(id, TOPIC, 1), Some(2));
        batches.written(conn);
        assert_eq!(batches.members_with_room(id, TOPIC, 1), None);
        assert!(conn.can_join_batch());
        for (_, conn) in &conns[1..] {
            let traffic = batches.traffic(conn);
            assert_eq!((traffic.messages_out, traffic.bytes_out), (2, 8));
        }
    }

    #[test]
    fn a_batch_is_limited_by_the_smallest_limit_of_its_members() {
        let mut batches = Batches::default();
        let mut conns = connections(2);
        let id = batches.open(TOPIC).unwrap();
        batches.join(id, &mut conns[0].1, usize::MAX);
        assert_eq!(batches.members_with_room(id, TOPIC, BATCH_BYTES_MAX), Some(1));
        assert_eq!(batches.members_with_room(id, TOPIC, BATCH_BYTES_MAX + 1), None);
        batches.join(id, &mut conns[1].1, 100);
        batches.push(id, &frame(&[0; 58]));
        assert_eq!(batches.members_with_room(id, TOPIC, 40), Some(2));
        assert_eq!(batches.members_with_room(id, TOPIC, 41), None);
    }

    #[test]
    fn batches_are_at_most_255_and_their_memory_is_bounded() {
        let mut batches = Batches::default();
        let mut conns = connections(1);
        let conn = &mut conns[0].1;
        let ids: Vec<BatchId> = std::iter::from_fn(|| batches.open(TOPIC)).collect();
        assert_eq!(ids.len(), 255);
        let large = frame(&[0; 500]);
        for &id in &ids {
            batches.join(id, conn, usize::MAX);
            while batches.members_with_room(id, TOPIC, large.as_bytes().len()).is_some() {
                batches.push(id, &large);
            }
            (0..10 * INDIVIDUALS_KEPT)
                .for_each(|slot| batches.add_individual(id, ConnId::new(slot, 1)));
            batches.written(conn);
        }
        let held = |batch: &Batch| (batch.frames.capacity(), batch.individuals.capacity());
        for (frames, individuals) in batches.all.iter().map(held) {
            assert!(
                frames < 2 * BATCH_BYTES_MAX && individuals <= INDIVIDUALS_KEPT,
                "{frames}, {individuals}"
            );
        }
        // All of them are reusable and empty.
        for _ in &ids {
            let id = batches.open(TOPIC).unwrap();
            assert_eq!(batches.members_with_room(id, TOPIC, BATCH_BYTES_MAX), Some(0));
            assert_eq!(batches.take_individuals(id), []);
        }
        assert_eq!(batches.open(TOPIC), None);
    }

    #[test]
    fn a_batch_without_members_is_free_at_once() {
        let mut batches = Batches::default();
        for _ in 0..1000 {
            let id = batches.open(TOPIC).unwrap();
            batches.add_individual(id, ConnId::new(1, 1));
            let individuals = batches.take_individuals(id);
            batches.return_individuals(id, individuals);
        }
        assert_eq!(batches.all.len(), 1);
    }
}
