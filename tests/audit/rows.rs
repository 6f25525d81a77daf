//! Each event of the real binary with all its fields, and no other.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use weir::reactor::settings::{RouteSettings, Settings};

use super::{Audited, expect_valid, fields, key_of, lines, log_of};
use crate::auth::tokens::{SECRET, claims, hs256, now, valid};
use crate::binary::File;
use crate::nostr::relay::Directory;
use crate::support::{BINARY, Client, Process, Server, eventually, frame, upgrade, weir};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A server with a log in this directory, a gate `users`, and these tables.
struct Gated {
    server: Audited,
    directory: Directory,
    file: File,
}

impl Gated {
    fn new(tables: &str, flags: &[&str]) -> Gated {
        let directory = Directory::new();
        let secret = directory.path().join("secret");
        fs::write(&secret, SECRET).unwrap();
        let (log, key) = (log_of(&directory), key_of(&directory));
        let file = File::new(&format!(
            "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\ntrace = true\n\
             audit = {log:?}\naudit_key = {key:?}\n\
             [[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\n\
             secret_file = {secret:?}\nleeway = '0s'\n{tables}"
        ));
        let arguments = ["--config", file.path()].into_iter().chain(flags.iter().copied());
        let server = Audited::of(Process::spawn(&mut weir(arguments)));
        Gated { server, directory, file }
    }

    /// An open WebSocket, and its address.
    fn open(&self, path: &str, token: &str) -> (Client, String) {
        let mut client = Client::tcp(self.server.address);
        let lines = format!(
            "Authorization: Bearer {token}\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-00\r\n"
        );
        let head = client.request(&upgrade(path, &lines));
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let address = client.stream.local_addr().unwrap().to_string();
        (client, address)
    }

    fn await_lines(&self, count: u64) {
        eventually(|| self.server.count("sequence") >= count, &format!("{count} lines"));
    }

    /// Ends the server; returns the lines of its log, which must be valid.
    fn stop(self) -> Vec<Value> {
        let log = log_of(&self.directory);
        self.server.stop();
        let lines = lines(&log);
        assert_eq!(expect_valid(&self.directory, &[&log]), lines.len() as u64);
        for (line, sequence) in lines.iter().zip(1..) {
            assert_eq!(line["sequence"], sequence);
        }
        lines
    }
}

const ECHO: &str = "[[route]]\npath = '/'\nservice = 'echo'\nauth = 'users'\n";

/// The lines about one connection, in order.
fn of_conn<'a>(lines: &'a [Value], conn: &Value) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["conn"] == *conn).collect()
}

