//! Events to subscribers of a relay: deliveries, losses, duplicates.
//!
//! Each subscriber has one subscription without stored events, whose filter names authors. In a
//! closed loop (no rate) a publisher sends its next events when the previous ones are answered and
//! delivered; deliveries that do not arrive within [`PATIENCE`] are counted as missing.

use std::time::Duration;

use fastrand::Rng;
use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::deliveries::Deliveries;
use super::{Part, Unit};
use crate::crowd::Crowd;
use crate::nostr::{Answer, Author, Events, Login, prefix, refused};
use crate::pace::Pace;
use crate::payload::preview;
use crate::quantity::Count;
use crate::tally::Tally;

/// How long a closed loop waits for missing deliveries, and a run for EOSEs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Interval of the check for missing deliveries.
const LOOK: Duration = Duration::from_millis(100);
/// Maximum number of events between two turns.
const EVENTS_PER_TICK: usize = 4096;

/// The events, their publishers and their subscribers.
#[derive(Debug)]
pub(crate) struct LivePlan {
    pub(crate) events: Events,
    /// The first members are publishers; member `i` publishes as author `i`.
    pub(crate) publishers: Vec<Author>,
    /// The next members are subscribers whose filter matches.
    pub(crate) matching: usize,
    /// Authors in each filter.
    pub(crate) follows: usize,
    pub(crate) kind: u16,
    /// Events per second of all publishers; `None`: a closed loop.
    pub(crate) rate: Option<f64>,
    /// Events in flight per publisher in a closed loop.
    pub(crate) depth: usize,
    pub(crate) login: Option<Login>,
    pub(crate) seed: u64,
}

/// An event after it was sent.
#[derive(Debug, Clone, Copy)]
struct Published {
    due: Time,
    /// Pending deliveries.
    awaited: usize,
    is_answered: bool,
}

/// The state of a publisher.
#[derive(Debug, Clone, Copy, Default)]
struct Publisher {
    /// Events in flight: not answered, or not delivered to all.
    in_flight: usize,
    /// The first event that counts as in flight; earlier ones were given up.
    first: u64,
    /// The number of its next event.
    next: u64,
    since: Time,
}

#[derive(Debug)]
pub(crate) struct Live {
    crowd: Crowd,
    /// Deliveries.
    tally: Tally,
    answers: Tally,
    /// Latencies of the last delivery of each event.
    last: Tally,
    plan: LivePlan,
    rng: Rng,
    publishers: Vec<Publisher>,
    /// By event; events are sent in this order by publishers in rotation.
    published: Vec<Option<Published>>,
    deliveries: Deliveries,
    /// Matching subscribers with an open connection.
    audience: usize,
    /// Subscribers that have got their EOSE.
    subscribed: Vec<bool>,
    last_subscribed: Time,
    pace: Option<Pace>,
    next_publisher: usize,
    sent: u64,
    is_stopped: bool,
}

impl Live {
    pub(crate) fn new(crowd: Crowd, plan: LivePlan) -> Live {
        let publishers = plan.publishers.len();
        Live {
            tally: Tally::new(),
            answers: Tally::new(),
            last: Tally::new(),
            rng: Rng::with_seed(plan.seed),
            publishers: vec![Publisher::default(); publishers],
            published: vec![None; plan.events.len()],
            deliveries: Deliveries::new(publishers, plan.matching),
            audience: 0,
            subscribed: vec![false; crowd.len()],
            last_subscribed: Time::ZERO,
            pace: None,
            next_publisher: 0,
            sent: 0,
            is_stopped: false,
            crowd,
            plan,
        }
    }

    /// The number of a member among the matching subscribers.
    fn row(&self, member: usize) -> Option<usize> {
        member.checked_sub(self.publishers.len()).filter(|row| *row < self.plan.matching)
    }

