//! A loop that its embedder turns: sends between turns, waits on the loop's descriptor, and outbound
//! connections from a given local address.

use std::net::IpAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir::protocol::handshake::ClientRequest;
use weir::protocol::{CloseCode, Message};
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Connect, Context, Reactor, RouteId, SendOutcome, ServiceId,
};

use crate::support::{DEADLINE, Seen, Server, Watched, next_end};

/// A reactor with one service that makes outbound connections, and its reports.
struct Driven {
    reactor: Reactor,
    service: ServiceId,
    route: RouteId,
    seen: Receiver<Seen>,
}

impl Driven {
    fn new() -> Driven {
        let (service, seen) = Watched::new(|_, _, _| {});
        Driven::with(service, seen)
    }

    fn with(service: Watched, seen: Receiver<Seen>) -> Driven {
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = reactor.add_service(service).unwrap();
        let route = reactor.add_outbound(service, RouteSettings::default()).unwrap();
        reactor.start().unwrap();
        Driven { reactor, service, route, seen }
    }

    fn context(&mut self) -> Context<'_> {
        self.reactor.context(self.service)
    }

    fn open(&mut self, from: &str, server: &Server) -> ConnId {
        let from: IpAddr = from.parse().unwrap();
        let request = ClientRequest::new("test", "/").unwrap();
        let (route, to) = (self.route, Connect::to(server.address).local_address(from));
        let conn = self.context().connect(to, route, &request).unwrap();
        assert_eq!(self.next(), Seen::Opened(conn));
        conn
    }

    /// Turns until the service reports an event.
    fn next(&mut self) -> Seen {
        let started = std::time::Instant::now();
        loop {
            if let Ok(seen) = self.seen.try_recv() {
                return seen;
            }
            assert!(started.elapsed() < DEADLINE, "no event is reported");
            self.reactor.turn(Some(Duration::from_millis(50))).unwrap();
        }
    }
}

#[test]
fn outbound_connections_have_the_given_local_address() {
    let (sender, receiver) = channel();
    let server = Server::start(Settings::default(), move |reactor| {
        let (service, _seen) = Watched::new(move |cx, conn, _| {
            sender.send(cx.peer(conn).unwrap().ip()).unwrap();
        });
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let mut driven = Driven::new();
    for from in ["127.0.0.2", "127.8.9.10"] {
        let conn = driven.open(from, &server);
        assert_eq!(driven.context().send(conn, "where am I?"), SendOutcome::Queued);
        driven.reactor.turn(None).unwrap();
        assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), from.parse::<IpAddr>().unwrap());
    }
    let request = ClientRequest::new("test", "/").unwrap();
    let (route, address) = (driven.route, server.address);
    let elsewhere: IpAddr = "192.0.2.1".parse().unwrap();
    let to = Connect::to(address).local_address(elsewhere);
    assert!(driven.context().connect(to, route, &request).is_err());
}

#[test]
fn a_message_sent_between_turns_is_written_and_the_descriptor_is_readable_for_the_answer() {
    let (server, _seen) = Server::watched(Settings::default(), RouteSettings::default());
    let mut driven = Driven::new();
    let conn = driven.open("127.0.0.1", &server);
    let message = Message::Text("hello");
    assert_eq!(driven.context().send(conn, message), SendOutcome::Queued);
    driven.reactor.turn(None).unwrap();

    let deadline = Timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    let mut waited_for = [PollFd::new(&driven.reactor, PollFlags::IN)];
    assert_eq!(poll(&mut waited_for, Some(&deadline)), Ok(1));
    driven.reactor.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(driven.seen.try_recv(), Ok(Seen::Message(conn, b"hello".to_vec())));
}

#[test]
fn an_aborted_connection_ends_without_a_close() {
    let (server, seen) = Server::watched(Settings::default(), RouteSettings::default());
    let mut driven = Driven::new();
    let conn = driven.open("127.0.0.1", &server);
    driven.context().abort(conn);
    assert_eq!(driven.next(), Seen::Closed(conn, CloseReason::Aborted));
    assert_eq!(next_end(&seen), CloseReason::PeerGone);
    assert_eq!(driven.reactor.metrics().ended_service, 1);
}

#[test]
fn an_outbound_connection_masks_what_its_handler_sends() {
    let (server, seen) = Server::watched(Settings::default(), RouteSettings::default());
    let (service, replies) = Watched::new(|cx, conn, message| {
        if message.len() < 3 {
            let longer = [message.as_bytes(), b"."].concat();
            assert_eq!(cx.send(conn, &longer[..]), SendOutcome::Queued);
        } else {
            cx.close(conn, CloseCode::NORMAL, "");
        }
    });
    let mut driven = Driven::with(service, replies);
    let conn = driven.open("127.0.0.1", &server);
    assert_eq!(driven.context().send(conn, "."), SendOutcome::Queued);
    while !matches!(driven.next(), Seen::Closed(..)) {}
    assert_eq!(next_end(&seen), CloseReason::PeerClosed(Some(CloseCode::NORMAL)));
}
