//! Rooms whose members need an identity with certain metadata.

use std::sync::mpsc::channel;

use weir::reactor::Requirement;
use weir::reactor::settings::{GateSettings, RouteSettings, Settings};
use weir::services::Rooms;
use weir::services::rooms::RoomSettings;

use super::Scripted;
use crate::support::{Client, Server, TEXT, upgrade};

/// A server with rooms of these settings behind the scripted gate.
fn rooms(settings: RoomSettings) -> Server {
    Server::start(Settings::default(), move |reactor| {
        let (notes, noted) = channel();
        // Nothing in these tests looks at the notes.
        std::mem::forget(noted);
        let gate = Scripted { notes, later: Vec::new() };
        let gate = reactor.add_gate(gate, GateSettings::default()).unwrap();
        let service = reactor.add_service(Rooms::new(settings)).unwrap();
        let route = RouteSettings::default().gate(gate);
        reactor.add_route("/{name}", service, route).unwrap();
    })
}

/// The response to a join with this token, and its connection.
fn join(server: &Server, token: &str) -> (String, Client) {
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/lobby", &format!("X-Token: {token}\r\n")));
    (head, client)
}

#[test]
fn only_identities_with_the_required_metadata_join_a_room() {
    let server = rooms(RoomSettings::default().join(Requirement::new("role", "member")));
    for (token, status) in [
        ("ann;role=guest;role=member", "101"),
        ("ben;role=guest", "403"),
        ("cid", "403"),
        ("none", "403"),
    ] {
        let (head, _) = join(&server, token);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{token}: {head}");
    }
}

#[test]
fn only_identities_with_the_required_metadata_send_messages() {
    let server = rooms(RoomSettings::default().publish(Requirement::new("role", "editor")));
    let (_, mut editor) = join(&server, "ann;role=editor");
    let (head, mut reader) = join(&server, "ben");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_, mut other) = join(&server, "cid");
    editor.text("news");
    for member in [&mut reader, &mut other] {
        member.expect(TEXT, b"news");
    }
    reader.text("forged");
    assert_eq!(reader.expect_close(), (3003, "not allowed to send".to_owned()));
    editor.text("more");
    other.expect(TEXT, b"more");
}
