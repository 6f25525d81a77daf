//! The WebSocket client of one upstream: one connection on the loop, reconnected when it
//! is lost.
//!
//! It holds the state of the connection. Its owner is a service, which passes on the connection's
//! events and the result of lookups, and sets the timer for [`Link::due`]. The owner also
//! decides what to send and how to handle a loss.
//!
//! The addresses of the host are tried in turn. After the last one a pause follows, then the host
//! is looked up again.

use std::io;

use super::backoff::Backoff;
use super::resolve::{Addresses, HostPort, look_up};
use super::tls::UpstreamTls;
use crate::protocol::handshake::ClientRequest;
use crate::reactor::{ConnId, Connect, Context, RouteId, SendOutcome, Time, TlsConnector};

/// The WebSocket client of one upstream.
#[derive(Debug)]
pub(crate) struct Link {
    host: HostPort,
    request: ClientRequest,
    tls: Option<TlsConnector>,
    state: State,
    backoff: Backoff,
    /// Addresses of the last lookup that were not tried yet.
    untried: Addresses,
}

/// The phases of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Until the next lookup.
    Waiting {
        until: Time,
    },
    Resolving,
    Connecting(ConnId),
    Open(ConnId),
}

impl Link {
    /// A link whose first lookup is due at once. The host that the `request` names may differ from
    /// the one that is connected to.
    pub(crate) fn new(
        host: HostPort,
        request: ClientRequest,
        tls: Option<UpstreamTls>,
        backoff: Backoff,
    ) -> Link {
        Link {
            host,
            request,
            tls: tls.map(|tls| tls.link),
            state: State::Waiting { until: Time::ZERO },
            backoff,
            untried: Addresses::default(),
        }
    }

