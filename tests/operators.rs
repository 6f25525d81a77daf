//! The listener for operators, which is independent of clients' limits, of memory and of a drain.

use std::net::SocketAddr;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use weir::protocol::handshake::Refusal;
use weir::reactor::budget::OPERATORS_MAX;
use weir::reactor::settings::{ListenSettings, RouteSettings, Settings};
use weir::services::admin::{Admin, HEALTH, METRICS, READY};
use weir::services::{Echo, TRY_IT_PAGE};

use crate::handshake::expect_refusal;
use crate::node::process::{Directory, Node};
use crate::support::{Client, DEADLINE, Process, Server, any, eventually, upgrade, weir};

/// Status and body of the response to a GET.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut client = Client::tcp(address);
    ask(&mut client, path)
}

fn ask(client: &mut Client, path: &str) -> (String, String) {
    client.raw(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
    let (head, body) = client.answer();
    (head[9..12].to_owned(), String::from_utf8(body).unwrap())
}

/// The binary with an admin address, and its two addresses.
fn serve(flags: &[&str]) -> (Process, SocketAddr, SocketAddr) {
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let running = Process::spawn(&mut weir(ports.iter().chain(flags)));
    let clients = running.address();
    let line = running.line();
    let admin = line.strip_prefix("admin http://").unwrap_or_else(|| panic!("{line}"));
    let admin = admin.trim_end_matches('/').parse().unwrap();
    (running, clients, admin)
}

/// A loop with an echo at `/`, a page at `/page`, and a listener for operators.
fn watched(settings: Settings) -> (Server, SocketAddr) {
    let (sender, receiver) = channel();
    let server = Server::start(settings, move |reactor| {
        let echo = reactor.add_service(Echo).unwrap();
        reactor.add_route("/", echo, RouteSettings::default()).unwrap();
        reactor.add_page("/page", TRY_IT_PAGE);
        let admin = reactor.add_service(Admin::new(Vec::new())).unwrap();
        let route = RouteSettings::default().listener_group(1);
        for path in [METRICS, HEALTH, READY] {
            reactor.add_route(path, admin, route.clone()).unwrap();
        }
        let listen = ListenSettings::new(any()).listener_group(1).for_operators(true);
        sender.send(reactor.listen(&listen).unwrap()).unwrap();
    });
    (server, receiver.recv_timeout(DEADLINE).unwrap())
}

#[test]
fn a_full_server_answers_its_operators_and_is_ready() {
    let limits = ["--connections-max", "1", "--connections-per-address", "1", "--rate", "1/h"];
    let (_running, clients, admin) = serve(&limits);
    assert_eq!(get(admin, READY), ("200".into(), "ready\n".into()));
    let client = Client::open(clients, "/");
    let mut late = Client::tcp(clients);
    late.raw(upgrade("/", "").as_bytes());
    expect_refusal(&mut late, Refusal::Full);
    for _ in 0..5 {
        assert_eq!(get(admin, HEALTH), ("200".into(), "ok\n".into()));
    }
    assert_eq!(get(admin, METRICS).0, "200");
    let full = "ready, but full: 1 of 1 connections\n";
    assert_eq!(get(admin, READY), ("200".into(), full.into()));
    drop(client);
    eventually(|| get(admin, READY).1 == "ready\n", "the server is no longer full");
}

#[test]
fn operators_have_a_limit_of_their_own() {
    let (server, admin) = watched(Settings::default());
    let mut operators: Vec<Client> = (0..OPERATORS_MAX).map(|_| Client::tcp(admin)).collect();
    for operator in &mut operators {
        assert_eq!(ask(operator, HEALTH).0, "200");
    }
    let mut late = Client::tcp(admin);
    late.raw(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_refusal(&mut late, Refusal::OperatorsFull);
    let client = Client::open(server.address, "/");
    operators.pop();
    let has_room = || {
        let mut next = Client::tcp(admin);
        next.raw(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
        next.answer().0.starts_with("HTTP/1.1 200 ")
    };
    eventually(has_room, "there is room for another operator");
    drop((operators, client));
    let metrics = server.stop_clean();
    assert_eq!(metrics.opened, 1);
    assert!(metrics.refusals["operators_full"] >= 1);
}

#[test]
fn operators_are_answered_without_memory_for_clients() {
    let (server, admin) = watched(Settings::default().buffered_bytes_max(0));
    assert_eq!(get(server.address, "/page").0, "503");
    let mut operator = Client::tcp(admin);
    // In two parts, so that the server holds the first one.
    operator.raw(b"GET /metrics HT");
    let (status, text) = get(admin, METRICS);
    assert!(status == "200" && text.contains("out_of_resources"), "{status}: {text}");
    operator.raw(b"TP/1.1\r\nHost: test\r\n\r\n");
    assert!(operator.answer().0.starts_with("HTTP/1.1 200 "));
    drop(operator);
    server.stop_clean();
}

#[test]
fn a_shutdown_is_visible_to_operators_until_the_last_client_has_gone() {
    let forever = ["--close-timeout", "1h", "--drain-timeout", "1h", "--handshake-timeout", "1h"];
    let (mut running, clients, admin) = serve(&forever);
    let mut idle = Client::tcp(admin);
    assert_eq!(ask(&mut idle, HEALTH).0, "200");
    let mut client = Client::open(clients, "/");
    running.signal(Signal::TERM);
    assert_eq!(client.expect_close().0, 1001);
    for _ in 0..2 {
        let reason = "shutting down: 1 connections left\n";
        assert_eq!(get(admin, READY), ("503".into(), reason.into()));
        assert_eq!(get(admin, HEALTH), ("200".into(), "ok\n".into()));
        assert_eq!(get(admin, METRICS).0, "200");
    }
    // Progress is logged repeatedly.
    running.logged("shutting down: 1 connections left, ");
    running.logged("shutting down: 1 connections left, ");
    assert!(running.is_running());
    client.close(1001, "");
    client.expect_end();
    // An open connection of an operator does not delay the end.
    idle.expect_end();
    assert_eq!(running.wait(), Some(0));
    let log = running.whole_log();
    assert!(!log.contains("did not end in time"), "{log}");
}

#[test]
fn a_shutdown_without_clients_does_not_wait_for_operators() {
    let never = 10 * DEADLINE;
    let settings = Settings::default().drain_timeout(never).handshake_timeout(never);
    let (server, admin) = watched(settings);
    let mut idle = Client::tcp(admin);
    assert_eq!(ask(&mut idle, HEALTH).0, "200");
    let silent = Client::tcp(admin);
    let metrics = server.stop_clean();
    idle.expect_end();
    drop(silent);
    assert_eq!(metrics.http_answered, 1);
}

#[test]
fn the_drain_timeout_ends_clients_and_then_operators() {
    let (mut running, clients, admin) = serve(&["--close-timeout", "1h", "--drain-timeout", "2s"]);
    let mut client = Client::open(clients, "/");
    let mut idle = Client::tcp(admin);
    assert_eq!(ask(&mut idle, HEALTH).0, "200");
    running.signal(Signal::TERM);
    assert_eq!(client.expect_close().0, 1001);
    assert_eq!(get(admin, READY).0, "503");
    assert_eq!(running.wait(), Some(0));
    idle.expect_end();
    assert!(running.whole_log().contains("1 connections did not end in time"));
}

#[test]
fn a_node_answers_its_operators_during_a_shutdown() {
    let directory = Directory::new();
    let mut node = Node::start(&directory, &["--block-time", "off", "--drain-timeout", "1h"]);
    let mut client = node.client();
    node.signal(Signal::TERM);
    assert_eq!(client.expect_close().0, 1001);
    let (status, body) = node.asked("/readyz");
    assert_eq!(
        (status, &body["ready"], &body["reason"]),
        (503, &false.into(), &"shutting down".into())
    );
    assert_eq!(node.asked("/healthz").0, 200);
    client.close(1001, "");
    client.expect_end();
    assert_eq!(node.end().0, Some(0));
}
