//! Refusals by a Close: a 101, then a code and a reason that scripts in browsers can read.

use std::time::Duration;

use weir::protocol::handshake::Refusal;
use weir::reactor::Decision;
use weir::reactor::settings::{GateSettings, RefuseBy, RouteSettings, Settings};

use super::{Noted, gated};
use crate::deferring::deferring_on;
use crate::support::{Client, Seen, Server, expect_spread_retry, header, upgrade};

fn start(settings: Settings) -> (Server, std::sync::mpsc::Receiver<Noted>) {
    let gate = GateSettings::default().connections_per_subject(1);
    gated(settings, gate, RouteSettings::default().refuse(RefuseBy::Close))
}

fn start_by_http() -> (Server, std::sync::mpsc::Receiver<Noted>) {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(300));
    gated(settings, GateSettings::default(), RouteSettings::default())
}

/// Sends an upgrade that is refused by a Close; returns the head of the 101, the code and the reason.
fn refused(server: &Server, path: &str, lines: &str) -> (String, u16, String) {
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade(path, lines));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (code, reason) = client.expect_close();
    client.close(code, "");
    client.expect_end();
    (head, code, reason)
}

#[test]
fn each_refusal_of_gate_and_service_becomes_a_close() {
    let settings = Settings::default().handshake_timeout(Duration::from_millis(300));
    let (server, noted) = start(settings);
    let (_open, _) = Client::open_with(server.address, "/", "X-Token: full\r\n");
    for (path, lines, code, reason) in [
        ("/", "", 3000, "unauthorized"),
        ("/", "X-Token: forbid\r\n", 3003, "forbidden"),
        ("/", "X-Token: later refused\r\n", 3003, "forbidden"),
        ("/", "X-Token: missing\r\n", 3003, "no such path"),
        ("/", "X-Token: full\r\n", 1013, "too many requests, retry"),
        ("/", "X-Token: silent\r\n", 1013, "service unavailable, retry"),
        ("/", "X-Token: limited\r\n", 1013, "too many requests, retry"),
        ("/", "X-Token: dated\r\n", 1013, "service unavailable, retry"),
        ("/", "X-Token: panic\r\n", 1013, "internal error, retry"),
        ("/?panic", "X-Token: ann\r\n", 1013, "internal error, retry"),
        ("/?busy", "X-Token: ann\r\n", 1013, "no worker, retry"),
        ("/?respond", "X-Token: ann\r\n", 3003, "no such room"),
    ] {
        let found = refused(&server, path, lines);
        // When to return is at random.
        let (text, seconds) = found.2.split_once(" in ").unwrap_or((&found.2, "5 s"));
        assert_eq!((found.1, text), (code, reason), "{path} {lines}");
        let seconds: u64 = seconds.strip_suffix(" s").unwrap().parse().unwrap();
        assert!((5..=15).contains(&seconds), "{found:?}");
        assert!(!found.0.contains("retry"), "{found:?}");
    }
    let ends: Vec<_> = noted.try_iter().filter(|noted| matches!(noted, Noted::Closed(_))).collect();
    assert!(ends.is_empty(), "the service sees none of them end: {ends:?}");
    let metrics = server.stop();
    assert_eq!((metrics.refused, metrics.opened), (10, 1), "{metrics}");
}

#[test]
fn a_client_gets_a_subprotocol_that_it_offers() {
    let (server, _noted) = start(Settings::default());
    for (offers, selected) in [
        ("", None),
        ("a, chat, weir.token", Some("chat")),
        ("a, weir.token, weir.token.abc", Some("weir.token")),
        ("weir.token.abc, b, a", Some("b")),
        ("weir.token.abc", None),
    ] {
        let lines = match offers {
            "" => String::new(),
            offers => format!("Sec-WebSocket-Protocol: {offers}\r\n"),
        };
        let (head, code, _) = refused(&server, "/", &lines);
        assert_eq!((header(&head, "Sec-WebSocket-Protocol"), code), (selected, 3000), "{offers}");
    }
}

