//! The reserve: the last connections are for high and critical priorities.

use weir::protocol::handshake::Refusal;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};

use super::{Loaded, by_memory};
use crate::gate::scripted;
use crate::handshake::expect_refusal;
use crate::support::{ByHand, Client, Watched, header, upgrade};

/// Four connections for all, of which the test's own is one, and four in reserve. The limit on connections
/// raises no level.
fn reserved() -> Loaded {
    let settings = by_memory().levels(false).connections_max(8).reserve_percent(50);
    Loaded::new(settings, &RouteSettings::default())
}

fn refused(server: &mut ByHand, path: &str, refusal: Refusal) {
    let mut client = Client::tcp(server.address);
    client.raw(upgrade(path, "").as_bytes());
    server.turn_until_readable(&client.stream);
    expect_refusal(&mut client, refusal);
    let left = server.reactor.metrics().connections_now - 1;
    drop(client);
    server.turn_until("it is freed", |metrics| metrics.connections_now <= left);
}

#[test]
fn the_reserve_is_for_high_priorities() {
    let mut loaded = reserved();
    let server = &mut loaded.server;
    let mut clients: Vec<Client> = (0..3).map(|_| server.open("/normal")).collect();
    for path in ["/normal", "/low"] {
        refused(server, path, Refusal::Reserved);
    }
    clients.extend(["/high", "/critical", "/high", "/critical"].map(|path| server.open(path)));
    for path in ["/critical", "/normal"] {
        refused(server, path, Refusal::Full);
    }
    // The hysteresis is that of the share: below 95 % of four is three.
    clients.remove(3);
    server.turn_until("it is freed", |metrics| metrics.connections_now == 7);
    refused(server, "/normal", Refusal::Reserved);
    clients.truncate(2);
    server.turn_until("they are freed", |metrics| metrics.connections_now == 3);
    clients.push(server.open("/normal"));
}

#[test]
fn a_plain_connection_in_the_reserve_ends_with_its_response() {
    let mut loaded = reserved();
    let server = &mut loaded.server;
    let _clients: Vec<Client> = (0..3).map(|_| server.open("/normal")).collect();
    let get = |server: &mut ByHand, path: &str| {
        let mut client = Client::tcp(server.address);
        client.raw(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        server.turn_until_readable(&client.stream);
        client.answer().0
    };
    let head = get(server, "/high");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "Connection"), Some("close"), "{head}");
    let head = get(server, "/normal");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("server is full"), "{head}");
}

/// Half of four: the second silent connection displaces the first one.
#[test]
fn silent_connections_do_not_use_up_the_reserve() {
    let mut loaded = reserved();
    let server = &mut loaded.server;
    let _clients: Vec<Client> = (0..3).map(|_| server.open("/normal")).collect();
    let before = server.reactor.metrics().accepted;
    let mut first = Client::tcp(server.address);
    first.raw(b"GET /high HTTP/1.1\r\n");
    server.turn_until("the first", |metrics| metrics.accepted == before + 1);
    let second = Client::tcp(server.address);
    server.turn_until("the second", |metrics| metrics.accepted == before + 2);
    server.turn_until_readable(&first.stream);
    first.expect_gone();
    assert_eq!(server.reactor.metrics().refusals["reserved"], 1);
    drop(second);
    server.turn_until("both are freed", |metrics| metrics.connections_now == 4);
    server.open("/high");
}

#[test]
fn without_high_priorities_nothing_is_reserved() {
    let settings = Settings::default().connections_max(8).reserve_percent(50);
    let (service, _reports) = super::Holding::new();
    let mut server = ByHand::new(settings, |reactor| {
        let service = reactor.add_service(service).unwrap();
        reactor.add_route("/", service, RouteSettings::default()).unwrap();
    });
    let _clients: Vec<Client> = (0..8).map(|_| server.open("/")).collect();
    refused(&mut server, "/", Refusal::Full);
}

/// A gate may give a client a high priority. The reserve is then 5 %, one of twenty.
#[test]
fn a_gate_switches_the_reserve_on() {
    for has_gate in [false, true] {
        let settings = Settings::default().connections_max(20);
        let mut server = ByHand::new(settings, |reactor| {
            let gate = reactor.add_gate(scripted(), GateSettings::default()).unwrap();
            let service = reactor.add_service(Watched::echo().0).unwrap();
            let gated = RouteSettings::default().gate(gate);
            if has_gate {
                reactor.add_route("/gated", service, gated).unwrap();
            }
            reactor.add_route("/normal", service, RouteSettings::default()).unwrap();
        });
        let mut clients: Vec<Client> = (0..19).map(|_| server.open("/normal")).collect();
        match has_gate {
            true => refused(&mut server, "/normal", Refusal::Reserved),
            false => clients.push(server.open("/normal")),
        }
    }
}
