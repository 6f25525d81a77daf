//! Requests and responses that two parsers could read differently, on their way through a proxy: what
//! reaches the other side is unambiguous, or nothing is forwarded.
//!
//! A client's stream passes as a proxy would pass it: head by head, written again, each with its body.
//! The vectors are those of request smuggling (CL.TE, TE.CL, TE.TE), h1spec, and the advisories of
//! other proxies.

use weir::protocol::handshake::{EMPTY_SLOTS, HeadScan, Refusal, Request};
use weir::protocol::http::{
    BodyPass, ForwardedMode, RequestOrigin, RequestRules, ResponseError, ResponseHead,
    ResponseRules, write_request, write_response,
};

use super::vectors::{
    AMBIGUOUS_CHUNKS, DISGUISED_CODINGS, DISGUISED_LENGTHS, LAST_CHUNKS, LENGTH_AND_CODING,
    OTHER_TARGETS, SMUGGLED,
};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: u64 = 1000;

/// What an upstream gets of a client's stream, and the refusal that ended it.
type Outcome = (String, Option<Refusal>);

/// Passes a client's stream. Nothing behind an upgrade is forwarded before the upstream's 101.
fn relayed(stream: &[u8]) -> Outcome {
    let (mut upstream, mut rest) = (Vec::new(), stream);
    let mut refusal = None;
    while !rest.is_empty() {
        match relay_one(rest, &mut upstream) {
            Ok(Some(taken)) => rest = &rest[taken..],
            Ok(None) => break,
            Err(reason) => {
                refusal = Some(reason);
                break;
            }
        }
    }
    (String::from_utf8(upstream).unwrap(), refusal)
}

/// Passes one request; returns its length, or `None` if it is incomplete or an upgrade.
fn relay_one(stream: &[u8], upstream: &mut Vec<u8>) -> Result<Option<usize>, Refusal> {
    let Some(end) = HeadScan::default().scan(stream, HEAD_BYTES_MAX)? else {
        return Ok(None);
    };
    let mut slots = EMPTY_SLOTS;
    let request = Request::parse(&stream[..end], &mut slots)?;
    let rules = RequestRules { forwarded: ForwardedMode::Off, ..RequestRules::default() };
    let address = [192, 0, 2, 1].into();
    let origin = RequestOrigin {
        peer: address,
        client: address,
        is_peer_trusted: false,
        is_secure: false,
        upstream: "upstream",
        keep_alive: true,
        trace: None,
        identity: None,
    };
    write_request(&request, &rules, &origin, upstream)?;
    if request.is_upgrade() {
        return Ok(None);
    }
    let mut body = BodyPass::new(request.body_framing()?, 1, BODY_BYTES_MAX)?;
    let input = &stream[end..];
    let step = body.pass(input, upstream)?;
    if step.is_unchanged {
        upstream.extend_from_slice(&input[..step.consumed]);
    }
    Ok(body.is_complete().then_some(end + step.consumed))
}

/// The stream of a client that adds these lines to a POST, with these bytes after its head.
fn post(lines: &str, after: &str) -> Outcome {
    relayed(format!("POST /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n{after}").as_bytes())
}

fn nothing(refusal: Refusal) -> Outcome {
    (String::new(), Some(refusal))
}

#[test]
fn a_length_and_a_transfer_coding_are_refused() {
    for lines in LENGTH_AND_CODING {
        let outcome = post(lines, &format!("0\r\n\r\n{SMUGGLED}"));
        assert_eq!(outcome, nothing(Refusal::BodyLength), "{lines:?}");
    }
}

#[test]
fn disguised_lengths_are_refused() {
    for (lines, refusal) in DISGUISED_LENGTHS {
        assert_eq!(post(lines, SMUGGLED), nothing(*refusal), "{lines:?}");
    }
}

#[test]
fn disguised_transfer_codings_are_refused() {
    for (lines, refusal) in DISGUISED_CODINGS {
        assert_eq!(post(lines, &format!("0\r\n\r\n{SMUGGLED}")), nothing(*refusal), "{lines:?}");
    }
    let old = "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(relayed(old.as_bytes()), nothing(Refusal::BodyLength), "HTTP/1.0");
}

