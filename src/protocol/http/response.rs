//! Parses an upstream's response head strictly, without lenient repair (RFC 9112).
//!
//! What two parsers could read differently is an error, as for requests: the client must find the
//! end of the body at the same byte as we do. Everything borrows the received bytes. Writing the
//! head again for the client is in `headers`.

use std::fmt;

use super::body::Framing;
use crate::protocol::handshake::Refusal;
use crate::protocol::handshake::field::{Fields, is_tchar};
use crate::protocol::handshake::head::{Slots, is_whole};

/// Why an upstream's response head is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// The head is not valid HTTP/1.0 or HTTP/1.1.
    Malformed,
    /// A line that ends in LF without CR (RFC 9112, 2.2).
    BareLf,
    /// More bytes or headers than allowed.
    HeadTooLong,
    /// An invalid length, or two ways to find the body's end (RFC 9112, 6.3).
    BodyLength,
    /// A transfer coding other than `chunked`, or with HTTP/1.0 (RFC 9112, 6.1).
    TransferCoding,
    /// `Connection` names a header that must reach the client.
    Nominated,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseError::Malformed => "malformed response head",
            ResponseError::BareLf => "line ends without CR LF",
            ResponseError::HeadTooLong => "response head is too long",
            ResponseError::BodyLength => "ambiguous body length",
            ResponseError::TransferCoding => "Transfer-Encoding is not chunked",
            ResponseError::Nominated => "Connection names a header that must be forwarded",
        })
    }
}

impl std::error::Error for ResponseError {}

/// The errors of [`HeadScan`](crate::protocol::handshake::HeadScan).
impl From<Refusal> for ResponseError {
    fn from(refusal: Refusal) -> ResponseError {
        match refusal {
            Refusal::HeadTooLong | Refusal::TooManyHeaders => ResponseError::HeadTooLong,
            Refusal::BareLf => ResponseError::BareLf,
            _ => ResponseError::Malformed,
        }
    }
}

/// A response head with valid syntax.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    status: u16,
    reason: &'a str,
    /// The `x` of HTTP/1.x.
    minor_version: u8,
    /// Never with `is_chunked`.
    content_length: Option<u64>,
    is_chunked: bool,
    pub(super) fields: Fields<'a>,
}

