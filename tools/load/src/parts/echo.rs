//! Closed loop: each connection keeps a number of messages in flight, and sends one for each echo.
//! It measures throughput; latency only follows from it (Little's law).

use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context};

use super::{Exchange, Part, Traffic, Unit};
use crate::crowd::Crowd;
use crate::tally::Tally;

#[derive(Debug)]
pub(crate) struct Echo {
    crowd: Crowd,
    exchange: Exchange,
    depth: usize,
    is_stopped: bool,
}

impl Echo {
    pub(crate) fn new(crowd: Crowd, traffic: &Traffic) -> Echo {
        let exchange = Exchange::new(traffic, crowd.len());
        Echo { crowd, exchange, depth: traffic.depth, is_stopped: false }
    }
}

impl Part for Echo {
    fn name(&self) -> &'static str {
        "echo"
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
            if let Some(conn) = self.crowd.conn(member) {
                for _ in 0..self.depth {
                    self.exchange.send(cx, member, conn, cx.now());
                }
            }
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        let answered = self.exchange.receive(cx.now(), member, message);
        if answered.is_some() && !self.is_stopped {
            self.exchange.send(cx, member, conn, cx.now());
        }
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        let lost = self.exchange.forget(member);
        self.tally().errors.add("unanswered", lost);
        true
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
    }

    fn outstanding(&self) -> u64 {
        self.exchange.outstanding()
    }

    fn finish(&mut self, now: weir::reactor::Time) {
        self.exchange.finish(now);
    }
}
