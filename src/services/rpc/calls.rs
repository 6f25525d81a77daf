//! Calls under way: which reply each belongs to, and until when its answer may come.
//!
//! A reply waits here from the first call that the backend answers later to the last one. All calls
//! have the same time, so the one that has waited longest is the next to be overdue.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::backend::{Outcome, Ticket};
use super::reply::Reply;
use super::subscriptions::SubscriptionId;
use crate::reactor::{ConnId, Time};

/// Deadlines of calls long answered that may lie about, beside as many as there are calls.
const STALE_MAX: usize = 1024;

/// How a message came, and so where its reply goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    WebSocket,
    Http,
}

/// A call that is answered later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Later {
    pub(super) ticket: Ticket,
    /// The subscription that its answer begins.
    pub(super) begins: Option<SubscriptionId>,
}

/// Where an answer belongs.
#[derive(Debug, Clone, Copy)]
struct Place {
    exchange: u64,
    /// In its reply.
    hole: usize,
    begins: Option<SubscriptionId>,
}

/// A reply that is not complete.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) conn: ConnId,
    pub(super) via: Via,
    pub(super) reply: Reply,
    /// By hole.
    pub(super) calls: Vec<Later>,
    /// Subscriptions that the reply names.
    pub(super) named: Vec<SubscriptionId>,
    missing: usize,
}

/// All calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    exchanges: HashMap<u64, Exchange>,
    by_connection: HashMap<ConnId, Vec<u64>>,
    places: HashMap<Ticket, Place>,
    due: VecDeque<(Time, Ticket)>,
    last: u64,
}

/// What an answer did.
#[derive(Debug)]
pub(super) enum Filled {
    /// Nobody waits for it.
    Unknown,
    /// Others are still missing.
    Partly(Option<i64>),
    /// The reply is complete.
    Whole(Option<i64>, Exchange),
}

impl Calls {
    /// A ticket for the next call.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.last += 1;
        Ticket(self.last)
    }

    /// Calls that wait for their answer.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Keeps a reply until its holes are filled; `calls` are those of the holes, in their order.
    pub(super) fn wait(
        &mut self,
        conn: ConnId,
        via: Via,
        reply: Reply,
        calls: Vec<Later>,
        named: Vec<SubscriptionId>,
        until: Time,
    ) {
        self.last += 1;
        for (hole, &Later { ticket, begins }) in calls.iter().enumerate() {
            self.places.insert(ticket, Place { exchange: self.last, hole, begins });
            self.due.push_back((until, ticket));
        }
        let missing = calls.len();
        let exchange = Exchange { conn, via, reply, calls, named, missing };
        self.exchanges.insert(self.last, exchange);
        self.by_connection.entry(conn).or_default().push(self.last);
        if self.due.len() > 2 * self.places.len() + STALE_MAX {
            self.due.retain(|(_, ticket)| self.places.contains_key(ticket));
        }
    }

    /// The calls whose answers begin a subscription, in the order in which they came.
    pub(super) fn beginning(&self) -> Vec<(Ticket, SubscriptionId)> {
        let begins = |(ticket, place): (&Ticket, &Place)| place.begins.map(|id| (*ticket, id));
        let mut all: Vec<_> = self.places.iter().filter_map(begins).collect();
        all.sort_unstable_by_key(|(ticket, _)| *ticket);
        all
    }

    /// The subscription that the answer to a call begins, and whose it is.
    pub(super) fn begins(&self, ticket: Ticket) -> Option<(ConnId, SubscriptionId)> {
        let place = self.places.get(&ticket)?;
        Some((self.exchanges.get(&place.exchange)?.conn, place.begins?))
    }

    /// Puts an answer in its place.
    pub(super) fn fill(&mut self, ticket: Ticket, outcome: &Outcome) -> Filled {
        let Some(Place { exchange: number, hole, begins }) = self.places.remove(&ticket) else {
            return Filled::Unknown;
        };
        let Some(exchange) = self.exchanges.get_mut(&number) else {
            return Filled::Unknown;
        };
        let code = exchange.reply.fill(hole, outcome);
        exchange.named.extend(begins.filter(|_| outcome.is_ok()));
        exchange.missing -= 1;
        if exchange.missing > 0 {
            return Filled::Partly(code);
        }
        let Some(exchange) = self.exchanges.remove(&number) else {
            return Filled::Unknown;
        };
        if let Some(own) = self.by_connection.get_mut(&exchange.conn) {
            own.retain(|&other| other != number);
            if own.is_empty() {
                self.by_connection.remove(&exchange.conn);
            }
        }
        Filled::Whole(code, exchange)
    }

    /// Forgets the calls of a connection that is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        for number in self.by_connection.remove(&conn).unwrap_or_default() {
            if let Some(exchange) = self.exchanges.remove(&number) {
                for call in &exchange.calls {
                    self.places.remove(&call.ticket);
                }
            }
        }
    }

    /// A call whose time is up.
    pub(super) fn overdue(&mut self, now: Time) -> Option<Ticket> {
        while let Some(&(until, ticket)) = self.due.front() {
            let is_waiting = self.places.contains_key(&ticket);
            if is_waiting && until > now {
                return None;
            }
            self.due.pop_front();
            if is_waiting {
                return Some(ticket);
            }
        }
        None
    }

    /// How long until the first call may be overdue.
    pub(super) fn next_due(&self, now: Time) -> Option<Duration> {
        self.due.front().map(|(until, _)| until.since(now))
    }
}
