//! The order of the limits: of several that a request reaches, the first one refuses it, and counts it for
//! none of the others.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;

use weir::protocol::Message;
use weir::protocol::handshake::Refusal;
use weir::reactor::settings::{GateSettings, ListenSettings, Rate, RouteSettings, Settings};
use weir::reactor::{
    ConnId, Context, Gate, GateRequest, Identity, Level, Priority, RouteId, Service, ServiceId,
    Verdict,
};

use super::{Holding, Loaded, by_memory};
use crate::handshake::expect_refusal;
use crate::support::{ByHand, Client, DEADLINE, any, upgrade};

/// Passes each request with the subject that `X-Token` names, and counts how often it is asked.
struct ByName {
    asked: Rc<Cell<u32>>,
}

impl Service for ByName {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl Gate for ByName {
    fn on_gate(&mut self, _: &mut Context<'_>, _: ConnId, request: &GateRequest<'_>) -> Verdict {
        self.asked.set(self.asked.get() + 1);
        match request.http.header("X-Token") {
            Some(name) => Verdict::Pass(Some(Box::new(Identity::new(name).unwrap()))),
            None => Verdict::Refuse(Refusal::Unauthorized, None),
        }
    }
}

const ANN: &str = "X-Token: ann\r\n";

/// The address of the client whose requests are refused.
const REFUSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A server whose route of each priority (`/low`, ..) has a gate, with one connection per subject. The
/// route `/ballast` has none, and is of high priority.
struct Ordered {
    loaded: Loaded,
    asked: Rc<Cell<u32>>,
    service: ServiceId,
    /// The route `/normal`, and its settings.
    normal: RouteId,
    settings: RouteSettings,
}

impl Ordered {
    fn new(settings: Settings) -> Ordered {
        let (holding, reports) = Holding::new();
        let asked = Rc::new(Cell::new(0));
        let mut built = None;
        let mut server = ByHand::with_levels(ListenSettings::new(any()), settings, |reactor| {
            let gate = ByName { asked: Rc::clone(&asked) };
            let one = GateSettings::default().connections_per_subject(1);
            let gate = reactor.add_gate(gate, one).unwrap();
            let service = reactor.add_service(holding).unwrap();
            let route = RouteSettings::default().gate(gate);
            let [_, normal, ..] = Priority::ALL.map(|priority| {
                let route = route.clone().priority(priority);
                reactor.add_route(&format!("/{priority}"), service, route).unwrap()
            });
            let high = RouteSettings::default().priority(Priority::High);
            reactor.add_route("/ballast", service, high).unwrap();
            built = Some((service, normal, route));
        });
        let (service, normal, settings) = built.unwrap();
        let ballast = server.open("/ballast");
        let loaded = Loaded { server, reports, ballast };
        Ordered { loaded, asked, service, normal, settings }
    }

    /// Changes the settings of `/normal`.
    fn set_route(&mut self, change: impl FnOnce(RouteSettings) -> RouteSettings) {
        self.settings = change(self.settings.clone());
        let mut cx = self.loaded.server.reactor.context(self.service);
        cx.set_route(self.normal, self.settings.clone()).unwrap();
    }

    /// An open connection from this address.
    fn open(&mut self, last: u8, path: &str, lines: &str) -> Client {
        let server = &mut self.loaded.server;
        let mut client = Client::from(Ipv4Addr::new(127, 0, 0, last), server.address);
        client.raw(upgrade(path, lines).as_bytes());
        server.turn_until_readable(&client.stream);
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{path} {lines}: {head}");
        client
    }

    /// An upgrade that is refused. The client keeps its connection.
    fn refused(&mut self, path: &str, lines: &str, refusal: Refusal) -> Client {
        let server = &mut self.loaded.server;
        let count = |server: &mut ByHand| {
            server.reactor.metrics().refusals.get(refusal.name()).copied().unwrap_or(0)
        };
        let before = count(server);
        let mut client = Client::from(REFUSED, server.address);
        client.raw(upgrade(path, lines).as_bytes());
        server.turn_until_readable(&client.stream);
        expect_refusal(&mut client, refusal);
        assert_eq!(count(server), before + 1, "another reason than {refusal:?}");
        client
    }

