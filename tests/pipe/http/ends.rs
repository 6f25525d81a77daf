//! Exchanges that end early: cut responses, clients that leave, time limits, shutdowns.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::time::Duration;

use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{CloseReason, ExchangeOutcome};

use super::forwarding::{Event, Proxy, get, ok};
use crate::pipe::upstream::Upstream;
use crate::support::{Client, DEADLINE, eventually};

/// Expects a reset, after any bytes.
fn expect_reset(client: &mut Client) {
    let mut chunk = [0; 4096];
    loop {
        match client.stream.read(&mut chunk) {
            Ok(1..) => {}
            Ok(0) => panic!("the response ends as if it were complete"),
            Err(error) => return assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

const BY_LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
const BY_CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";

#[test]
fn a_cut_response_does_not_look_complete() {
    let proxy = Proxy::new();
    for request in [get("/"), "GET / HTTP/1.0\r\n\r\n".to_owned()] {
        for response in [BY_LENGTH, BY_CHUNKS] {
            let (mut client, mut upstream) = proxy.ask(&request);
            upstream.raw(response.as_bytes());
            client.head();
            drop(upstream);
            expect_reset(&mut client);
            assert_eq!(proxy.outcome(), ExchangeOutcome::Cut(CloseReason::PeerGone));
        }
    }
    let metrics = proxy.server.stop_clean();
    assert_eq!(metrics.ends[CloseReason::Cut.name()], 4);
}

#[test]
fn malformed_chunks_of_a_response_cut_it() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(BY_CHUNKS.as_bytes());
    client.head();
    upstream.raw(b"xyz");
    expect_reset(&mut client);
    assert!(matches!(proxy.outcome(), ExchangeOutcome::Cut(CloseReason::UpgradeFailed(_))));
}

#[test]
fn a_reset_cuts_a_response_until_the_end_of_the_stream() {
    let proxy = Proxy::new();
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(b"HTTP/1.1 200 OK\r\n\r\nabc");
    client.head();
    upstream.reset();
    expect_reset(&mut client);
    assert_eq!(proxy.outcome(), ExchangeOutcome::Cut(CloseReason::PeerReset));
}

/// Linux reports a reset once: here to the write of the request's body. Reads then find what has
/// arrived, and the end of the stream as after a FIN.
#[test]
fn a_reset_that_a_write_finds_cuts_a_response_until_the_end_of_the_stream() {
    let route = RouteSettings::default().write_timeout(DEADLINE);
    let proxy = Proxy::with(Settings::default(), route, |_| {});
    let mut client = Client::narrow_tcp(proxy.server.address);
    client.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    let (mut upstream, _) = proxy.upstream();
    upstream.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    // Until weir does not read the response any more, since its client does not.
    upstream.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let piece = vec![b'x'; 1 << 20];
    while std::io::Write::write_all(&mut upstream.stream, &piece).is_ok() {}
    upstream.reset();
    client.raw(b"a part of the body");
    let mut response = Vec::new();
    let error = client.stream.read_to_end(&mut response).expect_err("the response is cut");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(!response.ends_with(b"\r\n0\r\n\r\n"), "{} bytes look complete", response.len());
    assert_eq!(proxy.outcome(), ExchangeOutcome::Cut(CloseReason::PeerReset));
}

#[test]
fn a_silent_response_is_cut() {
    let proxy = Proxy::with(Settings::default(), RouteSettings::default(), |forwarding| {
        forwarding.body_timeout = Duration::from_millis(300);
    });
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(BY_LENGTH.as_bytes());
    client.head();
    expect_reset(&mut client);
    upstream.expect_end();
    assert_eq!(proxy.outcome(), ExchangeOutcome::Cut(CloseReason::HandshakeTimeout));
}

#[test]
fn an_upstream_that_ends_before_its_response_is_for_the_service_to_decide() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    for request in [get("/"), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".to_owned()]
    {
        client.raw(request.as_bytes());
        let (mut upstream, _) = proxy.upstream();
        if request.ends_with('x') {
            assert_eq!(upstream.bytes(1), b"x");
        }
        drop(upstream);
        let (head, _) = client.answer();
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert_eq!(proxy.upstream_end(), CloseReason::PeerGone);
    }
}

/// Long polls and events: its upstream is not kept waiting.
#[test]
fn a_client_that_leaves_frees_its_upstream() {
    let proxy = Proxy::new();
    for is_answered in [false, true] {
        for how in [Shutdown::Write, Shutdown::Both] {
            let (mut client, mut upstream) = proxy.ask(&get("/"));
            if is_answered {
                upstream.raw(BY_CHUNKS.as_bytes());
                client.head();
            }
            client.stream.shutdown(how).unwrap();
            upstream.expect_end();
            assert_eq!(proxy.upstream_end_after(is_answered), CloseReason::Aborted);
        }
    }
    proxy.server.stop_clean();
}

impl Proxy {
    /// The end of an upstream whose client has left, before or inside the response.
    fn upstream_end_after(&self, is_answered: bool) -> CloseReason {
        let mut end = None;
        let mut client = None;
        while end.is_none() || client.is_none() {
            match self.next() {
                Event::Asked(_) => {}
                Event::UpstreamClosed(why) => end = Some(why),
                Event::Ended(ended) if is_answered => {
                    assert!(matches!(ended.outcome, ExchangeOutcome::ClientLost(_)), "{ended:?}");
                    client = Some(());
                }
                Event::ClientClosed(_) if !is_answered => client = Some(()),
                event => panic!("{event:?}"),
            }
        }
        end.unwrap()
    }
}

#[test]
fn a_client_that_leaves_inside_its_body_ends_its_upstream() {
    let proxy = Proxy::new();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let (client, mut upstream) = proxy.ask(request);
    assert_eq!(upstream.bytes(8), b"3\r\nabc\r\n");
    drop(client);
    // Without the last chunk.
    upstream.expect_end();
    assert_eq!(proxy.upstream_end_after(false), CloseReason::Aborted);
}

#[test]
fn a_client_whose_body_breaks_inside_the_response_is_reset() {
    let proxy = Proxy::new();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let (mut client, mut upstream) = proxy.ask(request);
    upstream.bytes(8);
    upstream.raw(BY_CHUNKS.as_bytes());
    client.head();
    client.raw(b"xyz");
    expect_reset(&mut client);
    upstream.expect_end();
    assert!(matches!(proxy.outcome(), ExchangeOutcome::ClientLost(CloseReason::Refused(_))));
}

/// It takes nothing: the request cannot be sent.
#[test]
fn an_upstream_that_takes_nothing_is_dropped() {
    let route = RouteSettings::default()
        .message_bytes_max(1 << 30)
        .outbox_hard_bytes(2 << 30)
        .write_timeout(Duration::from_millis(500));
    let proxy = Proxy::with(Settings::default(), route, |_| {});
    let (client, _upstream) =
        proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    let mut writer = client.writer();
    let body = std::thread::spawn(move || {
        let piece = vec![0; 1 << 20];
        while std::io::Write::write_all(&mut writer, &piece).is_ok() {}
    });
    assert_eq!(proxy.upstream_end(), CloseReason::WriteTimeout);
    let mut client = client;
    assert!(client.head().starts_with("HTTP/1.1 502 "));
    drop(client);
    body.join().unwrap();
}

#[test]
fn a_client_that_takes_nothing_is_dropped() {
    let route = RouteSettings::default().write_timeout(Duration::from_millis(500));
    let proxy = Proxy::with(Settings::default(), route, |_| {});
    let (_client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    let piece = vec![0; 1 << 20];
    while std::io::Write::write_all(&mut upstream.stream, &piece).is_ok() {}
    assert_eq!(proxy.outcome(), ExchangeOutcome::ClientLost(CloseReason::WriteTimeout));
}

/// A client that has not read the response, which is complete. With `option` its connection stays open
/// or does not.
fn ask_without_reading(proxy: &Proxy, option: &str, body: &str) -> (Client, Upstream) {
    let mut client = Client::narrow_tcp(proxy.server.address);
    client.raw(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {option}\r\n\r\n").as_bytes());
    let (mut upstream, _) = proxy.upstream();
    upstream.raw(ok(body).as_bytes());
    let end = proxy.end();
    assert_eq!(end.outcome, ExchangeOutcome::Complete);
    (client, upstream)
}

fn deep_outbox() -> RouteSettings {
    RouteSettings::default().outbox_soft_bytes(32 << 20).outbox_hard_bytes(64 << 20)
}

/// Only `write_timeout` limits the time in which a response is read.
#[test]
fn a_client_that_pauses_gets_the_rest_of_a_complete_response() {
    let settings = Settings::default()
        .handshake_timeout(Duration::from_millis(400))
        .close_timeout(Duration::from_millis(200));
    let body = "x".repeat(16 << 20);
    for option in ["keep-alive", "close"] {
        let proxy = Proxy::with(settings.clone(), deep_outbox().write_timeout(DEADLINE), |_| {});
        let (mut client, _upstream) = ask_without_reading(&proxy, option, &body);
        // Longer than the other limits, and than a connection lingers after them.
        std::thread::sleep(Duration::from_millis(1800));
        assert!(client.answer().1 == body.as_bytes(), "the response is cut");
        // The wait for the next request starts now.
        client.expect_end();
    }
}

#[test]
fn a_client_that_does_not_read_a_complete_response_is_dropped() {
    let body = "x".repeat(16 << 20);
    for option in ["keep-alive", "close"] {
        let route = deep_outbox().write_timeout(Duration::from_millis(500));
        let proxy = Proxy::with(Settings::default(), route, |_| {});
        let (_client, _upstream) = ask_without_reading(&proxy, option, &body);
        eventually(|| proxy.server.connections() == 1, "only the idle upstream is left");
    }
}

#[test]
fn at_a_shutdown_waiting_requests_get_503_and_responses_continue() {
    let mut proxy = Proxy::new();
    let (mut waiting, mut late) = proxy.ask(&get("/waiting"));
    let (mut reading, mut upstream) = proxy.ask(&get("/reading"));
    upstream.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    reading.head();
    assert_eq!(reading.bytes(3), b"abc");
    proxy.server.shutdown();
    let (head, _) = waiting.answer();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    late.expect_end();
    waiting.expect_end();
    drop(waiting);
    upstream.raw(b"def");
    assert_eq!(reading.bytes(3), b"def");
    reading.expect_end();
    upstream.expect_end();
    assert_eq!(proxy.outcome(), ExchangeOutcome::Complete);
    drop(reading);
    proxy.server.join();
}

#[test]
fn at_the_end_of_a_shutdown_responses_are_cut() {
    let settings = Settings::default().drain_timeout(Duration::from_millis(500));
    let mut proxy = Proxy::with(settings, RouteSettings::default(), |_| {});
    let (mut client, mut upstream) = proxy.ask(&get("/"));
    upstream.raw(BY_LENGTH.as_bytes());
    client.head();
    proxy.server.shutdown();
    expect_reset(&mut client);
    proxy.server.join();
}

/// A client that closes after the last byte of its response has got all of it.
#[test]
fn a_client_may_leave_after_its_response() {
    let proxy = Proxy::new();
    for _ in 0..20 {
        let (mut client, mut upstream) = proxy.ask(&get("/"));
        upstream.raw(ok("x").as_bytes());
        client.answer();
        drop(client);
        assert_eq!(proxy.outcome(), ExchangeOutcome::Complete);
        drop(upstream);
        proxy.upstream_end();
    }
    proxy.server.stop_clean();
}
