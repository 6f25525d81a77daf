//! Answers of a hook that are no decision: a client can cause them, so they refuse this client and nobody
//! else, whatever `on_failure` says.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use weir::reactor::settings::RouteSettings;
use weir::services::auth::HookSettings;
use weir::services::auth::settings::OnFailure;

use super::gated::{response, status_of};
use super::hook_server::{Answer, HookServer, hooked, ok, refusing, status};
use crate::support::{Client, upgrade};

/// More answers than a breaker needs to open.
const MANY: usize = 15;

/// Answers that a client can cause: by a long request, without a login, by a name that no header can have.
fn undecided() -> Vec<(&'static str, Answer)> {
    let long = "x".repeat(100_000);
    vec![
        ("400", refusing("400 Bad Request", "")),
        ("402", refusing("402 Payment Required", "")),
        ("414", refusing("414 URI Too Long", "")),
        ("431", refusing("431 Request Header Fields Too Large", "")),
        ("a login page", refusing("302 Found", "Location: https://login.example/\r\n")),
        ("a redirect without a target", refusing("302 Found", "")),
        ("a long redirect", refusing("302 Found", &format!("Location: /?rd={long}\r\n"))),
        ("two users", ok("X-Weir-User: a\r\nX-Weir-User: b\r\n")),
        ("a long user", ok(&format!("X-Weir-User: {}\r\n", "x".repeat(257)))),
        ("much metadata", ok(&format!("X-Weir-User: a\r\nX-Weir-Meta-A: {}\r\n", &long[..5000]))),
        ("an end that is no number", ok("X-Weir-User: a\r\nX-Weir-Expires: soon\r\n")),
    ]
}

#[test]
fn answers_without_a_decision_never_pass() {
    for (what, answer) in undecided() {
        let hook = HookServer::new(answer);
        let settings = hook.settings().on_failure(OnFailure::Pass);
        let (server, seen) = hooked(settings, RouteSettings::default());
        for _ in 0..MANY {
            assert_eq!(status(&server), 503, "{what}");
        }
        assert!(seen.try_recv().is_err(), "{what}: the service saw a request");
    }
}

/// Otherwise one client could lock all others out.
#[test]
fn answers_without_a_decision_do_not_stop_questions() {
    for (what, answer) in undecided() {
        let hook = HookServer::new(answer);
        let (server, _seen) = hooked(hook.settings(), RouteSettings::default());
        for _ in 0..MANY {
            assert_eq!(status(&server), 503, "{what}");
        }
        hook.set(ok("X-Weir-User: ann\r\n"));
        assert_eq!(status(&server), 101, "{what}");
        assert_eq!(hook.asked(), MANY + 1, "{what}");
    }
}

/// A hook that cannot be asked because of them would count as one that fails.
#[test]
fn bytes_of_a_client_that_are_no_ascii_reach_the_hook() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut part) = (Vec::new(), [0; 4096]);
        while !head.ends_with(b"\r\n\r\n") {
            let len = stream.read(&mut part).unwrap();
            assert!(len > 0, "the end of the connection");
            head.extend_from_slice(&part[..len]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        head
    });
    let settings = HookSettings::new(url.parse().unwrap()).timeout(Duration::from_secs(9));
    let (server, _seen) = hooked(settings, RouteSettings::default());
    let mut client = Client::tcp(server.address);
    let request = upgrade("/", "Cookie: a=BYTES\r\n");
    let (before, behind) = request.split_once("BYTES").unwrap();
    client.raw(&[before.as_bytes(), &[0x80, 0xeb, 0xff], behind.as_bytes()].concat());
    assert_eq!(status_of(&client.head()), 101);
    let head = asked.join().unwrap();
    let is_sent = head.windows(7).any(|bytes| bytes == b"a=\x80\xeb\xff\r\n");
    assert!(is_sent, "{:?}", String::from_utf8_lossy(&head));
}

/// The HTTP client cannot send them. That is no failure of the hook.
#[test]
fn credentials_that_are_no_ascii_are_refused_before_the_hook() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    let settings = hook.settings().on_failure(OnFailure::Pass);
    let (server, _seen) = hooked(settings, RouteSettings::default());
    for _ in 0..MANY {
        assert_eq!(status_of(&response(&server, "/", "Authorization: zo\u{eb}\r\n")), 400);
    }
    assert_eq!(hook.asked(), 0);
    assert_eq!(status_of(&response(&server, "/", "Authorization: zoe\r\n")), 101);
}

/// A server of 16 KiB for a head answers 431 to a long request of one client, and passes others.
#[test]
fn a_request_that_the_hook_finds_too_long_is_refused_alone() {
    let hook = HookServer::choosing(|head| match head.len() > 16 * 1024 {
        true => refusing("431 Request Header Fields Too Large", ""),
        false => ok("X-Weir-User: ann\r\n"),
    });
    let settings = hook.settings().on_failure(OnFailure::Pass);
    let (server, _seen) = hooked(settings, RouteSettings::default());
    let long = format!("/?{}", "a".repeat(8 * 1024));
    for _ in 0..MANY {
        assert_eq!(status_of(&response(&server, &long, "")), 503);
    }
    assert_eq!(status_of(&response(&server, "/", "")), 101);
}