/// Expects the lines of one connection: `about` has the fields of each, `events` the others.
fn expect_rows(lines: &[Value], about: &Value, events: &[Value]) {
    let found: Vec<Value> = of_conn(lines, &about["conn"]).into_iter().map(fields).collect();
    let expected = events.iter().map(|event| {
        let mut row = about.clone();
        row.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
        row
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// The id of the connection of the nth `connected` line.
fn nth_connected(lines: &[Value], n: usize) -> &Value {
    let connected: Vec<&Value> = lines.iter().filter(|line| line["event"] == "connected").collect();
    &connected[n]["conn"]
}

#[test]
fn a_refresh_and_a_sign_out_are_rows_with_the_fields_of_their_connection() {
    let refresh = "[[route]]\npath = '/refresh'\nservice = 'auth'\nauth = 'users'\n";
    let gated = Gated::new(&format!("{ECHO}{refresh}"), &[]);
    let (mut client, address) = gated.open("/", &valid("ann"));
    gated.await_lines(3);
    let request = format!(
        "POST /refresh HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 0\r\n\r\n",
        hs256(&claims("ann", ""))
    );
    let head = Client::tcp(gated.server.address).request(&request);
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    gated.await_lines(4);
    let mut operator = Client::tcp(gated.server.admin.address());
    let operators = operator.stream.local_addr().unwrap().to_string();
    let parent = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-00\r\n");
    operator.request(&format!("DELETE /auth/users/users/ann HTTP/1.1\r\nHost: a\r\n{parent}\r\n"));
    assert_eq!(client.expect_close().0, 3003);
    drop(client);
    gated.await_lines(7);
    let lines = gated.stop();

    let conn = nth_connected(&lines, 0);
    let about = json!({
        "conn": conn, "client": address, "route": "/", "subject": "ann", "trace": TRACE,
    });
    expect_rows(
        &lines,
        &about,
        &[
            json!({"event": "identity"}),
            json!({"event": "connected"}),
            json!({"event": "refreshed"}),
            json!({"event": "signed_out"}),
            json!({"event": "closed", "reason": "signed_out", "code": 3003}),
        ],
    );
    let admin = lines.iter().find(|line| line["event"] == "admin").unwrap();
    let expected = json!({
        "event": "admin", "conn": admin["conn"], "client": operators,
        "route": "/auth/{name}/users/{subject}", "trace": TRACE,
        "reason": "DELETE /auth/users/users/ann",
    });
    assert_eq!(fields(admin), expected);
}

#[test]
fn an_expiry_is_a_row_with_the_fields_of_its_connection() {
    let gated = Gated::new(ECHO, &[]);
    let token = hs256(&format!(r#"{{"sub":"bob","exp":{}}}"#, now() + 3));
    let (mut client, address) = gated.open("/", &token);
    assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    drop(client);
    gated.await_lines(5);
    let lines = gated.stop();
    expect_expired(&lines, &address);
}

#[test]
fn a_tunnel_has_the_rows_of_a_connection() {
    let (upstream, _seen) = Server::watched(Settings::default(), RouteSettings::default());
    let pool = format!("[[pool]]\nname = 'nodes'\nupstreams = ['http://{}']\n", upstream.address);
    let route = "[[route]]\npath = '/'\nservice = 'proxy'\npool = 'nodes'\nauth = 'users'\n";
    let gated = Gated::new(&format!("{pool}{route}"), &[]);
    let token = hs256(&format!(r#"{{"sub":"bob","exp":{}}}"#, now() + 3));
    let (mut client, address) = gated.open("/", &token);
    assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    drop(client);
    gated.await_lines(5);
    let lines = gated.stop();
    assert_eq!(lines.len(), 6, "the upstream's connection has no rows: {lines:?}");
    expect_expired(&lines, &address);
}

/// Expects the rows of a connection of "bob", from its identity to its end.
fn expect_expired(lines: &[Value], address: &str) {
    let about = json!({
        "conn": nth_connected(lines, 0), "client": address, "route": "/", "subject": "bob",
        "trace": TRACE,
    });
    expect_rows(
        lines,
        &about,
        &[
            json!({"event": "identity"}),
            json!({"event": "connected"}),
            json!({"event": "expired"}),
            json!({"event": "closed", "reason": "expired", "code": 3000}),
        ],
    );
}

#[test]
fn a_close_by_a_rate_is_a_row_with_its_reason() {
    let rated = format!("{ECHO}messages_rate = '3/h'\nover = 'close'\nover_grace = '0s'\n");
    let gated = Gated::new(&rated, &[]);
    let (mut client, address) = gated.open("/", &valid("ann"));
    for _ in 0..4 {
        client.text("again");
    }
    assert_eq!(client.expect_close(), (1008, "too many messages".to_owned()));
    drop(client);
    gated.await_lines(4);
    let lines = gated.stop();
    let about = json!({
        "conn": nth_connected(&lines, 0), "client": address, "route": "/", "subject": "ann",
        "trace": TRACE,
    });
    expect_rows(
        &lines,
        &about,
        &[
            json!({"event": "identity"}),
            json!({"event": "connected"}),
            json!({"event": "closed", "reason": "rate", "code": 1008}),
        ],
    );
}

/// Half of the memory that connections share is critical: one message of each priority is incomplete.
#[test]
fn levels_and_a_shed_connection_are_rows() {
    const BYTES: usize = 200 * 1024;
    let routes = "[[route]]\npath = '/low'\nservice = 'echo'\nauth = 'users'\npriority = 'low'\n\
                  [[route]]\npath = '/high'\nservice = 'echo'\nauth = 'users'\npriority = 'high'\n";
    let flags = [
        "--levels",
        "--delay-elevated=1h",
        "--delay-critical=2h",
        "--memory-max=off",
        "--memory-elevated=40%",
        "--memory-critical=50%",
        "--buffered-max=1MiB",
        "--message-max=256KiB",
        "--outbox-hard=512KiB",
        "--outbox-soft=128KiB",
    ];
    let gated = Gated::new(routes, &flags);
    let (mut low, address) = gated.open("/low", &valid("ann"));
    let (mut high, _) = gated.open("/high", &valid("bob"));
    let message = frame(true, BINARY, &vec![7; BYTES]);
    for client in [&mut low, &mut high] {
        client.raw(&message[..BYTES - 100]);
    }
    assert_eq!(low.expect_close().0, 1013);
    drop((low, high));
    eventually(|| gated.server.admin.metric("weir_level", &[]) == 0.0, "the load falls");
    let lines = gated.stop();
    let about = json!({
        "conn": nth_connected(&lines, 0), "client": address, "route": "/low", "subject": "ann",
        "trace": TRACE,
    });
    expect_rows(
        &lines,
        &about,
        &[
            json!({"event": "identity"}),
            json!({"event": "connected"}),
            json!({"event": "shed"}),
            json!({"event": "closed", "reason": "shed", "code": 1013}),
        ],
    );
    let levels: Vec<Value> =
        lines.iter().filter(|line| line["event"] == "level").map(fields).collect();
    let level = |to: &str| json!({"event": "level", "reason": format!("{to} by memory")});
    assert_eq!(levels, ["elevated", "critical", "elevated", "normal"].map(level));
    let shed = lines.iter().position(|line| line["event"] == "shed");
    let critical = lines.iter().position(|line| line["reason"] == "critical by memory");
    assert!(critical < shed, "{lines:?}");
}

#[test]
fn what_became_of_the_configuration_is_a_row() {
    let gated = Gated::new(ECHO, &[]);
    let file = gated.file.path();
    let valid = fs::read_to_string(file).unwrap();
    gated.await_lines(1);
    for (text, count) in [(valid.replace("'0s'", "'1s'"), 2), (valid.replace("HS256", "none"), 3)] {
        fs::write(file, text).unwrap();
        gated.server.process.signal(Signal::HUP);
        gated.await_lines(count);
    }
    let lines = gated.stop();
    let rows: Vec<Value> = lines.iter().map(fields).collect();
    let config = |reason: &str| json!({"event": "config", "reason": reason});
    assert_eq!(rows, ["started", "reloaded", "not reloaded", "stopped"].map(config));
}
