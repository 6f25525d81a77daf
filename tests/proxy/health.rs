//! Active checks.

use super::front::{Front, echo, refusing};
use super::scripted::Scripted;
use crate::support::{Client, TEXT, eventually, upgrade};

fn health(check: &str) -> String {
    format!("health = '{check}'\nhealth_interval = '200ms'")
}

/// Whether an upstream is up after its first check by `check`, which its own timeout ends.
fn is_up(upstream: String, check: &str) -> bool {
    let flags = ["--handshake-timeout", "60s"];
    let front = Front::with(&[upstream], &health(check), "", &flags);
    let checks = || front.admin.metric("weir_upstream_health_checks_total", &[]) > 0.0;
    eventually(checks, "a check ends");
    front.admin.metric("weir_upstream_up", &[]) == 1.0
}

#[test]
fn a_connection_is_a_check() {
    assert!(is_up(Scripted::answering("").url(), "connect"));
    assert!(!is_up(refusing(), "connect"));
}

#[test]
fn a_path_is_checked_by_its_status() {
    let healthy = Scripted::answering("HTTP/1.1 204 No Content\r\n\r\n");
    assert!(is_up(healthy.url(), "/health?deep=1"));
    let head = healthy.head();
    assert!(head.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nHost: {}\r\n", healthy.address)), "{head}");
    for response in [
        "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.1 302 Found\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\n\r\n",
        "no HTTP",
        "",
    ] {
        assert!(!is_up(Scripted::answering(response).url(), "/health"), "{response}");
    }
    let silent = Scripted::new(|client, _| client.expect_gone());
    assert!(!is_up(silent.url(), "/health"));
}

#[test]
fn a_websocket_is_checked_by_its_handshake() {
    let (_echo, upstream) = echo(&[]);
    assert!(is_up(upstream.clone(), "ws:/"));
    assert!(!is_up(upstream, "ws:/nothing-here"));
    let silent = Scripted::new(|client, _| client.expect_gone());
    assert!(!is_up(silent.url(), "ws:/"));
}

#[test]
fn an_upstream_that_is_down_is_used_again_when_it_is_up() {
    let (first, one) = echo(&[]);
    let (_second, other) = echo(&[]);
    let front = Front::new(&[one.clone(), other], &health("connect"), "");
    let port = one.rsplit_once(':').unwrap().1;
    let upstream = format!("upstream=\"127.0.0.1:{port}\"");
    let is = |value| {
        let up = || front.admin.metric("weir_upstream_up", &[&upstream]) == value;
        eventually(up, &format!("{upstream} is {value}"));
    };
    drop(first);
    is(0.0);
    let listen = format!("127.0.0.1:{port}");
    let mut command = crate::support::weir(["--listen", &listen]);
    let _again = crate::support::Process::spawn(&mut command);
    is(1.0);
    let mut client = front.tunnel();
    client.text("hello");
    client.expect(TEXT, b"hello");
    let tries = front.admin.metric("weir_upstream_tries_total", &[&upstream]);
    assert_eq!(tries, 1.0, "the first in the list is used again");
}

#[test]
fn a_check_without_room_for_its_connection_says_nothing_about_the_upstream() {
    let (_echo, upstream) = echo(&[]);
    let front = Front::with(&[upstream], &health("connect"), "", &["--outbound-max", "1"]);
    let is_open = |client: &mut Client| {
        *client = Client::tcp(front.address);
        client.request(&upgrade("/", "")).starts_with("HTTP/1.1 101 ")
    };
    // A check may have the only connection at this moment.
    let mut tunnel = Client::tcp(front.address);
    eventually(|| is_open(&mut tunnel), "a tunnel is open");
    let refused = || front.admin.metric("weir_outbound_connections_refused_total", &[]);
    let before = refused();
    eventually(|| refused() > before + 1.0, "checks have no room");
    let failed = "outcome=\"failure\"";
    assert_eq!(front.admin.metric("weir_upstream_health_checks_total", &[failed]), 0.0);
    assert_eq!(front.admin.metric("weir_upstream_up", &[]), 1.0);
}
