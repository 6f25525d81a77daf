//! The heartbeat: pings to silent peers, what counts as an answer, and the end without one.

use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::Message;
use weir::reactor::settings::{Heartbeat, RouteHeartbeat, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, SendOutcome, Service};

use crate::support::{
    ByHand, CLOSE, Client, DEADLINE, Frame, PING, PONG, Seen, Server, TEXT, Watched, frame,
    next_end, only_end, serving, upgrade,
};

fn pinging(interval: u64, pong_timeout: u64) -> Settings {
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(interval))
        .pong_timeout(Duration::from_millis(pong_timeout))
        .misses_max(2);
    Settings::default().heartbeat(heartbeat)
}

/// A heartbeat that a client can answer on a busy machine.
fn calm() -> Settings {
    pinging(1000, 900)
}

/// A server that replies whether the round trip was measured.
fn round_trip_server() -> Server {
    let (service, _) = Watched::new(|cx, conn, _| {
        let round_trip = cx.record(conn).and_then(|record| record.round_trip);
        let _ = cx.send(conn, if round_trip.is_some() { "known" } else { "unknown" });
    });
    serving(calm(), service)
}

/// Expects a ping: the server's time and the number in it, and its payload.
fn expect_ping(client: &mut Client) -> (Duration, u32, Vec<u8>) {
    let Frame { opcode, payload, .. } = client.frame();
    assert_eq!(opcode, PING, "{}", String::from_utf8_lossy(&payload));
    assert_eq!(payload.len(), 12);
    let nanos = u64::from_be_bytes(payload[..8].try_into().unwrap());
    let sequence = u32::from_be_bytes(payload[8..].try_into().unwrap());
    (Duration::from_nanos(nanos), sequence, payload)
}

#[test]
fn pings_have_number_and_time_and_pongs_measure_the_round_trip() {
    let server = round_trip_server();
    let mut client = Client::open(server.address, "/");
    let (first, one, payload) = expect_ping(&mut client);
    client.send(PONG, &payload);
    let (second, two, payload) = expect_ping(&mut client);
    client.send(PONG, &payload);
    assert_eq!((one, two), (1, 2));
    let apart = second - first;
    assert!(apart >= Duration::from_millis(500), "{apart:?} is less than half of the interval");
    client.text("?");
    client.expect(TEXT, b"known");
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.pings_sent, metrics.pongs_matched, metrics.pongs_missed), (2, 2, 0));
    assert_eq!((metrics.round_trips.total(), metrics.handshakes_took.total()), (2, 1));
    assert!(metrics.round_trips.sum() < apart, "from each ping to its own pong");
}

#[test]
fn any_frame_answers_a_ping_but_only_its_pong_measures_the_round_trip() {
    let server = round_trip_server();
    let mut client = Client::open(server.address, "/");
    client.send(PONG, b"unsolicited");
    client.send(PONG, &[0; 12]);
    let signs = [frame(true, PONG, b"another"), frame(true, PING, b""), frame(false, TEXT, b"a")];
    for (index, sign) in signs.into_iter().enumerate() {
        let (_, sequence, payload) = expect_ping(&mut client);
        assert_eq!(sequence, index as u32 + 1, "each ping is sent once");
        assert_ne!(sign, frame(true, PONG, &payload));
        client.raw(&sign);
        if sign[0] & 0x0F == PING {
            client.expect(PONG, b"");
        }
    }
    client.raw(&frame(true, 0, b"?"));
    client.expect(TEXT, b"unknown");
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.pings_sent, metrics.pongs_matched, metrics.pongs_missed), (3, 0, 0));
}

#[test]
fn two_missed_pongs_end_the_connection() {
    let (interval, pong_timeout) = (Duration::from_millis(400), Duration::from_millis(200));
    let (server, seen) = Server::watched(pinging(400, 200), RouteSettings::default());
    let started = Instant::now();
    let mut client = Client::open(server.address, "/");
    let (first, one, _) = expect_ping(&mut client);
    let (second, two, _) = expect_ping(&mut client);
    assert_eq!((one, two), (1, 2));
    assert!(second - first >= pong_timeout);
    assert_eq!(client.expect_close(), (1001, "heartbeat timeout".into()));
    assert!(started.elapsed() >= interval / 2 + 2 * pong_timeout);
    client.close(1001, "");
    client.expect_end();
    drop(client);
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::HeartbeatTimeout);
    assert_eq!((metrics.ended_timeout, metrics.pings_sent, metrics.pongs_missed), (1, 2, 2));
}

