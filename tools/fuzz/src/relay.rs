//! Streams of requests on their way through a proxy, read by upstreams that parse leniently.
//!
//! Each upstream tolerates other faults: bare line ends, folded lines, `_` for `-`, several framing
//! headers. Whatever a client sends, all of them see the requests that the proxy saw.

use weir::protocol::handshake::{EMPTY_SLOTS, HeadScan, Refusal, Request};
use weir::protocol::http::{
    BodyDecoder, BodyPass, ForwardedMode, RequestOrigin, RequestRules, write_request,
};

use crate::body::{alter, build};
use crate::bytes::Bytes;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of requests in a stream, of extra lines in each, and of alterations.
const REQUESTS_MAX: usize = 3;
const LINES_MAX: usize = 5;
const STEPS_MAX: usize = 4;

const TARGETS: [&str; 15] = [
    "/",
    "/public/a?b=/../c",
    "/public/../admin",
    "/public/%2e%2E/admin",
    "/public/..%2fadmin",
    "/public/..%5Cadmin",
    "/public/..;a/admin",
    "/.well-known/%2e%2e%2e",
    "/%61dmin/%7e%C3%a9%2f%%41?%61",
    "/admin%00.png",
    "/%6",
    "http://h/a",
    "http://other/a",
    "//other/a",
    "*",
];
const LINES: [&str; 33] = [
    "Host: h",
    "Host: other",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: +5",
    "content_length: 5",
    "Content-Length : 5",
    " Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: xchunked",
    "transfer_encoding: chunked",
    "Transfer-Encoding : chunked",
    "\tchunked",
    "X: y\nContent-Length: 5",
    "X: y\rTransfer-Encoding: chunked",
    "Connection: close",
    "Connection: Content-Length",
    "Connection: X, Transfer-Encoding, Cookie",
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABk",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Trailer: Content-Length",
    "Proxy-Connection: keep-alive",
    "X-Weir-User: admin",
    "X_Weir_User: admin",
    "X-Forwarded-For: 9.9.9.9",
    "X_Forwarded_Port: 9",
    "Forwarded: for=9.9.9.9",
    "Expect: 100-continue",
    "Cookie: a=b",
];
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Method, target in origin form, and body.
type Seen = (String, String, Vec<u8>);

/// What is read of a stream: the complete requests, and method and target of one that is truncated.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    complete: Vec<Seen>,
    truncated: Option<(String, String)>,
}

/// Streams of requests, altered or arbitrary, pass through a proxy. Every upstream sees what the proxy
/// saw, no header that belongs to the client's connection, and no path that leads out of its own.
pub fn relay(data: &[u8]) {
    let mut input = Bytes(data);
    while one_stream(&mut input).is_some() {}
}

fn one_stream(input: &mut Bytes<'_>) -> Option<()> {
    let choice = input.u8()?;
    let mut stream = Vec::new();
    for _ in 0..=input.below(REQUESTS_MAX)? {
        stream.extend_from_slice(&request(input)?);
    }
    for _ in 0..input.below(STEPS_MAX + 1)?.saturating_sub(1) {
        alter(&mut stream, input)?;
    }
    let mut upstream = Vec::new();
    let sent = relayed(&stream, &mut upstream);
    for tolerance in [0, choice, u8::MAX] {
        let seen = Lenient(tolerance).read(&upstream);
        let shown = format!("{} as {}", stream.escape_ascii(), upstream.escape_ascii());
        assert_eq!(seen, sent, "tolerance {tolerance:#x}: {shown}");
    }
    Some(())
}

/// One request with extra lines and a body.
fn request(input: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let method = ["GET", "POST", "HEAD", "CONNECT"][input.below(9)? / 3];
    let target = TARGETS[input.below(2 * TARGETS.len())?.saturating_sub(TARGETS.len())];
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n");
    for _ in 0..input.below(LINES_MAX)? {
        head.push_str(LINES[input.below(LINES.len())?]);
        head.push_str("\r\n");
    }
    let body = match input.below(8)? {
        0 => {
            head.push_str(UPGRADE);
            b"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()
        }
        1..=3 => {
            head.push_str("Transfer-Encoding: chunked\r\n");
            build(input)?.0
        }
        4..=5 => {
            let body = input.up_to(input.0.first().map_or(0, |&len| usize::from(len % 40)));
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            body.to_vec()
        }
        _ => Vec::new(),
    };
    head.push_str("\r\n");
    Some([head.as_bytes(), &body].concat())
}