    /// Whether this is its connection, open or not.
    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        matches!(self.state, State::Connecting(own) | State::Open(own) if own == conn)
    }

    /// The connection, if it is open.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Open(conn) => Some(conn),
            State::Waiting { .. } | State::Resolving | State::Connecting(_) => None,
        }
    }

    /// When the next lookup is due.
    pub(crate) fn due(&self) -> Time {
        match self.state {
            State::Waiting { until } => until,
            State::Resolving | State::Connecting(_) | State::Open(_) => Time::MAX,
        }
    }

    /// Looks the host up on a thread, unless a lookup or a connection exists. `deliver` runs on the
    /// thread and has to send the addresses to the owner, which calls [`Link::resolved`].
    ///
    /// # Errors
    /// The thread could not be started. The next lookup is due after a pause.
    pub(crate) fn look_up(
        &mut self,
        now: Time,
        deliver: impl FnOnce(Addresses) + Send + 'static,
    ) -> io::Result<()> {
        if !matches!(self.state, State::Waiting { .. }) {
            return Ok(());
        }
        let started = look_up(self.host.clone(), deliver);
        match &started {
            Ok(()) => self.state = State::Resolving,
            Err(_) => self.wait(now),
        }
        started
    }

    /// Connects to the first of these addresses to which a connection can be started. Without a connection the next lookup is due after
    /// a pause.
    pub(crate) fn resolved(
        &mut self,
        cx: &mut Context<'_>,
        route: RouteId,
        addresses: Addresses,
    ) -> Option<ConnId> {
        self.untried = addresses;
        self.connect(cx, route)
    }

    /// The connection is open and usable: after its end the host is looked up again.
    pub(crate) fn opened(&mut self, conn: ConnId) {
        self.state = State::Open(conn);
        self.untried = Addresses::default();
    }

    /// The upstream has proved that it works: the next pause is the shortest again.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.succeed();
    }

    /// Whether the end of the connection is followed by an attempt at another address.
    pub(crate) fn has_untried(&self) -> bool {
        !self.untried.is_empty()
    }

    /// The connection has ended: connects to the next address. Without one the next lookup is due
    /// after a pause.
    pub(crate) fn closed(&mut self, cx: &mut Context<'_>, route: RouteId) -> Option<ConnId> {
        self.connect(cx, route)
    }

    /// Sends a text, if the connection is open. `false`: it is not, or has no room.
    pub(crate) fn send(&self, cx: &mut Context<'_>, text: &str) -> bool {
        let outcome = self.conn().map(|conn| cx.send(conn, text));
        outcome.is_some_and(SendOutcome::is_queued)
    }

    fn connect(&mut self, cx: &mut Context<'_>, route: RouteId) -> Option<ConnId> {
        let Link { tls, request, untried, .. } = self;
        let conn = untried
            .connect(|address| cx.connect(Connect::to(address).tls(tls.as_ref()), route, request));
        match conn {
            Some(conn) => self.state = State::Connecting(conn),
            None => self.wait(cx.now()),
        }
        conn
    }

    fn wait(&mut self, now: Time) {
        self.state = State::Waiting { until: now + self.backoff.fail() };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::net::SocketAddr;
    use std::rc::Rc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::protocol::Message;
    use crate::reactor::settings::{ListenSettings, RouteSettings, Settings};
    use crate::reactor::{CloseReason, Reactor, Service};

    /// Longer than any test takes on a busy machine.
    const DEADLINE: Duration = Duration::from_secs(20);
    /// The discard service (RFC 863): nothing listens there on modern machines.
    const DISCARD_PORT: u16 = 9;

    struct Silent;

    impl Service for Silent {
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }

    /// A link as a service of its own, whose lookup has found these addresses.
    struct Owner {
        link: Rc<RefCell<Link>>,
        addresses: [SocketAddr; 3],
        route: Rc<Cell<RouteId>>,
    }

    impl Service for Owner {
        fn on_start(&mut self, cx: &mut Context<'_>) {
            let addresses = Addresses::new(self.addresses);
            assert!(self.link.borrow_mut().resolved(cx, self.route.get(), addresses).is_some());
        }

        fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
            self.link.borrow_mut().opened(conn);
        }

        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

        fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _: CloseReason) {
            let mut link = self.link.borrow_mut();
            assert!(link.owns(conn) && link.has_untried());
            assert!(link.closed(cx, self.route.get()).is_some());
        }
    }

    fn link() -> Link {
        let request = ClientRequest::new("host.invalid", "/").unwrap();
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        Link::new(("host.invalid".to_owned(), 1), request, None, backoff)
    }

    #[test]
    fn the_next_address_is_tried_when_one_refuses() {
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let server = reactor.add_service(Silent).unwrap();
        reactor.add_route("/", server, RouteSettings::default()).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listening = reactor.listen(&ListenSettings::new(any)).unwrap();
        let refusing = SocketAddr::from(([127, 0, 0, 1], DISCARD_PORT));
        let link = Rc::new(RefCell::new(link()));
        let route = Rc::<Cell<RouteId>>::default();
        let owner = Owner {
            link: Rc::clone(&link),
            addresses: [refusing, listening, refusing],
            route: Rc::clone(&route),
        };
        let owner = reactor.add_service(owner).unwrap();
        route.set(reactor.add_outbound(owner, RouteSettings::default()).unwrap());
        reactor.start().unwrap();
        let started = Instant::now();
        while link.borrow().conn().is_none() {
            assert!(started.elapsed() < DEADLINE, "no connection: {}", reactor.metrics());
            reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        assert_eq!(reactor.metrics().connects, 2, "the first two addresses were tried");
        assert!(!link.borrow().has_untried(), "the host is looked up again after a loss");
    }

    #[test]
    fn a_host_without_addresses_is_looked_up_again_after_a_pause_that_grows() {
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let service = reactor.add_service(Silent).unwrap();
        let route = reactor.add_outbound(service, RouteSettings::default()).unwrap();
        let mut cx = reactor.context(service);
        let now = cx.now();
        let mut link = link();
        assert_eq!(link.due(), Time::ZERO, "the first lookup is due at once");
        let pauses = [250, 500, 1000].map(Duration::from_millis);
        for pause in pauses {
            assert!(link.resolved(&mut cx, route, Addresses::default()).is_none());
            let waits = link.due().since(now);
            assert!(waits >= pause / 2 && waits <= pause, "{waits:?} of {pause:?}");
        }
        link.succeeded();
        assert!(link.resolved(&mut cx, route, Addresses::default()).is_none());
        assert!(link.due().since(now) <= pauses[0]);
    }
}
