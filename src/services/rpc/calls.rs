//! Calls under way: which reply each belongs to, and until when its answer may come.
//!
//! A reply waits here from the first call that the backend answers later to the last one. All calls
//! have the same time, so the one that has waited longest is the next to be overdue.

use std::collections::VecDeque;
use std::time::Duration;

use slab::Slab;

use super::backend::Ticket;
use super::wire::error::RpcError;
use super::wire::filling::Filling;
use super::wire::reply::{Failed, Reply};
use super::wire::subscription::SubscriptionId;
use crate::reactor::{ConnId, Time};

/// Deadlines of exchanges long over that may lie about, beside as many as there are exchanges.
const STALE_MAX: usize = 1024;

/// How a message came, and so where its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    WebSocket,
    Http,
}

/// A reply that is not complete.
#[derive(Debug)]
pub(super) struct Exchange {
    number: u64,
    pub(super) conn: ConnId,
    pub(super) via: Via,
    pub(super) reply: Reply,
    missing: usize,
}

/// When the answers to an exchange must be there.
#[derive(Debug, Clone, Copy)]
struct Due {
    until: Time,
    slot: usize,
    number: u64,
}

/// All calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    exchanges: Slab<Exchange>,
    waiting: usize,
    due: VecDeque<Due>,
    last: u64,
}

/// What an answer did.
#[derive(Debug)]
pub(super) enum Filled {
    /// Nobody waits for it.
    Unknown,
    /// Others are still missing.
    Partly(Option<Failed>),
    /// The reply is complete; the exchange stood in this slot.
    Whole(Option<Failed>, usize, Exchange),
}

impl Calls {
    /// A message has come: tickets are for its calls from here on.
    pub(super) fn begin(&mut self) {
        self.last += 1;
    }

    /// A ticket for the call that would leave this hole in the reply.
    pub(super) fn ticket(&self, hole: usize) -> Ticket {
        Ticket { number: self.last, hole, slot: self.exchanges.vacant_key() }
    }

    /// Calls that wait for their answer.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Keeps a reply until its holes are filled, in the slot that it says.
    pub(super) fn wait(&mut self, (conn, via): (ConnId, Via), reply: Reply, until: Time) -> usize {
        let (number, missing) = (self.last, reply.holes());
        self.waiting += missing;
        let exchange = Exchange { number, conn, via, reply, missing };
        let slot = self.exchanges.insert(exchange);
        self.due.push_back(Due { until, slot, number });
        if self.due.len() > 2 * self.exchanges.len() + STALE_MAX {
            let exchanges = &self.exchanges;
            self.due.retain(|due| find(exchanges, due.slot, due.number).is_some());
        }
        slot
    }

    /// The calls whose answers begin a subscription, in the order in which they came.
    pub(super) fn beginning(&self) -> Vec<(Ticket, SubscriptionId)> {
        let of = |(slot, exchange): (usize, &'_ Exchange)| {
            let number = exchange.number;
            let open = exchange.reply.beginning();
            open.map(|(hole, id)| (Ticket { number, hole, slot }, id)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.exchanges.iter().flat_map(of).collect();
        all.sort_unstable_by_key(|(ticket, _)| *ticket);
        all
    }

    /// The subscription that the answer to a call begins, and whose it is.
    pub(super) fn begins(&self, ticket: Ticket) -> Option<(ConnId, SubscriptionId)> {
        let exchange = find(&self.exchanges, ticket.slot, ticket.number)?;
        Some((exchange.conn, exchange.reply.begins(ticket.hole)?))
    }

    /// Puts an answer in its place.
    pub(super) fn fill(
        &mut self,
        ticket: Ticket,
        answer: Result<Filling<'_>, &RpcError>,
    ) -> Filled {
        let exchange = self.exchanges.get_mut(ticket.slot);
        let Some(exchange) = exchange.filter(|exchange| exchange.is_waiting_for(ticket)) else {
            return Filled::Unknown;
        };
        let failed = exchange.reply.fill(ticket.hole, answer);
        exchange.missing -= 1;
        self.waiting -= 1;
        if exchange.missing > 0 {
            return Filled::Partly(failed);
        }
        Filled::Whole(failed, ticket.slot, self.exchanges.remove(ticket.slot))
    }

    /// Forgets exchanges whose connection is gone.
    pub(super) fn forget(&mut self, slots: &[usize]) {
        for &slot in slots {
            if let Some(exchange) = self.exchanges.try_remove(slot) {
                self.waiting -= exchange.missing;
            }
        }
    }

    /// A call whose time is up.
    pub(super) fn overdue(&mut self, now: Time) -> Option<Ticket> {
        while let Some(&Due { until, slot, number }) = self.due.front() {
            if let Some(exchange) = find(&self.exchanges, slot, number) {
                if until > now {
                    return None;
                }
                if let Some(hole) = exchange.reply.first_open() {
                    return Some(Ticket { number, hole, slot });
                }
            }
            self.due.pop_front();
        }
        None
    }

    /// How long until the first call may be overdue.
    pub(super) fn next_due(&self, now: Time) -> Option<Duration> {
        self.due.front().map(|due| due.until.since(now))
    }
}

fn find(exchanges: &Slab<Exchange>, slot: usize, number: u64) -> Option<&Exchange> {
    exchanges.get(slot).filter(|exchange| exchange.number == number)
}

impl Exchange {
    fn is_waiting_for(&self, ticket: Ticket) -> bool {
        self.number == ticket.number && self.reply.is_open(ticket.hole)
    }
}
