//! The observer of a reactor: which events it gets, in which order.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use weir::protocol::CloseCode;
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::reactor::{CloseReason, ConnId, Event, EventKind, Observer};

use crate::puppet::Puppet;
use crate::support::{Client, DEADLINE, Server, any, upgrade};

/// Sends the text of each event, with the connection's route.
struct Reporter(Sender<(String, Option<(ConnId, String)>)>);

impl Observer for Reporter {
    fn on_event(&mut self, event: &Event<'_>) {
        let conn = event.conn.map(|conn| (conn.id, conn.route.unwrap_or("-").to_owned()));
        assert_eq!(event.conn.and_then(|conn| conn.trace), None, "trace is off");
        self.0.send((format!("{:?}", event.kind), conn)).unwrap();
    }
}

/// The next event: its text, and the route of its connection.
fn next(events: &Receiver<(String, Option<(ConnId, String)>)>) -> (String, String) {
    let (text, conn) = events.recv_timeout(DEADLINE).expect("an event");
    (text, conn.map_or(String::new(), |(_, route)| route))
}

fn event(kind: EventKind<'_>, route: &str) -> (String, String) {
    (format!("{kind:?}"), route.to_owned())
}

#[test]
fn the_observer_gets_each_event_once() {
    let (sender, events) = channel();
    let (puppet, strings) = Puppet::new();
    let server = Server::start(Settings::default(), move |reactor| {
        reactor.set_observer(Reporter(sender));
        let service = reactor.add_service(puppet).unwrap();
        reactor.add_route("/a/{name}", service, RouteSettings::default()).unwrap();
        let settings = RouteSettings::default().origins(vec!["https://a.example".to_owned()]);
        reactor.add_route("/b", service, settings).unwrap();
    });
    let (client, id) = strings.client(&server, "/a/b");
    assert_eq!(next(&events), event(EventKind::Connected, "/a/{name}"));
    strings.run(move |cx| cx.close(id, CloseCode::NORMAL, "done"));
    drop(client);
    let closed = EventKind::Closed(CloseReason::Service(CloseCode::NORMAL));
    assert_eq!(next(&events), event(closed, "/a/{name}"));

    // A connection that was never open has no end of its own.
    drop(Client::tcp(server.address));
    let request = upgrade("/b", "Origin: https://b.example\r\n");
    Client::tcp(server.address).request(&request);
    let refused = |status, reason| EventKind::Refused { status: Some(status), reason };
    assert_eq!(next(&events), event(refused(403, "origin"), "-"));
    let request = upgrade("/a/b", "").replace("Version: 13", "Version: 12");
    Client::tcp(server.address).request(&request);
    let (text, _) = next(&events);
    assert!(text.starts_with("Refused { status: Some(426)"), "{text}");
    server.stop_clean();
    assert_eq!(events.iter().count(), 0);
}

/// Nine of ten connections: the level rises after two samples, and nothing is shed for it.
#[test]
fn a_change_of_the_load_level_is_an_event() {
    let (sender, events) = channel();
    let (puppet, strings) = Puppet::new();
    let settings = Settings::default().connections_max(10).levels(true);
    let settings = settings.delay_elevated(DEADLINE).delay_critical(2 * DEADLINE);
    let server = Server::with_levels(ListenSettings::new(any()), settings, move |reactor| {
        let service = reactor.add_service(puppet).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
        reactor.set_observer(Reporter(sender));
    });
    let _clients: Vec<_> = (0..9).map(|_| strings.client(&server, "/")).collect();
    for _ in 0..9 {
        assert_eq!(next(&events), event(EventKind::Connected, "/"));
    }
    let level = EventKind::Level { level: "elevated", resource: "connections" };
    assert_eq!(next(&events), event(level, ""));
}

#[test]
fn faults_before_the_first_request_are_refusals() {
    let (sender, events) = channel();
    let settings = Settings::default().handshake_timeout(Duration::from_millis(50));
    let server = Server::listening(ListenSettings::new(any()), settings, move |reactor| {
        reactor.set_observer(Reporter(sender));
    });
    let mut client = Client::tcp(server.address);
    client.raw(b"GET / HT");
    let late = EventKind::Refused { status: None, reason: "handshake_timeout" };
    assert_eq!(next(&events), event(late, "-"));
    server.stop_clean();
    assert_eq!(events.iter().count(), 0);
}
