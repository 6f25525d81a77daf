//! Writes the server's HTTP responses, except for the 101 that [accepts](super::Accept) an upgrade.
//!
//! No bytes from a client are written except for the digest of its key. Headers from a service are
//! validated when they are set.

use std::borrow::Cow;

use super::field::{FieldError, append};
use super::refusal::Refusal;
use crate::protocol::piece::Piece;

/// Headers that [`Response::write`] writes itself.
const RESPONSE_OWN: [&str; 5] =
    ["Content-Type", "Content-Length", "Connection", "Date", "Transfer-Encoding"];

/// What happens to the connection after a response (RFC 9110, 7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOption {
    /// It stays open for another request.
    KeepAlive,
    /// The server closes it.
    Close,
}

/// The body of a [`Response`]: one part, or several parts in sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Pieces);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pieces {
    One(Piece),
    Many(Vec<Piece>),
}

impl Body {
    fn pieces(&self) -> &[Piece] {
        match &self.0 {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        }
    }

    fn len(&self) -> usize {
        self.pieces().iter().map(|piece| piece.len()).sum()
    }
}

impl<T: Into<Piece>> From<T> for Body {
    fn from(piece: T) -> Body {
        Body(Pieces::One(piece.into()))
    }
}

impl From<Cow<'static, [u8]>> for Body {
    fn from(bytes: Cow<'static, [u8]>) -> Body {
        Body(Pieces::One(Piece::Own(bytes)))
    }
}

impl From<Vec<Piece>> for Body {
    fn from(pieces: Vec<Piece>) -> Body {
        Body(Pieces::Many(pieces))
    }
}

/// An HTTP response other than the 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    content_type: &'static str,
    /// Validated header lines, each with its CR LF.
    lines: Vec<u8>,
    body: Body,
    /// The value of Connection in a refusal; it overrides the caller's choice.
    connection: Option<&'static str>,
}

impl Response {
    /// A response with this body. A status outside of 200 to 599 is sent as 500: a status below 200
    /// is not a final response.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Body>) -> Response {
        let is_final = (200..600).contains(&status);
        Response {
            status: if is_final { status } else { 500 },
            content_type,
            lines: Vec::new(),
            body: body.into(),
            connection: None,
        }
    }

    /// A text response.
    pub fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Response {
        let body: Cow<'static, [u8]> = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Response::new(status, "text/plain; charset=utf-8", body)
    }

    /// Adds a header.
    ///
    /// # Errors
    ///
    /// The name is not a token, or [`write`](Response::write) sets this header, or the value is not
    /// printable ASCII.
    pub fn header(mut self, name: &str, value: &str) -> Result<Response, FieldError> {
        append(&mut self.lines, name, value, &RESPONSE_OWN)?;
        Ok(self)
    }

    /// Adds one of our own headers, whose name and value are valid.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let written = append(&mut self.lines, name, value, &RESPONSE_OWN);
        debug_assert_eq!(written, Ok(()), "{name}");
    }

    /// The status of the response.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header that was added.
    pub(crate) fn header_value(&self, name: &str) -> Option<&str> {
        let lines = std::str::from_utf8(&self.lines).unwrap_or_default().lines();
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body, if it is text in one part.
    pub(crate) fn plain_text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.body.pieces().first()?).ok()?;
        self.content_type.starts_with("text/plain").then_some(text)
    }

    /// Lets the caller keep the connection open after a refusal, for a proxy whose other clients
    /// share it.
    pub(crate) fn allow_keep_alive(&mut self) {
        self.connection = None;
    }

    /// What happens to the connection if the caller wants `wished`: refusals close it, unless their
    /// caller has allowed otherwise.
    pub fn connection(&self, wished: ConnectionOption) -> ConnectionOption {
        if self.connection.is_some() { ConnectionOption::Close } else { wished }
    }

    /// Appends the response to `out`; `head_only` omits the body, as HEAD requires (RFC 9110,
    /// 9.3.2). `date` is the current time in the format of RFC 9110, 5.6.7, for a server with a
    /// clock.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        connection: ConnectionOption,
        head_only: bool,
        date: Option<&str>,
    ) {
        self.write_head(out, connection, date);
        self.pieces(head_only).iter().for_each(|piece| out.extend_from_slice(piece));
    }

    /// Size of the body that is sent, in bytes.
    pub(crate) fn body_len(&self, head_only: bool) -> usize {
        self.pieces(head_only).iter().map(|piece| piece.len()).sum()
    }

    /// The parts of the body that are sent.
    pub(crate) fn pieces(&self, head_only: bool) -> &[Piece] {
        if self.is_bodiless() || head_only { &[] } else { self.body.pieces() }
    }

    /// RFC 9110, 8.6 and 15.4.5: these two have neither body nor length.
    fn is_bodiless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    /// Appends the head of the response to `out`.
    pub(crate) fn write_head(
        &self,
        out: &mut Vec<u8>,
        connection: ConnectionOption,
        date: Option<&str>,
    ) {
        let connection = self.connection.unwrap_or(match connection {
            ConnectionOption::KeepAlive => "keep-alive",
            ConnectionOption::Close => "close",
        });
        let body = match self.is_bodiless() {
            true => String::new(),
            false => {
                let (kind, length) = (self.content_type, self.body.len());
                format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n")
            }
        };
        self.write_lines(out, connection, &body, date);
    }

    /// Appends the head of a response whose body follows in chunks (RFC 9112, 7.1), after which the
    /// connection is closed. The body of the response itself is not sent.
    pub(crate) fn write_chunked_head(&self, out: &mut Vec<u8>, date: Option<&str>) {
        let kind = self.content_type;
        let body = format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n");
        self.write_lines(out, "close", &body, date);
    }

    /// `body` has the header lines about the body.
    fn write_lines(&self, out: &mut Vec<u8>, connection: &str, body: &str, date: Option<&str>) {
        let (status, phrase) = (self.status, phrase(self.status));
        let head = format!("HTTP/1.1 {status} {phrase}\r\nConnection: {connection}\r\n");
        out.extend_from_slice(head.as_bytes());
        if let Some(date) = date {
            let written = append(out, "Date", date, &[]);
            debug_assert_eq!(written, Ok(()), "{date}");
        }
        out.extend_from_slice(body.as_bytes());
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(b"\r\n");
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Response {
        let reason = refusal.reason();
        let mut response = Response::text(refusal.status(), reason);
        let error = ("X-WebSocket-Error", reason);
        for (name, value) in refusal.headers().iter().chain([&error]) {
            response.add(name, value);
        }
        // RFC 9110, 7.8: a sender of Upgrade must also name it in Connection.
        let upgrade = refusal.status() == 426;
        response.connection = Some(if upgrade { "close, Upgrade" } else { "close" });
        response
    }
}