#[test]
fn malformed_requests_unknown_paths_and_forbidden_origins_keep_their_status() {
    let route = RouteSettings::default().refuse(RefuseBy::Close);
    let route = route.origins(vec!["https://good.example".to_owned()]);
    let (server, _noted) = gated(Settings::default(), GateSettings::default(), route);
    let origin = "Origin: https://good.example\r\n";
    for (request, status) in [
        (upgrade("/", "Origin: https://evil.example\r\n"), "403"),
        (upgrade("/elsewhere", origin), "404"),
        (upgrade("/", origin).replace("Version: 13", "Version: 12"), "426"),
        (upgrade("/", origin).replace("Upgrade\r\n", "x\r\n"), "400"),
        (upgrade("/", origin).replace("GET", "PUT"), "405"),
        (upgrade("/", &format!("{origin}X-Long: {}\r\n", "x".repeat(20_000))), "431"),
        (upgrade("/", &format!("{origin}{}", "X-Many: 1\r\n".repeat(80))), "431"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{origin}\r\n"), "401"),
    ] {
        let head = Client::tcp(server.address).request(&request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

/// A response of a gate has what its status needs, whatever the gate has set.
#[test]
fn a_response_of_a_gate_says_when_to_return() {
    let (server, _noted) = start_by_http();
    for (token, status) in [("limited", 429), ("panic", 500), ("silent", 503)] {
        let head =
            Client::tcp(server.address).request(&upgrade("/", &format!("X-Token: {token}\r\n")));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        expect_spread_retry(&head);
    }
    let head = Client::tcp(server.address).request(&upgrade("/", "X-Token: dated\r\n"));
    assert_eq!(header(&head, "Retry-After"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let head = Client::tcp(server.address).request(&upgrade("/", "X-Token: missing\r\n"));
    assert_eq!(header(&head, "Retry-After"), None, "{head}");
}

#[test]
fn refused_clients_do_not_count_and_few_of_them_wait() {
    let settings = Settings::default().connections_max(1).refused_max(1);
    let (server, _noted) = start(settings);
    let mut first = Client::tcp(server.address);
    assert!(first.request(&upgrade("/", "")).starts_with("HTTP/1.1 101 "));
    assert_eq!(first.expect_close().0, 3000);
    // Its place is free, and the only place of those that wait is taken.
    let mut second = Client::tcp(server.address);
    let head = second.request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    drop(second);
    // It does not answer: weir ends its side after a second, and then the connection.
    first.expect_end();
    let (open, _) = Client::open_with(server.address, "/", "X-Token: ann\r\n");
    drop((first, open));
    let metrics = server.stop_clean();
    assert_eq!((metrics.refusals["unauthorized"], metrics.opened), (2, 1));
}

#[test]
fn a_full_server_refuses_by_a_close_too() {
    let (server, _noted) = start(Settings::default().connections_max(1));
    let (open, _) = Client::open_with(server.address, "/", "X-Token: ann\r\n");
    let (_, code, reason) = refused(&server, "/", "X-Token: bob\r\n");
    assert_eq!(code, 1013);
    assert!(reason.starts_with("server is full, retry in "), "{reason}");
    drop(open);
    server.stop_clean();
}

#[test]
fn a_deferred_upgrade_that_is_refused_ends_once_for_its_service() {
    let route = RouteSettings::default().refuse(RefuseBy::Close);
    let decision = Decision::Refuse(Refusal::RouteFull);
    let (server, seen) = deferring_on(Settings::default(), route, Some(decision));
    let (_, code, reason) = refused(&server, "/", "");
    assert_eq!(code, 1013);
    assert!(reason.starts_with("no room on this path, retry in "), "{reason}");
    server.stop_clean();
    let ends: Vec<_> = seen.try_iter().filter(|seen| matches!(seen, Seen::Closed(..))).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
}
