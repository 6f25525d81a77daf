//! Events to a relay in a closed loop: each connection keeps a number of them in flight.
//!
//! Latency ends at OK. Refused events (`OK false`) are wrong answers, counted by their prefix.

use std::collections::{HashMap, VecDeque};

use fastrand::Rng;
use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::nostr::{Answer, Events, Login, prefix, refused};
use crate::payload::preview;
use crate::quantity::Count;
use crate::tally::{Errors, Tally};

/// The events, and how they are sent.
#[derive(Debug)]
pub(crate) struct PublishPlan {
    pub(crate) events: Events,
    /// Events in flight per connection.
    pub(crate) depth: usize,
    /// Share of events that are sent again, from the start of the measurement on.
    pub(crate) duplicates: f64,
    pub(crate) login: Option<Login>,
    pub(crate) seed: u64,
}

#[derive(Debug)]
pub(crate) struct Publish {
    crowd: Crowd,
    tally: Tally,
    plan: PublishPlan,
    rng: Rng,
    /// The next event that was not sent yet.
    next: usize,
    /// Accepted events, the one that was sent longest ago first; none of them is in flight.
    accepted: VecDeque<usize>,
    /// The member and send time of each event in flight.
    flights: HashMap<usize, (usize, Time)>,
    /// Events in flight per member; `None` until its first ones.
    in_flight: Vec<Option<usize>>,
    /// Accepted events by the prefix of the text.
    prefixes: Errors,
    is_measuring: bool,
    is_stopped: bool,
}

impl Publish {
    pub(crate) fn new(crowd: Crowd, plan: PublishPlan) -> Publish {
        Publish {
            tally: Tally::new(),
            rng: Rng::with_seed(plan.seed),
            next: 0,
            accepted: VecDeque::new(),
            flights: HashMap::new(),
            in_flight: vec![None; crowd.len()],
            prefixes: Errors::default(),
            is_measuring: false,
            is_stopped: false,
            crowd,
            plan,
        }
    }

    /// Sends a member's first events.
    fn fill(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if self.in_flight[member].is_none() {
            self.in_flight[member] = Some(0);
            for _ in 0..self.plan.depth {
                self.send(cx, member, conn);
            }
        }
    }

    /// The next event: a new one, or one that was accepted before.
    fn draw(&mut self) -> Option<usize> {
        let is_over = self.next == self.plan.events.len();
        let is_drawn = self.is_measuring && self.rng.f64() < self.plan.duplicates;
        if (is_drawn || is_over && self.plan.duplicates > 0.0)
            && let Some(event) = self.accepted.pop_front()
        {
            return Some(event);
        }
        let event = self.next;
        self.next += usize::from(!is_over);
        (!is_over).then_some(event)
    }

    fn send(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        let Some(event) = self.draw().filter(|_| !self.is_stopped) else {
            return;
        };
        let message = self.plan.events.message(event);
        let outcome = cx.send(conn, message);
        if outcome.is_queued() {
            self.tally.sent(message.len());
            self.flights.insert(event, (member, cx.now()));
            self.in_flight[member] = self.in_flight[member].map(|count| count + 1);
        } else {
            self.tally.not_sent(outcome);
        }
    }

    fn on_ok(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        message: Message<'_>,
        (id, is_accepted, text): (&str, bool, &str),
    ) {
        let login = self.plan.login.as_mut().and_then(|login| login.answered(id, is_accepted));
        if let Some(member) = login {
            match is_accepted {
                true => self.fill(cx, member, conn),
                false => refused(&mut self.tally, "AUTH refused", text, message),
            }
            return;
        }
        let event = self.plan.events.find(id);
        let Some((event, (member, sent))) =
            event.and_then(|event| Some((event, self.flights.remove(&event)?)))
        else {
            return self.tally.wrong("an OK without a pending event", || {
                format!("expected the id of an event, received {}", preview(message))
            });
        };
        self.in_flight[member] = self.in_flight[member].map(|count| count - 1);
        if is_accepted {
            self.tally.received(message.len());
            self.tally.record(cx.now().since(sent));
            self.prefixes.add(prefix(text), u64::from(self.is_measuring));
            self.accepted.push_back(event);
        } else {
            refused(&mut self.tally, "refused", text, message);
        }
        self.send(cx, member, conn);
    }
}

impl Part for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn unit(&self) -> Unit {
        Unit { one: "event", many: "events" }
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        for member in 0..self.crowd.len() {
            let may_send = self.plan.login.as_ref().is_none_or(|login| login.is_done(member));
            if let Some(conn) = self.crowd.conn(member).filter(|_| may_send) {
                self.fill(cx, member, conn);
            }
        }
    }

    fn measure(&mut self, now: Time) {
        self.tally.start(now);
        self.is_measuring = true;
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let text = std::str::from_utf8(message.as_bytes()).unwrap_or("");
        match Answer::parse(text) {
            Some(Answer::Ok { id, is_accepted, text }) => {
                self.on_ok(cx, conn, message, (&id, is_accepted, &text));
            }
            Some(Answer::Auth { challenge }) => {
                let member = self.crowd.member(conn);
                if let Some(login) = &mut self.plan.login {
                    let _ = cx.send(conn, &*login.answer(member, &challenge));
                }
            }
            _ => self
                .tally
                .wrong("not an OK", || format!("expected OK, received {}", preview(message))),
        }
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        let before = self.flights.len();
        self.flights.retain(|_, (of, _)| *of != member);
        self.tally.errors.add("unanswered", (before - self.flights.len()) as u64);
        self.in_flight[member] = Some(0);
        true
    }

    fn is_spent(&self) -> bool {
        self.next == self.plan.events.len()
            && self.flights.is_empty()
            && self.plan.duplicates == 0.0
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
    }

    fn outstanding(&self) -> u64 {
        self.flights.len() as u64
    }

    fn finish(&mut self, now: Time) {
        self.tally.unanswered(now, self.flights.drain().map(|(_, (_, sent))| sent));
    }

    fn notes(&self) -> Vec<String> {
        let accepted = self.prefixes.iter().filter(|(prefix, _)| !prefix.is_empty());
        let mut notes: Vec<String> = accepted
            .map(|(prefix, count)| format!("{} accepted as {prefix}:", Count(count)))
            .collect();
        if self.next == self.plan.events.len() {
            notes.push(format!("all {} signed events were sent", Count(self.next as u64)));
        }
        notes
    }
}
