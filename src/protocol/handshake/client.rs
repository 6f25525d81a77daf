//! The client's side: the request that it writes, and the answer that it accepts (RFC 6455, 4.1).
//!
//! The nonce comes from the caller, for this layer has no source of entropy. No extension is ever
//! offered, so none is accepted. Redirects and authentication are the caller's business.

use std::fmt;

use super::field::{FieldError, Fields, append, is_host, is_target, is_token};
use super::head::is_whole;
use super::{EMPTY_SLOTS, Refusal, VERSION, accept_key, base64};

/// Headers that [`ClientRequest::write`] writes itself, or that have their own setter.
const REQUEST_OWN: [&str; 11] = [
    "Host",
    "Upgrade",
    "Connection",
    "Origin",
    "Content-Length",
    "Transfer-Encoding",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
];

/// What stands between two offered subprotocols.
const SEPARATOR: &str = ", ";

/// A client's opening handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientRequest {
    host: String,
    path: String,
    /// The value of `Sec-WebSocket-Protocol`; empty if there is none.
    protocols: String,
    /// The whole line of `Origin`; empty if there is none.
    origin: Vec<u8>,
    /// Checked header lines, each with its CR LF.
    lines: Vec<u8>,
}

impl ClientRequest {
    /// A request for `path`, its query included, at `host`, its port included unless it is the
    /// scheme's own.
    ///
    /// # Errors
    ///
    /// [`FieldError::Host`] or [`FieldError::Path`].
    pub fn new(host: &str, path: &str) -> Result<ClientRequest, FieldError> {
        if host.is_empty() || !is_host(host.as_bytes()) {
            return Err(FieldError::Host);
        }
        if !path.starts_with('/') || !is_target(path.as_bytes()) {
            return Err(FieldError::Path);
        }
        Ok(ClientRequest {
            host: host.to_owned(),
            path: path.to_owned(),
            protocols: String::new(),
            origin: Vec::new(),
            lines: Vec::new(),
        })
    }

    /// Offers one more subprotocol, after those offered before.
    ///
    /// # Errors
    ///
    /// [`FieldError::Protocol`].
    pub fn protocol(mut self, name: &str) -> Result<ClientRequest, FieldError> {
        let twice = self
            .protocols
            .split(SEPARATOR)
            .any(|offered| offered == name);
        if twice || !is_token(name.as_bytes()) {
            return Err(FieldError::Protocol);
        }
        if !self.protocols.is_empty() {
            self.protocols.push_str(SEPARATOR);
        }
        self.protocols.push_str(name);
        Ok(self)
    }

    /// Sets the origin.
    ///
    /// # Errors
    ///
    /// [`FieldError::Value`].
    pub fn origin(mut self, origin: &str) -> Result<ClientRequest, FieldError> {
        self.origin.clear();
        append(&mut self.origin, "Origin", origin, &[])?;
        Ok(self)
    }

    /// Adds a header, a cookie for instance.
    ///
    /// # Errors
    ///
    /// The name is no token or not for the caller to set, or the value is not printable ASCII.
    pub fn header(mut self, name: &str, value: &str) -> Result<ClientRequest, FieldError> {
        append(&mut self.lines, name, value, &REQUEST_OWN)?;
        Ok(self)
    }

    /// Appends the request to `out`. `nonce` must be random, and fresh for each connection.
    pub fn write(&self, nonce: [u8; 16], out: &mut Vec<u8>) -> Expected {
        let key: [u8; 24] = base64(&nonce);
        let (path, host) = (&self.path, &self.host);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: {VERSION}\r\nSec-WebSocket-Key: "
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\r\n");
        if !self.protocols.is_empty() {
            let offer = format!("Sec-WebSocket-Protocol: {}\r\n", self.protocols);
            out.extend_from_slice(offer.as_bytes());
        }
        out.extend_from_slice(&self.origin);
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(b"\r\n");
        Expected {
            accept: accept_key(&key),
            protocols: self.protocols.as_str().into(),
        }
    }
}

/// Without headers and path, which may hold credentials.
impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Why a server's answer does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientError {
    /// Not a head of HTTP/1.1.
    Malformed,
    /// The head goes on past its limits in bytes or headers.
    HeadTooLong,
    /// Another status than 101: the server speaks plain HTTP to us.
    Status(u16),
    /// `Upgrade` is not `websocket`.
    Upgrade,
    /// `Connection` lacks `upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` does not belong to our key.
    Accept,
    /// An extension that was not offered.
    Extension,
    /// A subprotocol that was not offered, or two of them.
    Protocol,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Malformed => f.write_str("malformed answer"),
            ClientError::HeadTooLong => f.write_str("answer has too long a head"),
            ClientError::Status(status) => write!(f, "answered with status {status}"),
            ClientError::Upgrade => f.write_str("answer upgrades to something else"),
            ClientError::Connection => f.write_str("answer lacks Connection: upgrade"),
            ClientError::Accept => f.write_str("wrong Sec-WebSocket-Accept"),
            ClientError::Extension => f.write_str("extension was not offered"),
            ClientError::Protocol => f.write_str("subprotocol was not offered"),
        }
    }
}

