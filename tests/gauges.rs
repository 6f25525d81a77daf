//! Gauges return to zero, however connections end.
//!
//! Limits on memory, compression windows and waiting refusals are only as good as the sums behind
//! them. Each test first holds a gauge above zero, then ends the connection in an odd way: by a
//! deadline, an abort, a panic, a reset, a refusal. Resets at each stage of a message are in
//! [`resets`](crate::resets).

use std::time::Duration;

use socket2::SockRef;
use weir::protocol::Message;
use weir::reactor::budget::DEFLATED_BYTES_MAX;
use weir::reactor::settings::{DeflateMode, Heartbeat, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Metrics, Service, ServiceId};

use crate::support::{BINARY, ByHand, COMPRESSED, Client, TEXT, frame, upgrade};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
/// For the deadline that ends a connection in a test.
const SHORT: Duration = Duration::from_millis(200);
/// For the other deadlines.
const LONG: Duration = Duration::from_secs(60);
/// Bytes of one message that the service sends: too many to be compressed, so that the kernel does
/// not take them all.
const LEN: usize = DEFLATED_BYTES_MAX + 1;

/// Sends as many messages of [`LEN`] bytes as a text asks for, and panics if asked to. Echoes all
/// else.
struct Sender;

impl Service for Sender {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let count = match message {
            Message::Text("panic") => panic!("on purpose"),
            Message::Text(text) => text.parse().ok(),
            Message::Binary(_) => None,
        };
        match count {
            Some(count) => (0..count).for_each(|_| {
                let _ = cx.send(conn, &[1; LEN][..]);
            }),
            None => {
                let _ = cx.send(conn, message);
            }
        }
    }
}

/// A server that is turned by hand.
struct Stage {
    server: ByHand,
    service: ServiceId,
}

impl Stage {
    fn new(settings: Settings, route: RouteSettings) -> Stage {
        let mut service = None;
        let server = ByHand::new(settings, |reactor| {
            let added = reactor.add_service(Sender).unwrap();
            reactor.add_route("/", added, route).unwrap();
            service = Some(added);
        });
        Stage { server, service: service.unwrap() }
    }

    /// An open WebSocket with compression windows in both directions.
    fn open(&mut self) -> Client {
        self.open_on(Client::tcp(self.server.address))
    }

    fn open_on(&mut self, mut client: Client) -> Client {
        let opened = self.server.reactor.metrics().opened;
        client.raw(upgrade("/", OFFER).as_bytes());
        self.server.turn_until("a connection opens", |metrics| metrics.opened > opened);
        self.hold(&["deflate_windows_reserved_now"]);
        client
    }

    /// A client that does not read, and for which the server holds output.
    fn open_blocked(&mut self) -> Client {
        let mut client = Client::narrow_tcp(self.server.address);
        client = self.open_on(client);
        // A message more, until the kernel leaves some of it with the server.
        while self.gauge("buffered_now") == 0 {
            let sent = self.server.reactor.metrics().messages_out;
            client.text("1");
            self.server.turn_until("a message is sent", |metrics| metrics.messages_out > sent);
            let mut written = 0;
            while self.server.reactor.metrics().bytes_written > written {
                written = self.server.reactor.metrics().bytes_written;
                self.server.reactor.turn(Some(Duration::from_millis(20))).unwrap();
            }
        }
        client
    }

    fn only_connection(&mut self) -> ConnId {
        self.server.reactor.context(self.service).connections().next().unwrap()
    }

    fn gauge(&mut self, name: &str) -> u64 {
        gauge(self.server.reactor.metrics(), name)
    }

    /// Turns until each of these gauges is above zero.
    fn hold(&mut self, names: &[&str]) {
        self.server.turn_until(&format!("{names:?} above zero"), |metrics| {
            names.iter().all(|name| gauge(metrics, name) > 0)
        });
    }

    /// Turns until a connection has ended for this reason and none is left. Every gauge must be
    /// zero.
    fn expect_end(&mut self, reason: &str) {
        self.server.turn_until(reason, |metrics| {
            metrics.connections_now == 0 && metrics.ends.contains_key(reason)
        });
        let metrics = self.server.reactor.metrics();
        let left = metrics.iter().filter(|metric| metric.name.ends_with("_now"));
        let left: Vec<_> = left.filter(|metric| metric.value > 0).collect();
        assert!(left.is_empty(), "left after {reason}: {left:?}");
    }
}

fn gauge(metrics: &Metrics, name: &str) -> u64 {
    metrics.iter().find(|metric| metric.name == name).unwrap().value
}

