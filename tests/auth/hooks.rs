//! The HTTP hook: what it is asked, what its answers do, and that it fails closed.

use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use weir::protocol::http::TraceParent;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::auth::settings::OnFailure;
use weir::services::auth::{Hook, HookSettings};

use super::gated::{TestFile, challenge, response, status_of};
use super::hook_server::{Answer, HookServer, hooked, hooked_loop, ok, refusing, serve, status};
use crate::support::{
    Client, DEADLINE, Server, TEXT, eventually, expect_spread_retry, header, upgrade,
};

/// As nginx's `auth_request` and Traefik's ForwardAuth ask.
#[test]
fn a_hook_is_asked_by_get_with_headers_about_the_request() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    let (server, seen) = hooked(hook.settings(), RouteSettings::default());
    let lines = "Authorization: Basic YTpi\r\nCookie: a=b\r\nCookie: c=d\r\nOrigin: http://a\r\n\
                 X-Other: not for the hook\r\nX-Forwarded-For: 1.1.1.1\r\nX-Original-URI: /other\r\n\
                 Sec-WebSocket-Protocol: chat\r\n";
    assert_eq!(status_of(&response(&server, "/feed/1?a=b", lines)), 101);
    let head = hook.heads.recv_timeout(DEADLINE).unwrap();
    assert!(head.starts_with("GET /check/secret HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("Authorization", "Basic YTpi"),
        ("Origin", "http://a"),
        ("X-Original-URI", "/feed/1?a=b"),
        ("X-Original-URL", "http://localhost/feed/1?a=b"),
        ("X-Original-Method", "GET"),
        ("X-Forwarded-Uri", "/feed/1?a=b"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "localhost"),
        ("Cookie", "a=b"),
    ] {
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
    let lower = head.to_lowercase();
    assert!(lower.contains("cookie: c=d\r\n"), "{head}");
    for absent in ["upgrade", "connection:", "sec-websocket", "x-other", "1.1.1.1"] {
        assert!(!lower.contains(absent), "{absent} in {head}");
    }
    assert_eq!(seen.recv_timeout(DEADLINE).unwrap().identity.unwrap().0, "ann");
    // A further request of the same server uses the same connection, and the client's own method.
    let mut client = Client::tcp(server.address);
    client.raw(b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status_of(&client.answer().0), 200);
    let head = hook.heads.recv_timeout(DEADLINE).unwrap();
    assert_eq!(header(&head, "X-Original-URI"), Some("/plain"), "{head}");
}

#[test]
fn a_passing_answer_may_name_the_client() {
    let hook = HookServer::new(ok(""));
    let require = ["role=admin".parse().unwrap()];
    let (open, seen) = hooked(hook.settings(), RouteSettings::default());
    let (strict, _) = hooked(hook.settings(), RouteSettings::default().require(require.into()));
    assert_eq!(status(&open), 101);
    assert_eq!(seen.recv_timeout(DEADLINE).unwrap().identity, None);
    assert_eq!(status(&strict), 403, "without an identity nothing is fulfilled");
    hook.set(Answer::Bytes(
        "HTTP/1.1 204 No Content\r\nX-Weir-User: zo\u{eb}\r\nX-Weir-Meta-Role: user\r\n\
         x-weir-meta-role: admin\r\nX-Weir-Priority: unknown\r\n\r\n"
            .to_owned(),
    ));
    assert_eq!((status(&open), status(&strict)), (101, 101));
    let roles = ["user", "admin"].map(|role| ("role".to_owned(), role.to_owned()));
    let identity = seen.recv_timeout(DEADLINE).unwrap().identity.unwrap();
    assert_eq!(identity, ("zo\u{eb}".to_owned(), roles.to_vec()));
}

#[test]
fn an_identity_of_a_hook_ends() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\nX-Weir-Expires: 1\r\n"));
    let (server, _seen) = hooked(hook.settings(), RouteSettings::default());
    let mut client = Client::open(server.address, "/");
    assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
}