/// Passes a stream as a proxy does, and returns what the proxy saw of it. Nothing behind an upgrade is
/// forwarded before the upstream's 101.
fn relayed(stream: &[u8], upstream: &mut Vec<u8>) -> Reading {
    let mut sent = Reading::default();
    let mut rest = stream;
    while let Ok(Some(taken)) = relay_one(rest, upstream, &mut sent) {
        rest = &rest[taken..];
    }
    sent
}

/// Passes one request; returns its length, or `None` at the end of the stream.
fn relay_one(
    stream: &[u8],
    upstream: &mut Vec<u8>,
    sent: &mut Reading,
) -> Result<Option<usize>, Refusal> {
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
    let framing = request.body_framing()?;
    let mut body = BodyPass::new(framing, 1, BODY_BYTES_MAX as u64)?;
    let before = upstream.len();
    if let Err(refusal) = write_request(&request, &rules, &origin, upstream) {
        assert_eq!(upstream.len(), before);
        return Err(refusal);
    }
    let method = request.method().to_owned();
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", normalized(request.path()));
    check_path(request.path());
    if request.is_upgrade() {
        sent.complete.push((method, target, Vec::new()));
        return Ok(None);
    }
    let input = &stream[end..];
    let step = body.pass(input, upstream);
    if let Ok(step) = step
        && step.is_unchanged
    {
        upstream.extend_from_slice(&input[..step.consumed]);
    }
    if !body.is_complete() {
        sent.truncated = Some((method, target));
        return step.map(|_| None);
    }
    let mut decoder = BodyDecoder::new(framing, BODY_BYTES_MAX)?;
    let mut data = Vec::new();
    let consumed = decoder.decode(input, &mut data)?;
    assert_eq!(step.map(|step| step.consumed), Ok(consumed));
    sent.complete.push((method, target, data));
    Ok(Some(end + consumed))
}

/// The path with unreserved characters decoded, and other escapes in uppercase.
fn normalized(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut normal, mut at) = (String::new(), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).map(|digits| String::from_utf8_lossy(digits));
        let is_escape = bytes[at] == b'%'
            && digits.as_ref().is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
        let Some(digits) = digits.filter(|_| is_escape) else {
            normal.push(char::from(bytes[at]));
            at += 1;
            continue;
        };
        let octet = u8::from_str_radix(&digits, 16).unwrap();
        match char::from(octet) {
            c if octet.is_ascii_alphanumeric() || "-._~".contains(c) => normal.push(c),
            _ => normal += &format!("%{}", digits.to_uppercase()),
        }
        at += 3;
    }
    normal
}

/// No decoding of the path leads out of it, and none ends it early.
fn check_path(path: &str) {
    let mut decoded = path.to_lowercase();
    for (from, to) in [("%2e", "."), ("%2f", "/"), ("%5c", "\\")] {
        decoded = decoded.replace(from, to);
    }
    for segment in decoded.split(['/', '\\']) {
        let name = segment.split(';').next().unwrap_or_default();
        assert!(name != "." && name != "..", "{path}");
    }
    assert!(!path.contains("%00"), "{path}");
}

/// An upstream that tolerates the faults of these bits.
#[derive(Clone, Copy)]
struct Lenient(u8);

impl Lenient {
    /// Lines end in LF alone, or in CR alone.
    const BARE_LF: u8 = 1;
    const BARE_CR: u8 = 2;
    /// A line that starts with a blank continues the last one.
    const FOLDED: u8 = 4;
    /// `_` in a name is `-`.
    const UNDERSCORE: u8 = 8;
    /// Content-Length wins over Transfer-Encoding.
    const LENGTH_FIRST: u8 = 16;
    /// The last Content-Length counts, not the first.
    const LAST_LENGTH: u8 = 32;
    /// Any Transfer-Encoding that contains `chunked` is chunked.
    const LOOSE_CODING: u8 = 64;

    fn has(self, tolerance: u8) -> bool {
        self.0 & tolerance != 0
    }

