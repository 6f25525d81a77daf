//! Shutdown by the handle: all connections are closed, waited for, and ended by the drain timeout.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::{ClientRequest, Refusal};
use weir::reactor::budget::SHUTDOWN_CLOSES;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Connect, Context, Page, RouteId, Service};
use weir::services::TRY_IT_PAGE;

use crate::deferring::deferring;
use crate::handshake::expect_refusal;
use crate::support::{
    ByHand, Client, DEADLINE, Seen, Server, TEXT, eventually, expect_spread_retry, only_end,
    upgrade,
};

const GOING_DOWN: &str = "server going down";

/// Settings whose deadlines do not pass in a test.
fn patient() -> Settings {
    let never = 10 * DEADLINE;
    Settings::default().drain_timeout(never).close_timeout(never).handshake_timeout(never)
}

fn hasty() -> Settings {
    patient().drain_timeout(Duration::from_millis(300))
}

#[test]
fn more_connections_than_one_turn_closes_are_closed_and_waited_for() {
    const COUNT: usize = SHUTDOWN_CLOSES + 200;
    let (mut server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut clients: Vec<Client> = (0..COUNT).map(|_| Client::open(server.address, "/")).collect();
    server.shutdown();
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1001, GOING_DOWN.into()));
        client.close(1001, "");
    }
    for client in &mut clients {
        client.expect_end();
    }
    drop(clients);
    let metrics = server.join();
    assert_eq!((metrics.ended_otherwise, metrics.close_timeouts), (COUNT as u64, 0));
    assert_eq!(metrics.connections_now, 0);
    let ends: Vec<Seen> = seen.iter().filter(|seen| matches!(seen, Seen::Closed(..))).collect();
    assert_eq!(ends.len(), COUNT);
    assert!(ends.iter().all(|end| matches!(end, Seen::Closed(_, CloseReason::Shutdown))));
}

#[test]
fn an_idle_loop_ends_at_once_and_a_second_shutdown_changes_nothing() {
    let (mut server, _seen) = Server::watched(patient(), RouteSettings::default());
    server.shutdown();
    server.shutdown();
    assert_eq!(server.join().accepted, 0);
}

#[test]
fn the_port_is_free_while_closes_are_awaited() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    client.text("last words");
    server.shutdown();
    client.expect(TEXT, b"last words");
    assert_eq!(client.expect_close().0, 1001);
    assert!(TcpStream::connect(server.address).is_err(), "the listener is closed");
    let next = TcpListener::bind(server.address).unwrap();
    client.text("not heard");
    client.close(1001, "");
    client.expect_end();
    drop((client, next));
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Shutdown);
    assert_eq!((metrics.messages_in, metrics.close_timeouts), (1, 0));
}

#[test]
fn the_drain_timeout_ends_peers_that_do_not_answer() {
    let (mut server, seen) = Server::watched(hasty(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    server.shutdown();
    let metrics = server.join();
    assert_eq!(client.expect_close(), (1001, GOING_DOWN.into()));
    client.expect_gone();
    assert_eq!((metrics.ended_otherwise, metrics.connections_now), (1, 0));
    let ends: Vec<Seen> = seen.iter().filter(|seen| matches!(seen, Seen::Closed(..))).collect();
    assert!(matches!(ends[..], [Seen::Closed(_, CloseReason::Shutdown)]), "{ends:?}");
}

/// Expects a 503 that ends the connection.
fn expect_503(client: &mut Client) {
    let head = expect_refusal(client, Refusal::ShuttingDown);
    expect_spread_retry(&head);
}

#[test]
fn unfinished_handshakes_are_answered_503() {
    let (server, seen) = Server::watched(patient(), RouteSettings::default());
    let mut silent = Client::tcp(server.address);
    let mut half = Client::tcp(server.address);
    half.raw(&upgrade("/", "").as_bytes()[..20]);
    // Connections are accepted in order, so the first two are there once the third is open.
    let mut open = Client::open(server.address, "/");
    server.shutdown();
    for client in [&mut silent, &mut half] {
        expect_503(client);
    }
    assert_eq!(open.expect_close().0, 1001);
    drop((silent, half, open));
    let (reason, metrics) = only_end(server, &seen);
    assert_eq!(reason, CloseReason::Shutdown);
    assert_eq!((metrics.accepted, metrics.ended_otherwise, metrics.refused), (3, 3, 2));
}

#[test]
fn an_idle_http_connection_gets_no_second_response() {
    let mut server = Server::start(patient(), |reactor| reactor.add_page("/", TRY_IT_PAGE));
    let mut client = Client::tcp(server.address);
    client.raw(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    server.shutdown();
    client.expect_end();
    assert_eq!(server.join().refused, 0);
}

#[test]
fn a_response_that_is_being_written_is_completed() {
    const BYTES: usize = 8 * 1024 * 1024;
    static BODY: [u8; BYTES] = [b'x'; BYTES];
    let page = Page { content_type: "text/plain", body: &BODY, security_policy: "" };
    let mut server = ByHand::new(patient(), |reactor| reactor.add_page("/", page));
    let mut client = Client::narrow_tcp(server.address);
    client.raw(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    server.turn_until("it is answered", |metrics| metrics.http_answered == 1);
    server.reactor.handle().shutdown();
    let reading = thread::spawn(move || {
        assert_eq!(client.answer().1.len(), BYTES);
        client.expect_end();
    });
    server.turn_until("the connection ends", |metrics| metrics.connections_now == 0);
    reading.join().unwrap();
}

#[test]
fn deferred_requests_are_answered_503_and_reported_as_closed() {
    let (mut server, seen) = deferring(patient(), None);
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    let Ok(Seen::Deferred(id)) = seen.recv_timeout(DEADLINE) else { panic!("no request") };
    server.shutdown();
    expect_503(&mut client);
    drop(client);
    server.join();
    assert_eq!(seen.iter().collect::<Vec<_>>(), [Seen::Closed(id, CloseReason::Shutdown)]);
}

/// Connects to a server, and again when the connection has ended.
struct Stubborn {
    route: RouteId,
    address: SocketAddr,
}

impl Stubborn {
    fn connect(&self, cx: &mut Context<'_>) -> bool {
        let request = ClientRequest::new("test", "/").unwrap();
        cx.connect(Connect::to(self.address), self.route, &request).is_ok()
    }
}

impl Service for Stubborn {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        assert!(self.connect(cx));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, cx: &mut Context<'_>, _: ConnId, why: CloseReason) {
        assert_eq!(self.connect(cx), why != CloseReason::Shutdown);
    }
}

#[test]
fn no_connection_is_started_during_a_shutdown() {
    let (upstream, seen) = Server::watched(patient(), RouteSettings::default());
    let address = upstream.address;
    let (sender, receiver) = channel();
    let mut server = Server::start(hasty(), move |reactor| {
        // The service is added before its outbound route, which names it.
        let any = reactor.add_service(weir::services::Echo).unwrap();
        let route = reactor.add_outbound(any, RouteSettings::default()).unwrap();
        reactor.add_service(Stubborn { route, address }).unwrap();
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(DEADLINE).unwrap();
    eventually(|| matches!(seen.try_recv(), Ok(Seen::Opened(_))), "the service has connected");
    server.shutdown();
    let metrics = server.join();
    assert_eq!((metrics.connects, metrics.panics), (1, 0));
}