#[test]
fn refusals_of_a_hook_are_returned() {
    let hook = HookServer::new(Answer::End);
    let (server, seen) = hooked(hook.settings(), RouteSettings::default());
    for (answer, status) in [
        (refusing("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"), 401),
        (refusing("403 Forbidden", ""), 403),
        (refusing("404 Not Found", "WWW-Authenticate: Digest\r\nX-Other: a\r\n"), 404),
        (refusing("429 Too Many Requests", "Retry-After: 7\r\n"), 429),
    ] {
        hook.set(answer);
        let head = response(&server, "/", "");
        assert_eq!(status_of(&head), status, "{head}");
        let challenge = challenge(&head);
        let expected = [(401, Some("Basic realm=\"x\"")), (404, Some("Digest"))];
        let expected = expected.into_iter().find(|(of, _)| *of == status).and_then(|(_, it)| it);
        assert_eq!(challenge, expected, "{head}");
        assert_eq!(header(&head, "Retry-After"), (status == 429).then_some("7"), "{head}");
        assert!(header(&head, "X-Other").is_none());
    }
    hook.set(refusing("429 Too Many Requests", ""));
    expect_spread_retry(&response(&server, "/", ""));
    assert!(seen.try_recv().is_err());
    // Neither a missing path nor a rate of weir.
    let refusals = server.stop().refusals;
    let expected =
        [("forbidden", 1), ("gate_limited", 2), ("gate_not_found", 1), ("unauthorized", 1)];
    assert_eq!(refusals, expected.into());
}

/// Answers of a hook that fails, and answers without a decision: see
/// [`hook_answers`](super::hook_answers).
fn failures() -> Vec<(&'static str, Answer)> {
    vec![
        ("500", refusing("500 Internal Server Error", "")),
        ("503", refusing("503 Service Unavailable", "")),
        ("402", refusing("402 Payment Required", "")),
        ("a redirect", refusing("302 Found", "Location: /check/secret\r\n")),
        ("101", refusing("101 Switching Protocols", "Upgrade: websocket\r\n")),
        ("garbage", Answer::Bytes("\x16\x03\x01garbage\r\n\r\n".to_owned())),
        ("another protocol", Answer::Bytes("220 mail ESMTP\r\n\r\n".to_owned())),
        ("the end", Answer::End),
        ("nothing", Answer::Hang),
        ("half a head", Answer::Bytes("HTTP/1.1 200 OK\r\nX-Weir".to_owned())),
        ("two users", ok("X-Weir-User: a\r\nX-Weir-User: b\r\n")),
        ("an empty user", ok("X-Weir-User:\r\n")),
        ("an end that is no number", ok("X-Weir-User: a\r\nX-Weir-Expires: soon\r\n")),
        ("a negative end", ok("X-Weir-User: a\r\nX-Weir-Expires: -1\r\n")),
        (
            "too much metadata",
            ok(&format!("X-Weir-User: a\r\nX-Weir-Meta-A: {}\r\n", "x".repeat(5000))),
        ),
    ]
}

#[test]
fn a_hook_that_fails_refuses() {
    for (what, answer) in failures() {
        let hook = HookServer::new(answer);
        let settings = hook.settings().timeout(Duration::from_millis(300));
        let (server, seen) = hooked(settings, RouteSettings::default());
        let head = response(&server, "/", "");
        assert_eq!(status_of(&head), 503, "{what}: {head}");
        assert!(header(&head, "Retry-After").is_some(), "{what}: {head}");
        assert!(seen.try_recv().is_err(), "{what}: the service saw a request");
    }
    // Nobody listens.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = HookSettings::new(format!("http://{free}/").parse().unwrap());
    let (server, _seen) = hooked(settings, RouteSettings::default());
    assert_eq!(status(&server), 503);
}

#[test]
fn a_hook_that_fails_may_let_requests_pass() {
    let hook = HookServer::new(Answer::Hang);
    let settings = hook.settings().timeout(Duration::from_millis(300)).on_failure(OnFailure::Pass);
    let (server, seen) = hooked(settings, RouteSettings::default());
    assert_eq!(status(&server), 101);
    assert_eq!(seen.recv_timeout(DEADLINE).unwrap().identity, None);
    // A refusal is no failure.
    hook.set(refusing("403 Forbidden", ""));
    assert_eq!(status(&server), 403);
}

/// The timeout is counted on the loop, which serves other clients meanwhile.
#[test]
fn a_hook_that_hangs_delays_nobody_else() {
    let hook = HookServer::new(Answer::Hang);
    let timeout = Duration::from_secs(2);
    let settings = hook.settings().timeout(timeout).concurrency(1);
    let (server, _seen) = hooked(settings, RouteSettings::default());
    let started = Instant::now();
    let mut waiting: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::tcp(server.address);
            client.raw(upgrade("/", "").as_bytes());
            client
        })
        .collect();
    // A route without a gate answers while all others wait.
    assert_eq!(status_of(&response(&server, "/open", "")), 101);
    assert!(started.elapsed() < timeout);
    for client in &mut waiting {
        assert_eq!(status_of(&client.head()), 503);
    }
    assert!(started.elapsed() < DEADLINE, "one after another they would take 40 s");
    assert!(hook.asked() <= 3, "one thread asks at a time, and not after the timeout");
}

