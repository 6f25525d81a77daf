//! Messages and their echoes: tracks the messages in flight on each connection, and compares the
//! echoes.
//!
//! Echoes arrive in the order sent, so each connection has a queue of flights. Latency is from the
//! time at which a message was due to the start of the turn that read its echo.

use std::collections::VecDeque;

use fastrand::Rng;
use weir::protocol::Message;
use weir::reactor::{ConnId, Context, Time};

use crate::payload::{Kind, Payload, Stamp, preview};
use crate::size::Sizes;
use crate::tally::Tally;

/// Maximum number of messages in flight on all connections; more are an error.
const FLIGHTS_MAX: u64 = 4_000_000;

/// The properties of messages.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) kind: Kind,
    pub(crate) sizes: Sizes,
    pub(crate) depth: usize,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    intended: Time,
    stamp: Stamp,
    len: u32,
    /// The key of a pre-masked message; 0 if it was not pre-masked.
    key: [u8; 4],
}

/// The pending echoes of a part.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) tally: Tally,
    payload: Payload,
    sizes: Sizes,
    rng: Rng,
    flights: Vec<VecDeque<Flight>>,
    outstanding: u64,
    next_number: u64,
}

impl Exchange {
    /// No messages in flight, on this many connections.
    pub(crate) fn new(traffic: &Traffic, members: usize) -> Exchange {
        let mut rng = Rng::with_seed(traffic.seed);
        Exchange {
            tally: Tally::new(),
            payload: Payload::new(traffic.kind, traffic.sizes.max(), &mut rng),
            sizes: traffic.sizes.clone(),
            rng,
            flights: (0..members).map(|_| VecDeque::with_capacity(traffic.depth)).collect(),
            outstanding: 0,
            next_number: 0,
        }
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Sends the next message, which was due at `intended`; whether it was sent.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        member: usize,
        conn: ConnId,
        intended: Time,
    ) -> bool {
        if self.outstanding >= FLIGHTS_MAX {
            self.tally.errors.add("not sent: too many unanswered", 1);
            return false;
        }
        let len = self.sizes.draw(&mut self.rng);
        let stamp = Stamp::of(self.next_number);
        self.next_number += 1;
        let (outcome, key) = match self.payload.kind() {
            // Masked text is not valid UTF-8, so text has the key 0.
            Kind::Text => (cx.send(conn, self.payload.message(len, &[stamp])), [0; 4]),
            Kind::Binary => {
                let key = cx.masking_key();
                (cx.send_masked(conn, self.payload.masked(len, stamp, key)), key)
            }
        };
        if !outcome.is_queued() {
            self.tally.not_sent(outcome);
            return false;
        }
        self.tally.sent(len);
        self.outstanding += 1;
        let flight = Flight { intended, stamp, len: len as u32, key };
        self.flights[member].push_back(flight);
        true
    }

    /// Matches an echo; returns when its message was due, unless no echo was pending.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        member: usize,
        message: Message<'_>,
    ) -> Option<Time> {
        let Some(flight) = self.flights[member].pop_front() else {
            self.tally.wrong("unexpected message", || {
                format!("expected no message, received {}", preview(message))
            });
            return None;
        };
        self.outstanding -= 1;
        self.tally.received(message.len());
        if !self.payload.matches(message, flight.len as usize, flight.stamp, flight.key) {
            let (kind, len) = (self.payload.kind(), flight.len);
            self.tally.wrong("not the message sent", || {
                format!("expected the {len} bytes of {kind} sent, received {}", preview(message))
            });
        }
        self.tally.record_since(flight.intended, now);
        Some(flight.intended)
    }

    /// Drops the pending echoes of an ended connection; returns their number.
    pub(crate) fn forget(&mut self, member: usize) -> u64 {
        let lost = self.flights[member].len() as u64;
        self.flights[member].clear();
        self.outstanding -= lost;
        lost
    }

    /// Counts missing echoes, with the time waited for them: omitting them would omit the slowest.
    pub(crate) fn finish(&mut self, now: Time) {
        self.tally.errors.add("unanswered", self.outstanding);
        for flight in self.flights.iter_mut().flat_map(|flights| flights.drain(..)) {
            self.tally.record_since(flight.intended, now);
        }
        self.outstanding = 0;
    }
}
