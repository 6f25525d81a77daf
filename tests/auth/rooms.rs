//! Rooms behind a gate for tokens: the subprotocol `weir.rooms`, and members whose identity changes.

use std::time::Duration;

use weir::reactor::Requirement;
use weir::reactor::settings::{GateSettings, Rate, RouteSettings, Settings};
use weir::services::Rooms;
use weir::services::auth::{Jwt, JwtSettings};
use weir::services::rooms::RoomSettings;

use super::gated::{TestFile, hmac, status_of};
use super::tokens::{claims, hs256, now};
use crate::support::{Client, Server, TEXT, header, upgrade};

struct Gated {
    server: Server,
    _file: TestFile,
}

impl Gated {
    /// Rooms at `/{name}` and, without a gate, at `/open/{name}`.
    fn new(rooms: RoomSettings, change: impl FnOnce(JwtSettings) -> JwtSettings) -> Gated {
        let (settings, file) = hmac();
        let settings = change(settings.leeway(Duration::ZERO).claims(vec!["role".to_owned()]));
        let trusting = Settings::default().trusted_proxies(vec!["127.0.0.1".parse().unwrap()]);
        let server = Server::start(trusting, move |reactor| {
            let jwt = Jwt::new("users", &settings).unwrap();
            let gate = reactor.add_gate(jwt, GateSettings::default()).unwrap();
            let rooms = reactor.add_service(Rooms::new(rooms)).unwrap();
            reactor.add_route("/{name}", rooms, RouteSettings::default().gate(gate)).unwrap();
            reactor.add_route("/open/{name}", rooms, RouteSettings::default()).unwrap();
            reactor.add_route("/auth/refresh", gate.service(), RouteSettings::default()).unwrap();
        });
        Gated { server, _file: file }
    }

    fn plain() -> Gated {
        Gated::new(RoomSettings::default(), |settings| settings)
    }

    /// A member of a room, with the header lines that `lines` adds.
    fn join(&self, target: &str, token: &str, lines: &str) -> Client {
        let lines = format!("Authorization: Bearer {token}\r\n{lines}");
        Client::open_with(self.server.address, target, &lines).0
    }

    /// A member with the subprotocol.
    fn speaker(&self, token: &str) -> Client {
        let mut client = Client::tcp(self.server.address);
        let lines = format!("Authorization: Bearer {token}\r\n{ROOMS}");
        let head = client.request(&upgrade("/lobby", &lines));
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("weir.rooms"), "{head}");
        client
    }

    fn refresh(&self, token: &str) {
        let request = format!(
            "POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        assert_eq!(status_of(&Client::tcp(self.server.address).request(&request)), 204);
    }
}

const ROOMS: &str = "Sec-WebSocket-Protocol: chat, weir.rooms\r\n";

fn token(subject: &str, more: &str) -> String {
    hs256(&claims(subject, more))
}

