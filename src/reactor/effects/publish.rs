//! Publishing: one message to many connections.
//!
//! The frame is encoded once. It is queued for each receiver, or, if it is small and the target is
//! a topic, once in a [batch](crate::reactor::conn::batch) for all members that can join it; the
//! outcome is the same. Nothing is retried: refusals are counted, and the route's slow consumer
//! policy applies.

use crate::protocol::SharedFrame;
use crate::reactor::api::budget::{DELIVERY_WORK, SHARE_BYTES_MIN};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::publish::{Payload, PublishOptions, Published, Target};
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outboxes::Outboxes;
use crate::reactor::core::Core;
use crate::reactor::parts::batch_id::BatchId;
use crate::reactor::parts::topics::TopicId;

impl Core {
    /// Queues one payload for many connections.
    pub(crate) fn publish(
        &mut self,
        service: ServiceId,
        target: Target<'_>,
        payload: Payload<'_>,
        options: PublishOptions<'_>,
    ) -> Published {
        let made;
        let frame = match payload {
            Payload::Message(message) => {
                made = SharedFrame::message(message);
                Some(&made)
            }
            Payload::Ping(payload) => {
                made = SharedFrame::ping(payload);
                Some(&made)
            }
            Payload::Frame(frame) => Some(frame),
            Payload::Close(_) => None,
        };
        if let (Target::Topic(name), Some(frame)) = (target, frame)
            && let Some(published) = self.publish_in_batch(service, name, frame, options)
        {
            return published;
        }
        let mut targets = std::mem::take(&mut self.targets);
        match target {
            Target::Topic(name) => {
                targets.extend_from_slice(self.topics.members(service.number(), name));
            }
            Target::List(list) => targets.extend_from_slice(list),
            Target::All => {
                let ours = |conn: &Connection| conn.is_announced() && conn.service == service;
                targets.extend(self.conns.iter().filter(|(_, conn)| ours(conn)).map(|(id, _)| id));
            }
        }
        // Each receiver costs this much, whatever the outcome.
        self.work.spend(targets.len() * DELIVERY_WORK);
        let shared = frame.and_then(|frame| self.share(frame));
        let mut published = Published::default();
        for &id in &targets {
            let outcome = match (frame, payload) {
                _ if !self.is_receiver(service, id, &options) => SendOutcome::Gone,
                (Some(frame), _) => self.send_counted(id, frame, shared.as_ref()),
                (None, Payload::Close(close)) => {
                    self.begin_close(id, CloseReason::Service(close.code), close.reason);
                    SendOutcome::Queued
                }
                (None, _) => SendOutcome::Gone,
            };
            published.count(id, outcome, options.track);
            if options.fail_fast && outcome.is_refused() {
                break;
            }
        }
        targets.clear();
        self.targets = targets;
        published
    }

    /// Whether a connection receives the message. The cheap checks come first; the filter is last.
    fn is_receiver(&self, service: ServiceId, id: ConnId, options: &PublishOptions<'_>) -> bool {
        self.conns.owned(service, id).is_some_and(Connection::is_open)
            && !options.except.contains(&id)
            && options
                .filter
                .is_none_or(|filter| self.record(id).is_some_and(|record| filter(&record)))
    }

    /// Queues one small message for the members of a topic: once for all batch members, and for
    /// each individual member. `None`, without effect, if the message or the topic does not allow a
    /// batch.
    fn publish_in_batch(
        &mut self,
        service: ServiceId,
        name: &str,
        frame: &SharedFrame,
        options: PublishOptions<'_>,
    ) -> Option<Published> {
        let bytes = frame.as_bytes().len();
        // Members may be sent it compressed, with individual windows.
        let may_be_deflated = frame.payload().len() >= self.deflate.bytes_min();
        if bytes >= SHARE_BYTES_MIN
            || may_be_deflated
            || frame.opcode().is_control()
            || !options.allow_batch()
        {
            return None;
        }
        let topic = self.topics.id(service.number(), name)?;
        let batch = match self.batch_with_room(topic, bytes, options.except) {
            Some(batch) => batch,
            None => self.begin_batch(service, topic, bytes, options.except)?,
        };
        let members = self.outboxes.batches.push(batch, frame);
        self.metrics.messages_out += members as u64;
        self.outboxes.ledger.replace(0, members * bytes);
        let mut published = Published { sent: members, ..Published::default() };
        let individuals = self.outboxes.batches.take_individuals(batch);
        self.work.spend_batch(members);
        self.work.spend(individuals.len() * DELIVERY_WORK);
        for &id in &individuals {
            let outcome = match self.is_receiver(service, id, &options) {
                true => self.send_shared(id, frame),
                false => SendOutcome::Gone,
            };
            published.count(id, outcome, false);
        }
        self.outboxes.batches.return_individuals(batch, individuals);
        Some(published)
    }

    /// The topic's open batch, if it has room for `bytes`. Connections in `except` leave it.
    fn batch_with_room(
        &mut self,
        topic: TopicId,
        bytes: usize,
        except: &[ConnId],
    ) -> Option<BatchId> {
        let batch = self.topics.batch(topic)?;
        for &id in except {
            if let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.batch == Some(batch)) {
                self.outboxes.settle(id, conn);
            }
        }
        let members = self.outboxes.batches.members_with_room(batch, topic, bytes)?;
        self.outboxes.fits_common(members * bytes).then_some(batch)
    }

    /// Opens a batch for the topic. It gets those members that can join and that are far from all
    /// limits with a message of this size.
    fn begin_batch(
        &mut self,
        service: ServiceId,
        topic: TopicId,
        bytes: usize,
        except: &[ConnId],
    ) -> Option<BatchId> {
        let all = self.outboxes.held();
        let Outboxes { batches, ledger, .. } = &mut self.outboxes;
        let batch = batches.open(topic)?;
        self.topics.set_batch(topic, batch);
        let mut more = bytes;
        for &id in self.topics.members_of(topic) {
            let meant = |conn: &&mut Connection| {
                conn.can_join_batch() && conn.service == service && !except.contains(&id)
            };
            let Some(conn) = self.conns.get_mut(id).filter(meant) else {
                batches.add_individual(batch, id);
                continue;
            };
            let soft = self.router.settings(conn.route).outbox_soft_bytes;
            if bytes > soft || !ledger.fits_common(all, more) {
                batches.add_individual(batch, id);
                continue;
            }
            more += bytes;
            batches.join(batch, conn, soft);
            if !conn.in_flush_queue {
                conn.in_flush_queue = true;
                self.queues.flush.push_back(id);
            }
        }
        Some(batch)
    }
}
