//! Responses that a service sends in parts: chunks, back-pressure, and how they end.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use weir::protocol::Message;
use weir::protocol::handshake::Response;
use weir::reactor::settings::{RouteSettings, Settings};
use weir::reactor::{
    CloseReason, ConnId, Context, HttpRequest, More, Reactor, SendOutcome, Service,
};

use crate::support::{Client, DEADLINE, Server, header};

const PART_BYTES: usize = 50_000;
/// Parts of `/all`: more bytes than the kernel's buffers hold at any size.
const PARTS: usize = 300;
const SOFT_BYTES: usize = 128 * 1024;

#[derive(Debug, PartialEq)]
enum Seen {
    Started(bool),
    /// A part was queued at which the service must stop; this many bytes are queued.
    Congested(usize),
    Ended,
    Closed(CloseReason),
}

/// Responds with [`PARTS`] parts; at `/cut` it aborts after two.
struct Parted {
    seen: Sender<Seen>,
    deferred: Vec<(ConnId, bool)>,
    /// The next part, and how many there are.
    running: HashMap<ConnId, (usize, bool)>,
}

fn part(number: usize) -> Vec<u8> {
    vec![number as u8; PART_BYTES]
}

impl Parted {
    fn report(&self, seen: Seen) {
        // The test may have ended.
        let _ = self.seen.send(seen);
    }

    fn send(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        while let Some((next, is_cut)) = self.running.get_mut(&conn) {
            if *is_cut && *next == 2 {
                return cx.abort(conn);
            }
            if *next == PARTS {
                self.running.remove(&conn);
                cx.end_response(conn);
                assert_eq!(cx.send_part(conn, b"late"), SendOutcome::Gone);
                return self.report(Seen::Ended);
            }
            let outcome = cx.send_part(conn, &part(*next));
            *next += 1;
            if outcome == SendOutcome::Congested {
                // A part that does not fit changes nothing.
                let (queued, huge) = (cx.queued_bytes(conn), vec![0; 2 * SOFT_BYTES]);
                assert_eq!(cx.send_part(conn, &huge), SendOutcome::Full);
                return self.report(Seen::Congested(queued));
            }
            assert_eq!(outcome, SendOutcome::Queued);
            assert_eq!(cx.send_part(conn, b""), SendOutcome::Queued);
        }
    }
}