/// An upstream that takes `_` for `-`, or ignores case and blanks, sees no second framing header.
#[test]
fn headers_that_an_upstream_might_take_for_framing_are_removed() {
    let lines = "Transfer_Encoding: chunked\r\nContent_Length: 50\r\nContent-Length: 5\r\n\
                 TRANSFER_ENCODING: x\r\nTransfer-Encodin: y\r\n";
    let expected =
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encodin: y\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(post(lines, "hello"), (expected.to_owned(), None));
}

#[test]
fn a_body_is_never_read_as_a_request() {
    let head = "POST /a HTTP/1.1\r\nHost: h\r\n";
    let length = SMUGGLED.len();
    let by_length = format!("Content-Length: {length}\r\n");
    let expected = format!("{head}{by_length}\r\n{SMUGGLED}");
    assert_eq!(post(&by_length, SMUGGLED), (expected.clone(), None));
    let zeros = format!("Content-Length: 000{length}\r\n");
    assert_eq!(post(&zeros, SMUGGLED), (expected, None), "an upstream must not read octal");

    let chunked = "Transfer-Encoding: chunked\r\n";
    let expected = format!("{head}{chunked}\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
    let wire = format!(
        "00{length:X};x=y\r\n{SMUGGLED}\r\n0;y\r\nContent-Length: 7\r\nHost: other\r\n\r\n"
    );
    assert_eq!(post(chunked, &wire), (expected, None), "no extension, no trailer");
}

#[test]
fn ambiguous_chunks_end_the_request() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for wire in AMBIGUOUS_CHUNKS {
        let (upstream, refusal) = post(chunked, &format!("{wire}{SMUGGLED}"));
        assert_eq!(refusal, Some(Refusal::ChunkedBody), "{wire:?}");
        assert!(!upstream.contains("\r\n0\r\n") && !upstream.contains("admin"), "{upstream:?}");
    }
    let (_, refusal) = post(chunked, "fffffffffffffff\r\n");
    assert_eq!(refusal, Some(Refusal::BodyTooLarge));
}

/// A proxy that counts a zero-sized chunk, or one with leading zeros, as the end would see a second
/// request here, or would not see it.
#[test]
fn the_last_chunk_ends_the_body_however_it_is_written() {
    for last in LAST_CHUNKS {
        let (upstream, refusal) =
            post("Transfer-Encoding: chunked\r\n", &format!("{last}\r\n\r\n{SMUGGLED}"));
        let first = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!((upstream, refusal), (format!("{first}{SMUGGLED}"), None), "{last:?}");
    }
}

#[test]
fn bytes_behind_an_upgrade_wait_for_the_101() {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head = format!("GET /ws HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let (upstream, refusal) = relayed(format!("{head}{SMUGGLED}").as_bytes());
    assert_eq!(refusal, None);
    assert!(upstream.starts_with("GET /ws ") && !upstream.contains("admin"), "{upstream:?}");
    assert!(upstream.ends_with("\r\n\r\n") && upstream.matches("\r\n\r\n").count() == 1);
    for body in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let head = format!("GET /ws HTTP/1.1\r\nHost: h\r\n{fields}{body}\r\n{SMUGGLED}");
        assert_eq!(relayed(head.as_bytes()), nothing(Refusal::Body), "{body}");
    }
}

#[test]
fn other_upgrades_are_plain_requests() {
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: upgrade\r\nUpgrade: foo\r\n",
        "Upgrade: h2c\r\nConnection: keep-alive\r\n",
    ] {
        let stream = format!("GET /a HTTP/1.1\r\nHost: h\r\n{lines}\r\n{SMUGGLED}");
        let expected = format!("GET /a HTTP/1.1\r\nHost: h\r\n\r\n{SMUGGLED}");
        assert_eq!(relayed(stream.as_bytes()), (expected, None), "{lines}");
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(relayed(preface), nothing(Refusal::HttpVersion), "HTTP/2 with prior knowledge");
}