    /// A request to `/normal` that is refused, and whose connection ends.
    fn expect(&mut self, lines: &str, refusal: Refusal) {
        drop(self.refused("/normal", lines, refusal));
        let left = self.loaded.server.reactor.metrics().connections_now - 1;
        self.loaded.server.turn_until("it is freed", |metrics| metrics.connections_now <= left);
    }
}

/// From the last limit to the first: each further one that the same request reaches takes precedence.
#[test]
fn of_all_limits_that_a_request_reaches_the_first_one_refuses_it() {
    let settings = by_memory()
        .shed_max_percent(0)
        .connections_max(8)
        .reserve_percent(50)
        .connections_per_address(3)
        .handshake_timeout(10 * DEADLINE)
        .drain_timeout(10 * DEADLINE)
        .close_timeout(10 * DEADLINE);
    let mut server = Ordered::new(settings);
    let mut open = vec![server.open(2, "/normal", ANN)];
    server.expect(ANN, Refusal::SubjectFull);

    server.set_route(|route| route.connections_max(1));
    server.expect(ANN, Refusal::RouteFull);

    // With the ballast, all four that are not reserved.
    open.extend([3, 3].map(|last| server.open(last, "/ballast", "")));
    server.expect(ANN, Refusal::Reserved);

    server.loaded.become_loaded(Level::Critical);
    server.expect(ANN, Refusal::Pressure);

    server.set_route(|route| route.require(["role=admin".parse().unwrap()].into()));
    server.expect(ANN, Refusal::Forbidden);
    server.expect("", Refusal::Unauthorized);

    let once = Rate { per_second: 0.0001, burst: 1 };
    server.set_route(|route| route.requests_per_address(once));
    server.expect("", Refusal::Unauthorized);
    let asked = server.asked.get();
    server.expect("", Refusal::Requests);

    open.extend([2, 2].map(|last| server.open(last, "/ballast", "")));
    server.expect("", Refusal::AddressFull);

    open.extend([4, 4].map(|last| server.open(last, "/ballast", "")));
    server.expect("", Refusal::Full);

    // A shutdown closes the listener, so the next client comes before it. Its refusal waits for its request.
    let inner = &mut server.loaded.server;
    let before = inner.reactor.metrics().accepted;
    let mut waiting = Client::from(REFUSED, inner.address);
    inner.turn_until("it is accepted", |metrics| metrics.accepted > before);
    inner.reactor.handle().shutdown();
    inner.turn_until_readable(&waiting.stream);
    expect_refusal(&mut waiting, Refusal::ShuttingDown);
    assert_eq!(server.asked.get(), asked, "the gate is asked after the limits of addresses");
}

#[test]
fn the_limit_on_connections_of_an_address_precedes_its_rate() {
    let once = Rate { per_second: 0.0001, burst: 1 };
    let settings = by_memory().connections_per_address(1).rate_per_address(once);
    let mut server = Ordered::new(settings);
    let open = server.open(2, "/normal", ANN);
    server.expect(ANN, Refusal::AddressFull);
    let opened = server.loaded.server.reactor.metrics().connections_now;
    drop(open);
    server.loaded.server.turn_until("it is freed", |metrics| metrics.connections_now < opened);
    server.expect(ANN, Refusal::RateLimited);
}

/// The proxy itself reaches no limit of an address; its clients do when their requests are complete.
#[test]
fn limits_of_a_forwarded_address_stand_between_full_and_requests() {
    let once = Rate { per_second: 0.0001, burst: 1 };
    let settings = by_memory()
        .connections_max(2)
        .reserve_percent(0)
        .connections_per_address(1)
        .trusted_proxies(vec!["127.0.0.2".parse().unwrap()]);
    let mut server = Ordered::new(settings);
    server.set_route(|route| route.requests_per_address(once));
    let lines = format!("{ANN}X-Forwarded-For: 192.0.2.7\r\n");
    let open = server.open(2, "/normal", &lines);
    server.expect(&lines, Refusal::Full);
    drop(open);
    server.loaded.server.turn_until("it is freed", |metrics| metrics.connections_now == 1);
    server.expect(&lines, Refusal::Requests);
}

#[test]
fn a_forwarded_address_that_is_full_is_refused_before_its_requests_are_counted() {
    let once = Rate { per_second: 0.0001, burst: 1 };
    let proxy = vec!["127.0.0.2".parse().unwrap()];
    let settings = by_memory().connections_per_address(1).trusted_proxies(proxy);
    let mut server = Ordered::new(settings);
    server.set_route(|route| route.requests_per_address(once));
    let lines = format!("{ANN}X-Forwarded-For: 192.0.2.7\r\n");
    let _open = server.open(2, "/normal", &lines);
    server.expect(&lines, Refusal::AddressFull);
}

/// Neither by the load nor by its subject.
#[test]
fn a_refused_upgrade_counts_for_neither_its_subject_nor_its_route() {
    let mut server = Ordered::new(by_memory());
    server.loaded.become_loaded(Level::Elevated);
    let _refused = server.refused("/low", ANN, Refusal::Pressure);
    let _ann = server.open(2, "/high", ANN);
    server.set_route(|route| route.connections_max(1));
    let _again = server.refused("/normal", ANN, Refusal::SubjectFull);
    let _bob = server.open(2, "/normal", "X-Token: bob\r\n");
    assert_eq!(server.loaded.server.reactor.metrics().identities_now, 2);
}
