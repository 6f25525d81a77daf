//! Connections to upstreams that are kept for further requests.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use rustix::process::Signal;

use super::front::Front;
use super::scripted::Scripted;
use crate::support::{Client, eventually, upgrade};

/// An upstream that answers any number of requests with this response; and how many connections it
/// has had.
fn counting(response: &'static str) -> (Scripted, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = Scripted::persistent_with(
        move || {
            counted.fetch_add(1, Relaxed);
        },
        move |client, _| client.raw(response.as_bytes()),
    );
    (upstream, connections)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn exchange(client: &mut Client) -> String {
    client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.answer().0
}

fn idle_is(front: &Front, count: f64) {
    front.admin.await_metric("weir_upstream_connections", &["use=\"idle\""], count);
}

#[test]
fn one_connection_serves_the_requests_of_several_clients() {
    let (upstream, connections) = counting(OK);
    let front = Front::new(&[upstream.url()], "", "");
    for _ in 0..5 {
        let mut client = Client::tcp(front.address);
        for _ in 0..3 {
            assert!(exchange(&mut client).starts_with("HTTP/1.1 200 "));
            idle_is(&front, 1.0);
        }
    }
    assert_eq!(connections.load(Relaxed), 1);
    let head = Client::tcp(front.address).request(&upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(connections.load(Relaxed), 1, "an upgrade uses it, too");
}

#[test]
fn connections_that_may_not_be_reused_are_closed() {
    let ok = |line: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{line}\r\nok").leak();
    for (response, pool) in [
        (OK, "keepalive_max = 0"),
        (OK, "send_proxy = 'v1'"),
        (ok("Connection: close\r\n"), ""),
        (ok("Keep-Alive: timeout=1\r\n"), ""),
        (ok("WWW-Authenticate: NTLM\r\n"), ""),
        (ok("WWW-Authenticate: Negotiate\r\n"), ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", ""),
    ] {
        let (upstream, connections) = counting(response);
        let front = Front::new(&[upstream.url()], pool, "");
        let mut client = Client::tcp(front.address);
        for count in 1..=3 {
            assert!(exchange(&mut client).starts_with("HTTP/1.1 200 "), "{response}");
            front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
            idle_is(&front, 0.0);
            assert_eq!(connections.load(Relaxed), count, "{pool} {response}");
        }
    }
}

#[test]
fn idle_connections_are_bounded() {
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let upstream = Scripted::persistent(move |client, _| {
        eventually(|| over.load(Relaxed), "the test ends the responses");
        client.raw(OK.as_bytes());
    });
    let front = Front::new(&[upstream.url()], "keepalive_max = 2", "");
    let mut clients: Vec<Client> = (0..4).map(|_| Client::tcp(front.address)).collect();
    for client in &mut clients {
        client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 4.0);
    is_over.store(true, Relaxed);
    for client in &mut clients {
        client.answer();
    }
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 0.0);
    idle_is(&front, 2.0);
}

#[test]
fn the_connection_that_became_idle_last_is_used_first() {
    let is_released: [Arc<AtomicBool>; 2] = Default::default();
    let released = is_released.clone();
    // It answers with the port of the connection, /0 and /1 only when the test says so.
    let upstream = Scripted::persistent(move |client, head| {
        let path = head.split(' ').nth(1).unwrap();
        if let Some(released) = path[1..].parse().ok().and_then(|at: usize| released.get(at)) {
            eventually(|| released.load(Relaxed), path);
        }
        let port = client.stream.peer_addr().unwrap().port().to_string();
        let len = port.len();
        client.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{port}").as_bytes());
    });
    let front = Front::new(&[upstream.url()], "", "");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut clients = [Client::tcp(front.address), Client::tcp(front.address)];
    for (at, client) in clients.iter_mut().enumerate() {
        client.raw(get(&format!("/{at}")).as_bytes());
    }
    front.admin.await_metric("weir_upstream_connections", &["use=\"exchange\""], 2.0);
    let mut ports = Vec::new();
    for at in [1, 0] {
        is_released[at].store(true, Relaxed);
        ports.push(clients[at].answer().1);
        idle_is(&front, ports.len() as f64);
    }
    assert_ne!(ports[0], ports[1]);
    for _ in 0..3 {
        clients[0].raw(get("/any").as_bytes());
        assert_eq!(clients[0].answer().1, ports[1]);
        idle_is(&front, 2.0);
    }
}

#[test]
fn idle_connections_are_closed_in_time() {
    let (upstream, connections) = counting(OK);
    let front = Front::new(&[upstream.url()], "keepalive_idle = '300ms'", "");
    let mut client = Client::tcp(front.address);
    exchange(&mut client);
    idle_is(&front, 1.0);
    idle_is(&front, 0.0);
    exchange(&mut client);
    assert_eq!(connections.load(Relaxed), 2);
}

#[test]
fn a_connection_that_the_upstream_closed_is_replaced() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let upstream = Scripted::new(move |client, _| {
        client.raw(OK.as_bytes());
        count.fetch_add(1, Relaxed);
    });
    let front = Front::new(&[upstream.url()], "", "");
    let mut client = Client::tcp(front.address);
    for requests in 1..=3 {
        for method in ["GET", "POST"] {
            let request =
                format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            client.raw(request.as_bytes());
            assert!(client.answer().0.starts_with("HTTP/1.1 200 "), "{requests} {method}");
            idle_is(&front, 0.0);
        }
    }
    assert_eq!(closed.load(Relaxed), 6);
}

