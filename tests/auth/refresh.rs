//! New tokens for open connections, over HTTP.

use weir::protocol::Message;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::reactor::{ConnId, Context, Service};
use weir::services::auth::Jwt;

use super::gated::{challenge, gated, hmac, status_of};
use super::tokens::{claims, hs256, now, valid};
use crate::support::{Client, Server, TEXT, upgrade};

/// A token that expires this many seconds from now.
fn for_seconds(subject: &str, seconds: u64, more: &str) -> String {
    hs256(&format!(r#"{{"sub":"{subject}","exp":{}{more}}}"#, now() + seconds))
}

fn open(server: &Server, token: &str) -> Client {
    let lines = format!("Authorization: Bearer {token}\r\n");
    let (mut client, _) = Client::open_with(server.address, "/", &lines);
    client.text("open");
    client.expect(TEXT, b"open");
    client
}

fn refresh(server: &Server, path: &str, lines: &str) -> String {
    let mut client = Client::tcp(server.address);
    client.request(&format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{lines}\r\n"))
}

fn refreshed(server: &Server, token: &str) -> u16 {
    status_of(&refresh(server, "/auth/refresh", &format!("Authorization: Bearer {token}\r\n")))
}

#[test]
fn a_refresh_prolongs_the_connections_of_its_session_only() {
    let (settings, _file) = hmac();
    let (server, _seen) = gated(settings.leeway(std::time::Duration::ZERO));
    let mut first = open(&server, &for_seconds("ann", 2, r#","sid":"1""#));
    let mut second = open(&server, &for_seconds("ann", 2, r#","sid":"2""#));
    let mut without = open(&server, &for_seconds("ann", 2, ""));
    let mut other = open(&server, &for_seconds("bob", 2, r#","sid":"1""#));
    let new = hs256(&claims("ann", r#","sid":"1""#));
    assert_eq!(refreshed(&server, &new), 204);
    for client in [&mut second, &mut without, &mut other] {
        assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    }
    first.text("still here");
    first.expect(TEXT, b"still here");
}

#[test]
fn a_refresh_without_a_session_prolongs_connections_without_one() {
    let (settings, _file) = hmac();
    let (server, _seen) = gated(settings.leeway(std::time::Duration::ZERO));
    let mut with = open(&server, &for_seconds("ann", 2, r#","sid":"1""#));
    let mut without = open(&server, &for_seconds("ann", 2, ""));
    assert_eq!(refreshed(&server, &valid("ann")), 204);
    // An earlier end does not replace a later one.
    assert_eq!(refreshed(&server, &for_seconds("ann", 1, "")), 204);
    assert_eq!(with.expect_close().0, 3000);
    without.text("still here");
    without.expect(TEXT, b"still here");
}

#[test]
fn a_refresh_needs_a_valid_token_and_its_path() {
    let (settings, _file) = hmac();
    let (server, _seen) = gated(settings);
    let invalid = Some("Bearer error=\"invalid_token\"");
    for (lines, expected) in [
        (String::new(), (401, Some("Bearer"))),
        ("Authorization: Bearer x\r\n".to_owned(), (401, invalid)),
        (format!("Authorization: Bearer {}\r\n", for_seconds("a", 0, "")), (204, None)),
    ] {
        let head = refresh(&server, "/auth/refresh", &lines);
        assert_eq!((status_of(&head), challenge(&head)), expected, "{lines}");
    }
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/auth/refresh", ""));
    assert_eq!(status_of(&head), 404, "the path serves no WebSocket");
}

/// Answers with subject, metadata and priority of the connection.
struct WhoAmI;

impl Service for WhoAmI {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
        let identity = cx.identity(conn).unwrap();
        let metadata: Vec<_> =
            identity.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let priority = cx.record(conn).unwrap().priority;
        let answer = format!("{} [{}] {priority}", identity.subject(), metadata.join(" "));
        let _ = cx.send(conn, &*answer);
    }
}

#[test]
fn a_refresh_replaces_metadata_and_priority() {
    let (settings, _file) = hmac();
    let settings = settings.claims(vec!["role".to_owned(), "team".to_owned()]);
    let server = Server::start(Settings::default(), move |reactor| {
        let gate = Jwt::new("users", &settings).unwrap();
        let gate = reactor.add_gate(gate, GateSettings::default()).unwrap();
        let service = reactor.add_service(WhoAmI).unwrap();
        reactor.add_route("/", service, RouteSettings::default().gate(gate)).unwrap();
        reactor.add_route("/auth/refresh", gate.service(), RouteSettings::default()).unwrap();
    });
    let token = |more: &str| hs256(&claims("ann", more));
    let first = token(r#","role":"user","team":"a","priority":"low""#);
    let lines = format!("Authorization: Bearer {first}\r\n");
    let (mut client, _) = Client::open_with(server.address, "/", &lines);
    let mut expect = |expected: &str| {
        client.text("?");
        client.expect(TEXT, expected.as_bytes());
    };
    expect("ann [role=user team=a] low");
    for (claims, expected) in [
        (r#","role":["admin","user"],"priority":"high""#, "ann [role=admin role=user] high"),
        // Up to the route's `priority_max`.
        (r#","priority":"critical""#, "ann [] high"),
        // Without the claim, the priority of the route.
        (r#","team":"b""#, "ann [team=b] normal"),
    ] {
        assert_eq!(refreshed(&server, &token(claims)), 204);
        expect(expected);
    }
}