fn reset(client: Client) {
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// No deadline passes before the one that a test shortens. Once a connection closes, it ends soon.
fn patient() -> Settings {
    Settings::default().heartbeat(None).handshake_timeout(LONG).close_timeout(SHORT)
}

/// The same for a route. An outbox holds one message of the service, and not two.
fn route() -> RouteSettings {
    RouteSettings::default()
        .deflate(DeflateMode::Dedicated)
        .outbox_hard_bytes(LEN * 3 / 2)
        .outbox_grace(LONG)
        .write_timeout(LONG)
}

#[test]
fn a_handshake_timeout_returns_the_bytes_of_a_request() {
    let mut stage = Stage::new(patient().handshake_timeout(SHORT), route());
    let mut client = Client::tcp(stage.server.address);
    client.raw(&upgrade("/", "").as_bytes()[..40]);
    stage.hold(&["buffered_now"]);
    stage.expect_end("handshake_timeout");
}

#[test]
fn a_fragment_timeout_returns_bytes_stream_and_windows() {
    let mut stage = Stage::new(patient(), route().fragment_timeout(Duration::from_secs(1)));
    let mut client = stage.open();
    // A stored block of 4,000 bytes, and the header of the next (RFC 1951, 3.2.4).
    let block = [&[0, 0xA0, 0x0F, 0x5F, 0xF0][..], &[7; 4_000], &[0, 0xA0]].concat();
    client.raw(&frame(false, COMPRESSED | BINARY, &block));
    stage.hold(&["buffered_now", "inflate_streams_now"]);
    stage.expect_end("fragment_timeout");
}

#[test]
fn a_write_timeout_returns_the_bytes_of_the_outbox() {
    let mut stage = Stage::new(patient(), route().write_timeout(Duration::from_secs(1)));
    let _client = stage.open_blocked();
    stage.expect_end("write_timeout");
}

#[test]
fn the_end_of_a_slow_consumer_returns_the_bytes_of_the_outbox() {
    let mut stage = Stage::new(patient(), route());
    let mut client = stage.open_blocked();
    client.text("2");
    stage.expect_end("slow_consumer");
}

#[test]
fn a_heartbeat_timeout_returns_windows() {
    let second = Duration::from_secs(1);
    let heartbeat =
        Some(Heartbeat::default().interval(second).pong_timeout(second / 2).misses_max(1));
    let mut stage = Stage::new(patient().heartbeat(heartbeat), route());
    let mut client = stage.open();
    client.raw(&frame(true, TEXT, &[b'a'; 2_000]));
    stage.hold(&["deflate_windows_now"]);
    stage.expect_end("heartbeat_timeout");
}

#[test]
fn an_abort_returns_bytes_and_windows() {
    let mut stage = Stage::new(patient(), route());
    let mut client = stage.open_blocked();
    let echoed = stage.server.reactor.metrics().messages_deflated;
    client.raw(&frame(true, TEXT, &[b'a'; 2_000]));
    stage.server.turn_until("an echo", |metrics| metrics.messages_deflated > echoed);
    stage.hold(&["buffered_now", "deflate_windows_now"]);
    let id = stage.only_connection();
    stage.server.reactor.context(stage.service).abort(id);
    stage.expect_end("aborted");
}

#[test]
fn a_panic_of_the_service_returns_bytes_and_windows() {
    let mut stage = Stage::new(patient(), route());
    let mut client = stage.open_blocked();
    client.text("panic");
    stage.expect_end("service_panicked");
}

#[test]
fn a_shutdown_that_runs_out_of_time_returns_everything() {
    let mut stage = Stage::new(patient().drain_timeout(SHORT), route());
    let mut blocked = stage.open_blocked();
    blocked.raw(&frame(false, BINARY, &[1; 1_000]));
    stage.server.reactor.handle().shutdown();
    stage.expect_end("shutdown");
}

/// One way in which a refused client ends.
type End = fn(&mut Stage, Client);

#[test]
fn each_end_of_a_refused_client_returns_its_place() {
    let ends: [(&str, End); 4] = [
        ("refused", |stage, mut refused| {
            refused.raw(upgrade("/", "").as_bytes());
            stage.server.turn_until_readable(&refused.stream);
            assert!(refused.head().starts_with("HTTP/1.1 503 "));
        }),
        ("peer_gone", |_, refused| drop(refused)),
        ("peer_reset", |_, refused| reset(refused)),
        ("handshake_timeout", |stage, refused| {
            stage.server.turn_until("it ends", |metrics| metrics.awaiting_refusal_now == 0);
            drop(refused);
        }),
    ];
    for (reason, end) in ends {
        let handshake_timeout = if reason == "handshake_timeout" { 10 * SHORT } else { LONG };
        let limits = patient().connections_max(1).refused_max(1);
        let mut stage = Stage::new(limits.handshake_timeout(handshake_timeout), route());
        let admitted = stage.open();
        let refused = Client::tcp(stage.server.address);
        stage.hold(&["awaiting_refusal_now"]);
        // A client that finds the only place taken is dropped, and does not free it.
        let surplus = Client::tcp(stage.server.address);
        stage.server.turn_until("a drop", |metrics| metrics.dropped_at_accept > 0);
        drop(surplus);
        assert_eq!(stage.gauge("awaiting_refusal_now"), 1, "{reason}");
        end(&mut stage, refused);
        stage.server.turn_until(reason, |metrics| metrics.ends.contains_key(reason));
        drop(admitted);
        stage.expect_end(reason);
    }
}
