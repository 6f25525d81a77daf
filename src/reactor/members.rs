//! What services ask of the core beyond one connection's queue: topics, broadcasts, records, pauses.
//!
//! The core's own effects (queueing, closing, arming) are in [`core`](super::core); this composes them.

use std::net::SocketAddr;

use super::connection::Connection;
use super::core::Core;
use super::publish::{Payload, PublishOptions, Published, Target};
use super::record::{Metadata, Record};
use super::topics::{JoinError, Joined, Left};
use super::{CloseReason, ConnId, SendOutcome, ServiceId};
use crate::protocol::SharedFrame;

impl Core {
    /// Queues one payload for many.
    pub(super) fn publish(
        &mut self,
        service: ServiceId,
        target: Target<'_>,
        payload: Payload<'_>,
        options: PublishOptions<'_>,
    ) -> Published {
        let mut targets = std::mem::take(&mut self.targets);
        match target {
            Target::Topic(name) => {
                targets.extend_from_slice(self.topics.members(service.number(), name));
            }
            Target::List(list) => targets.extend_from_slice(list),
            Target::All => {
                let ours = |conn: &Connection| conn.announced && conn.service == service;
                targets.extend(self.conns.iter().filter(|(_, conn)| ours(conn)).map(|(id, _)| id));
            }
        }
        let frame = match payload {
            Payload::Message(message) => Some(SharedFrame::message(message)),
            Payload::Ping(payload) => Some(SharedFrame::ping(payload)),
            Payload::Frame(frame) => Some(frame.clone()),
            Payload::Close(_) => None,
        };
        let mut published = Published::default();
        for &id in &targets {
            let outcome = match (&frame, payload) {
                _ if !self.is_meant(service, id, &options) => SendOutcome::Gone,
                (Some(frame), _) => self.send_shared(id, frame),
                (None, Payload::Close(close)) => {
                    self.begin_close(id, CloseReason::Service(close.code), close.reason);
                    SendOutcome::Queued
                }
                (None, _) => SendOutcome::Gone,
            };
            published.count(id, outcome, options.track);
            if options.fail_fast && outcome == SendOutcome::Refused {
                break;
            }
        }
        targets.clear();
        self.targets = targets;
        published
    }

    /// The cheap questions first: is it open and of this service, is it left out, does it pass.
    fn is_meant(&self, service: ServiceId, id: ConnId, options: &PublishOptions<'_>) -> bool {
        let conn = self.conns.get(id);
        conn.is_some_and(|conn| conn.is_open() && conn.service == service)
            && !options.except.contains(&id)
            && options
                .filter
                .is_none_or(|filter| self.record(id).is_some_and(|record| filter(&record)))
    }

    pub(super) fn subscribe(
        &mut self,
        service: ServiceId,
        id: ConnId,
        topic: &str,
    ) -> Result<Joined, JoinError> {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.is_open()) else {
            return Err(JoinError::NotOpen);
        };
        let joined = self.topics.join(service.number(), topic, id, &mut conn.topics);
        self.metrics.joins_refused += u64::from(joined.is_err());
        joined
    }

    pub(super) fn unsubscribe(&mut self, service: ServiceId, id: ConnId, topic: &str) -> Left {
        match self.conns.get_mut(id) {
            Some(conn) => self.topics.leave(service.number(), topic, &mut conn.topics),
            None => Left::NotMember,
        }
    }

    pub(super) fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.is_open()
            && !conn.paused
        {
            conn.paused = true;
            self.mark_dirty(id);
        }
    }

    /// Silence while we did not listen was not the peer's: its clocks begin anew.
    pub(super) fn resume(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if !conn.paused {
            return;
        }
        conn.paused = false;
        conn.last_heard = self.now;
        conn.last_data = self.now;
        if conn.decoder.is_mid_message() {
            conn.message_since = self.now;
        }
        self.mark_dirty(id);
        self.run(id);
        self.arm(id);
    }

    pub(super) fn record(&self, id: ConnId) -> Option<Record<'_>> {
        let conn = self.conns.get(id)?;
        let protocols = self.router.protocols(conn.service);
        let rare = conn.rare.as_deref();
        Some(Record {
            id,
            peer: SocketAddr::from(conn.peer),
            path: &conn.path,
            protocol: conn.protocol.map(|index| &*protocols[usize::from(index)]),
            is_open: conn.is_open(),
            opened: conn.opened,
            last_heard: conn.last_heard,
            traffic: conn.traffic,
            queued_bytes: conn.outbox.bytes(),
            round_trip: conn.pulse.round_trips.mean(),
            metadata: rare.and_then(|rare| rare.metadata.as_deref()).unwrap_or(Metadata::EMPTY),
        })
    }
}