fn short(subject: &str) -> String {
    hs256(&format!(r#"{{"sub":"{subject}","exp":{}}}"#, now() + 6))
}

fn command(client: &mut Client, token: &str, id: &str) {
    client.text(&format!(r#"{{"refresh":"{token}","id":"{id}"}}"#));
}

fn refused(id: &str, reason: &str) -> String {
    format!(r#"{{"refreshed":false,"id":"{id}","reason":"{reason}"}}"#)
}

#[test]
fn a_member_prolongs_its_own_connection_by_a_message() {
    let gated = Gated::plain();
    let mut first = gated.speaker(&short("ann"));
    let mut second = gated.speaker(&short("ann"));
    let mut third = gated.join("/lobby", &token("bob", ""), "");
    command(&mut first, &token("ann", ""), "7");
    first.expect(TEXT, br#"{"refreshed":true,"id":"7"}"#);
    // An earlier end does not replace the later one.
    command(&mut first, &short("ann"), "8");
    first.expect(TEXT, br#"{"refreshed":true,"id":"8"}"#);
    assert_eq!(second.expect_close(), (3000, "token expired".to_owned()));
    first.text("still here");
    third.expect(TEXT, b"still here");
    // No member and no history has the token.
    let mut late = gated.join("/lobby?history=9", &token("carl", ""), "");
    late.expect(TEXT, b"still here");
    first.text("only that");
    late.expect(TEXT, b"only that");
}

#[test]
fn a_member_becomes_another_subject_by_a_message() {
    let publish = Requirement::new("role", "editor");
    let gated = Gated::new(RoomSettings::default().publish(publish), |settings| settings);
    let mut client = gated.speaker(&token("guest", ""));
    let mut other = gated.join("/lobby", &token("bob", ""), "");
    command(&mut client, &token("ann", r#","role":"editor""#), "");
    client.expect(TEXT, br#"{"refreshed":true,"id":""}"#);
    client.text("news");
    other.expect(TEXT, b"news");
}

#[test]
fn a_command_that_is_refused_names_the_reason() {
    let gated = Gated::plain();
    let mut client = gated.speaker(&token("ann", ""));
    let expired = hs256(&format!(r#"{{"sub":"ann","exp":{}}}"#, now() - 60));
    for (token, id, reason) in [
        ("forged", "1", "unauthorized"),
        (&expired, "2", "unauthorized"),
        (&"x".repeat(8200), "3", "malformed"),
    ] {
        command(&mut client, token, id);
        client.expect(TEXT, refused(id, reason).as_bytes());
    }
    for text in
        [r#"{"refresh":7}"#, r#"{"refresh""#, &format!(r#"{{"refresh":"a","id":"{:065}"}}"#, 1)]
    {
        client.text(text);
        client.expect(TEXT, refused("", "malformed").as_bytes());
    }
    // The connection stays as it is.
    let mut other = gated.join("/lobby", &token("bob", ""), "");
    client.text("still here");
    other.expect(TEXT, b"still here");
    let (mut open, _) = Client::open_with(gated.server.address, "/open/lobby", ROOMS);
    command(&mut open, &token("ann", ""), "4");
    open.expect(TEXT, refused("4", "no_gate").as_bytes());
}

#[test]
fn forged_tokens_in_messages_count_for_their_address() {
    let rate = Rate { per_second: 0.001, burst: 2 };
    let gated = Gated::new(RoomSettings::default(), |settings| settings.failures_per_address(rate));
    let lines = |address| format!("{ROOMS}X-Forwarded-For: {address}\r\n");
    let mut client = gated.join("/lobby", &token("ann", ""), &lines("192.0.2.1"));
    for (id, reason) in [("1", "unauthorized"), ("2", "unauthorized"), ("3", "auth_failures")] {
        command(&mut client, "forged", id);
        client.expect(TEXT, refused(id, reason).as_bytes());
    }
    // Of requests, too; and another address is not affected.
    let lines = format!("Authorization: Bearer {}\r\n", token("bob", ""));
    let status = |address| {
        let lines = format!("{lines}X-Forwarded-For: {address}\r\n");
        status_of(&Client::tcp(gated.server.address).request(&upgrade("/lobby", &lines)))
    };
    assert_eq!((status("192.0.2.1"), status("192.0.2.2")), (429, 101));
}

#[test]
fn without_the_subprotocol_each_message_is_relayed() {
    let gated = Gated::plain();
    let mut client = gated.join("/lobby", &token("ann", ""), "");
    let mut other = gated.join("/lobby", &token("bob", ""), ROOMS);
    let text = r#"{"refresh":"x","id":"1"}"#;
    client.text(text);
    other.expect(TEXT, text.as_bytes());
    // A member with it relays all other messages.
    for text in ["{}", r#"{"presence":1}"#, r#"{"type":"refresh"}"#, r#"["refresh"]"#] {
        other.text(text);
        client.expect(TEXT, text.as_bytes());
    }
}

#[test]
fn a_token_is_not_relayed_in_whatever_order_and_with_whatever_blanks_it_is_sent() {
    let gated = Gated::plain();
    let mut ann = gated.speaker(&token("ann", ""));
    let mut bob = gated.join("/lobby", &token("bob", ""), "");
    let new = token("ann", "");
    for text in [
        format!(r#"{{"id":"7","refresh":"{new}"}}"#),
        format!("{{\n  \"refresh\": \"{new}\",\n  \"id\": \"7\"\n}}\n"),
        format!(r#" {{"id":"7", "later":{{"a":[1]}}, "refresh":"{new}"}}"#),
    ] {
        ann.text(&text);
        ann.expect(TEXT, br#"{"refreshed":true,"id":"7"}"#);
    }
    ann.text("only that");
    bob.expect(TEXT, b"only that");
}

#[test]
fn a_member_that_may_not_join_any_more_leaves_its_room() {
    let join = Requirement::new("role", "member");
    for by_message in [true, false] {
        let rooms = RoomSettings::default().join(join.clone());
        let gated = Gated::new(rooms, |settings| settings);
        let member = |subject| token(subject, r#","role":"member","sid":"1""#);
        let mut ann = gated.speaker(&member("ann"));
        let mut bob = gated.speaker(&member("bob"));
        command(&mut ann, &member("ann"), "1");
        ann.expect(TEXT, br#"{"refreshed":true,"id":"1"}"#);
        let without = token("ann", r#","sid":"1""#);
        match by_message {
            true => command(&mut ann, &without, "2"),
            false => gated.refresh(&without),
        }
        let close = ann.frame();
        assert_eq!(&close.payload[..], b"\x0b\xbbnot allowed in this room", "no answer before it");
        bob.text("still here");
        let mut carl = gated.join("/lobby?history=1", &member("carl"), "");
        carl.expect(TEXT, b"still here");
    }
}
