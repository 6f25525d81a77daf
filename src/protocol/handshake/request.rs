//! Parses a complete request head strictly, without lenient repair (RFC 9112).
//!
//! Anything that two parsers could read differently is refused: a proxy in front of us must see the
//! same request as we do. Everything borrows the received bytes. The caller decides which paths are
//! served and whether a body is accepted.

use std::borrow::Cow;
use std::fmt;

use super::field::{Fields, is_host, is_plain};
use super::head::{Slots, is_whole};
use super::refusal::Refusal;
use super::target::Target;
use crate::protocol::http::body::Framing;

/// Headers that must not be repeated: it would be ambiguous which value counts.
const SINGLE: [&str; 5] =
    ["Host", "Origin", "Content-Length", "Sec-WebSocket-Key", "Sec-WebSocket-Version"];

pub(super) const PROTOCOLS: &str = "Sec-WebSocket-Protocol";

/// A request with valid syntax.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    method: &'a str,
    target: Target<'a>,
    /// The `x` of HTTP/1.x.
    minor_version: u8,
    pub(in crate::protocol) fields: Fields<'a>,
}

impl<'a> Request<'a> {
    /// Parses the complete head that [`HeadScan`](super::HeadScan) found, without any bytes after
    /// it.
    ///
    /// # Errors
    ///
    /// [`TooManyHeaders`](Refusal::TooManyHeaders) (431), or a refusal with status 400 that names
    /// the syntax error.
    pub fn parse<'b>(head: &'b [u8], slots: &'a mut Slots<'b>) -> Result<Request<'a>, Refusal> {
        Request::parse_without(head, slots, |_| false)
    }

    /// Like [`parse`](Request::parse), but removes the headers whose name `is_removed` accepts.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Request::parse); removed headers count for
    /// [`TooManyHeaders`](Refusal::TooManyHeaders).
    pub fn parse_without<'b>(
        head: &'b [u8],
        slots: &'a mut Slots<'b>,
        is_removed: impl Fn(&str) -> bool,
    ) -> Result<Request<'a>, Refusal> {
        if !is_whole(head)? {
            return Err(Refusal::RequestLine);
        }
        let mut parsed = httparse::Request::new(&mut slots.0);
        parsed.parse(head).map_err(refusal_of)?;
        let (Some(method), Some(target), Some(minor_version)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(Refusal::RequestLine);
        };
        let request = Request {
            method,
            target: Target::parse(target).ok_or(Refusal::Target)?,
            minor_version,
            fields: Fields(retained(parsed.headers, is_removed)),
        };
        request.check_singles()?;
        request.check_host()?;
        request.check_body_length()?;
        Ok(request)
    }

    fn check_singles(&self) -> Result<(), Refusal> {
        for name in SINGLE {
            let mut values = self.fields.values(name);
            if !values.next().is_none_or(is_plain) {
                return Err(Refusal::Header);
            }
            if values.next().is_some() {
                return Err(Refusal::DuplicateHeader);
            }
        }
        Ok(())
    }

    /// RFC 9112, 3.2: an HTTP/1.1 request has exactly one Host, and a valid one.
    fn check_host(&self) -> Result<(), Refusal> {
        match self.fields.sole("Host") {
            Some(host) if is_host(host) => Ok(()),
            None if self.minor_version == 0 => Ok(()),
            _ => Err(Refusal::HostMalformed),
        }
    }

    /// RFC 9112, 6.1 and 6.3: only one way to find the body's end, and Transfer-Encoding only since
    /// HTTP/1.1.
    fn check_body_length(&self) -> Result<(), Refusal> {
        let length = self.fields.sole("Content-Length");
        let coded = self.fields.has("Transfer-Encoding");
        let digits =
            length.is_none_or(|length| !length.is_empty() && length.iter().all(u8::is_ascii_digit));
        if !digits || coded && (length.is_some() || self.minor_version == 0) {
            return Err(Refusal::BodyLength);
        }
        Ok(())
    }

    /// The method as sent; methods are case-sensitive.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The `x` of HTTP/1.x.
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// The target as sent: printable ASCII, without a fragment.
    pub fn target(&self) -> &'a str {
        self.target.whole
    }

    /// The host that the request names, with its port if it has one: from a target in absolute
    /// form, else from the Host header (RFC 9112, 3.2.2). In any case (upper or lower).
    pub fn host(&self) -> Option<&'a str> {
        self.target.authority.or_else(|| self.header("Host"))
    }

    /// The path of the target, never empty and not decoded.
    pub fn path(&self) -> &'a str {
        self.target.path
    }

    /// The part of the target after the first `?`, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.target.query
    }

    /// The first value of `name` in the query, decoded (`%41` and `+`); empty without `=`. Pairs
    /// that do not decode to UTF-8 are skipped. The value may contain any character.
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.target.query_value(name)
    }

    /// The first value of the header `name` that is UTF-8; trimmed, without control bytes except
    /// tab.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// All headers in the order in which they arrived: names as sent, values trimmed. Values are bytes,
    /// since they need not be UTF-8.
    pub fn all_headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.all()
    }

    /// All values of the header `name` that are UTF-8, in order.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.fields.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Whether the header `name` is present, with any value.
    pub fn has_header(&self, name: &str) -> bool {
        self.fields.has(name)
    }

    /// Whether the header `name`, a comma list over all its occurrences, contains `token`,
    /// case-insensitively.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.fields.has_token(name, token)
    }

    /// The subprotocols that the client offers, in its order. In an upgrade request that is valid,
    /// all are tokens.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.headers(PROTOCOLS)
            .flat_map(|value| value.split(','))
            .map(str::trim_ascii)
            .filter(|name| !name.is_empty())
    }

    /// Whether the client wants to keep the connection open after the response (RFC 9112, 9.3).
    pub fn keep_alive(&self) -> bool {
        !self.has_token("Connection", "close")
            && (self.minor_version >= 1 || self.has_token("Connection", "keep-alive"))
    }

    /// Whether a body follows the head, according to the head.
    pub fn has_body(&self) -> bool {
        let length = self.fields.sole("Content-Length").unwrap_or_default();
        self.fields.has("Transfer-Encoding") || length.iter().any(|&digit| digit != b'0')
    }

    /// How the end of the body is found; a request without a body has length 0. A length above 64
    /// bits saturates.
    ///
    /// # Errors
    ///
    /// [`TransferCoding`](Refusal::TransferCoding) (501) for any coding but a single `chunked` (RFC
    /// 9112, 6.1).
    pub fn body_framing(&self) -> Result<Framing, Refusal> {
        if self.fields.has("Transfer-Encoding") {
            let coding = self.fields.sole("Transfer-Encoding").unwrap_or_default();
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            return if is_chunked { Ok(Framing::Chunked) } else { Err(Refusal::TransferCoding) };
        }
        let digits = self.fields.sole("Content-Length").unwrap_or(b"0");
        let add = |sum: u64, digit: &u8| {
            sum.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
        };
        Ok(Framing::Length(digits.iter().fold(0, add)))
    }

    /// Whether the client waits for status 100 before it sends the body (RFC 9110, 10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.minor_version >= 1 && self.has_token("Expect", "100-continue")
    }

    /// Whether the HTTP version supports Upgrade (RFC 9110, 7.8).
    pub(super) fn supports_upgrade(&self) -> bool {
        self.minor_version >= 1
    }

    /// Whether the request attempts to open a WebSocket, valid or not;
    /// [`upgrade`](Request::upgrade) then reports errors. It does if Upgrade names `websocket`, in
    /// any version, or if a `Sec-WebSocket-*` field is present. Connection alone requests nothing
    /// (RFC 9110, 7.6.1), and offers of other protocols are ignored (7.8): some clients offer
    /// HTTP/2 with each request.
    pub fn is_upgrade(&self) -> bool {
        let names_websocket = |item: &[u8]| {
            let name = item.split(|&byte| byte == b'/').next().unwrap_or_default();
            name.eq_ignore_ascii_case(b"websocket")
        };
        self.fields.has_prefix("Sec-WebSocket-")
            || self.fields.items("Upgrade").any(names_websocket)
    }
}

