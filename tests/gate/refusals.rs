//! Refusals by a Close: a 101, then a code and a reason that scripts in browsers can read.

use std::time::Duration;

use weir::reactor::settings::{GateSettings, RefuseBy, RouteSettings, Settings};

use super::{Noted, gated};
use crate::support::{Client, Server, upgrade};

fn start(settings: Settings) -> (Server, std::sync::mpsc::Receiver<Noted>) {
    let gate = GateSettings::default().connections_per_subject(1);
    gated(settings, gate, RouteSettings::default().refuse(RefuseBy::Close))
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
        ("/", "X-Token: full\r\n", 1013, "too many requests"),
        ("/", "X-Token: silent\r\n", 1013, "service unavailable, retry in 5 s"),
        ("/", "X-Token: panic\r\n", 1013, "internal error"),
        ("/?panic", "X-Token: ann\r\n", 1013, "internal error"),
        ("/?respond", "X-Token: ann\r\n", 3003, "no such room"),
    ] {
        let found = refused(&server, path, lines);
        assert_eq!((found.1, found.2.as_str()), (code, reason), "{path} {lines}");
        assert!(!found.0.contains("retry"), "{found:?}");
    }
    let ends: Vec<_> = noted.try_iter().filter(|noted| matches!(noted, Noted::Closed(_))).collect();
    assert!(ends.is_empty(), "the service sees none of them end: {ends:?}");
    let metrics = server.stop();
    assert_eq!((metrics.refused, metrics.opened), (8, 1), "{metrics}");
}