/// All threads of the hook wait for an answer, and more requests for a thread.
#[test]
fn neighbours_are_served_while_all_threads_of_a_hook_hang() {
    let hook = HookServer::new(Answer::Hang);
    let (server, _seen) = hooked(hook.settings().timeout(DEADLINE), RouteSettings::default());
    let mut neighbours: Vec<Client> =
        (0..5).map(|_| Client::open(server.address, "/open")).collect();
    let waiting: Vec<Client> = (0..2 * HookSettings::CONCURRENCY)
        .map(|_| {
            let mut client = Client::tcp(server.address);
            client.raw(upgrade("/", "").as_bytes());
            client
        })
        .collect();
    eventually(|| hook.asked() == HookSettings::CONCURRENCY, "all threads hang");
    for round in 0..20 {
        for client in &mut neighbours {
            client.text(&round.to_string());
            client.expect(TEXT, round.to_string().as_bytes());
        }
    }
    assert_eq!(hook.asked(), HookSettings::CONCURRENCY);
    for client in &waiting {
        client.stream.set_nonblocking(true).unwrap();
        assert!(client.stream.peek(&mut [0]).is_err(), "it was answered meanwhile");
    }
}

#[test]
fn a_hook_that_always_fails_is_not_asked_for_a_while() {
    let hook = HookServer::new(Answer::End);
    let (server, _seen) = hooked(hook.settings(), RouteSettings::default());
    for _ in 0..30 {
        assert_eq!(status(&server), 503);
    }
    let asked = hook.asked();
    // ureq asks once more if a kept connection has ended.
    assert!((10..=21).contains(&asked), "asked {asked} times");
}

#[test]
fn passing_answers_are_used_again_for_equal_requests() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    let settings = hook.settings().cache(Duration::from_secs(60));
    let (server, seen) = hooked(settings, RouteSettings::default());
    let ask = |path: &str, lines: &str| status_of(&response(&server, path, lines));
    for _ in 0..5 {
        assert_eq!(ask("/a", "Cookie: s=1\r\n"), 101);
        assert_eq!(seen.recv_timeout(DEADLINE).unwrap().identity.unwrap().0, "ann");
    }
    assert_eq!(hook.asked(), 1);
    assert_eq!(ask("/a", "Cookie: s=2\r\n"), 101);
    assert_eq!(ask("/b", "Cookie: s=1\r\n"), 101);
    assert_eq!(ask("/a", "Cookie: s=1\r\nAuthorization: x\r\n"), 101);
    assert_eq!(hook.asked(), 4);
    hook.set(refusing("403 Forbidden", ""));
    assert_eq!((ask("/a", "Cookie: s=1\r\n"), ask("/c", ""), ask("/c", "")), (101, 403, 403));
    assert_eq!(hook.asked(), 6, "refusals are asked for again");
}

#[test]
fn an_answer_is_used_again_until_its_identity_ends() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\nX-Weir-Expires: 1\r\n"));
    let settings = hook.settings().cache(Duration::from_secs(60));
    let (server, _seen) = hooked(settings, RouteSettings::default());
    let mut look = || {
        assert_eq!(status(&server), 101);
        hook.asked() == 2
    };
    eventually(&mut look, "it is asked again");
}