#[test]
fn a_late_pong_keeps_the_connection() {
    let (server, _seen) = Server::watched(calm(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    for round in 0..2 {
        let (_, sequence, late) = expect_ping(&mut client);
        let (_, again, _) = expect_ping(&mut client);
        assert_eq!((sequence, again), (2 * round + 1, 2 * round + 2));
        client.send(PONG, &late);
    }
    client.text("alive");
    client.expect(TEXT, b"alive");
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.pongs_missed, metrics.pongs_matched, metrics.ended_timeout), (2, 0, 0));
}

#[test]
fn no_pings_are_sent_without_a_heartbeat() {
    let idle_timeout = Some(Duration::from_millis(1500));
    let route = RouteSettings::default().idle_timeout(idle_timeout);
    let settings = Settings::default().heartbeat(None);
    let (server, seen) = Server::watched(settings, route);
    let mut client = Client::open(server.address, "/");
    assert_eq!(client.frame().opcode, CLOSE);
    client.close(1001, "");
    assert_eq!(next_end(&seen), CloseReason::IdleTimeout);
    drop(client);
    assert_eq!(server.stop().pings_sent, 0);
}

/// The heartbeat of an impatient route.
fn own() -> RouteHeartbeat {
    let interval = Duration::from_millis(600);
    let heartbeat = Heartbeat::default().interval(interval).pong_timeout(interval / 2);
    RouteHeartbeat::Own(heartbeat.misses_max(1))
}

#[test]
fn a_route_has_its_own_heartbeat_or_none() {
    let (service, seen) = Watched::new(|_, _, _| {});
    let server = Server::start(pinging(500, 400), |reactor| {
        let service = reactor.add_service(service).unwrap();
        let idle = RouteSettings::default().idle_timeout(Some(Duration::from_secs(2)));
        let silent = idle.heartbeat(RouteHeartbeat::Off);
        reactor.add_route("/silent", service, silent).unwrap();
        let own = RouteSettings::default().heartbeat(own());
        reactor.add_route("/own", service, own).unwrap();
    });
    let mut client = Client::open(server.address, "/own");
    expect_ping(&mut client);
    // One missed pong is enough on this route, and two on others.
    assert_eq!(client.expect_close(), (1001, "heartbeat timeout".into()));
    drop(client);
    assert_eq!(next_end(&seen), CloseReason::HeartbeatTimeout);
    let mut client = Client::open(server.address, "/silent");
    assert_eq!(client.frame().opcode, CLOSE);
    client.close(1001, "");
    assert_eq!(next_end(&seen), CloseReason::IdleTimeout);
    drop(client);
    let metrics = server.stop();
    assert_eq!((metrics.pings_sent, metrics.pongs_missed), (1, 1));
}

#[test]
fn a_new_heartbeat_of_a_route_holds_for_open_connections() {
    let (service, _seen) = Watched::new(|_, _, _| {});
    let mut added = None;
    let mut server = ByHand::new(Settings::default().heartbeat(None), |reactor| {
        let service = reactor.add_service(service).unwrap();
        let route = reactor.add_route("/", service, RouteSettings::default()).unwrap();
        added = Some((service, route));
    });
    let (service, route) = added.unwrap();
    let client = server.open("/");
    let settings = RouteSettings::default().heartbeat(own());
    server.reactor.context(service).set_route(route, settings).unwrap();
    server.turn_until("a ping", |metrics| metrics.pings_sent == 1);
    drop(client);
    server.stop_clean();
}

/// A service that pauses a connection for longer than the heartbeat allows silence.
struct Pauses {
    paused: Option<ConnId>,
}

impl Service for Pauses {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let _ = cx.send(conn, message);
        if self.paused.is_none() {
            cx.pause(conn);
            cx.schedule(Duration::from_millis(2500), 0).unwrap();
            self.paused = Some(conn);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        let conn = self.paused.unwrap();
        let now = cx.now().as_nanos().to_string();
        let _ = cx.send(conn, &*now);
        cx.resume(conn);
    }
}

