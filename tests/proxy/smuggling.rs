//! Requests that two parsers could read differently, through the real binary to an upstream that records
//! each byte: it gets one unambiguous request on each connection, or nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::front::{Front, url};
use crate::protocol::vectors::{
    AMBIGUOUS_CHUNKS, DISGUISED_CODINGS, DISGUISED_LENGTHS, LAST_CHUNKS, LENGTH_AND_CODING,
    OTHER_TARGETS, SMUGGLED,
};
use crate::support::{Client, DEADLINE, upgrade};

/// An upstream that records what it gets on each connection.
struct Recorder {
    url: String,
    streams: Receiver<String>,
}

impl Recorder {
    /// Answers once by 204 when `is_due` is true of what has arrived on a connection.
    fn new(is_due: fn(&str) -> bool) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url(listener.local_addr().unwrap());
        let (sender, streams) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                thread::spawn(move || record(stream, is_due, &sender));
            }
        });
        Recorder { url, streams }
    }

    /// All bytes of the next connection that has ended.
    fn stream(&self) -> String {
        self.streams.recv_timeout(DEADLINE).expect("a connection to the upstream ends")
    }
}

fn record(mut stream: TcpStream, is_due: fn(&str) -> bool, sender: &Sender<String>) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut recorded, mut buffer, mut is_answered) = (String::new(), [0; 65_536], false);
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        recorded += str::from_utf8(&buffer[..len]).unwrap();
        if !is_answered && is_due(&recorded) {
            is_answered = true;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        }
    }
    let _ = sender.send(recorded);
}

/// Whether a request is complete, as a simple parser reads it.
fn is_whole(recorded: &str) -> bool {
    let Some((head, body)) = recorded.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    match length {
        Some(length) => body.len() >= length.parse().unwrap(),
        None => !head.contains("Transfer-Encoding") || body.ends_with("0\r\n\r\n"),
    }
}

/// A proxy that closes its connections to the upstream after one request.
fn front(recorder: &Recorder) -> Front {
    Front::new(std::slice::from_ref(&recorder.url), "keepalive_max = 0", "forwarded = 'off'")
}

/// All bytes that a client gets that sends this stream, until weir closes the connection.
fn response(front: &Front, stream: &str) -> String {
    let mut client = Client::tcp(front.address);
    client.raw(stream.as_bytes());
    let mut response = Vec::new();
    // A reset may follow the response.
    let _ = client.stream.read_to_end(&mut response);
    String::from_utf8(response).unwrap()
}

fn post(lines: &str, after: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n{after}")
}

#[test]
fn an_ambiguous_head_does_not_reach_the_upstream() {
    let recorder = Recorder::new(is_whole);
    let front = front(&recorder);
    let framings = LENGTH_AND_CODING.iter().copied();
    let disguised = DISGUISED_LENGTHS.iter().chain(DISGUISED_CODINGS).map(|(lines, _)| *lines);
    let posts = framings.chain(disguised).map(|lines| post(lines, "0\r\n\r\n"));
    let others = OTHER_TARGETS.iter().map(|(line, host, _)| format!("{line}\r\n{host}\r\n\r\n"));
    let more = [
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        post("Connection: content-length\r\nContent-Length: 4\r\n", ""),
        post("Connection: host\r\n", ""),
        upgrade("/", "Content-Length: 5\r\n"),
        upgrade("/", "Transfer-Encoding: chunked\r\n"),
    ];
    for stream in posts.chain(others).chain(more) {
        let response = response(&front, &(stream.clone() + SMUGGLED));
        let is_refused = ["400", "413", "501", "505"].contains(&&response[9..12]);
        assert!(is_refused, "{stream:?}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{stream:?}: {response}");
    }
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &[]), 0.0);
    assert!(recorder.streams.try_recv().is_err(), "no upstream was connected");
}

#[test]
fn ambiguous_chunks_reach_the_upstream_as_one_unfinished_request() {
    let recorder = Recorder::new(is_whole);
    let front = front(&recorder);
    for chunks in AMBIGUOUS_CHUNKS {
        let stream = post("Transfer-Encoding: chunked\r\n", chunks) + SMUGGLED;
        let response = response(&front, &stream);
        assert!(response.starts_with("HTTP/1.1 400 "), "{chunks:?}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{chunks:?}: {response}");
        let recorded = recorder.stream();
        assert_eq!(recorded.matches("HTTP/1.1\r\n").count(), 1, "{chunks:?}: {recorded:?}");
        assert!(!is_whole(&recorded), "{chunks:?}: {recorded:?}");
    }
}

