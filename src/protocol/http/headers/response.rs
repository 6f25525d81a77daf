//! Writes an upstream's response head for the client: interim, 101 or final.

use std::io::Write;

use super::super::body::Framing;
use super::super::forwarded::is_alike;
use super::super::response::ResponseHead;
use super::hop::{append_received, is_hop_by_hop, is_nominated};
use crate::protocol::handshake::field::append;

const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// How a client gets a response.
#[derive(Debug, Clone, Copy)]
pub struct ResponseRules<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The `x` of the client's HTTP/1.x.
    pub minor_version: u8,
    /// Whether the client's connection may stay open.
    pub keep_alive: bool,
    /// The value of a Set-Cookie that is added to a final response and to a 101. One that is not
    /// printable ASCII is left out.
    pub cookie: Option<&'a str>,
    /// The subprotocol of a 101 whose upstream selects none.
    pub protocol: Option<&'a str>,
}

/// Appends the head of `response` as the client gets it. Returns whether the client's connection
/// stays open after a final response.
///
/// The body of a final response is sent by [`framing`](ResponseHead::framing), as
/// [`relayed`](Framing::relayed) to the client's version. The caller forwards interim responses to
/// clients of HTTP/1.1 only (RFC 9110, 15.2), and a 101 only after it was
/// [checked](super::super::switch::check_switch).
pub fn write_response(
    response: &ResponseHead<'_>,
    rules: &ResponseRules<'_>,
    out: &mut Vec<u8>,
) -> bool {
    let (status, reason) = (response.status(), response.reason());
    append_text(out, format_args!("HTTP/1.1 {status} {reason}\r\n"));
    for (name, value) in response.all_headers() {
        let is_of_this_hop = is_hop_by_hop(name) || is_nominated(response.fields, name);
        if !is_of_this_hop && !is_alike(name, "Content-Length") {
            append_received(out, name, value);
        }
    }
    let framing = response.framing(rules.method).relayed(rules.minor_version);
    let keep_alive = rules.keep_alive && framing != Framing::UntilClose;
    match status {
        101 => {
            append_received(out, "Connection", b"Upgrade");
            append_received(out, "Upgrade", b"websocket");
            if let Some(protocol) = rules.protocol.filter(|_| !response.fields.has(PROTOCOL)) {
                append_received(out, PROTOCOL, protocol.as_bytes());
            }
        }
        100..200 => {}
        _ => {
            append_body(out, response, rules.method, framing);
            append_connection(out, response, keep_alive);
        }
    }
    if let Some(cookie) = rules.cookie.filter(|_| !response.is_interim()) {
        // An invalid one leaves `out` unchanged.
        let _ = append(out, "Set-Cookie", cookie, &[]);
    }
    out.extend_from_slice(b"\r\n");
    keep_alive
}

/// A response to HEAD, and a 304, have the length of the body that is not sent; a 204 has none (RFC
/// 9110, 8.6).
fn append_body(out: &mut Vec<u8>, response: &ResponseHead<'_>, method: &str, framing: Framing) {
    let length = match framing {
        Framing::Chunked => return append_received(out, "Transfer-Encoding", b"chunked"),
        Framing::UntilClose => return,
        Framing::Length(length) if response.may_have_body(method) => Some(length),
        Framing::Length(_) => response.content_length().filter(|_| response.status() != 204),
    };
    if let Some(length) = length {
        append_text(out, format_args!("Content-Length: {length}\r\n"));
    }
}

/// A 426 names the protocol that it demands (RFC 9110, 15.5.22). Only WebSocket is forwarded.
fn append_connection(out: &mut Vec<u8>, response: &ResponseHead<'_>, keep_alive: bool) {
    let demands = response.status() == 426 && response.fields.has_token("Upgrade", "websocket");
    let connection = match (keep_alive, demands) {
        (true, false) => "keep-alive",
        (true, true) => "keep-alive, Upgrade",
        (false, false) => "close",
        (false, true) => "close, Upgrade",
    };
    append_received(out, "Connection", connection.as_bytes());
    if demands {
        append_received(out, "Upgrade", b"websocket");
    }
}