impl<'a> ResponseHead<'a> {
    /// Parses the complete head that [`HeadScan`](crate::protocol::handshake::HeadScan) found,
    /// without any bytes after it.
    ///
    /// # Errors
    ///
    /// The first error found.
    pub fn parse<'b>(
        head: &'b [u8],
        slots: &'a mut Slots<'b>,
    ) -> Result<ResponseHead<'a>, ResponseError> {
        // Empty lines may precede requests only (RFC 9112, 2.2).
        if head.first() != Some(&b'H') || !is_whole(head)? {
            return Err(ResponseError::Malformed);
        }
        let mut parsed = httparse::Response::new(&mut slots.0);
        match parsed.parse(head) {
            Ok(_) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::HeadTooLong),
            Err(_) => return Err(ResponseError::Malformed),
        }
        let (Some(minor_version), Some(status @ 100..)) = (parsed.version, parsed.code) else {
            return Err(ResponseError::Malformed);
        };
        let mut response = ResponseHead {
            status,
            reason: parsed.reason.unwrap_or_default(),
            minor_version,
            content_length: None,
            is_chunked: false,
            fields: Fields(parsed.headers),
        };
        response.read_framing()?;
        response.check_connection()?;
        Ok(response)
    }

    /// RFC 9112, 6.1 and 6.3: only one way to find the body's end, and Transfer-Encoding only since
    /// HTTP/1.1. Checked for every response, also for those that never have a body.
    fn read_framing(&mut self) -> Result<(), ResponseError> {
        if self.fields.has("Content-Length") {
            let length = self.fields.sole("Content-Length").and_then(decimal);
            self.content_length = Some(length.ok_or(ResponseError::BodyLength)?);
        }
        if !self.fields.has("Transfer-Encoding") {
            return Ok(());
        }
        if self.content_length.is_some() {
            return Err(ResponseError::BodyLength);
        }
        let coding = self.fields.sole("Transfer-Encoding").unwrap_or_default();
        if !coding.eq_ignore_ascii_case(b"chunked") || self.minor_version == 0 {
            return Err(ResponseError::TransferCoding);
        }
        self.is_chunked = true;
        Ok(())
    }

    /// Connection must not name a header without which the response has another meaning.
    fn check_connection(&self) -> Result<(), ResponseError> {
        let is_wrong = self.fields.items("Connection").any(names_essential);
        if is_wrong { Err(ResponseError::Nominated) } else { Ok(()) }
    }

    /// The status: 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason phrase; empty without one, or if it is not ASCII.
    pub fn reason(&self) -> &'a str {
        self.reason
    }

    /// Whether the HTTP version supports Upgrade (RFC 9110, 7.8).
    pub(super) fn supports_upgrade(&self) -> bool {
        self.minor_version >= 1
    }

    /// Whether another response to the same request follows: a status 1xx, except for the 101 (RFC
    /// 9110, 15.2).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The first value of the header `name` that is UTF-8; trimmed.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// All values of the header `name` that are UTF-8, in order.
    pub fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.fields.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// All headers in the order in which they arrived: names as sent, values trimmed.
    pub fn all_headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.all()
    }

    /// Whether a response to a request by `method` has a body, empty or not (RFC 9112, 6.3).
    pub(super) fn may_have_body(&self, method: &str) -> bool {
        method != "HEAD" && !matches!(self.status, 100..200 | 204 | 304)
    }

    /// How the end of the body is found, in a response to a request by `method`. A response without
    /// a body has length 0.
    pub fn framing(&self, method: &str) -> Framing {
        if !self.may_have_body(method) {
            return Framing::Length(0);
        }
        match self.content_length {
            _ if self.is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        }
    }

    /// The length in Content-Length: in a response to HEAD, and in a 304, that of the body which is
    /// not sent (RFC 9110, 8.6).
    pub(super) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the upstream keeps the connection open after this response to a request by `method`
    /// (RFC 9112, 9.3).
    pub fn keeps_alive(&self, method: &str) -> bool {
        self.framing(method) != Framing::UntilClose
            && !self.fields.has_token("Connection", "close")
            && (self.minor_version >= 1 || self.fields.has_token("Connection", "keep-alive"))
    }

    /// How long the upstream keeps an idle connection open, in seconds: the parameter `timeout` of
    /// Keep-Alive.
    pub fn keep_alive_seconds(&self) -> Option<u64> {
        self.fields.items("Keep-Alive").find_map(|item| {
            let (name, value) = item.split_at(item.iter().position(|&byte| byte == b'=')?);
            let is_timeout = name.trim_ascii().eq_ignore_ascii_case(b"timeout");
            is_timeout.then(|| decimal(value[1..].trim_ascii()))?
        })
    }

    /// Whether the upstream authenticates the connection instead of the request: it must not be
    /// used for another client.
    pub fn binds_connection(&self) -> bool {
        self.fields.items("WWW-Authenticate").any(names_connection_scheme)
    }
}

/// Omits the headers, which may contain credentials.
impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A decimal number of at most 64 bits, without a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_decimal = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_decimal)?.parse().ok()
}

/// Whether an item of Connection names a header that is not hop-by-hop, and without which a head
/// has another meaning.
pub(super) fn names_essential(item: &[u8]) -> bool {
    const HANDSHAKE: &[u8] = b"sec-websocket-";
    let start = item.get(..HANDSHAKE.len()).unwrap_or_default();
    item.eq_ignore_ascii_case(b"host")
        || item.eq_ignore_ascii_case(b"content-length")
        || start.eq_ignore_ascii_case(HANDSHAKE)
}