impl std::error::Error for ClientError {}

/// What [`HeadScan`](super::HeadScan) has against an answer.
impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> ClientError {
        match refusal {
            Refusal::HeadTooLong | Refusal::TooManyHeaders => ClientError::HeadTooLong,
            _ => ClientError::Malformed,
        }
    }
}

/// What the answer to one [`ClientRequest`] must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    accept: [u8; 28],
    /// As offered; empty (and not allocated) if nothing was.
    protocols: Box<str>,
}

impl Expected {
    /// Checks the head that [`HeadScan`](super::HeadScan) found: all of it, and nothing behind it. Answers with the
    /// index, in the order offered, of the subprotocol that the server chose, if it chose one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, in the order of RFC 6455, 4.1.
    pub fn check(&self, head: &[u8]) -> Result<Option<usize>, ClientError> {
        if !is_whole(head)? {
            return Err(ClientError::Malformed);
        }
        let mut slots = EMPTY_SLOTS;
        let mut parsed = httparse::Response::new(&mut slots);
        match parsed.parse(head) {
            Ok(_) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(ClientError::HeadTooLong),
            Err(_) => return Err(ClientError::Malformed),
        }
        match (parsed.version, parsed.code) {
            (Some(1), Some(101)) => {}
            (_, Some(status)) if status != 101 => return Err(ClientError::Status(status)),
            _ => return Err(ClientError::Malformed),
        }
        self.check_fields(Fields(parsed.headers))
    }

