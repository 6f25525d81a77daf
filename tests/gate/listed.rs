//! `GET /connections` on the admin address: the open connections of clients, with their subjects.

use std::sync::mpsc::channel;

use serde_json::Value;
use weir::reactor::settings::{GateSettings, ListenSettings, RouteSettings, Settings};
use weir::services::admin::{Admin as AdminService, CONNECTIONS};

use super::build;
use crate::support::{Admin, Client, DEADLINE, Server, TEXT, any, crowd};

/// A server with a gate at `/` and `/rooms/{name}`, and an admin address.
fn start(settings: Settings) -> (Server, Admin) {
    let (sender, receiver) = channel();
    let server = Server::start(settings, move |reactor| {
        let (notes, noted) = channel();
        std::mem::forget(noted);
        let routes = ["/", "/rooms/{name}"].map(|path| (path, RouteSettings::default()));
        build(reactor, notes, GateSettings::default(), &routes);
        let admin = reactor.add_service(AdminService::new(Vec::new())).unwrap();
        let route = RouteSettings::default().listener_group(1);
        reactor.add_route(CONNECTIONS, admin, route).unwrap();
        let listen = ListenSettings::new(any()).listener_group(1).for_operators(true);
        sender.send(reactor.listen(&listen).unwrap()).unwrap();
    });
    (server, Admin::at(receiver.recv_timeout(DEADLINE).unwrap()))
}

fn open(server: &Server, path: &str, subject: &str) -> Client {
    Client::open_with(server.address, path, &format!("X-Token: {subject}\r\n")).0
}

/// The subjects of connections, in alphabetical order; `-` without one.
fn subjects<'a>(listed: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
    let subject = |conn: &'a Value| conn["subject"].as_str().unwrap_or("-");
    let mut subjects: Vec<&str> = listed.into_iter().map(subject).collect();
    subjects.sort_unstable();
    subjects
}

#[test]
fn open_connections_are_listed_with_their_subjects() {
    let (server, admin) = start(Settings::default());
    let mut ann = open(&server, "/rooms/a%20b?secret", "ann");
    let _others = ["ann", "bob", "none"].map(|subject| open(&server, "/", subject));
    // Not open: neither it nor the operator's own connection is listed.
    let _incomplete = Client::tcp(server.address);
    ann.text("who");
    ann.expect(TEXT, b"ann");
    let all = admin.pages("").concat();
    assert_eq!(subjects(&all), ["-", "ann", "ann", "bob"]);
    let conn = all.iter().find(|conn| conn["route"] == "/rooms/{name}").unwrap();
    let peer = ann.stream.local_addr().unwrap().to_string();
    assert_eq!((&conn["peer"], &conn["path"]), (&peer.into(), &"/rooms/a%20b".into()));
    assert_eq!((&conn["priority"], &conn["protocol"]), (&"normal".into(), &Value::Null));
    let counts = ["messages_in", "messages_out", "bytes_in", "bytes_out", "queued_bytes"];
    assert_eq!(counts.map(|count| conn[count].as_u64().unwrap()), [1, 1, 3, 3, 0]);
    for (key, is_right) in [
        ("conn", conn["conn"].as_str().unwrap().starts_with('#')),
        ("seconds", conn["seconds"].as_f64() >= conn["silent_seconds"].as_f64()),
        ("round_trip_seconds", conn["round_trip_seconds"].is_null()),
        ("trace", conn["trace"].is_null()),
    ] {
        assert!(is_right, "{key}: {conn}");
    }
    drop(ann);
    let is_gone = || subjects(&admin.pages("").concat()) == ["-", "ann", "bob"];
    crate::support::eventually(is_gone, "the first one has ended");
}

#[test]
fn a_list_has_pages_and_may_be_of_one_subject() {
    let (server, admin) = start(Settings::default());
    let clients = ["ann", "bob", "ann", "c\"d", "ann"].map(|subject| open(&server, "/", subject));
    let pages = admin.pages("limit=2");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(subjects(pages.iter().flatten()), ["ann", "ann", "ann", "bob", "c\"d"]);
    assert_eq!(subjects(&admin.pages("subject=ann").concat()), ["ann"; 3]);
    assert_eq!(subjects(&admin.pages("subject=c%22d&limit=1").concat()), ["c\"d"]);
    assert_eq!(subjects(&admin.pages("subject=nobody").concat()), [""; 0]);
    assert_eq!(
        subjects(admin.page("from=18446744073709551615")["connections"].as_array().unwrap()),
        [""; 0]
    );
    drop(clients);
}

/// Their subjects have 256 quotation marks, each of which is two bytes in JSON.
#[test]
fn a_page_ends_at_256_kib() {
    const COUNT: usize = 400;
    let (server, admin) = start(Settings::default().connections_per_address(0));
    let subject = "\"".repeat(256);
    let clients: Vec<Client> = (0..COUNT).map(|_| open(&server, "/", &subject)).collect();
    let bytes = admin.page("limit=1000").to_string().len();
    assert!((200 << 10..257 << 10).contains(&bytes), "{bytes} bytes");
    let pages = admin.pages("limit=1000");
    assert_eq!((pages.len(), pages.concat().len()), (2, COUNT));
    drop(clients);
}

/// The only open connection is behind 4,096 others, which have sent nothing.
#[test]
fn a_page_looks_at_a_part_of_the_table() {
    const SLOTS: usize = 4096;
    let _crowd = crowd();
    let (server, admin) = start(Settings::default().connections_per_address(0));
    let silent: Vec<Client> = (0..SLOTS).map(|_| Client::tcp(server.address)).collect();
    crate::support::eventually(|| server.connections() == SLOTS, "all are accepted");
    let ann = open(&server, "/", "ann");
    let pages = admin.pages("");
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
    drop((silent, ann));
}

#[test]
fn malformed_queries_and_requests_of_web_pages_are_refused() {
    let (_server, admin) = start(Settings::default());
    let ask = |request: &str| {
        let head = Client::tcp(admin.address()).request(&format!("{request}\r\n\r\n"));
        head[9..12].to_owned()
    };
    for (request, status) in [
        ("GET /connections HTTP/1.1\r\nHost: localhost:1", "200"),
        ("HEAD /connections HTTP/1.1\r\nHost: 127.0.0.1", "200"),
        ("GET /connections?limit=0 HTTP/1.1\r\nHost: 127.0.0.1", "400"),
        ("GET /connections?limit=1001 HTTP/1.1\r\nHost: 127.0.0.1", "400"),
        ("GET /connections?from=x HTTP/1.1\r\nHost: 127.0.0.1", "400"),
        ("GET /connections HTTP/1.1\r\nHost: evil.example", "403"),
        ("GET /connections HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: null", "403"),
        ("POST /connections HTTP/1.1\r\nHost: 127.0.0.1", "405"),
    ] {
        assert_eq!(ask(request), status, "{request}");
    }
}