#[test]
fn another_path_or_host_than_the_one_routed_never_passes() {
    for (line, host, refusal) in OTHER_TARGETS {
        let stream = format!("{line}\r\n{host}\r\n\r\n");
        assert_eq!(relayed(stream.as_bytes()), nothing(*refusal), "{line}, {host}");
    }
}

/// What a client gets of an upstream's stream: the head and body of one final response, and whether
/// the body was complete. Later bytes are not forwarded.
fn answered(stream: &[u8], method: &str) -> Result<(String, bool), ResponseError> {
    let Some(end) = HeadScan::default().scan(stream, HEAD_BYTES_MAX)? else {
        return Ok((String::new(), false));
    };
    let mut slots = EMPTY_SLOTS;
    let response = ResponseHead::parse(&stream[..end], &mut slots)?;
    let (cookie, protocol) = (None, None);
    let rules = ResponseRules { method, minor_version: 1, keep_alive: true, cookie, protocol };
    let mut client = Vec::new();
    write_response(&response, &rules, &mut client);
    let mut body = BodyPass::new(response.framing(method), 1, u64::MAX).unwrap();
    let input = &stream[end..];
    let mut is_valid = false;
    if let Ok(step) = body.pass(input, &mut client) {
        if step.is_unchanged {
            client.extend_from_slice(&input[..step.consumed]);
        }
        is_valid = body.end(&mut client).is_ok();
    }
    Ok((String::from_utf8(client).unwrap(), is_valid))
}

#[test]
fn ambiguous_responses_are_rejected() {
    use ResponseError::*;
    for (lines, error) in [
        ("Content-Length: 5\r\nContent-Length: 0", BodyLength),
        ("Content-Length: 5\r\nContent-Length: 5", BodyLength),
        ("Content-Length: 5, 5", BodyLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", BodyLength),
        ("Transfer-Encoding: gzip, chunked", TransferCoding),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", TransferCoding),
        ("X: y\r\n Content-Length: 5", Malformed),
        ("Content-Length : 5", Malformed),
        ("X: y\nContent-Length: 5", BareLf),
        ("Connection: Content-Length\r\nContent-Length: 5", Nominated),
    ] {
        let stream = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nhello");
        assert_eq!(answered(stream.as_bytes(), "GET"), Err(error), "{lines:?}");
    }
}

#[test]
fn bytes_behind_a_response_are_not_forwarded() {
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let kept = "Connection: keep-alive\r\n\r\n";
    for (method, head, body, expected) in [
        ("GET", "200 OK\r\nContent-Length: 2", "ok", format!("Content-Length: 2\r\n{kept}ok")),
        ("HEAD", "200 OK\r\nContent-Length: 9", "", format!("Content-Length: 9\r\n{kept}")),
        ("GET", "204 OK\r\nContent-Length: 45", "", kept.to_owned()),
        ("GET", "304 OK\r\nTransfer-Encoding: chunked", "", kept.to_owned()),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked",
            "2;a\r\nok\r\n0\r\nX: y\r\n\r\n",
            format!("Transfer-Encoding: chunked\r\n{kept}2\r\nok\r\n0\r\n\r\n"),
        ),
    ] {
        let stream = format!("HTTP/1.1 {head}\r\n\r\n{body}{second}");
        let (status, _) = head.split_once("\r\n").unwrap();
        let expected = format!("HTTP/1.1 {status}\r\n{expected}");
        assert_eq!(answered(stream.as_bytes(), method), Ok((expected, true)), "{method} {head}");
    }
}

#[test]
fn a_truncated_response_never_looks_complete() {
    for (lines, body) in [
        ("Content-Length: 5", "hell"),
        ("Transfer-Encoding: chunked", "5\r\nhell"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\nx"),
        ("Transfer-Encoding: chunked", "5\nhello"),
    ] {
        let stream = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}");
        let (client, is_complete) = answered(stream.as_bytes(), "GET").unwrap();
        assert!(!is_complete && !client.ends_with("0\r\n\r\n"), "{client:?}");
    }
}
