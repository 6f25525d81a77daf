//! The trusted proxies change while connections are open.

use weir::reactor::ServiceId;
use weir::reactor::settings::{ClientAddressFrom, RouteSettings, Settings};

use super::{add_reporting, get};
use crate::support::{ByHand, Client, upgrade};

const HEADERS: &str = "X-Forwarded-For: 203.0.113.1\r\nX-Real-IP: 203.0.113.2\r\n";

/// [`super::Reporting`] at `/`, and its id.
fn server() -> (ByHand, ServiceId) {
    let mut id = None;
    let settings = Settings::default().connections_per_address(2);
    let server = ByHand::new(settings, |reactor| {
        id = Some(reactor.next_service_id());
        add_reporting(reactor, RouteSettings::default());
    });
    (server, id.unwrap())
}

fn trust(server: &mut ByHand, id: ServiceId, trusted: &[&str], from: ClientAddressFrom) {
    let prefixes = trusted.iter().map(|prefix| prefix.parse().unwrap());
    server.reactor.context(id).set_trusted_proxies(prefixes.collect(), from);
}

/// The response to a request: its head, and its body.
fn send(server: &mut ByHand, client: &mut Client, request: &str) -> (String, String) {
    client.raw(request.as_bytes());
    server.turn_until_readable(&client.stream);
    let (head, body) = client.answer();
    (head, String::from_utf8(body).unwrap())
}

fn report(server: &mut ByHand, client: &mut Client) -> String {
    send(server, client, &get(HEADERS)).1
}

fn status(server: &mut ByHand, client: &mut Client) -> String {
    let head = send(server, client, &upgrade("/", "")).0;
    head[9..12].to_owned()
}

#[test]
fn the_next_request_of_a_connection_follows_new_trusted_proxies() {
    let (mut server, id) = server();
    let mut client = Client::tcp(server.address);
    let own = client.stream.local_addr().unwrap().to_string();
    let none = format!("{own} via - plain");
    let forwarded = ClientAddressFrom::XForwardedFor;
    assert_eq!(report(&mut server, &mut client), none);
    trust(&mut server, id, &["127.0.0.0/8"], forwarded);
    let trusted =
        |address: &str| format!("{address}:0 via 127.0.0.1 plain X-Forwarded-For X-Real-IP");
    assert_eq!(report(&mut server, &mut client), trusted("203.0.113.1"));
    trust(&mut server, id, &["127.0.0.1"], ClientAddressFrom::XRealIp);
    assert_eq!(report(&mut server, &mut client), trusted("203.0.113.2"));
    trust(&mut server, id, &["10.0.0.0/8"], forwarded);
    assert_eq!(report(&mut server, &mut client), none);
    drop(client);
    server.stop_clean();
}

#[test]
fn counts_per_address_stay_exact_when_the_trusted_proxies_change() {
    let (mut server, id) = server();
    let forwarded = ClientAddressFrom::XForwardedFor;
    let mut first = Client::tcp(server.address);
    let mut second = Client::tcp(server.address);
    for client in [&mut first, &mut second] {
        report(&mut server, client);
    }
    let mut third = Client::tcp(server.address);
    assert_eq!(status(&mut server, &mut third), "429", "two connections are counted");
    trust(&mut server, id, &["127.0.0.1"], forwarded);
    report(&mut server, &mut first);
    trust(&mut server, id, &[], forwarded);
    let mut third = Client::tcp(server.address);
    report(&mut server, &mut third);
    let mut fourth = Client::tcp(server.address);
    assert_eq!(status(&mut server, &mut fourth), "429", "the second and the third are counted");
    report(&mut server, &mut first);
    assert_eq!(status(&mut server, &mut first), "429", "its upgrade is counted");
    drop((first, second, third, fourth));
    server.stop_clean();
}