/// Sixteen requests at once, and each gets its own answer.
#[test]
fn answers_belong_to_their_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                serve(stream, |head| {
                    let user = header(&head, "X-Original-URI").unwrap().trim_start_matches('/');
                    ok(&format!("X-Weir-User: {user}\r\n"))
                })
            });
        }
    });
    let (server, seen) = hooked(HookSettings::new(url.parse().unwrap()), RouteSettings::default());
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let address = server.address;
            thread::spawn(move || {
                for round in 0..10 {
                    let path = format!("/user-{number}-{round}");
                    let head = Client::tcp(address).request(&upgrade(&path, ""));
                    assert_eq!(status_of(&head), 101);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for _ in 0..160 {
        let seen = seen.recv_timeout(DEADLINE).unwrap();
        let path = seen.head.split(' ').nth(1).unwrap();
        assert_eq!(path.trim_start_matches('/'), seen.identity.unwrap().0);
    }
}

#[test]
fn the_certificate_of_a_hook_is_verified() {
    let hook = HookServer::new(ok(""));
    let url = hook.url.replace("http://", "https://");
    let settings = HookSettings::new(url.parse().unwrap());
    let (server, _seen) = hooked(settings, RouteSettings::default());
    assert_eq!(status(&server), 503, "it speaks no TLS at all");
    let file = TestFile::new("no certificate");
    let settings = HookSettings::new(url.parse().unwrap()).ca_file(file.0.clone());
    assert!(Hook::new("hook", settings).is_err());
}

fn sign_out(server: &Server, subject: &str) {
    let mut client = Client::tcp(server.address);
    client.raw(format!("GET /out?{subject} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    assert_eq!(status_of(&client.answer().0), 200);
}

#[test]
fn an_answer_that_is_older_than_the_sign_out_of_its_subject_does_not_pass() {
    let barrier = Arc::new(Barrier::new(2));
    let passing = "HTTP/1.1 204 No Content\r\nX-Weir-User: ann\r\n\r\n".to_owned();
    let hook = HookServer::new(Answer::After(Arc::clone(&barrier), passing));
    let settings = hook.settings().cache(Duration::from_secs(60)).timeout(Duration::from_secs(8));
    let (server, seen) = hooked(settings, RouteSettings::default());
    let mut client = Client::tcp(server.address);
    client.raw(upgrade("/", "").as_bytes());
    hook.heads.recv_timeout(DEADLINE).unwrap();
    sign_out(&server, "ann");
    barrier.wait();
    let head = client.head();
    assert_eq!(status_of(&head), 401, "{head}");
    assert!(seen.try_recv().is_err(), "the service saw the request");
    // The answer was not kept: an equal request is asked about again, and passes if the hook says so.
    hook.set(ok("X-Weir-User: ann\r\n"));
    assert_eq!((status(&server), hook.asked()), (101, 2));
}

#[test]
fn answers_that_were_kept_end_with_the_sign_out_of_their_subject() {
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    let settings = hook.settings().cache(Duration::from_secs(60));
    let (server, _seen) = hooked(settings, RouteSettings::default());
    let ask = |path: &str| status_of(&response(&server, path, ""));
    assert_eq!(ask("/ann"), 101);
    hook.set(ok("X-Weir-User: bob\r\n"));
    assert_eq!((ask("/bob"), ask("/bob"), ask("/ann")), (101, 101, 101));
    assert_eq!(hook.asked(), 2);
    sign_out(&server, "ann");
    hook.set(refusing("401 Unauthorized", ""));
    assert_eq!((ask("/ann"), ask("/bob")), (401, 101));
    assert_eq!(hook.asked(), 3);
}

#[test]
fn a_hook_gets_the_trace_of_the_client_or_a_new_one() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let hook = HookServer::new(ok("X-Weir-User: ann\r\n"));
    for is_traced in [true, false] {
        let settings = hook.settings().cache(Duration::from_secs(60));
        let of_loop = Settings::default().trace(is_traced);
        let (server, _seen) = hooked_loop(of_loop, settings, RouteSettings::default());
        let asked = |path: &str, lines: &str| {
            assert_eq!(status_of(&response(&server, path, lines)), 101);
            let head = hook.heads.recv_timeout(DEADLINE).unwrap();
            let lines = head.to_lowercase();
            assert_eq!(lines.matches("\r\ntraceparent:").count(), usize::from(is_traced), "{head}");
            header(&head, "traceparent").map(str::to_owned)
        };
        let kept = asked("/kept", &format!("traceparent: {PARENT}\r\n"));
        assert_eq!(kept.as_deref(), is_traced.then_some(PARENT));
        for (path, lines) in [("/1", ""), ("/2", "traceparent: 00-1\r\n")] {
            let created = asked(path, lines);
            assert_eq!(created.is_some(), is_traced);
            if let Some(created) = created {
                assert!(TraceParent::parse(&created).is_some() && created.ends_with("-00"));
                assert_ne!(created[3..35], PARENT[3..35]);
            }
        }
        // Another trace does not make another request.
        let lines = format!("traceparent: {}\r\n", PARENT.replace("4bf9", "4bfa"));
        assert_eq!(status_of(&response(&server, "/kept", &lines)), 101);
        assert!(hook.heads.try_recv().is_err(), "the answer is used again");
    }
}
