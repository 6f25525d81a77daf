//! Some clients send without reading; the others are measured in a closed loop.
//!
//! A slow client sends until its output is congested, or up to [`UNREAD_MAX`] messages. After the
//! measurement it reads again, which shows how the server has treated it.

use fastrand::Rng;
use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, SendOutcome, Time};

use super::{Exchange, Part, Traffic, Unit};
use crate::crowd::Crowd;
use crate::payload::Payload;
use crate::quantity::Bytes;
use crate::tally::{Errors, Tally};

/// Maximum number of messages that one slow client sends, and their size: together more than the
/// kernel's buffers of both ends.
const UNREAD_MAX: usize = 4096;
const UNREAD_MESSAGE_BYTES: usize = 4096;

/// Sends this message until the outbox is congested, at most `most` times; returns the number sent.
pub(super) fn send_repeatedly(
    cx: &mut Context<'_>,
    conn: ConnId,
    message: Message<'_>,
    most: usize,
) -> usize {
    for sent in 0..most {
        match cx.send(conn, message) {
            SendOutcome::Queued => {}
            SendOutcome::Congested => return sent + 1,
            _ => return sent,
        }
    }
    most
}

/// Counts how a connection that did not read has ended; if we closed it, it stayed open to the end.
pub(super) fn count_end(ends: &mut Errors, why: CloseReason) {
    match why {
        CloseReason::Service(_) => ends.add("stayed", 1),
        _ => ends.add(why.to_string(), 1),
    }
}

/// What one slow client has sent, and finally read.
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
    /// The first members are slow.
    slow: Vec<Unread>,
    /// How their connections ended.
    ends: Errors,
    is_stopped: bool,
}

impl Slow {
    /// The first `slow` members of the crowd are slow.
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

    /// Sends messages whose echoes the server must queue.
    fn fill(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if !self.is_stopped {
            let message = self.payload.message(UNREAD_MESSAGE_BYTES, &[]);
            let slow = &mut self.slow[member];
            slow.sent += send_repeatedly(cx, conn, message, UNREAD_MAX - slow.sent);
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

    fn start(&mut self, cx: &mut Context<'_>) {
        for member in 0..self.crowd.len() {
            let Some(conn) = self.crowd.conn(member) else {
                continue;
            };
            if member < self.slow.len() {
                cx.pause(conn);
                self.fill(cx, member, conn);
            } else {
                for _ in 0..self.depth {
                    self.exchange.send(cx, member, conn, cx.now());
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
            self.exchange.send(cx, member, conn, cx.now());
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let member = self.crowd.member(conn);
        if member < self.slow.len() {
            self.fill(cx, member, conn);
        }
    }

    /// A server may end the connection of a slow client.
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