impl Service for Parted {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        request: &HttpRequest<'_>,
    ) -> Option<Response> {
        let response = Response::text(200, "");
        assert!(!cx.begin_response(conn, response), "the request is not deferred yet");
        self.deferred.push((conn, request.http.path() == "/cut"));
        cx.wake();
        None
    }

    fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
        let Some((conn, is_cut)) = self.deferred.pop() else {
            return More::No;
        };
        let response = Response::text(200, "not sent").header("X-Kind", "parts").unwrap();
        let is_started = cx.begin_response(conn, response.clone());
        self.report(Seen::Started(is_started));
        if is_started {
            assert!(!cx.begin_response(conn, response));
            cx.respond(conn, Response::text(500, "too late"));
            self.running.insert(conn, (0, is_cut));
            self.send(cx, conn);
        }
        More::Yes
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.send(cx, conn);
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, reason: CloseReason) {
        self.running.remove(&conn);
        self.report(Seen::Closed(reason));
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

fn server(write_timeout: Duration) -> (Server, Receiver<Seen>) {
    let (sender, seen) = channel();
    let server = Server::start(Settings::default(), move |reactor: &mut Reactor| {
        let (deferred, running) = (Vec::new(), HashMap::new());
        let service = reactor.add_service(Parted { seen: sender, deferred, running }).unwrap();
        let route = RouteSettings::default()
            .message_bytes_max(1024)
            .outbox_soft_bytes(SOFT_BYTES)
            .outbox_low_bytes(SOFT_BYTES / 4)
            .outbox_hard_bytes(3 * SOFT_BYTES)
            .write_timeout(write_timeout);
        for path in ["/all", "/cut"] {
            reactor.add_route(path, service, route.clone()).unwrap();
        }
    });
    (server, seen)
}

fn next(seen: &Receiver<Seen>) -> Seen {
    seen.recv_timeout(DEADLINE).expect("the service reports")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// The data of the next chunk (RFC 9112, 7.1); empty for the last one.
fn chunk(client: &mut Client) -> Vec<u8> {
    let mut size = String::new();
    while !size.ends_with("\r\n") {
        size.push(char::from(client.bytes(1)[0]));
    }
    let data = client.bytes(usize::from_str_radix(size.trim_end(), 16).unwrap());
    assert_eq!(client.bytes(2), b"\r\n");
    data
}

#[test]
fn a_response_in_parts_waits_for_its_reader_and_ends_with_the_last_chunk() {
    let (server, seen) = server(DEADLINE);
    let mut client = Client::narrow_tcp(server.address);
    client.raw(get("/all").as_bytes());
    assert_eq!(next(&seen), Seen::Started(true));
    let Seen::Congested(queued) = next(&seen) else {
        panic!("the service sends without limits");
    };
    assert!(queued > SOFT_BYTES && queued < SOFT_BYTES + 2 * PART_BYTES, "{queued}");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
    assert_eq!(header(&head, "Connection"), Some("close"));
    assert_eq!(header(&head, "Content-Length"), None);
    assert_eq!(header(&head, "X-Kind"), Some("parts"));
    for number in 0..PARTS {
        assert!(chunk(&mut client) == part(number), "part {number}");
    }
    assert_eq!(chunk(&mut client), b"");
    client.expect_end();
    let rest: Vec<Seen> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
    assert_eq!(rest.last(), Some(&Seen::Ended), "{rest:?}");
    assert!(!rest.iter().any(|seen| matches!(seen, Seen::Closed(_))), "{rest:?}");
    server.stop_clean();
}

#[test]
fn an_aborted_response_has_no_last_chunk() {
    let (server, seen) = server(DEADLINE);
    let mut client = Client::tcp(server.address);
    client.raw(get("/cut").as_bytes());
    assert_eq!(next(&seen), Seen::Started(true));
    assert_eq!(next(&seen), Seen::Closed(CloseReason::Aborted));
    // What was queued is lost with the connection.
    client.expect_gone();
    server.stop_clean();
}

#[test]
fn head_gets_no_parts_and_http_1_0_gets_505() {
    let (server, seen) = server(DEADLINE);
    let mut client = Client::tcp(server.address);
    let head = client.request(&get("/all").replace("GET", "HEAD"));
    assert_eq!(header(&head, "Transfer-Encoding"), Some("chunked"));
    client.expect_end();
    assert_eq!(next(&seen), Seen::Started(false));
    let mut client = Client::tcp(server.address);
    client.raw(get("/all").replace("1.1", "1.0").as_bytes());
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "{head}");
    assert_eq!(body, b"this response needs HTTP/1.1\n");
    client.expect_end();
    assert_eq!(next(&seen), Seen::Started(false));
    server.stop_clean();
    assert_eq!(seen.try_recv().ok(), None);
}

#[test]
fn a_client_that_does_not_read_its_response_is_dropped() {
    let (server, seen) = server(Duration::from_millis(300));
    let mut client = Client::narrow_tcp(server.address);
    client.raw(get("/all").as_bytes());
    assert_eq!(next(&seen), Seen::Started(true));
    assert!(matches!(next(&seen), Seen::Congested(_)));
    let reason = std::iter::from_fn(|| Some(next(&seen))).find_map(|seen| match seen {
        Seen::Closed(reason) => Some(reason),
        _ => None,
    });
    assert_eq!(reason, Some(CloseReason::WriteTimeout));
    server.stop_clean();
}

#[test]
fn a_reader_that_leaves_ends_its_response() {
    let (server, seen) = server(DEADLINE);
    let mut client = Client::narrow_tcp(server.address);
    client.raw(get("/all").as_bytes());
    assert_eq!(next(&seen), Seen::Started(true));
    assert!(matches!(next(&seen), Seen::Congested(_)));
    // Unread bytes make the kernel send a reset.
    drop(client);
    let closed =
        std::iter::from_fn(|| Some(next(&seen))).find(|seen| matches!(seen, Seen::Closed(_)));
    assert_eq!(closed, Some(Seen::Closed(CloseReason::PeerReset)));
    server.stop_clean();
}

#[test]
fn a_shutdown_waits_for_the_end_of_a_response() {
    let (mut server, seen) = server(DEADLINE);
    let mut client = Client::narrow_tcp(server.address);
    client.raw(get("/all").as_bytes());
    assert_eq!(next(&seen), Seen::Started(true));
    assert!(matches!(next(&seen), Seen::Congested(_)));
    server.shutdown();
    client.head();
    for number in 0..PARTS {
        assert!(chunk(&mut client) == part(number), "part {number}");
    }
    assert_eq!(chunk(&mut client), b"");
    client.expect_end();
    server.join();
}