    fn subscribe(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        if self.row(member).is_some() {
            self.audience += 1;
        } else if member < self.publishers.len() {
            return;
        }
        let mut authors: Vec<String> = match self.row(member) {
            Some(_) => {
                self.plan.publishers.iter().map(|author| author.public_key.clone()).collect()
            }
            None => Vec::new(),
        };
        while authors.len() < self.plan.follows {
            authors.push(format!("{:032x}{:032x}", self.rng.u128(..), self.rng.u128(..)));
        }
        let (authors, kind) = (authors.join(r#"",""#), self.plan.kind);
        let filter = format!(r#"{{"authors":["{authors}"],"kinds":[{kind}],"limit":0}}"#);
        let outcome = cx.send(conn, &*format!(r#"["REQ","live-{member}",{filter}]"#));
        self.tally.not_sent(outcome);
    }

    /// Sends a publisher's next event; returns whether it was sent.
    fn publish(&mut self, cx: &mut Context<'_>, publisher: usize, due: Time) -> bool {
        let number = self.publishers[publisher].next;
        let event = number as usize * self.publishers.len() + publisher;
        if event >= self.published.len() {
            return false;
        }
        let Some(conn) = self.crowd.conn(publisher) else {
            self.tally.errors.add("not published: no connection", 1);
            return false;
        };
        let message = self.plan.events.message(event);
        let outcome = cx.send(conn, message);
        if !outcome.is_queued() {
            self.tally.not_sent(outcome);
            return false;
        }
        self.tally.sent(message.len());
        self.tally.due(due, cx.now());
        let awaited = self.audience;
        self.published[event] = Some(Published { due, awaited, is_answered: false });
        let state = &mut self.publishers[publisher];
        state.next += 1;
        state.in_flight += 1;
        self.sent += 1;
        true
    }

    /// Sends the next events of a closed loop.
    fn publish_batch(&mut self, cx: &mut Context<'_>, publisher: usize) {
        let state = &mut self.publishers[publisher];
        (state.in_flight, state.first, state.since) = (0, state.next, cx.now());
        for _ in 0..self.plan.depth {
            self.publish(cx, publisher, cx.now());
        }
    }

    /// Continues closed loops whose events were not delivered in time.
    fn look_for_losses(&mut self, cx: &mut Context<'_>) {
        for publisher in 0..self.publishers.len() {
            let Publisher { since, in_flight, .. } = self.publishers[publisher];
            if in_flight > 0 && cx.now().since(since) >= PATIENCE {
                self.publish_batch(cx, publisher);
            }
        }
    }

    /// Counts an answer to, or a delivery of, an event down; sends the next events if it was the
    /// last one that a closed loop waits for.
    fn count_down(&mut self, cx: &mut Context<'_>, event: usize) {
        let publisher = event % self.publishers.len();
        let number = (event / self.publishers.len()) as u64;
        let is_complete = self.published[event]
            .is_some_and(|published| published.awaited == 0 && published.is_answered);
        let state = &mut self.publishers[publisher];
        if is_complete && number >= state.first {
            state.in_flight -= 1;
            if state.in_flight == 0 && self.plan.rate.is_none() && !self.is_stopped {
                self.publish_batch(cx, publisher);
            }
        }
    }

    fn on_event(&mut self, cx: &mut Context<'_>, member: usize, message: Message<'_>, id: &str) {
        let event = self.plan.events.find(id);
        let sent = event.and_then(|event| Some((event, self.published[event]?)));
        let (Some((event, Published { due, .. })), Some(row)) = (sent, self.row(member)) else {
            return self.tally.wrong("an event that does not match", || {
                format!("expected a published event, received {}", preview(message))
            });
        };
        let publishers = self.publishers.len();
        if !self.deliveries.note(row, event % publishers, (event / publishers) as u64) {
            return;
        }
        self.tally.received(message.len());
        self.tally.record(cx.now().since(due));
        if let Some(published) = &mut self.published[event] {
            published.awaited = published.awaited.saturating_sub(1);
            if published.awaited == 0 {
                self.last.record(cx.now().since(due));
            }
        }
        self.count_down(cx, event);
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
            if !is_accepted {
                refused(&mut self.tally, "AUTH refused", text, message);
            }
            return self.subscribe(cx, member, conn);
        }
        let event = self.plan.events.find(id);
        let published = event.and_then(|event| self.published[event].as_mut().zip(Some(event)));
        let Some((published, event)) = published.filter(|(published, _)| !published.is_answered)
        else {
            return self.tally.wrong("an OK without a pending event", || {
                format!("expected the id of an event, received {}", preview(message))
            });
        };
        published.is_answered = true;
        let due = published.due;
        if is_accepted {
            self.answers.record(cx.now().since(due));
        } else {
            published.awaited = 0;
            refused(&mut self.tally, "refused", text, message);
        }
        self.count_down(cx, event);
    }
}

impl Part for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn unit(&self) -> Unit {
        Unit { one: "delivery", many: "deliveries" }
    }

    fn second(&self) -> Option<(Unit, u64)> {
        Some((Unit { one: "event", many: "events" }, self.tally.counts.sent))
    }

    fn details(&mut self) -> Vec<(&'static str, &mut Tally)> {
        vec![("OK", &mut self.answers), ("last", &mut self.last)]
    }

    fn crowd(&mut self) -> &mut Crowd {
        &mut self.crowd
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    fn is_paced(&self) -> bool {
        self.plan.rate.is_some()
    }

    /// All subscriptions have got their EOSE, or none has within [`PATIENCE`].
    fn is_ready(&mut self, now: Time) -> bool {
        let subscribers = self.publishers.len()..self.crowd.len();
        let has_eose = |member| self.subscribed[member] || self.crowd.conn(member).is_none();
        let is_over = now.since(self.last_subscribed) > PATIENCE;
        self.crowd.is_ready() && (is_over || subscribers.into_iter().all(has_eose))
    }

    fn on_open(&mut self, cx: &mut Context<'_>, member: usize, conn: ConnId) {
        self.last_subscribed = cx.now();
        if self.plan.login.is_none() {
            self.subscribe(cx, member, conn);
        }
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        match self.plan.rate {
            Some(rate) => self.pace = Some(Pace::new(cx.now(), rate, 1)),
            None => (0..self.publishers.len()).for_each(|each| self.publish_batch(cx, each)),
        }
    }

    fn measure(&mut self, now: Time) {
        self.tally.start(now);
        self.answers.start(now);
        self.last.start(now);
    }

    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        if self.is_stopped {
            return Time::MAX;
        }
        for _ in 0..EVENTS_PER_TICK {
            let Some(pace) = &mut self.pace else {
                self.look_for_losses(cx);
                return cx.now() + LOOK;
            };
            let Some(due) = pace.take(cx.now()) else {
                return pace.due();
            };
            self.publish(cx, self.next_publisher, due);
            self.next_publisher = (self.next_publisher + 1) % self.publishers.len();
        }
        cx.now()
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        let text = std::str::from_utf8(message.as_bytes()).unwrap_or("");
        match Answer::parse(text) {
            Some(Answer::Event { id, .. }) => self.on_event(cx, member, message, &id),
            Some(Answer::Ok { id, is_accepted, text }) => {
                self.on_ok(cx, conn, message, (&id, is_accepted, &text));
            }
            Some(Answer::Eose { .. }) => {
                self.subscribed[member] = true;
                self.last_subscribed = cx.now();
            }
            Some(Answer::Auth { challenge }) => {
                if let Some(login) = &mut self.plan.login {
                    let _ = cx.send(conn, &*login.answer(member, &challenge));
                }
            }
            Some(Answer::Closed { text, .. }) => {
                self.subscribed[member] = true;
                self.tally.wrong(format!("closed, {}:", prefix(&text)), || {
                    format!("expected EOSE, received {}", preview(message))
                });
            }
            _ => self.tally.wrong("not an event", || {
                format!("expected EVENT or OK, received {}", preview(message))
            }),
        }
    }

    /// Events are answered, but not delivered if no filter matches.
    fn is_answered(&self) -> bool {
        self.plan.matching > 0
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        if self.row(member).is_some() {
            self.audience = self.audience.saturating_sub(1);
        } else if member < self.publishers.len() {
            self.publishers[member].in_flight = 0;
        }
        true
    }

    fn is_spent(&self) -> bool {
        self.sent == self.published.len() as u64 && self.outstanding() == 0
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
        self.pace = None;
    }

    fn outstanding(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.in_flight as u64).sum()
    }

    fn finish(&mut self, _: Time) {
        let publishers = self.publishers.len();
        for row in 0..self.plan.matching {
            if self.crowd.conn(publishers + row).is_none() {
                continue;
            }
            for (publisher, state) in self.publishers.iter().enumerate() {
                self.deliveries.end(row, publisher, state.next);
            }
        }
        let unanswered = self.published.iter().flatten().filter(|event| !event.is_answered);
        self.tally.errors.add("unanswered", unanswered.count() as u64);
        self.deliveries.errors(&mut self.tally.errors);
    }

    fn notes(&self) -> Vec<String> {
        let subscribed = self.subscribed.iter().filter(|is_subscribed| **is_subscribed).count();
        vec![format!(
            "{} events published to {} of {} subscriptions; {} deliveries missing, {} duplicate",
            Count(self.sent),
            Count(self.plan.matching as u64),
            Count(subscribed as u64),
            Count(self.deliveries.missing),
            Count(self.deliveries.duplicates)
        )]
    }
}
