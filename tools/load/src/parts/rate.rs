//! Open loop: messages at a fixed rate, independent of the echoes. Latency counts from the time at
//! which a message was due, so that a stalling server is charged for every delayed message.

use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::{Exchange, Part, Traffic, Unit};
use crate::crowd::Crowd;
use crate::pace::Pace;
use crate::tally::Tally;

/// Maximum number of messages sent between two turns.
const SENDS_PER_TICK: usize = 4096;

#[derive(Debug)]
pub(crate) struct Rate {
    crowd: Crowd,
    exchange: Exchange,
    per_second: f64,
    burst: u64,
    /// `None` before the start and after the end.
    pace: Option<Pace>,
    /// The next member to send.
    next: usize,
}

impl Rate {
    /// `per_second` messages on all connections together, in bursts of `burst`.
    pub(crate) fn new(crowd: Crowd, traffic: &Traffic, per_second: f64, burst: u64) -> Rate {
        let exchange = Exchange::new(traffic, crowd.len());
        Rate { crowd, exchange, per_second, burst, pace: None, next: 0 }
    }

    fn send_next(&mut self, cx: &mut Context<'_>, due: Time) {
        self.exchange.tally.due(due, cx.now());
        for _ in 0..self.crowd.len() {
            let member = self.next;
            self.next = (self.next + 1) % self.crowd.len();
            if let Some(conn) = self.crowd.conn(member) {
                self.exchange.send(cx, member, conn, due);
                return;
            }
        }
        self.exchange.tally.errors.add("not sent: no connection is open", 1);
    }
}

impl Part for Rate {
    fn name(&self) -> &'static str {
        "rate"
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

    fn is_paced(&self) -> bool {
        true
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        self.pace = Some(Pace::new(cx.now(), self.per_second, self.burst));
    }

    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        for _ in 0..SENDS_PER_TICK {
            let Some(pace) = &mut self.pace else {
                return Time::MAX;
            };
            match pace.take(cx.now()) {
                Some(due) => self.send_next(cx, due),
                None => return pace.due(),
            }
        }
        cx.now()
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        let _ = self.exchange.receive(cx.now(), member, message);
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        let lost = self.exchange.forget(member);
        self.tally().errors.add("unanswered", lost);
        true
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.pace = None;
    }

    fn outstanding(&self) -> u64 {
        self.exchange.outstanding()
    }

    fn finish(&mut self, now: Time) {
        self.exchange.finish(now);
    }
}
