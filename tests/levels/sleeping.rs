//! A service that blocks the loop: the delay raises the level, low priority is shed, and high is served.
//!
//! Times are those of the loop; limits on them leave room for a busy machine. With `--nocapture`, the tests
//! print what they measure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use weir::protocol::Message;
use weir::reactor::settings::{ListenSettings, MemoryMax, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Level, Priority, Reactor, Service, Time};

use crate::support::{ByHand, CLOSE, Client, DEADLINE, Server, TEXT, any, eventually, frame};

/// How long a level needs to fall by one step: five seconds, of which a part of a sample may lie before the
/// last message.
const FALL: Duration = Duration::from_millis(4_500);

/// What has happened, in which turn of the loop, and after how many messages.
struct Stamp<T> {
    what: T,
    at: Time,
    messages: u64,
}

/// The turn that handled the first message, the one that handled the last, and their number.
#[derive(Default)]
struct Messages {
    count: AtomicU64,
    first_nanos: AtomicU64,
    last_nanos: AtomicU64,
}

impl Messages {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn note(&self, now: Time) {
        self.last_nanos.store(now.as_nanos(), Ordering::Relaxed);
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first_nanos.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn first(&self) -> Time {
        Time::from_nanos(self.first_nanos.load(Ordering::Relaxed))
    }

    fn last(&self) -> Time {
        Time::from_nanos(self.last_nanos.load(Ordering::Relaxed))
    }
}

/// Sleeps on the loop's thread for each message, and answers it.
struct Sleeping {
    time: Duration,
    levels: Sender<Stamp<Level>>,
    ends: Sender<Stamp<CloseReason>>,
    messages: Arc<Messages>,
}

/// What a [`Sleeping`] service reports.
struct Reports {
    levels: Receiver<Stamp<Level>>,
    ends: Receiver<Stamp<CloseReason>>,
    messages: Arc<Messages>,
}

impl Sleeping {
    fn new(millis: u64) -> (Sleeping, Reports) {
        let ((levels, seen_levels), (ends, seen_ends)) = (channel(), channel());
        let messages = Arc::new(Messages::default());
        let time = Duration::from_millis(millis);
        let service = Sleeping { time, levels, ends, messages: Arc::clone(&messages) };
        (service, Reports { levels: seen_levels, ends: seen_ends, messages })
    }

    /// Adds it with a route of each priority: `/low`, ..
    fn add(self, reactor: &mut Reactor) {
        let service = reactor.add_service(self).unwrap();
        for priority in Priority::ALL {
            let route = RouteSettings::default().priority(priority);
            reactor.add_route(&format!("/{priority}"), service, route).unwrap();
        }
    }
}

impl Service for Sleeping {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        thread::sleep(self.time);
        self.messages.note(cx.now());
        let _ = cx.send(conn, message);
    }

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
        let stamp = Stamp { what: why, at: cx.now(), messages: self.messages.count() };
        // The receiver may have gone.
        let _ = self.ends.send(stamp);
    }

    fn on_load_level(&mut self, cx: &mut Context<'_>, level: Level) {
        let stamp = Stamp { what: level, at: cx.now(), messages: self.messages.count() };
        let _ = self.levels.send(stamp);
    }
}

/// Settings whose level follows the delay alone.
fn by_delay(critical: Duration) -> Settings {
    Settings::default().memory_max(MemoryMax::Off).delay_critical(critical)
}

/// A server with a [`Sleeping`] service, and its clients.
struct Running {
    server: Server,
    reports: Reports,
    /// Whether clients end.
    ends: Arc<AtomicBool>,
}

impl Running {
    fn new(millis: u64, critical: Duration) -> Running {
        let (service, reports) = Sleeping::new(millis);
        let listen = ListenSettings::new(any());
        let add = move |reactor: &mut Reactor| service.add(reactor);
        let server = Server::with_levels(listen, by_delay(critical), add);
        Running { server, reports, ends: Arc::default() }
    }

    fn open(&self, path: &str) -> Client {
        Client::open(self.server.address, path)
    }

    /// Lets so many clients send their next message when the last one is answered, until they get a Close
    /// or are to end. They return the code of the Close.
    fn talk(&self, path: &str, count: usize) -> Vec<JoinHandle<Option<u16>>> {
        let clients: Vec<Client> = (0..count).map(|_| self.open(path)).collect();
        let talk = |mut client: Client| {
            let ends = Arc::clone(&self.ends);
            thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    client.text("next");
                    let frame = client.frame();
                    if frame.opcode == CLOSE {
                        return Some(u16::from_be_bytes([frame.payload[0], frame.payload[1]]));
                    }
                    assert_eq!(frame.opcode, TEXT);
                }
                None
            })
        };
        clients.into_iter().map(talk).collect()
    }

    /// Ends the clients; returns the codes of those that got a Close.
    fn end(&self, talks: Vec<JoinHandle<Option<u16>>>) -> Vec<u16> {
        self.ends.store(true, Ordering::Relaxed);
        talks.into_iter().filter_map(|talk| talk.join().unwrap()).collect()
    }

    /// Waits for the next level.
    fn expect(&self, level: Level) -> Stamp<Level> {
        let stamp = self.reports.levels.recv_timeout(DEADLINE).unwrap();
        assert_eq!(stamp.what, level);
        stamp
    }

    /// The time since the first message.
    fn since_first(&self, at: Time) -> Duration {
        at.since(self.reports.messages.first())
    }

    /// The time since the last message.
    fn since_last(&self, at: Time) -> Duration {
        at.since(self.reports.messages.last())
    }
}

