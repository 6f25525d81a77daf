//! The parts that a run is made of: each is one kind of load, with its own connections and counts.
//!
//! A part sees its members by number. It is told what happens to them, is asked after each turn what
//! it wants to do next, and never drives the loop itself: that is [`run`](crate::run)'s.

mod calls;
mod churn;
mod echo;
mod exchange;
mod fanout;
mod heads;
mod idle;
mod nonreaders;
mod rate;
mod slow;
mod track;

use std::cell::RefCell;
use std::rc::Rc;

use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Service, Time};

use crate::crowd::{Crowd, Ended};
use crate::tally::Tally;

pub(crate) use calls::{CallPlan, Calls, Methods};
pub(crate) use churn::{Churn, ChurnPlan};
pub(crate) use echo::Echo;
pub(crate) use exchange::{Exchange, Traffic};
pub(crate) use fanout::{FANOUT_BYTES_MIN, Fanout, FanoutPlan};
pub(crate) use heads::Heads;
pub(crate) use idle::Idle;
pub(crate) use nonreaders::NonReaders;
pub(crate) use rate::Rate;
pub(crate) use slow::Slow;

/// What is counted, for the words of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
}

/// What a ramp and a churn count.
pub(crate) const CONNECTION: Unit = Unit { one: "connection", many: "connections" };

/// One kind of load.
pub(crate) trait Part {
    /// What the part is called in a report, and what it counts.
    fn name(&self) -> &'static str;
    fn unit(&self) -> Unit;
    fn crowd(&mut self) -> &mut Crowd;
    fn tally(&mut self) -> &mut Tally;

    /// Whether it needs to be called to the microsecond.
    fn is_paced(&self) -> bool {
        false
    }

    /// All members are connected, those that could be: the load begins.
    fn begin(&mut self, cx: &mut Context<'_>);

    /// The measurement begins: what was counted before is forgotten.
    fn measure(&mut self, now: Time) {
        self.tally().begin(now);
    }

    /// Called after each turn: does what is due, and says when the next thing is.
    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        let _ = cx;
        Time::MAX
    }

    fn on_open(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        let _ = (cx, member, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>);

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let _ = (cx, conn);
    }

    /// A member's connection is over; whether the loss of one is an error.
    fn on_end(&mut self, cx: &mut Context<'_>, member: usize, why: CloseReason) -> bool {
        let _ = (cx, member, why);
        true
    }

    /// Whether the server answers what this part sends.
    fn is_answered(&self) -> bool {
        true
    }

    /// Nothing more is to be sent.
    fn stop(&mut self, cx: &mut Context<'_>);

    /// What was sent and is not answered.
    fn outstanding(&self) -> u64 {
        0
    }

    /// What is outstanding now will never come: counts it as errors.
    fn finish(&mut self, now: Time) {
        let _ = now;
    }

    /// Lines for the report that no other part has.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A part that a loop and the run share.
pub(crate) type Shared = Rc<RefCell<dyn Part>>;

/// A part as the service that the loop knows.
pub(crate) struct OnLoop(pub(crate) Shared);

impl Service for OnLoop {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let mut part = self.0.borrow_mut();
        part.crowd().opened(conn, cx.now());
        let member = part.crowd().member(conn);
        part.on_open(cx, member, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        self.0.borrow_mut().on_message(cx, conn, message);
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.0.borrow_mut().on_drain(cx, conn);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: CloseReason) {
        let mut part = self.0.borrow_mut();
        let member = part.crowd().member(conn);
        let ended = part.crowd().ended(conn, why);
        let is_error = part.on_end(cx, member, why);
        match ended {
            Ended::Failed => part.tally().errors.add(format!("connect: {}", failure(why)), 1),
            Ended::Lost if is_error => {
                part.tally().errors.add(format!("lost: {why}"), 1);
                part.tally()
                    .lost
                    .add(|| format!("expected the connection to stay open, it ended with {why}"));
            }
            Ended::Lost | Ended::Ours => {}
        }
    }
}

/// Why a connection did not open, in the system's own words where it has some.
fn failure(why: CloseReason) -> String {
    match why {
        CloseReason::ConnectFailed(kind) => kind.to_string(),
        _ => why.to_string(),
    }
}
