//! Pending calls: the reply that each belongs to, and its deadline.
//!
//! A reply waits here from the first call that the backend answers later to the last one. All calls
//! have the same timeout, so the call that has waited longest is the next to be overdue.

use std::collections::VecDeque;
use std::time::Duration;

use slab::Slab;

use super::backend::Ticket;
use super::wire::error::RpcError;
use super::wire::filling::Filling;
use super::wire::reply::{Failed, Reply};
use super::wire::subscription::SubscriptionId;
use crate::reactor::{ConnId, Time};

/// Deadlines of complete replies are removed when there are more of them than this and than pending
/// replies.
const STALE_MAX: usize = 1024;

/// The transport of a message, and so of its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Http,
}

/// The connection and the transport of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) conn: ConnId,
    pub(super) transport: Transport,
}

/// A reply that is not complete.
#[derive(Debug)]
pub(super) struct PendingReply {
    number: u64,
    pub(super) conn: ConnId,
    pub(super) transport: Transport,
    pub(super) reply: Reply,
    /// Placeholders that are not filled.
    missing: usize,
}

/// The deadline of a pending reply.
#[derive(Debug, Clone, Copy)]
struct Due {
    until: Time,
    slot: usize,
    number: u64,
}

/// All pending calls.
#[derive(Debug, Default)]
pub(super) struct PendingCalls {
    replies: Slab<PendingReply>,
    /// Placeholders that are not filled, in all replies.
    missing: usize,
    /// Sorted by time. Includes deadlines of complete replies.
    due: VecDeque<Due>,
    /// The number of the last message.
    last: u64,
}

/// The effect of an answer.
#[derive(Debug)]
pub(super) enum Filled {
    /// No call waits for it.
    Unknown,
    /// Other answers to the same message are missing.
    Partly(Option<Failed>),
    /// The reply is complete; its slot is free again.
    Complete(Option<Failed>, usize, PendingReply),
}

impl PendingCalls {
    /// Starts a message: the next tickets are for its calls.
    pub(super) fn start_message(&mut self) {
        self.last += 1;
    }

    /// A ticket for the call that would leave this placeholder in the reply.
    pub(super) fn ticket(&self, placeholder: usize) -> Ticket {
        Ticket { number: self.last, placeholder, slot: self.replies.vacant_key() }
    }

    /// The number of pending calls.
    pub(super) fn len(&self) -> usize {
        self.missing
    }

    /// Keeps a reply until its placeholders are filled; returns its slot.
    pub(super) fn keep(&mut self, origin: Origin, reply: Reply, until: Time) -> usize {
        let Origin { conn, transport } = origin;
        let (number, missing) = (self.last, reply.placeholders());
        self.missing += missing;
        let reply = PendingReply { number, conn, transport, reply, missing };
        let slot = self.replies.insert(reply);
        self.due.push_back(Due { until, slot, number });
        if self.due.len() > 2 * self.replies.len() + STALE_MAX {
            let replies = &self.replies;
            self.due.retain(|due| find(replies, due.slot, due.number).is_some());
        }
        slot
    }

    /// The subscriptions that wait for their source, in the order of their calls.
    pub(super) fn waiting_subscriptions(&self) -> Vec<(Ticket, SubscriptionId)> {
        let of = |(slot, pending): (usize, &'_ PendingReply)| {
            let number = pending.number;
            let waiting = pending.reply.waiting_subscriptions();
            waiting
                .map(|(placeholder, id)| (Ticket { number, placeholder, slot }, id))
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.replies.iter().flat_map(of).collect();
        all.sort_unstable_by_key(|(ticket, _)| *ticket);
        all
    }

    /// The subscription that waits for this answer, and its connection.
    pub(super) fn waiting_subscription(&self, ticket: Ticket) -> Option<(ConnId, SubscriptionId)> {
        let pending = find(&self.replies, ticket.slot, ticket.number)?;
        Some((pending.conn, pending.reply.waiting_subscription(ticket.placeholder)?))
    }

    /// Fills the placeholder of a call.
    pub(super) fn fill(
        &mut self,
        ticket: Ticket,
        answer: Result<Filling<'_>, &RpcError>,
    ) -> Filled {
        let pending = self.replies.get_mut(ticket.slot);
        let Some(pending) = pending.filter(|pending| pending.is_waiting_for(ticket)) else {
            return Filled::Unknown;
        };
        let failed = pending.reply.fill(ticket.placeholder, answer);
        pending.missing -= 1;
        self.missing -= 1;
        if pending.missing > 0 {
            return Filled::Partly(failed);
        }
        Filled::Complete(failed, ticket.slot, self.replies.remove(ticket.slot))
    }

    /// Removes replies whose connection has ended.
    pub(super) fn forget(&mut self, slots: &[usize]) {
        for &slot in slots {
            if let Some(pending) = self.replies.try_remove(slot) {
                self.missing -= pending.missing;
            }
        }
    }

    /// A call whose deadline has passed.
    pub(super) fn overdue(&mut self, now: Time) -> Option<Ticket> {
        while let Some(&Due { until, slot, number }) = self.due.front() {
            if let Some(pending) = find(&self.replies, slot, number) {
                if until > now {
                    return None;
                }
                if let Some(placeholder) = pending.reply.first_open() {
                    return Some(Ticket { number, placeholder, slot });
                }
            }
            self.due.pop_front();
        }
        None
    }

    /// The time until a call may be overdue.
    pub(super) fn next_due(&self, now: Time) -> Option<Duration> {
        self.due.front().map(|due| due.until.since(now))
    }
}

fn find(replies: &Slab<PendingReply>, slot: usize, number: u64) -> Option<&PendingReply> {
    replies.get(slot).filter(|pending| pending.number == number)
}

impl PendingReply {
    fn is_waiting_for(&self, ticket: Ticket) -> bool {
        self.number == ticket.number && self.reply.is_open(ticket.placeholder)
    }
}