/// On a busy machine 20 ms may become 50; so nothing is critical in this test.
#[test]
fn a_service_that_sleeps_20_ms_a_message_elevates_the_load() {
    let running = Running::new(20, Duration::from_secs(60));
    let talks = running.talk("/normal", 1);
    let elevated = running.expect(Level::Elevated);
    // Two samples of a quarter of a second.
    let messages = elevated.messages;
    assert!(messages <= 2_000 / 20, "{messages} messages until the load was elevated");
    assert!(running.end(talks).is_empty());
    let normal = running.since_last(running.expect(Level::Normal).at);
    println!(
        "20 ms: elevated after {:?}, normal after {normal:?}",
        running.since_first(elevated.at)
    );
    assert!((FALL..FALL * 3).contains(&normal), "normal {normal:?} after the last message");
    running.server.stop();
}

#[test]
fn a_service_that_sleeps_60_ms_a_message_makes_the_load_critical() {
    let running = Running::new(60, Settings::default().delay_critical);
    let (low, high) = (running.talk("/low", 3), running.talk("/high", 1));
    running.expect(Level::Elevated);
    let critical = running.expect(Level::Critical);
    let messages = critical.messages;
    assert!(messages <= 2_000 / 60 + 4, "{messages} messages until the load was critical");
    // 20 % of four connections are less than one, so one is closed.
    let end = running.reports.ends.recv_timeout(DEADLINE).unwrap();
    assert_eq!(end.what, CloseReason::Shed);
    assert!(!high[0].is_finished());
    let served = running.reports.messages.count();
    eventually(|| running.reports.messages.count() > served + 3, "others are served");
    assert_eq!((running.end(low), running.end(high)), (vec![1013], vec![]));
    running.expect(Level::Elevated);
    let normal = running.since_last(running.expect(Level::Normal).at);
    println!(
        "60 ms: critical after {:?}, the first client is closed after {:?}, normal after {normal:?}",
        running.since_first(critical.at),
        running.since_first(end.at),
    );
    assert!((FALL * 2..FALL * 5).contains(&normal), "normal {normal:?} after the last message");
    let metrics = running.server.stop();
    assert_eq!(metrics.shed, 1, "{metrics}");
}

/// A number from the environment, for measurements.
fn size(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The waits of a client of high priority for its answers, the shortest first.
fn waits(running: &Running, count: usize) -> Vec<Duration> {
    let mut client = running.open("/high");
    let wait = |_| {
        let sent = Instant::now();
        client.text("next");
        client.expect(TEXT, b"next");
        sent.elapsed()
    };
    let mut waits: Vec<Duration> = (0..count).map(wait).collect();
    waits.sort_unstable();
    waits
}

/// Turns that handled a message of each client would take 0.8 s, and as long would each sample.
#[test]
fn many_clients_of_a_slow_service_make_the_load_critical_as_soon() {
    let (clients, answers) = (size("SLOW_CLIENTS", 12), size("SLOW_ANSWERS", 3));
    for (limit, highest) in
        [(Duration::from_secs(3600), Level::Elevated), (by_default(), Level::Critical)]
    {
        let running = Running::new(60, limit);
        let talks = running.talk("/low", clients);
        let mut reached = running.expect(Level::Elevated);
        if highest == Level::Critical {
            reached = running.expect(Level::Critical);
            let messages = reached.messages as usize;
            assert!(messages <= 2_000 / 60, "{messages} messages until the load was critical");
        }
        let waits = waits(&running, answers);
        println!(
            "60 ms, {clients} of low priority: {highest} after {:?}, waits of high priority {:?}, p99 {:?}",
            running.since_first(reached.at),
            waits[answers / 2],
            waits[(answers * 99).div_ceil(100) - 1],
        );
        let codes = running.end(talks);
        assert!(codes.iter().all(|code| *code == 1013));
        if highest == Level::Elevated {
            assert!(codes.is_empty(), "an elevated load closes nothing");
        }
        running.server.stop();
    }
}

fn by_default() -> Duration {
    Settings::default().delay_critical
}

/// Clients of low priority have many messages waiting; the next one of high priority comes after at most one
/// of each, at every level.
#[test]
fn high_priority_waits_for_single_messages_of_others_while_turns_are_slow() {
    const LOW: usize = 3;
    let (service, reports) = Sleeping::new(60);
    let listen = ListenSettings::new(any());
    let settings = by_delay(by_default()).shed_max_percent(0);
    let mut server = ByHand::with_levels(listen, settings, |reactor| service.add(reactor));
    let mut low: Vec<Client> = (0..LOW).map(|_| server.open("/low")).collect();
    let mut high = server.open("/high");
    // The first slow turn.
    high.text("first");
    server.turn_until_readable(&high.stream);
    high.expect(TEXT, b"first");
    for client in &mut low {
        client.raw(&frame(true, TEXT, b"waiting").repeat(200));
    }
    for level in Level::ALL {
        server.turn_until("the level", |metrics| metrics.level_now == level as u64);
        for _ in 0..3 {
            high.text("next");
            let before = reports.messages.count();
            server.turn_until_readable(&high.stream);
            high.expect(TEXT, b"next");
            let others = reports.messages.count() - before - 1;
            assert!(others <= LOW as u64, "{others} others while the load is {level}");
        }
    }
}