    /// Items 2 to 6 of what RFC 6455, 4.1 has the client validate.
    fn check_fields(&self, fields: Fields<'_>) -> Result<Option<usize>, ClientError> {
        if !fields.upgrades_to_websocket() {
            return Err(ClientError::Upgrade);
        }
        if !fields.has_token("Connection", "upgrade") {
            return Err(ClientError::Connection);
        }
        if fields.sole("Sec-WebSocket-Accept") != Some(&self.accept) {
            return Err(ClientError::Accept);
        }
        // An empty list names none; some servers send it.
        let mut extensions = fields.values("Sec-WebSocket-Extensions");
        if extensions.any(|value| !value.is_empty()) {
            return Err(ClientError::Extension);
        }
        if !fields.has("Sec-WebSocket-Protocol") {
            return Ok(None);
        }
        let chosen = fields.sole("Sec-WebSocket-Protocol");
        match chosen.and_then(|name| self.position(name)) {
            Some(index) => Ok(Some(index)),
            None => Err(ClientError::Protocol),
        }
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        let mut offered = self.protocols.split(SEPARATOR);
        offered.position(|offered| !name.is_empty() && offered.as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HeadScan, Request, write_switching_protocols};
    use super::*;

    const NONCE: &[u8; 16] = b"the sample nonce";
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn request() -> ClientRequest {
        let request = ClientRequest::new("server.example.com", "/chat?a=b").unwrap();
        request
            .protocol("chat")
            .unwrap()
            .protocol("superchat")
            .unwrap()
    }

    /// The outcome for the RFC's answer with `from` replaced by `to`.
    fn altered(from: &str, to: &str) -> Result<Option<usize>, ClientError> {
        assert!(ANSWER.contains(from), "{from:?}");
        request()
            .write(*NONCE, &mut Vec::new())
            .check(ANSWER.replace(from, to).as_bytes())
    }

    fn answered_with(lines: &str) -> Result<Option<usize>, ClientError> {
        altered("\r\n\r\n", &format!("\r\n{lines}\r\n"))
    }

    #[test]
    fn both_roles_agree() {
        let request = request()
            .origin("http://other")
            .unwrap()
            .origin("http://example.com")
            .unwrap();
        let request = request.header("Cookie", "a=b").unwrap();
        let mut sent = b"before".to_vec();
        let expected = request.write(*NONCE, &mut sent);
        let head = &sent[b"before".len()..];
        assert_eq!(
            HeadScan::default().scan(head, 16 * 1024),
            Ok(Some(head.len()))
        );

        let mut slots = EMPTY_SLOTS;
        let received = Request::parse(head, &mut slots).unwrap();
        assert_eq!((received.path(), received.query()), ("/chat", Some("a=b")));
        assert_eq!(received.header("Host"), Some("server.example.com"));
        assert_eq!(received.header("Cookie"), Some("a=b"));
        let upgrade = received.upgrade().unwrap();
        assert_eq!(upgrade.key(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(upgrade.origin(), Some("http://example.com"));
        assert_eq!(
            upgrade.protocols().collect::<Vec<_>>(),
            ["chat", "superchat"]
        );

        let mut answer = Vec::new();
        write_switching_protocols(&mut answer, &upgrade.accept(), Some("superchat"), &[]).unwrap();
        assert_eq!(
            HeadScan::default().scan(&answer, 16 * 1024),
            Ok(Some(answer.len()))
        );
        assert_eq!(expected.check(&answer), Ok(Some(1)));
    }

    #[test]
    fn sound_answers_are_accepted() {
        assert_eq!(altered("websocket", "WebSocket"), Ok(None));
        assert_eq!(
            altered("Connection: Upgrade", "connection: keep-alive, upgrade"),
            Ok(None)
        );
        assert_eq!(altered(" Switching Protocols", ""), Ok(None));
        assert_eq!(answered_with("Sec-WebSocket-Extensions: \r\n"), Ok(None));
        assert_eq!(
            answered_with("sec-websocket-protocol: chat\r\n"),
            Ok(Some(0))
        );
    }

    #[test]
    fn every_mistake_of_the_server_is_found() {
        use ClientError::*;
        let cases = [
            ("101 Switching Protocols", "200 OK", Status(200)),
            ("101", "404", Status(404)),
            ("HTTP/1.1", "HTTP/1.0", Malformed),
            ("HTTP/1.1", "HTTP/2.0", Malformed),
            ("\r\n\r\n", "\r\n\r\nx", Malformed),
            ("\r\n\r\n", "\r\n", Malformed),
            ("\r\nUpgrade", "\nUpgrade", Malformed),
            ("\r\nUpgrade", "\r\n Upgrade", Malformed),
            ("Upgrade: websocket\r\n", "", Upgrade),
            ("websocket", "websocket, h2c", Upgrade),
            ("Connection: Upgrade\r\n", "", Connection),
            ("Connection: Upgrade", "Connection: close", Connection),
            ("Sec-WebSocket-Accept", "X", Accept),
            ("s3pP", "S3PP", Accept),
            ("xOo=", "xOo", Accept),
            ("xOo=", "xOo==", Accept),
        ];
        for (from, to, error) in cases {
            assert_eq!(altered(from, to), Err(error), "{from:?} -> {to:?}");
        }
        let accept = "Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let cases = [
            (accept, Accept),
            ("Extensions: permessage-deflate", Extension),
            ("Protocol: other", Protocol),
            ("Protocol: Chat", Protocol),
            ("Protocol:", Protocol),
            ("Protocol: chat, superchat", Protocol),
            ("Protocol: chat\r\nSec-WebSocket-Protocol: chat", Protocol),
        ];
        for (lines, error) in cases {
            let outcome = answered_with(&format!("Sec-WebSocket-{lines}\r\n"));
            assert_eq!(outcome, Err(error), "{lines:?}");
        }
        assert_eq!(answered_with(&"A: b\r\n".repeat(61)), Ok(None));
        assert_eq!(answered_with(&"A: b\r\n".repeat(62)), Err(HeadTooLong));
    }

    #[test]
    fn nothing_offered_is_nothing_to_choose() {
        let expected = ClientRequest::new("a", "/")
            .unwrap()
            .write(*NONCE, &mut Vec::new());
        assert_eq!(expected.check(ANSWER.as_bytes()), Ok(None));
        for name in ["chat", ""] {
            let answer = ANSWER.replace(
                "\r\n\r\n",
                &format!("\r\nSec-WebSocket-Protocol: {name}\r\n\r\n"),
            );
            assert_eq!(
                expected.check(answer.as_bytes()),
                Err(ClientError::Protocol),
                "{name:?}"
            );
        }
    }

    #[test]
    fn injection_is_refused_when_building() {
        let new = |host, path| ClientRequest::new(host, path).err();
        for host in ["", "a b", "a\r\nX: y", "a/b", "u@a", "a\0", "\u{e9}"] {
            assert_eq!(new(host, "/"), Some(FieldError::Host), "{host:?}");
        }
        for path in ["", "a", "/a b", "/a\r\nX: y", "/a#b", "/\t", "/\u{e9}"] {
            assert_eq!(new("a", path), Some(FieldError::Path), "{path:?}");
        }
        for name in ["", "a b", "a,b", "a\r\nb", "chat"] {
            let error = request().protocol(name).err();
            assert_eq!(error, Some(FieldError::Protocol), "{name:?}");
        }
        let header = |name, value| request().header(name, value).err();
        assert_eq!(header("A", "b\nc"), Some(FieldError::Value));
        assert_eq!(header("A\r\nB", "c"), Some(FieldError::Name));
        assert_eq!(header("origin", "c"), Some(FieldError::Reserved));
        assert_eq!(request().origin("a\r\nX: y").err(), Some(FieldError::Value));
    }

    #[test]
    fn debug_hides_credentials() {
        let shown = format!(
            "{:?}",
            ClientRequest::new("a", "/?token=secret")
                .unwrap()
                .header("Cookie", "secret")
        );
        assert!(!shown.contains("secret"), "{shown}");
    }
}
