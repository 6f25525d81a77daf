//! The client's request that opens a WebSocket (RFC 6455, 4.1).
//!
//! Every string from the caller is checked when it is set, so that none can add a line to the head.
//! The caller supplies the nonce, since this layer has no source of entropy. permessage-deflate is
//! the only extension that can be offered.

use std::fmt;

use super::expected::{Expected, SEPARATOR};
use super::field::{FieldError, append, is_host, is_target, is_token};
use super::key::{VERSION, base64};
use crate::protocol::deflate::offer::Offer;

/// Headers that [`ClientRequest::write`] writes, or that have their own setter.
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

/// A client's opening handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientRequest {
    host: String,
    path: String,
    /// The value of `Sec-WebSocket-Protocol`; empty if no subprotocol is offered.
    protocols: String,
    /// The complete `Origin` line; empty if no origin is set.
    origin: Vec<u8>,
    /// Validated header lines, each with its CR LF.
    lines: Vec<u8>,
    deflate: Option<Offer>,
}

impl ClientRequest {
    /// A request for `path` (with its query) at `host` (with its port, unless it is the scheme's
    /// default).
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
            deflate: None,
        })
    }

    /// Offers permessage-deflate (RFC 7692). Feature `deflate`.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, offer: Offer) -> ClientRequest {
        self.deflate = Some(offer);
        self
    }

    /// Offers one more subprotocol, after the previous ones.
    ///
    /// # Errors
    ///
    /// [`FieldError::Protocol`].
    pub fn protocol(mut self, name: &str) -> Result<ClientRequest, FieldError> {
        let mut offered = self.protocols.split(SEPARATOR);
        if offered.any(|other| other == name) || !is_token(name.as_bytes()) {
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

    /// Adds a header, for example a cookie.
    ///
    /// # Errors
    ///
    /// The name is not a token or is reserved, or the value is not printable ASCII.
    pub fn header(mut self, name: &str, value: &str) -> Result<ClientRequest, FieldError> {
        append(&mut self.lines, name, value, &REQUEST_OWN)?;
        Ok(self)
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.path.split_once('?').map_or(&self.path, |(path, _)| path)
    }

    /// The offered subprotocols, in order.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.split(SEPARATOR).filter(|name| !name.is_empty())
    }

    /// The offer of permessage-deflate, if there is one.
    pub fn offers_deflate(&self) -> Option<Offer> {
        self.deflate
    }

    /// Appends the request to `out`. `nonce` must be random and new for each connection.
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
        if let Some(offer) = self.deflate {
            let offer = format!("Sec-WebSocket-Extensions: {}\r\n", offer.as_str());
            out.extend_from_slice(offer.as_bytes());
        }
        out.extend_from_slice(&self.origin);
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(b"\r\n");
        Expected::new(&key, &self.protocols, self.deflate)
    }
}

/// Omits headers and path, which may contain credentials.
impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accept, EMPTY_SLOTS, Request};
    use super::*;
    #[cfg(feature = "deflate")]
    use crate::protocol::deflate::Terms;

    const NONCE: &[u8; 16] = b"the sample nonce";

    fn request() -> Result<ClientRequest, FieldError> {
        ClientRequest::new("server.example.com", "/chat?a=b")?
            .protocol("chat")?
            .protocol("superchat")
    }

    #[test]
    fn a_server_accepts_the_request_and_the_client_its_answer() {
        let request = request().unwrap();
        let request = request.origin("http://other").unwrap();
        let request = request.origin("http://example.com").unwrap();
        let request = request.header("Cookie", "a=b").unwrap();
        let mut sent = b"before".to_vec();
        let expected = request.write(*NONCE, &mut sent);
        let head = &sent[b"before".len()..];

        let mut slots = EMPTY_SLOTS;
        let received = Request::parse(head, &mut slots).unwrap();
        assert_eq!((received.path(), received.query()), ("/chat", Some("a=b")));
        assert_eq!(received.header("Host"), Some("server.example.com"));
        assert_eq!(received.header("Cookie"), Some("a=b"));
        let upgrade = received.upgrade().unwrap();
        assert_eq!(upgrade.key(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(upgrade.origin(), Some("http://example.com"));
        let offered: Vec<_> = upgrade.protocols().collect();
        assert_eq!(offered, ["chat", "superchat"]);

        let mut answer = Vec::new();
        Accept::new().protocol("superchat").write(&mut answer, &upgrade.accept(), "").unwrap();
        let settled = expected.check(&answer).unwrap();
        assert_eq!((settled.protocol, settled.deflate), (Some(1), None));
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn client_and_server_agree_on_deflate() {
        for takeover in [false, true] {
            let mut sent = Vec::new();
            let expected = request().unwrap().deflate(Offer { takeover }).write(*NONCE, &mut sent);
            let mut slots = EMPTY_SLOTS;
            let upgrade = Request::parse(&sent, &mut slots).unwrap().upgrade().unwrap();
            let agreed = upgrade.deflate(Terms { takeover: true, window_bits: 10 }).unwrap();
            let mut answer = Vec::new();
            Accept::new().write(&mut answer, &upgrade.accept(), &agreed.to_string()).unwrap();
            let settled = expected.check(&answer).unwrap().deflate.unwrap();
            assert_eq!((settled.server, settled.client), (agreed.server, agreed.client));
            assert_eq!(settled.server.takeover, takeover);
        }
    }

    #[test]
    fn injection_is_rejected_when_a_request_is_built() {
        let new = |host, path| ClientRequest::new(host, path).err();
        for host in ["", "a b", "a\r\nX: y", "a/b", "u@a", "a\0", "\u{e9}"] {
            assert_eq!(new(host, "/"), Some(FieldError::Host), "{host:?}");
        }
        for path in ["", "a", "/a b", "/a\r\nX: y", "/a#b", "/\t", "/\u{e9}"] {
            assert_eq!(new("a", path), Some(FieldError::Path), "{path:?}");
        }
        for name in ["", "a b", "a,b", "a\r\nb", "chat"] {
            let error = request().unwrap().protocol(name).err();
            assert_eq!(error, Some(FieldError::Protocol), "{name:?}");
        }
        let header = |name, value| request().unwrap().header(name, value).err();
        assert_eq!(header("A", "b\nc"), Some(FieldError::Value));
        assert_eq!(header("A\r\nB", "c"), Some(FieldError::Name));
        assert_eq!(header("origin", "c"), Some(FieldError::Reserved));
        let origin = request().unwrap().origin("a\r\nX: y").err();
        assert_eq!(origin, Some(FieldError::Value));
    }

    #[test]
    fn debug_hides_credentials() {
        let request = ClientRequest::new("a", "/?token=secret").unwrap();
        let request = request.header("Cookie", "secret").unwrap();
        assert!(!format!("{request:?}").contains("secret"));
    }
}
