//! Fan-out: publishers to subscribers, over rooms or any path that a server relays.
//!
//! Every message contains its publisher, its number and the time at which it was due, so that each
//! subscriber detects missing, duplicate and out-of-order messages. In a closed loop (no rate) a
//! publisher sends the next `depth` messages when all previous ones are delivered. Deliveries that
//! do not arrive within [`PATIENCE`] are counted as missing.

use std::time::Duration;

use fastrand::Rng;
use weir::protocol::Message;
use weir::reactor::{CloseReason, ConnId, Context, Time};

use super::track::{Arrival, Track};
use super::{Part, Traffic, Unit};
use crate::crowd::Crowd;
use crate::pace::Pace;
use crate::payload::{Payload, STAMP_BYTES, Stamp, preview, read_stamps};
use crate::size::Sizes;
use crate::tally::Tally;

/// Size of the two stamps.
pub(crate) const FANOUT_BYTES_MIN: usize = 2 * STAMP_BYTES;
/// How long a closed loop waits for missing deliveries.
const PATIENCE: Duration = Duration::from_secs(1);
/// Interval of the check for them.
const LOOK: Duration = Duration::from_millis(100);
/// In a stamp, the publisher's number is above the message's number, which has this many bits.
const NUMBER_BITS: u32 = 40;
/// Maximum number of publications between two turns.
const PUBLICATIONS_PER_TICK: usize = 4096;

/// The publishers and their rooms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FanoutPlan {
    /// The first members are publishers; each publishes in one room.
    pub(crate) publishers: usize,
    pub(crate) rooms: usize,
    /// Publications per second of all publishers; `None`: a closed loop.
    pub(crate) rate: Option<f64>,
}

/// The state of a publisher.
#[derive(Debug, Clone, Copy, Default)]
struct Publisher {
    /// The number of its next message.
    next: u64,
    /// The first number of the current batch.
    batch: u64,
    /// Pending deliveries of the batch.
    awaited: u64,
    since: Time,
}

#[derive(Debug)]
pub(crate) struct Fanout {
    crowd: Crowd,
    tally: Tally,
    plan: FanoutPlan,
    depth: usize,
    payload: Payload,
    sizes: Sizes,
    rng: Rng,
    publishers: Vec<Publisher>,
    /// Number of open subscribers per room.
    audience: Vec<u64>,
    /// For each subscriber, a track per publisher of its room.
    tracks: Vec<Track>,
    pace: Option<Pace>,
    next_publisher: usize,
    awaited: u64,
    published: u64,
    missing: u64,
    duplicates: u64,
    out_of_order: u64,
    is_stopped: bool,
}

impl Fanout {
    /// The first members of the crowd are the plan's publishers, the others are subscribers.
    pub(crate) fn new(crowd: Crowd, traffic: &Traffic, plan: FanoutPlan) -> Fanout {
        let mut rng = Rng::with_seed(traffic.seed);
        let subscribers = crowd.len() - plan.publishers;
        let per_room = plan.publishers.div_ceil(plan.rooms);
        Fanout {
            tally: Tally::new(),
            depth: traffic.depth,
            payload: Payload::new(traffic.kind, traffic.sizes.max(), &mut rng),
            sizes: traffic.sizes.clone(),
            rng,
            publishers: vec![Publisher::default(); plan.publishers],
            audience: vec![0; plan.rooms],
            tracks: vec![Track::default(); subscribers * per_room],
            crowd,
            plan,
            pace: None,
            next_publisher: 0,
            awaited: 0,
            published: 0,
            missing: 0,
            duplicates: 0,
            out_of_order: 0,
            is_stopped: false,
        }
    }

    fn room(&self, member: usize) -> usize {
        member % self.plan.rooms
    }

    /// The index of this pair's track, if both are in the same room.
    fn track(&self, subscriber: usize, publisher: usize) -> Option<usize> {
        let is_shared = self.room(subscriber) == self.room(publisher);
        let per_room = self.plan.publishers.div_ceil(self.plan.rooms);
        let row = subscriber.checked_sub(self.plan.publishers)?;
        is_shared.then(|| row * per_room + publisher / self.plan.rooms)
    }

    /// Publishes one message; returns the number of expected deliveries.
    fn publish(&mut self, cx: &mut Context<'_>, publisher: usize, intended: Time) -> u64 {
        let Some(conn) = self.crowd.conn(publisher) else {
            self.tally.errors.add("not published: no connection", 1);
            return 0;
        };
        let len = self.sizes.draw(&mut self.rng);
        let number = (publisher as u64) << NUMBER_BITS | self.publishers[publisher].next;
        let stamps = [Stamp::of(number), Stamp::of(intended.as_nanos())];
        let outcome = cx.send(conn, self.payload.message(len, &stamps));
        if !outcome.is_queued() {
            self.tally.not_sent(outcome);
            return 0;
        }
        let receivers = self.audience[self.room(publisher)];
        self.publishers[publisher].next += 1;
        self.published += 1;
        self.awaited += receivers;
        self.tally.sent(len);
        self.tally.due(intended, cx.now());
        receivers
    }