/// Omits headers and query, which may contain credentials.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// The headers that are not removed, in their order.
fn retained<'a, 'b>(
    headers: &'a mut [httparse::Header<'b>],
    is_removed: impl Fn(&str) -> bool,
) -> &'a [httparse::Header<'b>] {
    let mut kept = 0;
    for index in 0..headers.len() {
        if !is_removed(headers[index].name) {
            headers.swap(kept, index);
            kept += 1;
        }
    }
    &headers[..kept]
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyHeaders,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::Header,
        httparse::Error::Version => Refusal::HttpVersion,
        _ => Refusal::RequestLine,
    }
}

#[cfg(test)]
mod tests {
    use super::super::EMPTY_SLOTS;
    use super::*;

    /// Parses a GET of `target` with `Host: a` and these additional lines, and passes it to `look`.
    fn with<T>(
        target: &str,
        lines: &str,
        look: impl FnOnce(Request<'_>) -> T,
    ) -> Result<T, Refusal> {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = EMPTY_SLOTS;
        Request::parse(head.as_bytes(), &mut slots).map(look)
    }

    fn refused(head: &str) -> Option<Refusal> {
        Request::parse(head.as_bytes(), &mut EMPTY_SLOTS.clone()).err()
    }

    #[test]
    fn header_names_are_case_insensitive_and_lists_span_lines() {
        let lines = "x-a:  one \t\r\nX-A: two, THREE ,\r\nX-B:\r\n";
        with("/", lines, |r| {
            assert_eq!(r.header("X-a"), Some("one"));
            assert_eq!(r.headers("X-A").collect::<Vec<_>>(), ["one", "two, THREE ,"]);
            assert_eq!(r.header("X-B"), Some(""));
            assert_eq!(r.header("X-C"), None);
            assert!(r.has_token("X-A", "One") && r.has_token("x-a", "three"));
            assert!(!r.has_token("X-A", "two, THREE") && !r.has_token("X-C", ""));
        })
        .unwrap();

        let mut slots = EMPTY_SLOTS;
        let latin = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: caf\xe9\r\nX-A: b\r\n\r\n";
        let request = Request::parse(latin, &mut slots).unwrap();
        assert_eq!(request.headers("X-A").collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn all_headers_keep_their_order_and_their_spelling() {
        let mut slots = EMPTY_SLOTS;
        let head =
            b"GET / HTTP/1.1\r\nHost: a\r\nx-A:  1 \r\nCookie: caf\xe9\r\nX-a: 2\r\nempty:\r\n\r\n";
        let request = Request::parse(head, &mut slots).unwrap();
        let expected: [(&str, &[u8]); 5] =
            [("Host", b"a"), ("x-A", b"1"), ("Cookie", b"caf\xe9"), ("X-a", b"2"), ("empty", b"")];
        assert_eq!(request.all_headers().collect::<Vec<_>>(), expected);
        // Borrowed from the received bytes: nothing was copied.
        let received = head.as_ptr_range();
        let is_received = |part: &[u8]| part.is_empty() || received.contains(&part.as_ptr());
        assert!(
            request
                .all_headers()
                .all(|(name, value)| { is_received(name.as_bytes()) && is_received(value) })
        );
    }

    #[test]
    fn removed_headers_are_invisible_and_the_others_keep_their_order() {
        let head = b"GET / HTTP/1.1\r\nx-a: 1\r\nHost: a\r\nX-B: 2\r\nx-a: 3\r\nX-C: 4\r\n\r\n";
        let mut slots = EMPTY_SLOTS;
        let is_removed = |name: &str| name.eq_ignore_ascii_case("X-A");
        let request = Request::parse_without(head, &mut slots, is_removed).unwrap();
        let names: Vec<_> = request.all_headers().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X-B", "X-C"]);
        assert!(!request.has_header("x-a") && request.headers("x-a").next().is_none());
    }

    #[test]
    fn the_host_of_an_absolute_target_overrides_the_header() {
        let host = |target: &str| with(target, "", |r| r.host().map(str::to_owned)).unwrap();
        assert_eq!(host("/").as_deref(), Some("a"));
        assert_eq!(host("http://b:8545/x").as_deref(), Some("b:8545"));
        assert_eq!(host("http://b?x").as_deref(), Some("b"));
        let old = "GET / HTTP/1.0\r\n\r\n";
        assert_eq!(Request::parse(old.as_bytes(), &mut EMPTY_SLOTS.clone()).unwrap().host(), None);
    }

    #[test]
    fn empty_lines_before_the_request_are_skipped() {
        assert_eq!(refused("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        let keeps = |version: u8, connection: &str| {
            let head =
                format!("GET / HTTP/1.{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
            Request::parse(head.as_bytes(), &mut EMPTY_SLOTS.clone()).unwrap().keep_alive()
        };
        assert!(keeps(1, "") && keeps(1, "Keep-Alive") && keeps(0, "Keep-Alive"));
        assert!(!keeps(0, "") && !keeps(1, "foo, Close") && !keeps(0, "keep-alive, close"));
    }

    #[test]
    fn a_length_or_a_transfer_coding_announces_a_body() {
        let body = |lines: &str| with("/", lines, |r| r.has_body()).unwrap();
        assert!(!body("") && !body("Content-Length: 000\r\n"));
        assert!(body("Content-Length: 10\r\n") && body("Transfer-Encoding: identity\r\n"));
        assert!(body(&format!("Content-Length: {}\r\n", "9".repeat(100))));
    }

    #[test]
    fn lengths_are_read_and_never_overflow() {
        use Framing::*;
        let framing = |lines: &str| with("/", lines, |r| r.body_framing()).unwrap();
        assert_eq!(framing(""), Ok(Length(0)));
        assert_eq!(framing("Content-Length: 0042\r\n"), Ok(Length(42)));
        let huge = format!("Content-Length: {}\r\n", "9".repeat(100));
        assert_eq!(framing(&huge), Ok(Length(u64::MAX)));
        let expects = |lines: &str| with("/", lines, |r| r.expects_continue()).unwrap();
        assert!(expects("Expect: 100-Continue\r\n") && !expects("Expect: 200-ok\r\n"));
    }

    #[test]
    fn chunked_is_the_only_supported_transfer_coding() {
        let framing = |lines: &str| with("/", lines, |r| r.body_framing()).unwrap();
        assert_eq!(framing("transfer-encoding: Chunked \r\n"), Ok(Framing::Chunked));
        for coding in [
            "",
            "gzip",
            "identity",
            "chunked, chunked",
            "gzip, chunked",
            "chunked,",
            "\"chunked\"",
            "chunked;a=b",
            "xchunked",
            "chunked\r\nTransfer-Encoding: chunked",
        ] {
            let lines = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(framing(&lines), Err(Refusal::TransferCoding), "{coding:?}");
        }
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        use Refusal::*;
        let cases = [
            ("Content-Length: 0\r\nTransfer-Encoding: chunked", BodyLength),
            ("Content-Length: 1, 1", BodyLength),
            ("Content-Length: +1", BodyLength),
            ("Content-Length: 0x1", BodyLength),
            ("Content-Length:", BodyLength),
            ("Transfer-Encoding : chunked", Header),
            ("Transfer-Encoding", Header),
            ("X-A: a\r\n folded", Header),
            (" X-A: a", Header),
            (": a", Header),
            ("X A: a", Header),
            ("X-A: a\0b", Header),
            ("X-A: a\x7fb", Header),
            ("X-A: a\rb", Header),
            ("X-A: a\nTransfer-Encoding: chunked", BareLf),
            ("hOST: b", DuplicateHeader),
            ("Origin: http://\u{e9}", Header),
        ];
        for (lines, refusal) in cases {
            let outcome = with("/", &format!("{lines}\r\n"), |_| ());
            assert_eq!(outcome, Err(refusal), "{lines:?}");
        }
        for name in SINGLE {
            let twice = format!("{name}: 1\r\n").repeat(2);
            assert_eq!(with("/", &twice, |_| ()), Err(DuplicateHeader), "{name}");
        }
    }

    #[test]
    fn malformed_heads_are_refused() {
        use Refusal::*;
        let cases = [
            ("GET /\r\n\r\n", RequestLine),
            ("GET  / HTTP/1.1\r\n\r\n", RequestLine),
            ("GET\t/ HTTP/1.1\r\n\r\n", RequestLine),
            ("GET / HTTP/1.1 \r\n\r\n", RequestLine),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", RequestLine),
            ("GET / HTTP/1.1\r\nHost: a\r\n", RequestLine),
            ("", RequestLine),
            ("GET / x HTTP/1.1\r\n\r\n", HttpVersion),
            ("GET / HTTP/2.0\r\n\r\n", HttpVersion),
            ("GET / http/1.1\r\n\r\n", HttpVersion),
            ("PRI * HTTP/2.0\r\n\r\n", HttpVersion),
            ("GET / HTTP/1.1\nHost: a\n\n", BareLf),
            ("GET / HTTP/1.1\r\n\r\n", HostMalformed),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HostMalformed),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HostMalformed),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HostMalformed),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: a\r\n\r\n", BodyLength),
        ];
        for (head, refusal) in cases {
            assert_eq!(refused(head), Some(refusal), "{head:?}");
        }
        assert_eq!(refused("GET / HTTP/1.0\r\n\r\n"), None);
    }

    #[test]
    fn more_than_64_headers_are_refused() {
        let head = |count: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1))
        };
        assert_eq!(refused(&head(64)), None);
        assert_eq!(refused(&head(65)), Some(Refusal::TooManyHeaders));
        assert_eq!(refused(&head(2000)), Some(Refusal::TooManyHeaders));
    }

    #[test]
    fn debug_hides_credentials() {
        let shown = with("/a?token=secret", "Cookie: secret\r\n", |r| format!("{r:?}")).unwrap();
        assert!(shown.contains("/a") && !shown.contains("secret"), "{shown}");
    }
}