#[test]
fn a_paused_connection_is_not_pinged() {
    let server = Server::start(pinging(600, 500), |reactor| {
        let idle_timeout = Some(Duration::from_secs(2));
        let service = reactor.add_service(Pauses { paused: None }).unwrap();
        let route = RouteSettings::default().idle_timeout(idle_timeout);
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = Client::open(server.address, "/");
    client.text("pause");
    loop {
        let frame = client.frame();
        if frame.opcode == TEXT {
            assert_eq!(frame.payload, b"pause");
            break;
        }
        assert_eq!(frame.opcode, PING);
    }
    // The next frame is the service's message and not a ping; the silence counts from then on.
    let resumed = client.frame();
    assert_eq!(resumed.opcode, TEXT, "{:?}", String::from_utf8_lossy(&resumed.payload));
    let resumed = String::from_utf8(resumed.payload).unwrap().parse().unwrap();
    let (pinged, _, payload) = expect_ping(&mut client);
    let silence = pinged - Duration::from_nanos(resumed);
    assert!(silence >= Duration::from_millis(300), "pinged {silence:?} after the pause");
    client.send(PONG, &payload);
    client.text("resumed");
    client.expect(TEXT, b"resumed");
}

/// The peer takes longer than the pong timeout to read the megabytes after a ping.
#[test]
fn a_slow_reader_is_pinged_again_instead_of_ended() {
    let pong_timeout = Duration::from_millis(1500);
    let heartbeat = Heartbeat::default()
        .interval(Duration::from_millis(1600))
        .pong_timeout(pong_timeout)
        .misses_max(1);
    let (service, seen) = Watched::new(|_, _, _| {});
    let mut id = None;
    let settings = Settings::default().heartbeat(heartbeat);
    let mut server = ByHand::new(settings, |reactor| {
        let service = *id.insert(reactor.add_service(service).unwrap());
        let route = RouteSettings::default()
            .outbox_soft_bytes(2 * LARGE)
            .outbox_hard_bytes(4 * LARGE)
            .write_timeout(DEADLINE);
        reactor.add_route("/", service, route).unwrap();
    });
    let mut client = Client::narrow_tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    server.turn_until("a ping", |metrics| metrics.pings_sent == 1);
    let pinged = Instant::now();
    let Ok(Seen::Opened(conn)) = seen.try_recv() else { panic!("no connection is open") };
    let mut context = server.reactor.context(id.unwrap());
    assert_eq!(context.send(conn, &[0; LARGE][..]), SendOutcome::Queued);
    while pinged.elapsed() < pong_timeout + Duration::from_millis(200) {
        server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
    }
    assert_eq!(server.reactor.metrics().pongs_missed, 0, "the peer cannot have read the ping");
    let reading = thread::spawn(move || {
        assert!(client.head().starts_with("HTTP/1.1 101 "));
        expect_ping(&mut client);
        assert_eq!(client.frame().payload.len(), LARGE);
        let (_, again, payload) = expect_ping(&mut client);
        assert_eq!(again, 2);
        client.send(PONG, &payload);
        client
    });
    server.turn_until("a pong", |metrics| metrics.pongs_matched == 1 || metrics.ended_timeout == 1);
    drop(reading.join().unwrap());
    assert_eq!(server.stop_clean().ended_timeout, 0);
}

/// More bytes than a kernel holds for a peer with a small receive buffer.
const LARGE: usize = 16 * 1024 * 1024;

#[test]
fn pings_of_many_connections_are_spread_over_time() {
    const COUNT: usize = 100;
    let (server, _seen) = Server::watched(pinging(4000, 3900), RouteSettings::default());
    let mut clients: Vec<Client> = (0..COUNT).map(|_| Client::open(server.address, "/")).collect();
    for client in &mut clients {
        client.text("now");
    }
    let mut sent = Vec::new();
    for client in &mut clients {
        // A client that waited long for the others to open was pinged before.
        while client.frame().opcode != TEXT {}
        let (at, _, payload) = expect_ping(client);
        client.send(PONG, &payload);
        sent.push(at);
    }
    sent.sort_unstable();
    let middle = sent[COUNT * 9 / 10] - sent[COUNT / 10];
    assert!(middle >= Duration::from_secs(1), "four fifths of the pings came within {middle:?}");
}