    /// Publishes the next batch of a closed loop.
    fn publish_batch(&mut self, cx: &mut Context<'_>, publisher: usize) {
        let batch = self.publishers[publisher].next;
        let mut awaited = 0;
        for _ in 0..self.depth {
            awaited += self.publish(cx, publisher, cx.now());
        }
        let state = &mut self.publishers[publisher];
        (state.batch, state.awaited, state.since) = (batch, awaited, cx.now());
    }

    /// Replaces batches that were not delivered in time.
    fn look_for_losses(&mut self, cx: &mut Context<'_>) {
        for publisher in 0..self.publishers.len() {
            let Publisher { since, awaited, .. } = self.publishers[publisher];
            if cx.now().since(since) >= PATIENCE && self.crowd.conn(publisher).is_some() {
                self.awaited = self.awaited.saturating_sub(awaited);
                self.publish_batch(cx, publisher);
            }
        }
    }

    /// Counts a message that no publisher of this run sent.
    fn foreign(&mut self, message: Message<'_>) {
        self.tally.wrong("not a message of ours", || {
            format!("expected a published message, received {}", preview(message))
        });
    }

    /// Records a delivery; returns whether it is not a duplicate.
    fn note(&mut self, track: usize, number: u64) -> bool {
        match self.tracks[track].note(number) {
            Arrival::InOrder => true,
            Arrival::Gap(skipped) => {
                self.missing += skipped;
                true
            }
            Arrival::Late => {
                // It was counted as missing when a later message arrived.
                self.missing = self.missing.saturating_sub(1);
                self.out_of_order += 1;
                true
            }
            Arrival::Duplicate => {
                self.duplicates += 1;
                false
            }
        }
    }
}

impl Part for Fanout {
    fn name(&self) -> &'static str {
        "fanout"
    }

    fn unit(&self) -> Unit {
        Unit { one: "delivery", many: "deliveries" }
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

    fn start(&mut self, cx: &mut Context<'_>) {
        for subscriber in self.plan.publishers..self.crowd.len() {
            if self.crowd.conn(subscriber).is_some() {
                self.audience[subscriber % self.plan.rooms] += 1;
            }
        }
        match self.plan.rate {
            Some(rate) => self.pace = Some(Pace::new(cx.now(), rate, 1)),
            None => (0..self.plan.publishers).for_each(|each| self.publish_batch(cx, each)),
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) -> Time {
        if self.is_stopped {
            return Time::MAX;
        }
        for _ in 0..PUBLICATIONS_PER_TICK {
            let Some(pace) = &mut self.pace else {
                self.look_for_losses(cx);
                return cx.now() + LOOK;
            };
            let Some(due) = pace.take(cx.now()) else {
                return pace.due();
            };
            self.publish(cx, self.next_publisher, due);
            self.next_publisher = (self.next_publisher + 1) % self.plan.publishers;
        }
        cx.now()
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let member = self.crowd.member(conn);
        let Some([stamp, intended]) = read_stamps(message.as_bytes()) else {
            return self.foreign(message);
        };
        let (publisher, number) =
            ((stamp >> NUMBER_BITS) as usize, stamp & ((1 << NUMBER_BITS) - 1));
        let next = self.publishers.get(publisher).map_or(0, |publisher| publisher.next);
        if number >= next {
            return self.foreign(message);
        }
        self.tally.received(message.len());
        // Deliveries to publishers are only counted.
        if member < self.plan.publishers {
            return;
        }
        let Some(track) = self.track(member, publisher) else {
            return self.tally.wrong("from another room", || {
                format!("expected messages of its own room, received {}", preview(message))
            });
        };
        if !self.note(track, number) {
            return;
        }
        self.tally.record(cx.now().since(Time::from_nanos(intended)));
        self.awaited = self.awaited.saturating_sub(1);
        let state = &mut self.publishers[publisher];
        if number >= state.batch && state.awaited > 0 {
            state.awaited -= 1;
            if state.awaited == 0 && !self.is_stopped && self.plan.rate.is_none() {
                self.publish_batch(cx, publisher);
            }
        }
    }

    fn on_end(&mut self, _: &mut Context<'_>, member: usize, _: CloseReason) -> bool {
        if member >= self.plan.publishers {
            let room = self.room(member);
            self.audience[room] = self.audience[room].saturating_sub(1);
        }
        true
    }

    fn stop(&mut self, _: &mut Context<'_>) {
        self.is_stopped = true;
        self.pace = None;
    }

    fn outstanding(&self) -> u64 {
        self.awaited
    }

    fn finish(&mut self, _: Time) {
        for subscriber in self.plan.publishers..self.crowd.len() {
            if self.crowd.conn(subscriber).is_none() {
                continue;
            }
            for (publisher, state) in self.publishers.iter().enumerate() {
                if let Some(track) = self.track(subscriber, publisher) {
                    self.missing += self.tracks[track].missing_at_end(state.next);
                }
            }
        }
        self.tally.errors.add("missing", self.missing);
        self.tally.errors.add("duplicate", self.duplicates);
        self.tally.errors.add("out of order", self.out_of_order);
    }

    fn notes(&self) -> Vec<String> {
        vec![format!(
            "{} messages published; {} deliveries missing, {} duplicate, {} out of order",
            self.published, self.missing, self.duplicates, self.out_of_order
        )]
    }
}
