//! Some clients send and do not read; the others are measured beside them, in a closed loop.
//!
//! A slow client sends until nothing more is taken from it, or [`UNREAD_MAX`] messages are reached. When
//! the measurement is over it reads again, so that it learns what the server has done with it.

use fastrand::Rng;
use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, SendOutcome, Time};

use super::{Exchange, Part, Traffic, Unit};
use crate::crowd::Crowd;
use crate::payload::Payload;
use crate::quantity::Bytes;
use crate::tally::{Errors, Tally};

/// What one slow client sends at the most, in messages of so many bytes: more than the kernel holds for
/// both ends.
const UNREAD_MAX: usize = 4096;
const UNREAD_MESSAGE_BYTES: usize = 4096;

/// Sends this message until no more is taken, but `most` times at the most; returns how often.
pub(super) fn pour(cx: &mut Context<'_>, conn: ConnId, message: Message<'_>, most: usize) -> usize {
    for sent in 0..most {
        match cx.send(conn, message) {
            SendOutcome::Queued => {}
            SendOutcome::Congested => return sent + 1,
            SendOutcome::Refused | SendOutcome::Gone => return sent,
        }
    }
    most
}

/// Counts how one that did not read has ended: if we have closed it, it stayed to the end.
pub(super) fn count_end(ends: &mut Errors, why: CloseReason) {
    match why {
        CloseReason::Service(_) => ends.add("stayed", 1),
        _ => ends.add(why.to_string(), 1),
    }
}

/// What one slow client has sent, and read in the end.
#[derive(Debug, Clone, Copy, Default)]
struct Unread {
    sent: usize,
    received: usize,
}

#[derive(Debug)]
pub(crate) struct Slow {
    crowd: Crowd,
    exchange: Exchange,
    depth: usize,
    payload: Payload,
    /// The first members, which are slow.
    slow: Vec<Unread>,
    /// How they ended.
    ends: Errors,
    is_stopped: bool,
}

impl Slow {
    /// `slow` of the crowd's members are slow.
    pub(crate) fn new(crowd: Crowd, traffic: &Traffic, slow: usize) -> Slow {
        let mut rng = Rng::with_seed(traffic.seed);
        Slow {
            exchange: Exchange::new(traffic, crowd.len()),
            depth: traffic.depth,
            payload: Payload::new(traffic.kind, UNREAD_MESSAGE_BYTES, &mut rng),
            slow: vec![Unread::default(); slow.min(crowd.len())],
            crowd,
            ends: Errors::default(),
            is_stopped: false,
        }
    }

    /// Sends what the server may be made to hold.
    fn fill(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if !self.is_stopped {
            let message = self.payload.message(UNREAD_MESSAGE_BYTES, &[]);
            let slow = &mut self.slow[member];
            slow.sent += pour(cx, conn, message, UNREAD_MAX - slow.sent);
        }
    }
}

impl Part for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn unit(&self) -> Unit {
        Unit { one: "echo", many: "echoes" }
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.exchange.tally
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        for member in 0..self.crowd.len() {
            let Some(conn) = self.crowd.conn(member) else {
                continue;
            };
            if member < self.slow.len() {
                cx.pause(conn);
                self.fill(cx, member, conn);
            } else {
                for _ in 0..self.depth {
                    let _ = self.exchange.send(cx, member, conn, cx.now());
                }
            }
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        if member < self.slow.len() {
            self.slow[member].received += 1;
            return;
        }
        let answered = self.exchange.receive(cx.now(), member, message);
        if answered.is_some() && !self.is_stopped {
            let _ = self.exchange.send(cx, member, conn, cx.now());
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let member = self.crowd.member(conn);
        if member < self.slow.len() {
            self.fill(cx, member, conn);
        }
    }

    /// That a server ends a slow client is its right.
    fn on_end(&mut self, _: &mut Context<'_>, member: usize, why: CloseReason) -> bool {
        if member >= self.slow.len() {
            let lost = self.exchange.forget(member);
            self.exchange.tally.errors.add("unanswered", lost);
            return true;
        }
        self.slow[member] = Unread { received: self.slow[member].sent, ..self.slow[member] };
        count_end(&mut self.ends, why);
        false
    }

    fn stop(&mut self, cx: &mut Context<'_>) {
        self.is_stopped = true;
        for member in 0..self.slow.len() {
            if let Some(conn) = self.crowd.conn(member) {
                cx.resume(conn);
            }
        }
    }

    fn outstanding(&self) -> u64 {
        let unread = |slow: &Unread| slow.sent.saturating_sub(slow.received) as u64;
        self.exchange.outstanding() + self.slow.iter().map(unread).sum::<u64>()
    }

    fn finish(&mut self, now: Time) {
        self.exchange.finish(now);
    }

    fn notes(&self) -> Vec<String> {
        let sent: usize = self.slow.iter().map(|slow| slow.sent * UNREAD_MESSAGE_BYTES).sum();
        let sent = Bytes(sent as f64);
        let count = self.slow.len();
        let mut notes = vec![format!("{count} slow clients sent {sent} without reading any")];
        notes.extend(self.ends.iter().map(|(end, count)| format!("{count} slow clients: {end}")));
        notes
    }
}
