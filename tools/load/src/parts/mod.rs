//! The parts of a run: each is one kind of load, with its own connections and counts.
//!
//! A part knows its members by number. It is notified of their events, and is called after each
//! turn to do what is due. It never drives the loop itself: [`run`](crate::run) does.

mod calls;
mod churn;
mod deliveries;
mod echo;
mod exchange;
mod fanout;
mod heads;
mod herd;
mod idle;
mod live;
mod nonreaders;
mod publish;
mod rate;
mod request;
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
pub(crate) use herd::Herd;
pub(crate) use idle::Idle;
pub(crate) use live::{Live, LivePlan};
pub(crate) use nonreaders::NonReaders;
pub(crate) use publish::{Publish, PublishPlan};
pub(crate) use rate::Rate;
pub(crate) use request::{Request, RequestPlan};
pub(crate) use slow::Slow;

/// The counted unit, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) one: &'static str,
    pub(crate) many: &'static str,
}

/// The unit of the connect and churn scenarios.
pub(crate) const CONNECTION: Unit = Unit { one: "connection", many: "connections" };

/// One kind of load.
pub(crate) trait Part {
    /// The part's name in a report, and the unit that it counts.
    fn name(&self) -> &'static str;
    fn unit(&self) -> Unit;
    fn crowd(&mut self) -> &mut Crowd;
    fn tally(&mut self) -> &mut Tally;

    /// A second unit, and its count in the measurement.
    fn second(&self) -> Option<(Unit, u64)> {
        None
    }

    /// Latencies besides the main one, by name.
    fn details(&mut self) -> Vec<(&'static str, &mut Tally)> {
        Vec::new()
    }

    /// Whether it needs calls with microsecond precision.
    fn is_paced(&self) -> bool {
        false
    }

    /// Whether the load can start: by default, each connection has opened or failed.
    fn is_ready(&mut self, now: Time) -> bool {
        let _ = now;
        self.crowd().is_ready()
    }

    /// Starts the load; all members that could connect are connected.
    fn start(&mut self, cx: &mut Context<'_>);

    /// Starts the measurement: earlier counts are dropped.
    fn measure(&mut self, now: Time) {
        self.tally().start(now);
    }

    /// Called after each turn: does what is due; returns the time of the next call.
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

    /// A member's connection has ended; returns whether its loss is an error.
    fn on_end(&mut self, cx: &mut Context<'_>, member: usize, why: CloseReason) -> bool {
        let _ = (cx, member, why);
        true
    }

    /// Whether the server answers what this part sends.
    fn is_answered(&self) -> bool {
        true
    }

    /// Whether it has nothing left to send, and waits for nothing.
    fn is_spent(&self) -> bool {
        false
    }

    /// Stops sending.
    fn stop(&mut self, cx: &mut Context<'_>);

    /// Number of unanswered messages.
    fn outstanding(&self) -> u64 {
        0
    }

    /// Counts outstanding messages as errors: waiting has ended.
    fn finish(&mut self, now: Time) {
        let _ = now;
    }

    /// Lines of the report that only this part has.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A part that the loop and the run share.
pub(crate) type Shared = Rc<RefCell<dyn Part>>;

/// A part as a service of the loop.
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

/// Why a connection did not open, in the system's words if available.
fn failure(why: CloseReason) -> String {
    match why {
        CloseReason::ConnectFailed(kind) => kind.to_string(),
        _ => why.to_string(),
    }
}
