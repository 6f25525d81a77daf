//! Our own lateness ends no connection: pongs that a busy loop has not read, and stops of the process.

use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::reactor::budget::TIMER_GRACE;
use weir::reactor::settings::{
    Heartbeat, ListenSettings, MemoryMax, RouteHeartbeat, RouteSettings, Settings,
};
use weir::reactor::{ConnId, Context, Level, Metrics, Resource, Service, ServiceId};

use super::{Loaded, by_memory};
use crate::support::{ByHand, Client, PING, PONG, TEXT, any, crowd, frame};

/// One missed pong ends a connection.
fn heartbeat(interval: Duration, pong_timeout: Duration) -> Heartbeat {
    Heartbeat::default().interval(interval).pong_timeout(pong_timeout).misses_max(1)
}

/// A service that sleeps as many milliseconds as a message says, on the loop's thread, and answers it.
struct Sleeps;

impl Service for Sleeps {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let text = std::str::from_utf8(message.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(text.parse().unwrap()));
        let _ = cx.send(conn, message);
    }
}

/// More pongs than three polls report wait in the kernel while a long turn passes their deadlines.
#[test]
fn a_late_deadline_reads_the_pong_first() {
    const CLIENTS: usize = 2_000;
    let second = Duration::from_secs(1);
    let _descriptors = crowd();
    let settings = Settings::default().connections_max(2 * CLIENTS).heartbeat(None);
    let mut ids = None;
    let mut server = ByHand::new(settings, |reactor| {
        let service = reactor.add_service(Sleeps).unwrap();
        let silent = reactor.add_route("/", service, RouteSettings::default()).unwrap();
        reactor.add_route("/busy", service, RouteSettings::default()).unwrap();
        ids = Some((service, silent));
    });
    let (service, route) = ids.unwrap();
    let set_heartbeat = |server: &mut ByHand, heartbeat| {
        let settings = RouteSettings::default().heartbeat(RouteHeartbeat::Own(heartbeat));
        server.reactor.context(service).set_route(route, settings).unwrap();
    };
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let mut busy = server.open("/busy");
    // All have been silent for longer than the first interval. The second timeout decides.
    thread::sleep(second);
    set_heartbeat(&mut server, heartbeat(second, second * 9 / 10));
    server.turn_until("all are pinged", |metrics| metrics.pings_sent == CLIENTS as u64);
    set_heartbeat(&mut server, heartbeat(60 * second, 4 * second));
    // The first in the next turn.
    busy.text("5000");
    for client in &mut clients {
        let ping = client.frame();
        assert_eq!(ping.opcode, PING);
        client.send(PONG, &ping.payload);
    }
    for _ in 0..2 {
        server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    // The timers, which have waited for input once, fire in the next turn.
    thread::sleep(TIMER_GRACE * 3 / 2);
    let is_over =
        |metrics: &Metrics| metrics.pongs_matched == CLIENTS as u64 || metrics.ended_timeout > 0;
    server.turn_until("all pongs are read", is_over);
    let metrics = server.reactor.metrics();
    assert_eq!((metrics.ended_timeout, metrics.pongs_missed), (0, 0), "{metrics}");
    assert!(metrics.pongs_excused > 0, "all were read in time, so the test shows nothing");
}

/// A level falls after five seconds of samples below its threshold. The time of a stop has none.
#[test]
fn a_stop_lowers_no_level() {
    let mut loaded = Loaded::new(by_memory(), &RouteSettings::default());
    loaded.become_loaded(Level::Elevated);
    loaded.hold(0);
    thread::sleep(Duration::from_secs(6));
    loaded.server.turn_until("the next sample", |metrics| metrics.stops == 1);
    let turns = loaded.server.reactor.metrics().turns;
    loaded.server.turn_until("further samples", |metrics| metrics.turns > turns + 40);
    assert_eq!(loaded.server.reactor.metrics().level_now, 1);
    loaded.server.turn_until("the level falls", |metrics| metrics.level_now == 0);
}

/// The loop does not turn for longer than the timeout, as if the process were stopped, and the peer's pong
/// is lost.
#[test]
fn a_ping_before_a_stop_is_sent_again() {
    let millis = Duration::from_millis;
    let settings = Settings::default().heartbeat(heartbeat(millis(2_000), millis(1_500)));
    let mut server = ByHand::new(settings, |reactor| {
        let service = reactor.add_service(Sleeps).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let mut client = server.open("/");
    server.turn_until("a ping", |metrics| metrics.pings_sent == 1);
    thread::sleep(millis(3_500));
    server.turn_until("a second ping", |metrics| {
        metrics.pings_sent == 2 || metrics.ended_timeout > 0
    });
    let metrics = server.reactor.metrics();
    assert_eq!(
        (metrics.stops, metrics.pongs_excused, metrics.pongs_missed),
        (1, 1, 0),
        "{metrics}"
    );
    for _ in 0..2 {
        assert_eq!(client.frame().opcode, PING);
    }
    client.text("0");
    server.turn_until_readable(&client.stream);
    client.expect(TEXT, b"0");
    // Without a stop, its silence counts.
    server.turn_until("the end", |metrics| metrics.ended_timeout == 1);
}

/// A turn that is longer than the timeout is no stop of the process: the peer had the time to answer.
#[test]
fn a_late_deadline_of_a_silent_peer_is_a_miss() {
    let millis = Duration::from_millis;
    let settings = Settings::default().heartbeat(heartbeat(millis(1_000), millis(900)));
    let mut server = ByHand::new(settings, |reactor| {
        let service = reactor.add_service(Sleeps).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        let settings = RouteSettings::default().heartbeat(RouteHeartbeat::Off);
        reactor.add_route("/busy", service, settings).unwrap();
    });
    let mut busy = server.open("/busy");
    let mut silent = server.open("/");
    server.turn_until("a ping", |metrics| metrics.pings_sent == 1);
    busy.text("2000");
    let long = |metrics: &Metrics| metrics.messages_in == 1;
    server.turn_until("a long turn", long);
    server.turn_until("the end", |metrics| metrics.ended_timeout == 1);
    let metrics = server.reactor.metrics();
    let counts = (metrics.stops, metrics.pongs_excused, metrics.pongs_missed);
    assert_eq!(counts, (0, 0, 1), "{metrics}");
    assert_eq!(silent.frame().opcode, PING);
    assert_eq!(silent.expect_close().0, 1001);
}

/// Levels that only a stop of the process can raise.
fn with_delay_levels() -> Settings {
    Settings::default()
        .levels(true)
        .memory_max(MemoryMax::Off)
        .delay_elevated(Duration::from_secs(1))
        .delay_critical(Duration::from_secs(2))
}

/// The delay in seconds at its peak, and the changes of the level.
fn delay(server: &mut ByHand, service: ServiceId) -> (f64, [u64; 3]) {
    let load = server.reactor.context(service).load();
    let delay = load.resources.iter().find(|load| load.resource == Resource::Delay).unwrap();
    (delay.peak, load.changes)
}

/// A server of [`Sleeps`] with load levels by delay.
fn sleeping() -> (ByHand, ServiceId) {
    let mut ids = None;
    let listen = ListenSettings::new(any());
    let server = ByHand::with_levels(listen, with_delay_levels(), |reactor| {
        let service = reactor.add_service(Sleeps).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        ids = Some(service);
    });
    (server, ids.unwrap())
}

/// The service sleeps as long as the process would be stopped: the same for the loop.
#[test]
fn a_stop_inside_a_turn_is_one_sample_and_changes_no_level() {
    let (mut server, service) = sleeping();
    let mut client = server.open("/");
    client.text("3000");
    server.turn_until("the long turn", |metrics| metrics.messages_in == 1);
    assert!(delay(&mut server, service).0 < 1.0, "not sampled yet");
    // The sample of the stop, and the next ones.
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(100));
        client.text("0");
        let read = server.reactor.metrics().messages_in;
        server.turn_until("a turn", |metrics| metrics.messages_in > read);
    }
    let (peak, changes) = delay(&mut server, service);
    assert!(peak > 2.0, "{peak} s: no sample was critical, so the test shows nothing");
    assert_eq!(changes, [0; 3]);
    assert_eq!(server.reactor.metrics().stops, 0, "a long turn is not discounted");
}

/// The process is stopped while a round is open: connections are left to be read, so that the poll does
/// not wait. The next timer is due in the middle of the stop.
#[test]
fn a_stop_while_work_is_left_is_discounted() {
    const CLIENTS: usize = 200;
    const MESSAGES: usize = 400;
    let (mut server, service) = sleeping();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.open("/")).collect();
    let messages = frame(true, TEXT, b"0").repeat(MESSAGES);
    clients.iter_mut().for_each(|client| client.raw(&messages));
    let cut = server.reactor.metrics().phases_cut;
    server.turn_until("connections are left to be read", |metrics| metrics.phases_cut > cut);
    thread::sleep(Duration::from_millis(1_600));
    server.turn_until("the stop is found", |metrics| metrics.stops > 0);
    assert_eq!(server.reactor.metrics().stops, 1);
    let all = (CLIENTS * MESSAGES) as u64;
    server.turn_until("all is read", |metrics| metrics.messages_in == all);
    let turns = server.reactor.metrics().turns;
    server.turn_until("further samples", |metrics| metrics.turns > turns + 30);
    let (peak, changes) = delay(&mut server, service);
    assert!(peak < 1.0, "{peak} s");
    assert_eq!(changes, [0; 3]);
}
