//! REQs to a relay in a closed loop: each connection keeps a number of them open.
//!
//! Latency ends at EOSE; then the subscription is closed, and the next one opened. The latency of
//! the first event is reported, too.

use std::collections::HashMap;

use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::nostr::{Answer, Filters, Login, prefix};
use crate::payload::preview;
use crate::tally::Tally;

/// Subscription that finds the ids of stored events.
const LEARNING: &str = "ids";

/// The requests, and how they are sent.
#[derive(Debug)]
pub(crate) struct RequestPlan {
    pub(crate) filters: Filters,
    /// Requests in flight per connection.
    pub(crate) depth: usize,
    pub(crate) login: Option<Login>,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    member: usize,
    sent: Time,
    has_event: bool,
}

#[derive(Debug)]
pub(crate) struct Request {
    crowd: Crowd,
    tally: Tally,
    /// Latencies of the first event.
    first: Tally,
    plan: RequestPlan,
    /// Requests in flight by number; the number is the subscription id.
    flights: HashMap<u64, Flight>,
    next: u64,
    events: u64,
    /// The filter of the request that finds ids, until it is sent.
    lesson: Option<String>,
    is_learning: bool,
    is_sending: Vec<bool>,
    is_stopped: bool,
}

impl Request {
    pub(crate) fn new(crowd: Crowd, plan: RequestPlan) -> Request {
        Request {
            tally: Tally::new(),
            first: Tally::new(),
            flights: HashMap::new(),
            next: 0,
            events: 0,
            lesson: plan.filters.of_ids(),
            is_learning: plan.filters.of_ids().is_some(),
            is_sending: vec![false; crowd.len()],
            is_stopped: false,
            crowd,
            plan,
        }
    }

    /// Sends the first requests of all members that may send.
    fn fill(&mut self, cx: &mut Context<'_>) {
        for member in 0..self.crowd.len() {
            let may_send = self.plan.login.as_ref().is_none_or(|login| login.is_done(member));
            let Some(conn) = self.crowd.conn(member).filter(|_| may_send) else {
                continue;
            };
            if let Some(filter) = self.lesson.take() {
                let _ = cx.send(conn, &*format!(r#"["REQ","{LEARNING}",{filter}]"#));
            }
            if self.is_learning {
                return;
            }
            if !std::mem::replace(&mut self.is_sending[member], true) {
                for _ in 0..self.plan.depth {
                    self.send(cx, member, conn);
                }
            }
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if self.is_stopped {
            return;
        }
        let number = self.next;
        self.next += 1;
        let message = format!(r#"["REQ","{number}",{}]"#, self.plan.filters.draw());
        let outcome = cx.send(conn, &*message);
        if outcome.is_queued() {
            self.tally.sent(message.len());
            self.flights.insert(number, Flight { member, sent: cx.now(), has_event: false });
        } else {
            self.tally.not_sent(outcome);
        }
    }

    fn on_event(&mut self, now: Time, message: Message<'_>, subscription: &str, id: &str) {
        if subscription == LEARNING {
            return self.plan.filters.learn(id);
        }
        let flight =
            subscription.parse().ok().and_then(|number: u64| self.flights.get_mut(&number));
        // Live events may come before the relay has read CLOSE.
        let Some(flight) = flight else {
            return;
        };
        self.events += 1;
        self.tally.counts.bytes_received += message.len() as u64;
        if !std::mem::replace(&mut flight.has_event, true) {
            self.first.record(now.since(flight.sent));
        }
    }

    /// A request has ended with EOSE, or with CLOSED and a text.
    fn on_end_of(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        message: Message<'_>,
        (subscription, refusal): (&str, Option<&str>),
    ) {
        if subscription == LEARNING {
            self.is_learning = false;
            let _ = cx.send(conn, &*format!(r#"["CLOSE","{LEARNING}"]"#));
            return self.fill(cx);
        }
        let flight = subscription.parse().ok().and_then(|number: u64| self.flights.remove(&number));
        let Some(Flight { member, sent, .. }) = flight else {
            return self.tally.wrong("an EOSE without a pending REQ", || {
                format!("expected an open subscription, received {}", preview(message))
            });
        };
        match refusal {
            Some(text) => self.tally.wrong(format!("closed, {}:", prefix(text)), || {
                format!("expected EOSE, received {}", preview(message))
            }),
            None => {
                self.tally.received(message.len());
                self.tally.record(cx.now().since(sent));
                let _ = cx.send(conn, &*format!(r#"["CLOSE","{subscription}"]"#));
            }
        }
        self.send(cx, member, conn);
    }
}

impl Part for Request {
    fn name(&self) -> &'static str {
        "request"
    }

    fn unit(&self) -> Unit {
        Unit { one: "request", many: "requests" }
    }

    fn second(&self) -> Option<(Unit, u64)> {
        let unit = Unit { one: "event", many: "events" };
        (!self.plan.filters.is_empty_handed()).then_some((unit, self.events))
    }

    fn details(&mut self) -> Vec<(&'static str, &mut Tally)> {
        vec![("first_event", &mut self.first)]
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        self.fill(cx);
    }

    fn measure(&mut self, now: Time) {
        self.tally.start(now);
        self.first.start(now);
        self.events = 0;
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let text = std::str::from_utf8(message.as_bytes()).unwrap_or("");
        match Answer::parse(text) {
            Some(Answer::Event { subscription, id }) => {
                self.on_event(cx.now(), message, &subscription, &id);
            }
            Some(Answer::Eose { subscription }) => {
                self.on_end_of(cx, conn, message, (&subscription, None));
            }
            Some(Answer::Closed { subscription, text }) => {
                self.on_end_of(cx, conn, message, (&subscription, Some(&text)));
            }
            Some(Answer::Auth { challenge }) => {
                let member = self.crowd.member(conn);
                if let Some(login) = &mut self.plan.login {
                    let _ = cx.send(conn, &*login.answer(member, &challenge));
                }
            }
            Some(Answer::Ok { id, is_accepted: true, .. }) => {
                if let Some(login) = &mut self.plan.login {
                    login.answered(&id, true);
                    self.fill(cx);
                }
            }
            _ => self.tally.wrong("not an answer to a REQ", || {
                format!("expected EVENT or EOSE, received {}", preview(message))
            }),
        }
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        let before = self.flights.len();
        self.flights.retain(|_, flight| flight.member != member);
        self.tally.errors.add("unanswered", (before - self.flights.len()) as u64);
        true
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
    }

    fn outstanding(&self) -> u64 {
        self.flights.len() as u64
    }

    fn finish(&mut self, now: Time) {
        self.tally.unanswered(now, self.flights.drain().map(|(_, flight)| flight.sent));
    }
}