fn append_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    const RULES: ResponseRules<'static> = ResponseRules {
        method: "GET",
        minor_version: 1,
        keep_alive: true,
        cookie: None,
        protocol: None,
    };

    /// What the client gets, and whether its connection stays open.
    fn written(head: &str, rules: &ResponseRules<'_>) -> (String, bool) {
        let mut slots = EMPTY_SLOTS;
        let response = ResponseHead::parse(head.as_bytes(), &mut slots).unwrap();
        let mut out = Vec::new();
        let keep_alive = write_response(&response, rules, &mut out);
        // What is written is a valid head whose body ends where ours does.
        let mut slots = EMPTY_SLOTS;
        let again = ResponseHead::parse(&out, &mut slots).unwrap();
        let framing = response.framing(rules.method).relayed(rules.minor_version);
        assert_eq!(again.framing(rules.method), framing);
        assert_eq!(again.status(), response.status());
        if response.status() >= 200 {
            assert_eq!(again.keeps_alive(rules.method), keep_alive);
        }
        (String::from_utf8(out).unwrap(), keep_alive)
    }

    /// The lines after the status line.
    fn lines(status: u16, extra: &str, rules: &ResponseRules<'_>) -> (String, bool) {
        let head = format!("HTTP/1.1 {status} Why\r\n{extra}\r\n");
        let (written, keep_alive) = written(&head, rules);
        let rest = written.strip_prefix(&format!("HTTP/1.1 {status} Why\r\n")).unwrap();
        (rest.strip_suffix("\r\n").unwrap().to_owned(), keep_alive)
    }

    #[test]
    fn a_response_is_written_again() {
        let head = "HTTP/1.0 404 Not Here\r\nserver:  nginx \r\nDate: x\r\nContent-Length: 007\r\n\
                    Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive\r\n\r\n";
        let expected = "HTTP/1.1 404 Not Here\r\nserver: nginx\r\nDate: x\r\nSet-Cookie: a=1\r\n\
                        Set-Cookie: b=2\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(written(head, &RULES), (expected.to_owned(), true));
        let (bare, _) = written("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", &RULES);
        assert!(bare.starts_with("HTTP/1.1 200 \r\n"), "{bare}");
    }

    #[test]
    fn headers_of_the_upstream_connection_are_removed() {
        let extra = "Connection: close, X-Hop\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\n\
                     Proxy-Authenticate: Basic\r\nTE: a\r\nTrailer: b\r\nUpgrade: h2,h2c\r\n\
                     Alt-Svc: h3\r\nContent-Length: 1\r\n";
        let expected = "Alt-Svc: h3\r\nContent-Length: 1\r\nConnection: keep-alive\r\n";
        assert_eq!(lines(200, extra, &RULES), (expected.to_owned(), true));
        let close = ResponseRules { keep_alive: false, ..RULES };
        let expected = expected.replace("keep-alive", "close");
        assert_eq!(lines(200, extra, &close), (expected, false));
    }

    #[test]
    fn the_framing_follows_from_the_versions_of_both_sides() {
        let old = ResponseRules { minor_version: 0, ..RULES };
        let chunked = "Transfer-Encoding: chunked\r\n";
        let kept = format!("{chunked}Connection: keep-alive\r\n");
        assert_eq!(lines(200, chunked, &RULES), (kept.clone(), true));
        assert_eq!(lines(200, "", &RULES), (kept, true), "until close becomes chunked");
        let closed = ("Connection: close\r\n".to_owned(), false);
        assert_eq!(lines(200, chunked, &old), closed);
        assert_eq!(lines(200, "", &old), closed);
        let length = "Content-Length: 5\r\nConnection: keep-alive\r\n".to_owned();
        assert_eq!(lines(200, "Content-Length: 5\r\n", &old), (length, true));
    }

    #[test]
    fn responses_without_a_body_have_the_length_that_they_may_have() {
        let head = ResponseRules { method: "HEAD", ..RULES };
        let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
        let bare = "Connection: keep-alive\r\n";
        for (status, rules, extra, expected) in [
            (200, &head, length, "Content-Length: 5\r\nConnection: keep-alive\r\n"),
            (200, &head, chunked, bare),
            (200, &head, "", bare),
            (304, &RULES, length, "Content-Length: 5\r\nConnection: keep-alive\r\n"),
            (304, &RULES, "ETag: a\r\n", "ETag: a\r\nConnection: keep-alive\r\n"),
            (204, &RULES, length, bare),
            (204, &head, "Content-Length: 0\r\n", bare),
        ] {
            assert_eq!(
                lines(status, extra, rules),
                (expected.to_owned(), true),
                "{status} {extra}"
            );
        }
    }

    #[test]
    fn interim_responses_and_the_101_have_no_body_and_no_connection_of_the_upstream() {
        let rules = ResponseRules { cookie: Some("u=1"), keep_alive: false, ..RULES };
        let extra = "Link: a\r\nContent-Length: 5\r\nConnection: close\r\n";
        assert_eq!(lines(103, extra, &rules).0, "Link: a\r\n");
        let extra = "upgrade: WebSocket\r\nconnection: keep-alive, Upgrade, X-Hop\r\nX-Hop: a\r\n\
                     Sec-WebSocket-Accept: s3p\r\nsec-websocket-protocol: a\r\n\
                     Sec-WebSocket-Extensions: b; c=1\r\nServer: d\r\n";
        let expected = "Sec-WebSocket-Accept: s3p\r\nsec-websocket-protocol: a\r\n\
                        Sec-WebSocket-Extensions: b; c=1\r\nServer: d\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\nSet-Cookie: u=1\r\n";
        assert_eq!(lines(101, extra, &rules).0, expected);
    }

    #[test]
    fn a_426_names_websocket_only() {
        let demand = "Upgrade: h2c, websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n";
        let expected = |connection: &str| {
            format!(
                "Content-Length: 0\r\nConnection: {connection}, Upgrade\r\nUpgrade: websocket\r\n"
            )
        };
        let close = ResponseRules { keep_alive: false, ..RULES };
        assert_eq!(lines(426, demand, &RULES).0, expected("keep-alive"));
        assert_eq!(lines(426, demand, &close).0, expected("close"));
        let bare = "Content-Length: 0\r\nConnection: keep-alive\r\n";
        assert_eq!(lines(200, demand, &RULES).0, bare);
        assert_eq!(lines(426, "Upgrade: h2c\r\nContent-Length: 0\r\n", &RULES).0, bare);
    }

    #[test]
    fn a_cookie_is_added_to_those_of_the_upstream() {
        let rules = ResponseRules { cookie: Some("u=1; Path=/"), ..RULES };
        let expected = "Set-Cookie: a=1\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\
                        Set-Cookie: u=1; Path=/\r\n";
        let received = "Set-Cookie: a=1\r\nContent-Length: 0\r\n";
        assert_eq!(lines(200, received, &rules).0, expected);
        let rules = ResponseRules { cookie: Some("u=1\r\nX: y"), ..RULES };
        let expected = expected.replace("Set-Cookie: u=1; Path=/\r\n", "");
        assert_eq!(lines(200, received, &rules).0, expected, "no added line");
    }
}