#[test]
fn a_body_reaches_the_upstream_as_a_body_and_what_follows_as_a_request_of_its_own() {
    let recorder = Recorder::new(is_whole);
    let front = front(&recorder);
    let head = "POST /a HTTP/1.1\r\nHost: h\r\n";
    let connection = "Connection: close\r\n\r\n";
    let length = SMUGGLED.len();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let by_length = format!("{head}Content-Length: {length}\r\n{connection}{SMUGGLED}");
    let by_chunks = format!("{head}{chunked}{connection}{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    let trailers = "0;y\r\nContent-Length: 7\r\nHost: other\r\n\r\n";
    let mut cases = vec![
        (post(&format!("Content-Length: {length}\r\n"), SMUGGLED), by_length.clone()),
        (post(&format!("Content-Length: 000{length}\r\n"), SMUGGLED), by_length.clone()),
        (post(&format!("content_length: 4\r\nContent-Length: {length}\r\n"), SMUGGLED), by_length),
        (
            post(chunked, &format!("00{length:X};x=y\r\n{SMUGGLED}\r\n{trailers}")),
            by_chunks.clone(),
        ),
        (
            post(
                "Transfer_Encoding: x\r\nTransfer-Encoding: chunked\r\n",
                &format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
            ),
            by_chunks,
        ),
    ];
    for last in LAST_CHUNKS {
        let expected = format!("{head}{chunked}{connection}0\r\n\r\n");
        cases.push((post(chunked, &format!("{last}\r\n\r\n")), expected));
    }
    let second = format!("GET /admin HTTP/1.1\r\nHost: h\r\n{connection}");
    for (stream, expected) in cases {
        let mut client = Client::tcp(front.address);
        client.raw(format!("{stream}{SMUGGLED}").as_bytes());
        for _ in 0..2 {
            assert!(client.head().starts_with("HTTP/1.1 204 "), "{stream:?}");
        }
        // Each has a connection to the upstream, and the two may end in either order.
        let recorded = BTreeSet::from([recorder.stream(), recorder.stream()]);
        assert_eq!(recorded, BTreeSet::from([expected, second.clone()]), "{stream:?}");
    }
}

/// CVE-2026-2833: what follows an upgrade must not reach the upstream before its 101.
#[test]
fn bytes_behind_a_refused_upgrade_do_not_reach_the_upstream() {
    let recorder = Recorder::new(is_whole);
    let front = front(&recorder);
    let response = response(&front, &(upgrade("/", "") + SMUGGLED));
    assert!(response.starts_with("HTTP/1.1 204 "), "{response}");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    let recorded = recorder.stream();
    assert!(recorded.starts_with("GET / HTTP/1.1\r\n") && recorded.ends_with("\r\n\r\n"));
    assert_eq!(recorded.matches("\r\n\r\n").count(), 1, "{recorded:?}");
}

#[test]
fn the_rest_of_a_body_after_an_early_response_is_not_a_request() {
    let recorder = Recorder::new(|recorded| recorded.contains("\r\n\r\n"));
    let front = front(&recorder);
    let response = response(&front, &post("Content-Length: 1000\r\n", SMUGGLED));
    assert!(response.starts_with("HTTP/1.1 204 "), "{response}");
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    let recorded = recorder.stream();
    assert!(recorded.contains("\r\nContent-Length: 1000\r\n"), "{recorded:?}");
    assert_eq!(recorded.matches("POST /a ").count(), 1, "{recorded:?}");
    assert_eq!(front.admin.metric("weir_upstream_tries_total", &[]), 1.0);
}

#[test]
fn other_upgrades_reach_the_upstream_as_plain_requests() {
    let recorder = Recorder::new(is_whole);
    let front = front(&recorder);
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: upgrade\r\nUpgrade: foo\r\n",
    ] {
        let mut client = Client::tcp(front.address);
        client.raw(format!("GET /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 204 "), "{lines}");
        assert_eq!(
            recorder.stream(),
            "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "{lines}"
        );
    }
}