    fn read(self, stream: &[u8]) -> Reading {
        let (mut seen, mut rest) = (Reading::default(), stream);
        while !rest.is_empty() {
            let (method, target, fields, behind) = self.head(rest);
            match self.body(&fields, behind) {
                Some((body, behind)) => {
                    seen.complete.push((method, target, body));
                    rest = behind;
                }
                None => {
                    seen.truncated = Some((method, target));
                    break;
                }
            }
        }
        seen
    }

    /// The line before the first line end, and what follows it.
    fn line(self, bytes: &[u8]) -> Option<(String, &[u8])> {
        for index in 0..bytes.len() {
            let len = match &bytes[index..] {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] if self.has(Lenient::BARE_LF) => 1,
                [b'\r', ..] if self.has(Lenient::BARE_CR) => 1,
                _ => continue,
            };
            let line = bytes[..index].iter().map(|&byte| char::from(byte)).collect();
            return Some((line, &bytes[index + len..]));
        }
        None
    }

    /// Method, target and header fields. No header that must not be forwarded is among them.
    fn head(self, bytes: &[u8]) -> (String, String, Vec<(String, String)>, &[u8]) {
        let (first, mut rest) = self.line(bytes).expect("a request line");
        let words: Vec<&str> = first.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else {
            panic!("request line {first:?}");
        };
        let mut fields: Vec<(String, String)> = Vec::new();
        loop {
            let (line, behind) = self.line(rest).expect("an empty line ends the head");
            rest = behind;
            if line.is_empty() {
                break;
            }
            if self.has(Lenient::FOLDED) && line.starts_with([' ', '\t']) {
                fields.last_mut().expect("a line before").1.push_str(&line);
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let name = name.trim().to_lowercase();
            let name = if self.has(Lenient::UNDERSCORE) { name.replace('_', "-") } else { name };
            fields.push((name, value.trim().to_owned()));
        }
        check_fields(&fields);
        (method.to_owned(), target.to_owned(), fields, rest)
    }

    fn body<'a>(self, fields: &[(String, String)], rest: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
        let values = |name: &'static str| {
            fields.iter().filter(move |field| field.0 == name).map(|field| field.1.to_lowercase())
        };
        let is_chunked = values("transfer-encoding").any(|coding| {
            let loose = self.has(Lenient::LOOSE_CODING) && coding.contains("chunked");
            loose || coding == "chunked"
        });
        let mut lengths = values("content-length");
        let length = match self.has(Lenient::LAST_LENGTH) {
            true => lengths.next_back(),
            false => lengths.next(),
        };
        if is_chunked && !(length.is_some() && self.has(Lenient::LENGTH_FIRST)) {
            return self.chunks(rest);
        }
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        let (body, behind) = rest.split_at_checked(length)?;
        Some((body.to_vec(), behind))
    }

    fn chunks(self, mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let mut body = Vec::new();
        loop {
            let (line, behind) = self.line(rest)?;
            let digits: String = line.chars().take_while(char::is_ascii_hexdigit).collect();
            let size = usize::from_str_radix(&digits, 16).expect("a size");
            rest = behind;
            if size == 0 {
                break;
            }
            body.extend_from_slice(rest.get(..size)?);
            let (end, behind) = self.line(&rest[size..])?;
            assert!(end.is_empty(), "{end:?} after a chunk");
            rest = behind;
        }
        loop {
            let (line, behind) = self.line(rest)?;
            rest = behind;
            if line.is_empty() {
                return Some((body, rest));
            }
        }
    }
}

/// One Host, at most one framing, and no header of the client's connection or of weir's own.
fn check_fields(fields: &[(String, String)]) {
    let count = |name: &str| fields.iter().filter(|field| field.0 == name).count();
    assert_eq!(count("host"), 1, "{fields:?}");
    assert!(count("content-length") + count("transfer-encoding") <= 1, "{fields:?}");
    assert!(count("connection") <= 1 && count("connection") == count("upgrade"), "{fields:?}");
    for (name, value) in fields {
        let is_expected = match &**name {
            "connection" => value == "Upgrade",
            "upgrade" => value == "websocket",
            "keep-alive" | "te" | "trailer" | "http2-settings" | "forwarded" => false,
            _ => !["proxy-", "x-weir-", "x-forwarded-"].iter().any(|own| name.starts_with(own)),
        };
        assert!(is_expected, "{name}: {value}");
    }
}
