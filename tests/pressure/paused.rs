//! Connections that a service has paused: it gets no message, but a reset ends them.

use std::time::Duration;

use socket2::SockRef;
use weir::protocol::Message;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Context, Service};

use crate::support::{
    BINARY, ByHand, Client, Seen, Server, TEXT, Watched, eventually, frame, upgrade,
};

/// Takes one message at a time: pauses at the start and after each message, and sends `next` when it
/// resumes.
struct OneAtATime;

impl OneAtATime {
    fn pause(cx: &mut Context<'_>, conn: ConnId) {
        cx.pause(conn);
        cx.schedule(Duration::ZERO, 0).unwrap();
    }
}

impl Service for OneAtATime {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        OneAtATime::pause(cx, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
        let _ = cx.send(conn, message);
        OneAtATime::pause(cx, conn);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        let all: Vec<ConnId> = cx.connections().collect();
        for conn in all {
            let _ = cx.send(conn, "next");
            cx.resume(conn);
        }
    }
}

/// A message may be behind the head, behind another one in the same read, or behind a large frame that
/// was read into its assembly buffer.
#[test]
fn a_paused_connection_delivers_no_message_that_was_already_read() {
    const LARGE: usize = 80 * 1024;
    const FIRST: usize = 64 * 1024;
    let server = Server::start(Settings::default(), |reactor| {
        let (count, _) = Watched::new(|cx, conn, _| {
            let count = cx.metrics().bytes_read.to_string();
            let _ = cx.send(conn, &*count);
        });
        let count = reactor.add_service(count).unwrap();
        reactor.add_route("/count", count, RouteSettings::default()).unwrap();
        let pausing = reactor.add_service(OneAtATime).unwrap();
        reactor.add_route("/", pausing, RouteSettings::default()).unwrap();
    });
    let mut probe = Client::open(server.address, "/count");
    let mut read = || -> usize {
        probe.text("?");
        String::from_utf8(probe.frame().payload).unwrap().parse().unwrap()
    };
    let mut client = Client::tcp(server.address);
    let two = [frame(true, TEXT, b"one"), frame(true, TEXT, b"two")].concat();
    client.raw(&[upgrade("/", "").as_bytes(), &two].concat());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    for text in ["one", "two"] {
        client.expect(TEXT, b"next");
        client.expect(TEXT, text.as_bytes());
    }
    client.expect(TEXT, b"next");

    let before = read();
    let all = [frame(true, BINARY, &[9; LARGE]), two].concat();
    client.raw(&all[..FIRST]);
    eventually(|| read() >= before + FIRST, "the first part of the large frame is read");
    client.raw(&all[FIRST..]);
    client.expect(BINARY, &[9; LARGE]);
    for text in ["one", "two"] {
        client.expect(TEXT, b"next");
        client.expect(TEXT, text.as_bytes());
    }
}

/// Three connections are paused at their first message, with an empty outbox. One is reset, one is reset
/// with unread input, and the peer of the third sends a FIN. The first two end in the turn after the
/// reset; the third stays open, and its message is delivered after the pause.
#[test]
fn a_reset_ends_a_paused_connection_but_a_fin_does_not() {
    let (service, seen) = Watched::new(|cx, conn, _| cx.pause(conn));
    let mut paused = None;
    let mut server = ByHand::new(Settings::default(), |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        paused = Some(service);
    });
    let mut clients = [server.open("/"), server.open("/"), server.open("/")];
    for (index, client) in clients.iter_mut().enumerate() {
        client.text("pause");
        server.turn_until("it is paused", |metrics| metrics.messages_in == index as u64 + 1);
        server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    let [reset, reset_with_input, mut shut] = clients;
    shut.text("the last");
    shut.finish();
    let mut reset_with_input = reset_with_input;
    reset_with_input.text("unread");
    for client in [reset, reset_with_input] {
        SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let before = server.reactor.metrics().connections_now;
        server.turn_until("the reset is noticed", |metrics| metrics.connections_now < before);
    }
    assert_eq!(server.reactor.metrics().connections_now, 1);
    assert_eq!(server.reactor.metrics().ended_peer_lost, 2);
    for seen in seen.try_iter() {
        assert!(!matches!(seen, Seen::Closed(_, why) if why != CloseReason::PeerReset), "{seen:?}");
    }
    let resume = |server: &mut ByHand| {
        let mut context = server.reactor.context(paused.unwrap());
        let left = context.connections().next().unwrap();
        context.resume(left);
    };
    resume(&mut server);
    server.turn_until("the last is read", |metrics| metrics.messages_in == 4);
    // The message has paused the connection again.
    server.reactor.turn(Some(Duration::ZERO)).unwrap();
    resume(&mut server);
    server.stop_clean();
}