/// Whether credentials or a challenge begin with a scheme that authenticates the connection (RFC
/// 4559, 6).
pub(super) fn names_connection_scheme(value: &[u8]) -> bool {
    let len = value.iter().take_while(|&&byte| is_tchar(byte)).count();
    let scheme = &value[..len];
    scheme.eq_ignore_ascii_case(b"NTLM") || scheme.eq_ignore_ascii_case(b"Negotiate")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    fn parsed<T>(head: &str, look: impl FnOnce(ResponseHead<'_>) -> T) -> Result<T, ResponseError> {
        let mut slots = EMPTY_SLOTS;
        ResponseHead::parse(head.as_bytes(), &mut slots).map(look)
    }

    /// A 200 with these header lines.
    fn with<T>(lines: &str, look: impl FnOnce(ResponseHead<'_>) -> T) -> Result<T, ResponseError> {
        parsed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"), look)
    }

    #[test]
    fn status_reason_and_headers_are_read() {
        let head =
            "HTTP/1.1 404 Not Found\r\nServer: a\r\nset-cookie:  b=1 \r\nSet-Cookie: c=2\r\n\r\n";
        parsed(head, |response| {
            assert_eq!((response.status(), response.reason()), (404, "Not Found"));
            assert_eq!(response.header("server"), Some("a"));
            assert_eq!(response.headers("Set-Cookie").collect::<Vec<_>>(), ["b=1", "c=2"]);
            let names: Vec<_> = response.all_headers().map(|(name, _)| name).collect();
            assert_eq!(names, ["Server", "set-cookie", "Set-Cookie"]);
            assert!(!format!("{response:?}").contains("b=1"), "values stay out of the log");
        })
        .unwrap();
        for (line, reason) in [("200", ""), ("200 ", ""), ("999 a b", "a b"), ("200 \u{e9}", "")] {
            let head = format!("HTTP/1.1 {line}\r\n\r\n");
            assert_eq!(
                parsed(&head, |response| response.reason().to_owned()).as_deref(),
                Ok(reason)
            );
        }
    }

    #[test]
    fn interim_responses_are_those_below_200_except_101() {
        let is_interim = |status: u16| {
            parsed(&format!("HTTP/1.1 {status} \r\n\r\n"), |response| response.is_interim())
                .unwrap()
        };
        assert!(is_interim(100) && is_interim(102) && is_interim(199));
        assert!(!is_interim(101) && !is_interim(200) && !is_interim(999));
    }

    #[test]
    fn the_framing_follows_from_method_status_and_headers() {
        use Framing::{Chunked, Length, UntilClose};
        let framing = |method: &str, status: u16, lines: &str| {
            let head = format!("HTTP/1.1 {status} \r\n{lines}\r\n");
            parsed(&head, |response| response.framing(method)).unwrap()
        };
        let (length, chunked) = ("Content-Length: 0042\r\n", "transfer-encoding: Chunked\r\n");
        for method in ["GET", "POST", "head", "OPTIONS"] {
            for status in [200, 206, 301, 404, 500, 999] {
                assert_eq!(framing(method, status, length), Length(42));
                assert_eq!(framing(method, status, chunked), Chunked);
                assert_eq!(framing(method, status, ""), UntilClose);
            }
        }
        for lines in [length, chunked, ""] {
            assert_eq!(framing("HEAD", 200, lines), Length(0));
            for status in [100, 101, 103, 199, 204, 304] {
                assert_eq!(framing("GET", status, lines), Length(0), "{status}");
            }
        }
        let most = format!("Content-Length: {}\r\n", u64::MAX);
        assert_eq!(framing("GET", 200, &most), Length(u64::MAX));
    }

    #[test]
    fn ambiguous_lengths_are_rejected_for_every_status() {
        use ResponseError::{BodyLength, TransferCoding};
        for (lines, error) in [
            ("Content-Length: 1\r\nContent-Length: 1", BodyLength),
            ("Content-Length: 1\r\ncontent-length: 2", BodyLength),
            ("Content-Length: 1, 1", BodyLength),
            ("Content-Length: +1", BodyLength),
            ("Content-Length: -1", BodyLength),
            ("Content-Length: 0x1", BodyLength),
            ("Content-Length: 1 1", BodyLength),
            ("Content-Length:", BodyLength),
            ("Content-Length: 18446744073709551616", BodyLength),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", BodyLength),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0", BodyLength),
            ("Transfer-Encoding: gzip", TransferCoding),
            ("Transfer-Encoding: identity", TransferCoding),
            ("Transfer-Encoding: gzip, chunked", TransferCoding),
            ("Transfer-Encoding: chunked, chunked", TransferCoding),
            ("Transfer-Encoding: chunked,", TransferCoding),
            ("Transfer-Encoding: chunked;a=b", TransferCoding),
            ("Transfer-Encoding: xchunked", TransferCoding),
            ("Transfer-Encoding: \u{b}chunked", ResponseError::Malformed),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", TransferCoding),
            ("Transfer-Encoding:", TransferCoding),
        ] {
            for status in [200, 204, 304, 100, 101] {
                let head = format!("HTTP/1.1 {status} \r\n{lines}\r\n\r\n");
                assert_eq!(parsed(&head, |_| ()), Err(error), "{lines:?} with {status}");
            }
        }
        let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(parsed(old, |_| ()), Err(TransferCoding));
    }

    #[test]
    fn malformed_heads_are_rejected() {
        use ResponseError::{BareLf, HeadTooLong, Malformed};
        for (head, error) in [
            ("", Malformed),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\n\r\nx", Malformed),
            ("HTTP/1.1 200 OK\r\n\r\n\r\n", Malformed),
            ("HTTP/1.1 OK\r\n\r\n", Malformed),
            ("HTTP/1.1 20 OK\r\n\r\n", Malformed),
            ("HTTP/1.1 2000 OK\r\n\r\n", Malformed),
            ("HTTP/1.1 099 OK\r\n\r\n", Malformed),
            ("HTTP/1.1  200 OK\r\n\r\n", Malformed),
            ("HTTP/2.0 200 OK\r\n\r\n", Malformed),
            ("HTTP/0.9 200 OK\r\n\r\n", Malformed),
            ("http/1.1 200 OK\r\n\r\n", Malformed),
            ("ICY 200 OK\r\n\r\n", Malformed),
            ("GET / HTTP/1.1\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\nA: b\r\n\r\n", BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\nContent-Length: 1\r\n\r\n", BareLf),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\nA\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Malformed),
            ("HTTP/1.1 200 O\0K\r\n\r\n", Malformed),
        ] {
            assert_eq!(parsed(head, |_| ()), Err(error), "{head:?}");
        }
        assert_eq!(with(&"A: b\r\n".repeat(64), |_| ()), Ok(()));
        assert_eq!(with(&"A: b\r\n".repeat(65), |_| ()), Err(HeadTooLong));
    }

    #[test]
    fn connection_must_not_name_essential_headers() {
        for name in ["Content-Length", "HOST", "sec-websocket-accept", "Sec-WebSocket-X"] {
            let lines = format!("Connection: close\r\nConnection: a, {name}\r\n");
            assert_eq!(with(&lines, |_| ()), Err(ResponseError::Nominated), "{name}");
        }
        assert_eq!(with("Connection: Set-Cookie, Sec-WebSocket\r\n", |_| ()), Ok(()));
    }

    #[test]
    fn an_upstream_keeps_connections_by_version_connection_and_framing() {
        let keeps = |version: u8, lines: &str| {
            let head = format!("HTTP/1.{version} 200 OK\r\n{lines}\r\n");
            parsed(&head, |response| response.keeps_alive("GET")).unwrap()
        };
        let length = "Content-Length: 1\r\n";
        assert!(keeps(1, length) && keeps(1, "Transfer-Encoding: chunked\r\n"));
        assert!(keeps(0, &format!("{length}Connection: Keep-Alive\r\n")));
        assert!(!keeps(0, length) && !keeps(1, ""), "no length");
        assert!(!keeps(1, &format!("{length}Connection: a, Close\r\n")));
        assert!(!keeps(0, &format!("{length}Connection: keep-alive, close\r\n")));
        assert!(with("", |response| response.keeps_alive("HEAD")).unwrap());
    }

    #[test]
    fn the_idle_timeout_of_an_upstream_is_read() {
        let seconds = |value: &str| {
            with(&format!("Keep-Alive: {value}\r\n"), |response| response.keep_alive_seconds())
                .unwrap()
        };
        assert_eq!(seconds("timeout=5"), Some(5));
        assert_eq!(seconds("max=100, Timeout = 72"), Some(72));
        for value in ["", "timeout", "timeout=", "timeout=-1", "timeout=x", "a=timeout=5", "5"] {
            assert_eq!(seconds(value), None, "{value:?}");
        }
        assert_eq!(with("", |response| response.keep_alive_seconds()), Ok(None));
    }

    #[test]
    fn authenticated_connections_are_found() {
        let binds = |value: &str| {
            let lines = format!("WWW-Authenticate: {value}\r\n");
            with(&lines, |response| response.binds_connection()).unwrap()
        };
        assert!(binds("NTLM") && binds("negotiate YII=") && binds("Basic realm=\"a\", Negotiate"));
        assert!(binds("Basic realm=a\r\nWWW-Authenticate: NTLM TlRM"));
        assert!(!binds("Basic realm=NTLM") && !binds("NTLMX") && !binds(""));
    }
}
