//! The hand-over from stored to live events under random interleavings of commits, their mail, slices
//! and ends of scans, requests, and ends of subscriptions and connections.
//!
//! The store is a list: an event's serial is its place. Each subscription is checked against what its
//! filters match, event by event.

use std::collections::VecDeque;

use super::*;
use crate::services::nostr::testing::{Random, random_event, random_filter};

const CONNECTIONS: usize = 3;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a client has received for a subscription.
struct Received {
    conn: u32,
    id: SubscriptionId,
    filters: Arc<[Filter]>,
    /// Events before EOSE, and after it.
    stored: Vec<Arc<Event>>,
    live: Vec<Arc<Event>>,
    has_eose: bool,
    /// The newest serial of the first scan; `None`: no scan has ended.
    last: Option<u64>,
    /// How many events were announced before the request.
    announced_before: usize,
    /// How many ephemeral events are known to be lost.
    lost: usize,
}

impl Received {
    fn matches(&self, event: &Event) -> bool {
        self.filters.iter().any(|filter| filter.matches(event))
    }

    fn push(&mut self, event: Arc<Event>) {
        assert!(self.matches(&event));
        let duplicate = self.stored.iter().chain(&self.live).any(|known| known.id() == event.id());
        assert!(!duplicate, "{event:?} was received twice");
        if self.has_eose { self.live.push(event) } else { self.stored.push(event) }
    }
}

/// A scan on its thread.
struct Scan {
    query: Query,
    filters: Arc<[Filter]>,
    after: u64,
    is_catch_up: bool,
    /// From the snapshot of the first slice.
    last: Option<u64>,
    unsent: VecDeque<Arc<Event>>,
}

struct World {
    random: Random,
    subscriptions: Subscriptions<u32>,
    committed: Vec<Arc<Event>>,
    /// How many commits have been announced: their mail arrives late and in order.
    mailed: usize,
    /// All announced events, with their serials.
    announced: Vec<(Arc<Event>, Option<u64>)>,
    scans: Vec<Scan>,
    received: Vec<Received>,
    events: usize,
    lost: usize,
    catch_ups: usize,
}

impl World {
    fn new(seed: u64, ring: RingLimits) -> World {
        World {
            random: Random(seed),
            subscriptions: Subscriptions::with_ring(SubscriptionLimits::default(), ring),
            committed: Vec::new(),
            mailed: 0,
            announced: Vec::new(),
            scans: Vec::new(),
            received: Vec::new(),
            events: 0,
            lost: 0,
            catch_ups: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..6 => self.commit(),
            6..10 => self.mail(),
            10..12 => self.ephemeral(),
            12..15 => self.slice(),
            15..17 => self.end(),
            17..19 => self.request(),
            _ => self.close(),
        }
        self.check_leases();
    }

    fn event(&mut self) -> Arc<Event> {
        self.events += 1;
        Arc::new(random_event(&mut self.random, self.events))
    }

    fn commit(&mut self) {
        for _ in 0..=self.random.below(3) {
            let event = self.event();
            self.committed.push(event);
        }
    }

    fn mail(&mut self) {
        for _ in 0..=self.random.below(4) {
            if let Some(event) = self.committed.get(self.mailed).cloned() {
                self.mailed += 1;
                self.announce(event, Some(self.mailed as u64));
            }
        }
    }

    fn ephemeral(&mut self) {
        let event = self.event();
        self.announce(event, None);
    }

    fn announce(&mut self, event: Arc<Event>, serial: Option<u64>) {
        let recipients = self.subscriptions.announce(Arc::clone(&event), serial, NOW);
        for (id, conns) in recipients.groups() {
            for conn in conns {
                let mut received = self.received.iter_mut();
                let received =
                    received.find(|received| received.conn == conn && received.id == *id);
                let received = received.expect("the subscription is open");
                assert!(received.has_eose, "a live event before EOSE");
                received.push(Arc::clone(&event));
            }
        }
        self.announced.push((event, serial));
    }

