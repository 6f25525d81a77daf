//! Chunked bodies of POSTs (RFC 9112, 7.1): decoded, bounded, and refused where a proxy could read them
//! differently.

use std::time::Duration;

use serde_json::json;
use weir::reactor::settings::{RouteSettings, Settings};

use super::http::{NOW, answer, post};
use super::scripted::{Stage, call, narrow};
use crate::support::{Client, upgrade};

const LINES: &str = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";

/// A POST with these header lines, and this encoded body.
fn request(lines: &str, wire: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{wire}")
}

/// `body` in chunks of `size` bytes.
fn chunked(body: &str, size: usize) -> String {
    let chunk =
        |chunk: &[u8]| format!("{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap());
    body.as_bytes().chunks(size).map(chunk).collect::<String>() + "0\r\n\r\n"
}

#[test]
fn chunked_bodies_are_decoded_and_the_next_request_follows() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let with_trailers = chunked(NOW, 20).replace("14\r\n", "014;a=\"b\"\r\n");
    let with_trailers = with_trailers.replace("\r\n0\r\n\r\n", "\r\n0\r\nX-Sum: 1\r\n\r\n");
    assert_ne!(with_trailers, chunked(NOW, 20));
    let all = [
        request(LINES, &chunked(NOW, 7)),
        request(LINES, &with_trailers),
        post(NOW, ""),
        request(LINES, &chunked(NOW, 1)),
        upgrade("/", ""),
    ];
    client.raw(all.concat().as_bytes());
    for _ in 0..4 {
        assert_eq!(answer(&mut client)["id"], 1);
    }
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    drop(client);
    assert_eq!(stage.server.stop_clean().http_answered, 4);
}

#[test]
fn a_chunked_body_may_arrive_byte_by_byte() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let mut other = stage.client();
    for byte in request(LINES, &chunked(NOW, 16)).into_bytes() {
        client.raw(&[byte]);
        // A turn has passed, so that the next byte arrives alone.
        call(&mut other, "now", &json!([]));
    }
    assert_eq!(answer(&mut client)["id"], 1);
    drop((client, other));
    stage.server.stop_clean();
}

#[test]
fn a_client_that_waits_for_100_gets_it_before_its_chunks() {
    let stage = Stage::new(narrow());
    let mut client = Client::tcp(stage.server.address);
    let head = request(&format!("{LINES}Expect: 100-continue\r\n"), "");
    assert_eq!(client.request(&head), "HTTP/1.1 100 Continue\r\n\r\n");
    client.raw(chunked(NOW, 9).as_bytes());
    assert_eq!(answer(&mut client)["id"], 1);
}

#[test]
fn chunked_bodies_have_the_limit_of_bodies_with_a_length() {
    let stage = Stage::new(narrow().request_bytes_max(1000));
    let padded = |len: usize| format!("{NOW}{}", " ".repeat(len - NOW.len()));
    let mut client = Client::tcp(stage.server.address);
    for size in [1, 999, 1000] {
        client.raw(request(LINES, &chunked(&padded(1000), size)).as_bytes());
        assert_eq!(answer(&mut client)["id"], 1, "in chunks of {size}");
    }
    // A size above the limit is refused before its data arrives.
    let too_large = [chunked(&padded(1001), 1), chunked(&padded(1001), 1000), "3e9\r\n".to_owned()];
    for wire in &too_large {
        let mut client = Client::tcp(stage.server.address);
        client.raw(request(LINES, wire).as_bytes());
        let (head, _) = client.answer();
        assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
        client.expect_end();
    }
    drop(client);
    let metrics = stage.server.stop_clean();
    assert_eq!((metrics.http_answered, metrics.refused), (3, 3));
}

/// Each with a second request behind it, which must not be read as a request.
#[test]
fn an_ambiguous_body_is_refused_and_nothing_behind_it_is_read() {
    let stage = Stage::new(narrow());
    let coding = |value: &str| format!("Transfer-Encoding: {value}\r\n");
    let whole = chunked(NOW, 100);
    let mut count = 0;
    for (lines, wire, status) in [
        (coding("chunked"), whole.replace("\r\n", "\n"), "400"),
        (coding("chunked"), whole.replacen("\r\n", " \r\n", 1), "400"),
        (coding("chunked"), format!("0x{whole}"), "400"),
        (coding("chunked"), "0\r\nX: y\n\r\n".to_owned(), "400"),
        (coding("chunked"), format!("0\r\nX: {}\r\n\r\n", "x".repeat(10_000)), "431"),
        (coding("gzip"), whole.clone(), "501"),
        (coding("chunked, chunked"), whole.clone(), "501"),
        (coding("gzip, chunked"), whole.clone(), "501"),
        (coding("chunked") + "Content-Length: 5\r\n", whole.clone(), "400"),
    ] {
        let mut client = Client::tcp(stage.server.address);
        client.raw((request(&lines, &wire) + &post(NOW, "")).as_bytes());
        let (head, _) = client.answer();
        assert_eq!(&head[9..12], status, "{lines} {wire}");
        client.expect_end();
        count += 1;
    }
    let old = request(&coding("chunked"), &whole).replace("HTTP/1.1", "HTTP/1.0");
    let upgrade = upgrade("/", &coding("chunked"));
    let get = request(&coding("chunked"), &whole).replace("POST", "GET");
    for (request, status) in [(old, "400"), (upgrade, "413"), (get, "413")] {
        let mut client = Client::tcp(stage.server.address);
        assert_eq!(&client.request(&request)[9..12], status, "{request}");
        count += 1;
    }
    let metrics = stage.server.stop_clean();
    assert_eq!((metrics.http_answered, metrics.refused), (0, count));
}

#[test]
fn the_handshake_timeout_ends_a_stalled_chunked_body() {
    let handshake_timeout = Duration::from_millis(300);
    let settings = Settings::default().handshake_timeout(handshake_timeout);
    let stage = Stage::with_loop(narrow(), RouteSettings::default(), settings);
    for start in ["", "1", "5\r\nhel", "5\r\nhello\r\n0\r\nX"] {
        let mut client = Client::tcp(stage.server.address);
        client.raw(request(LINES, start).as_bytes());
        client.expect_gone();
    }
    let metrics = stage.server.stop_clean();
    assert_eq!((metrics.ended_timeout, metrics.http_answered, metrics.refused), (4, 0, 0));
}