#[test]
fn a_request_that_crosses_the_end_of_an_idle_connection_is_sent_again_if_it_is_safe() {
    for (method, is_repeated) in [("GET", true), ("POST", false)] {
        let upstream = Scripted::persistent(|client, head| {
            if head.starts_with("GET /first ") {
                return client.raw(OK.as_bytes());
            }
            // It has read the second request, and closes without a response.
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
        });
        let front = Front::new(&[upstream.url()], "tries = 1", "");
        let mut client = Client::tcp(front.address);
        client.raw(b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.answer();
        idle_is(&front, 1.0);
        upstream.head();
        client.raw(format!("{method} /second HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert!(client.answer().0.starts_with("HTTP/1.1 502 "), "{method}");
        let expected = if is_repeated { 2 } else { 1 };
        let mut seen = 0;
        eventually(
            || {
                seen += usize::from(upstream.has_request());
                seen == expected
            },
            method,
        );
        upstream.expect_no_request();
        let cancelled = front.admin.metric("weir_upstream_tries_total", &["outcome=\"cancelled\""]);
        assert_eq!(cancelled, f64::from(u8::from(is_repeated)), "{method}");
    }
}

#[test]
fn idle_connections_make_room_for_others() {
    let (first, _) = counting(OK);
    let second = Scripted::accepting("");
    let config = format!(
        "[[pool]]\nname = 'other'\nupstreams = ['{}']\n\
         [[route]]\npath = '/other'\nservice = 'proxy'\npool = 'other'\n",
        second.url()
    );
    let front = Front::with(&[first.url()], "", &config, &["--outbound-max", "1"]);
    let mut client = Client::tcp(front.address);
    exchange(&mut client);
    idle_is(&front, 1.0);
    Client::open(front.address, "/other").text("room");
}

/// Lets `act` happen while the process is stopped: it finds the events of both in one poll.
fn while_stopped(front: &Front, act: impl FnOnce()) {
    let stat = format!("/proc/{}/stat", front.process.pid().as_raw_nonzero());
    front.process.signal(Signal::STOP);
    let is_stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
    eventually(is_stopped, "the process is stopped");
    act();
    front.process.signal(Signal::CONT);
}

#[test]
fn an_idle_connection_that_ends_as_room_is_needed_makes_room() {
    let [is_over, has_ended]: [Arc<AtomicBool>; 2] = Default::default();
    let (over, ended) = (Arc::clone(&is_over), Arc::clone(&has_ended));
    let first = Scripted::new(move |client, _| {
        client.raw(OK.as_bytes());
        eventually(|| over.load(Relaxed), "the test ends the idle connection");
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
        ended.store(true, Relaxed);
    });
    let second = Scripted::answering(OK);
    let config = format!(
        "[[pool]]\nname = 'other'\nupstreams = ['{}']\n\
         [[route]]\npath = '/other'\nservice = 'proxy'\npool = 'other'\n",
        second.url()
    );
    let front = Front::with(&[first.url()], "", &config, &["--outbound-max", "1"]);
    let mut client = Client::tcp(front.address);
    exchange(&mut client);
    idle_is(&front, 1.0);
    while_stopped(&front, || {
        is_over.store(true, Relaxed);
        eventually(|| has_ended.load(Relaxed), "the idle connection has ended");
        client.raw(b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n");
    });
    assert!(client.answer().0.starts_with("HTTP/1.1 200 "));
    idle_is(&front, 0.0);
}
