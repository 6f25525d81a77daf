//! Connections that open and close continuously: each opens, echoes one message and ends, a share
//! of them without a Close. Latency is from the time at which a connection was due to its echo.

use fastrand::Rng;
use weir::protocol::{CloseCode, Message};
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::{CONNECTION, Exchange, Part, Traffic, Unit};
use crate::crowd::Crowd;
use crate::pace::Pace;
use crate::tally::Tally;

/// Maximum number of connections started between two turns.
const CONNECTS_PER_TICK: usize = 64;

/// The rate of new connections, and how they end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChurnPlan {
    /// Connections per second.
    pub(crate) per_second: f64,
    /// Share of connections that end without a Close, 0 to 1.
    pub(crate) abrupt: f64,
}

#[derive(Debug)]
pub(crate) struct Churn {
    crowd: Crowd,
    exchange: Exchange,
    plan: ChurnPlan,
    rng: Rng,
    pace: Option<Pace>,
    /// Members without a connection.
    vacant: Vec<usize>,
    /// Whether connections wait for a vacant member. The server then causes the delay.
    is_starved: bool,
    /// The time at which each member's connection was due.
    intended: Vec<Time>,
    ended: u64,
    aborted: u64,
}

impl Churn {
    /// The number of the crowd's members limits concurrent connections.
    pub(crate) fn new(crowd: Crowd, traffic: &Traffic, plan: ChurnPlan) -> Churn {
        let members = crowd.len();
        Churn {
            exchange: Exchange::new(traffic, members),
            crowd,
            plan,
            rng: Rng::with_seed(traffic.seed),
            pace: None,
            vacant: (0..members).collect(),
            is_starved: false,
            intended: vec![Time::ZERO; members],
            ended: 0,
            aborted: 0,
        }
    }

    fn connect(&mut self, cx: &mut Context<'_>, due: Time) {
        let Some(member) = self.vacant.pop() else {
            return;
        };
        if !self.is_starved {
            self.exchange.tally.due(due, cx.now());
        }
        self.intended[member] = due;
        self.crowd.census.wanted += 1;
        if !self.crowd.connect(cx, member, due, &mut self.exchange.tally.errors) {
            self.vacant.push(member);
        }
    }
}

impl Part for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn unit(&self) -> Unit {
        CONNECTION
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
        self.pace = Some(Pace::new(cx.now(), self.plan.per_second, 1));
    }

    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        for _ in 0..CONNECTS_PER_TICK {
            let Some(pace) = &mut self.pace else {
                return Time::MAX;
            };
            // While no member is vacant the next connections wait, and their latency includes the
            // wait.
            if self.vacant.is_empty() {
                self.is_starved = true;
                return Time::MAX;
            }
            let Some(due) = pace.take(cx.now()) else {
                self.is_starved = false;
                return pace.due();
            };
            self.connect(cx, due);
        }
        cx.now()
    }

    fn on_open(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        let sent = self.exchange.send(cx, member, conn, self.intended[member]);
        if !sent {
            cx.abort(conn);
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        if self.exchange.receive(cx.now(), member, message).is_none() {
            return;
        }
        if self.rng.f64() < self.plan.abrupt {
            self.aborted += 1;
            cx.abort(conn);
        } else {
            cx.close(conn, CloseCode::NORMAL, "");
        }
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        self.ended += 1;
        self.vacant.push(member);
        let lost = self.exchange.forget(member);
        self.exchange.tally.errors.add("unanswered", lost);
        true
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.pace = None;
    }

    fn outstanding(&self) -> u64 {
        self.crowd.connections() as u64
    }

    fn finish(&mut self, now: Time) {
        self.exchange.finish(now);
    }

    fn notes(&self) -> Vec<String> {
        vec![format!("{} connections ended, {} of them without a Close", self.ended, self.aborted)]
    }
}
