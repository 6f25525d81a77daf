//! A loop with a server on one of two addresses, for tests of services that try both.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Addresses;
use crate::protocol::Message;
use crate::reactor::settings::{ListenSettings, RouteSettings, Settings};
use crate::reactor::{ConnId, Context, Reactor, RouteId, Service};

/// Longer than this takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// The discard service (RFC 863), which no machine runs any more.
const DISCARD_PORT: u16 = 9;

struct Silent;

impl Service for Silent {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// Turns a loop on which `build` makes a service from the addresses, of which the first one refuses
/// connections, and from the route of its own connections, until the server has an open connection.
pub(crate) fn await_open<S: Service + 'static>(
    build: impl FnOnce(Addresses, Rc<Cell<RouteId>>) -> S,
) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let first = SocketAddr::from(([127, 0, 0, 1], DISCARD_PORT));
    let mut reactor = Reactor::new(Settings::default()).unwrap();
    let server = reactor.add_service(Silent).unwrap();
    for path in ["/", "/p2p"] {
        reactor.add_route(path, server, RouteSettings::default()).unwrap();
    }
    let second = reactor.listen(&ListenSettings::new(any)).unwrap();
    let route = Rc::<Cell<RouteId>>::default();
    let service = build(Addresses::new([first, second]), Rc::clone(&route));
    let service = reactor.add_service(service).unwrap();
    route.set(reactor.add_outbound(service, RouteSettings::default()).unwrap());
    reactor.start().unwrap();
    let begun = Instant::now();
    // One connection, open at both of its ends.
    while reactor.metrics().opened < 2 {
        assert!(begun.elapsed() < DEADLINE, "no connection: {}", reactor.metrics());
        reactor.turn(Some(Duration::from_millis(20))).unwrap();
    }
    assert_eq!(reactor.metrics().connects, 2, "both addresses were tried");
}