/// The reason phrase (RFC 9110, 15); empty for statuses that are not listed. The crate `http` would
/// bring three crates for this table.
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: &Response, connection: ConnectionOption, head_only: bool) -> String {
        let mut out = Vec::new();
        response.write(&mut out, connection, head_only, None);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn responses_have_length_type_and_added_headers() {
        let page = Response::new(200, "text/html; charset=utf-8", &b"<p>hi"[..]);
        let page = page.header("Cache-Control", "no-store").unwrap();
        let head = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: text/html; charset=utf-8\r\n\
                    Content-Length: 5\r\nCache-Control: no-store\r\n\r\n";
        let answer = written(&page, ConnectionOption::KeepAlive, false);
        assert_eq!(answer, format!("{head}<p>hi"));
        assert_eq!(written(&page, ConnectionOption::KeepAlive, true), head);
        let missing = Response::text(404, String::from("no"));
        let answer = written(&missing, ConnectionOption::Close, false);
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\nConnection: close\r\n"));
        let bare = written(&Response::text(204, "dropped"), ConnectionOption::Close, false);
        assert_eq!(bare, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(Response::text(101, "").status(), 500);
    }

    #[test]
    fn the_date_is_a_line_of_its_own() {
        let mut out = Vec::new();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        Response::text(204, "").write(&mut out, ConnectionOption::Close, false, Some(date));
        let expected =
            format!("HTTP/1.1 204 No Content\r\nConnection: close\r\nDate: {date}\r\n\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(Response::text(200, "").header("date", date).err(), Some(FieldError::Reserved));
    }

    #[test]
    fn added_headers_cannot_break_the_response() {
        let with = |name, value| Response::text(200, "").header(name, value).err();
        assert_eq!(with("X", "a\r\nSet-Cookie: b"), Some(FieldError::Value));
        assert_eq!(with("X:\r\n", "a"), Some(FieldError::Name));
        assert_eq!(with("content-length", "0"), Some(FieldError::Reserved));
        assert_eq!(with("Location", "/a"), None);
    }

    #[test]
    fn every_refusal_closes_and_has_a_reason() {
        for &refusal in Refusal::ALL {
            let response = Response::from(refusal);
            let answer = written(&response, ConnectionOption::KeepAlive, false);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, refusal.reason());
            assert!(!phrase(refusal.status()).is_empty(), "{refusal:?}");
            let has = |line: &str| head.lines().any(|other| other == line);
            assert!(has(&format!("X-WebSocket-Error: {body}")), "{answer}");
            assert!(has(&format!("Content-Length: {}", body.len())), "{answer}");
            let upgrade = refusal.status() == 426;
            assert_eq!(has("Connection: close, Upgrade"), upgrade);
            assert_eq!(has("Connection: close"), !upgrade);
            assert_eq!(has("Upgrade: websocket"), upgrade);
            assert_eq!(has("Sec-WebSocket-Version: 13"), upgrade);
            assert_eq!(has("WWW-Authenticate: Bearer"), refusal.status() == 401);
            let connection = response.connection(ConnectionOption::KeepAlive);
            assert_eq!(connection, ConnectionOption::Close);
        }
    }
}