    fn request(&mut self) {
        let (conn, id) = self.name();
        self.received.retain(|received| received.conn != conn || received.id != id);
        let filters: Arc<[Filter]> = match self.random.below(8) {
            0 => filters(r#"{"limit":0}"#),
            1..4 => filters("{}"),
            _ => (0..=self.random.below(3)).map(|_| random_filter(&mut self.random, 100)).collect(),
        };
        let opened = self.subscriptions.request(conn, id.clone(), Arc::clone(&filters)).unwrap();
        let mut received = Received {
            conn,
            id,
            filters: Arc::clone(&filters),
            stored: Vec::new(),
            live: Vec::new(),
            has_eose: false,
            last: None,
            announced_before: self.announced.len(),
            lost: 0,
        };
        match opened {
            Opened::Scan(query) => self.scan(query, filters, 0, false),
            Opened::Live => {
                received.has_eose = true;
                // The commits that are announced from now on are sent.
                received.last = Some(self.mailed as u64);
            }
        }
        self.received.push(received);
    }

    fn scan(&mut self, query: Query, filters: Arc<[Filter]>, after: u64, is_catch_up: bool) {
        let unsent = VecDeque::new();
        self.scans.push(Scan { query, filters, after, is_catch_up, last: None, unsent });
    }

    fn name(&mut self) -> (u32, SubscriptionId) {
        let name = NAMES[self.random.below(NAMES.len())];
        (self.random.below(CONNECTIONS) as u32, id(name))
    }

    fn close(&mut self) {
        let (conn, id) = self.name();
        let ends_connection = self.random.one_in(3);
        let is_named =
            |received: &Received| received.conn == conn && (ends_connection || received.id == id);
        let open = self.received.iter().filter(|received| is_named(received)).count();
        if ends_connection {
            self.subscriptions.forget(conn);
            if self.random.one_in(2) {
                self.subscriptions.release();
            }
        } else {
            assert_eq!(self.subscriptions.close(conn, &id), open == 1);
        }
        self.received.retain(|received| !is_named(received));
    }

    /// A slice of a scan: opens the snapshot, or sends a page.
    fn slice(&mut self) {
        if self.scans.is_empty() {
            return;
        }
        let index = self.random.below(self.scans.len());
        let scan = &mut self.scans[index];
        if scan.last.is_none() {
            let new = self.committed[scan.after as usize..].iter();
            let matching =
                new.filter(|event| scan.filters.iter().any(|filter| filter.matches(&***event)));
            scan.unsent = matching.cloned().collect();
            scan.last = Some(self.committed.len() as u64);
        }
        let page: Vec<Arc<Event>> =
            scan.unsent.drain(..scan.unsent.len().min(1 + self.random.below(10))).collect();
        let Some((conn, id)) = self.subscriptions.page(scan.query.id) else {
            self.scans.swap_remove(index);
            return;
        };
        let mut received = self.received.iter_mut();
        let received = received.find(|received| received.conn == conn && received.id == *id);
        let received = received.expect("the subscription is open");
        page.into_iter().for_each(|event| received.push(event));
    }

    /// The end of a scan that has sent its pages.
    fn end(&mut self) {
        let done = |scan: &Scan| scan.last.is_some() && scan.unsent.is_empty();
        let Some(index) = self.scans.iter().position(done) else { return };
        let Scan { query, last: Some(last), is_catch_up, .. } = self.scans.swap_remove(index)
        else {
            return;
        };
        let Some(ended) = self.subscriptions.end(query.id, last, NOW) else { return };
        let mut received = self.received.iter_mut();
        let received =
            received.find(|received| received.conn == ended.conn && received.id == ended.id);
        let received = received.expect("the subscription is open");
        assert_eq!(ended.eose, !is_catch_up);
        assert_eq!(received.has_eose, is_catch_up);
        received.has_eose = true;
        received.last.get_or_insert(last);
        ended.events.into_iter().for_each(|event| received.push(event));
        let since = &self.announced[received.announced_before..];
        let due =
            since.iter().filter(|(event, serial)| serial.is_none() && received.matches(event));
        let missing = due.filter(|(event, _)| !received.live.contains(event)).count();
        self.lost += missing - received.lost;
        received.lost = missing;
        if let Some(CatchUp { query, filters, after }) = ended.catch_up {
            assert_eq!(after, last);
            self.catch_ups += 1;
            self.scan(query, filters, after, true);
        }
    }

    fn check_leases(&self) {
        for Scan { query, .. } in &self.scans {
            assert_eq!(query.lease.is_valid(), self.subscriptions.page(query.id).is_some());
        }
        let open = self.subscriptions.counts().subscriptions - self.subscriptions.ended();
        assert_eq!(open, self.received.len());
    }

    /// Lets all mail arrive and all scans end, and checks what each subscription has received.
    fn finish(mut self) -> (usize, usize) {
        while self.mailed < self.committed.len() || !self.scans.is_empty() {
            self.mail();
            self.slice();
            self.end();
        }
        assert_eq!(self.subscriptions.dropped(), self.lost as u64);
        for received in &self.received {
            self.check(received);
        }
        (self.catch_ups, self.lost)
    }

    fn check(&self, received: &Received) {
        let last = received.last.expect("the scan has ended") as usize;
        assert!(received.has_eose);
        let (before, after) = self.committed.split_at(last);
        let matching = |events: &[Arc<Event>]| -> Vec<Arc<Event>> {
            events.iter().filter(|event| received.matches(event)).cloned().collect()
        };
        let scans = received.filters.iter().any(|filter| filter.limit() != Some(0));
        assert_eq!(received.stored, if scans { matching(before) } else { Vec::new() });
        let is_ephemeral = |event: &Arc<Event>| {
            self.announced.iter().any(|(other, serial)| other == event && serial.is_none())
        };
        let (ephemeral, live): (Vec<_>, Vec<_>) =
            received.live.iter().cloned().partition(is_ephemeral);
        // In the order of the commits.
        assert_eq!(live, matching(after));
        let since = &self.announced[received.announced_before..];
        let due =
            since.iter().filter(|(event, serial)| serial.is_none() && received.matches(event));
        let mut due: VecDeque<_> = due.map(|(event, _)| event.clone()).collect();
        assert_eq!(due.len() - ephemeral.len(), received.lost);
        // In the order of announcement.
        for event in &ephemeral {
            while due.pop_front().expect("in order and due") != *event {}
        }
    }
}

fn run(seeds: std::ops::Range<u64>, ring: RingLimits) -> (usize, usize) {
    let mut total = (0, 0);
    for seed in seeds {
        let mut world = World::new(seed, ring);
        for _ in 0..300 {
            world.step();
        }
        let (catch_ups, lost) = world.finish();
        total = (total.0 + catch_ups, total.1 + lost);
    }
    total
}

#[test]
fn each_event_arrives_once_and_in_order_under_random_interleavings() {
    assert_eq!(run(0..150, RingLimits::default()), (0, 0));
}

#[test]
fn each_stored_event_arrives_once_and_in_order_while_the_ring_loses_events() {
    let (catch_ups, lost) = run(1000..1150, RingLimits { entries_max: 3, ..RingLimits::default() });
    assert!(catch_ups > 100 && lost > 20, "{catch_ups} catch-up scans, {lost} events lost");
}

#[test]
fn each_stored_event_arrives_once_and_in_order_while_too_many_bytes_are_to_be_sent() {
    let ring = RingLimits { read_bytes_max: 700, ..RingLimits::default() };
    let (catch_ups, lost) = run(3000..3150, ring);
    assert!(catch_ups > 100 && lost > 20, "{catch_ups} catch-up scans, {lost} events lost");
}

#[test]
fn each_stored_event_arrives_once_and_in_order_while_too_many_are_to_be_compared() {
    let (catch_ups, lost) = run(2000..2150, RingLimits { read_max: 3, ..RingLimits::default() });
    assert!(catch_ups > 100 && lost > 20, "{catch_ups} catch-up scans, {lost} events lost");
}
