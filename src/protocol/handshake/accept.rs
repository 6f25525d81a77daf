//! The server's 101 response, which opens a WebSocket (RFC 6455, 4.2.2): its subprotocol, and
//! headers of a service's own.
//!
//! A header is checked when it is added, so that none can add a line to the head or contradict the
//! handshake. Whether the client offered the subprotocol is the caller's to check.

use super::field::{FieldError, append, is_token};

/// Headers that [`Accept::write`] writes itself, or that a 101 must not have. So are all that start
/// with [`HANDSHAKE_PREFIX`].
const ACCEPT_OWN: [&str; 4] = ["Upgrade", "Connection", "Content-Length", "Transfer-Encoding"];

/// The prefix of the handshake's own headers (RFC 6455, 11.3).
const HANDSHAKE_PREFIX: &str = "Sec-WebSocket-";

/// Bytes of the header lines that a service adds to a 101: enough for some cookies, and a quarter of
/// the head that weir's and Node's clients accept.
pub const ACCEPT_HEADER_BYTES_MAX: usize = 4096;

/// Bytes of a subprotocol that a service accepts. The connection may store the name.
pub const ACCEPT_PROTOCOL_BYTES_MAX: usize = 256;

/// The response that accepts an upgrade.
///
/// ```
/// use weir::protocol::handshake::{Accept, FieldError};
///
/// # fn main() -> Result<(), FieldError> {
/// let accept = Accept::new().protocol("chat.v2").header("Set-Cookie", "session=5; HttpOnly")?;
/// assert!(Accept::new().header("Connection", "close").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    protocol: Option<Box<str>>,
    /// Validated header lines, each with its CR LF.
    lines: Vec<u8>,
}

impl Accept {
    /// A 101 without subprotocol and without further headers.
    pub const fn new() -> Accept {
        Accept { protocol: None, lines: Vec::new() }
    }

    /// Sets the subprotocol. It must be one that the client offered, of at most
    /// [`ACCEPT_PROTOCOL_BYTES_MAX`] bytes (RFC 6455, 4.2.2): otherwise the loop sends 500 instead of
    /// the 101, and logs the reason.
    pub fn protocol(mut self, name: &str) -> Accept {
        self.protocol = Some(name.into());
        self
    }

    /// Adds a header, for example a cookie.
    ///
    /// # Errors
    ///
    /// The name is not a token or belongs to the handshake, the value is not printable ASCII, or the
    /// headers would exceed [`ACCEPT_HEADER_BYTES_MAX`].
    pub fn header(mut self, name: &str, value: &str) -> Result<Accept, FieldError> {
        let prefix = name.as_bytes().get(..HANDSHAKE_PREFIX.len()).unwrap_or_default();
        if prefix.eq_ignore_ascii_case(HANDSHAKE_PREFIX.as_bytes()) {
            return Err(FieldError::Reserved);
        }
        append(&mut self.lines, name, value, &ACCEPT_OWN)?;
        if self.lines.len() > ACCEPT_HEADER_BYTES_MAX {
            return Err(FieldError::TooLong);
        }
        Ok(self)
    }

    /// The subprotocol, if one was set.
    pub fn agreed_protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Appends the response to `out`; frames follow it. `digest` is the value of
    /// `Sec-WebSocket-Accept`, `extensions` that of `Sec-WebSocket-Extensions`: if it is empty, the
    /// header is left out, since an empty list breaks some browsers.
    ///
    /// # Errors
    ///
    /// The subprotocol is not a token or too long, or `extensions` is not printable ASCII. `out` is
    /// then unchanged.
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        digest: &[u8; 28],
        extensions: &str,
    ) -> Result<(), FieldError> {
        let start = out.len();
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(digest);
        out.extend_from_slice(b"\r\n");
        let written = self.append_negotiated(out, extensions);
        if written.is_err() {
            out.truncate(start);
            return written;
        }
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(b"\r\n");
        written
    }

    fn append_negotiated(&self, out: &mut Vec<u8>, extensions: &str) -> Result<(), FieldError> {
        if let Some(protocol) = &self.protocol {
            if !is_token(protocol.as_bytes()) {
                return Err(FieldError::Protocol);
            }
            if protocol.len() > ACCEPT_PROTOCOL_BYTES_MAX {
                return Err(FieldError::TooLong);
            }
            append(out, "Sec-WebSocket-Protocol", protocol, &[])?;
        }
        if !extensions.is_empty() {
            append(out, "Sec-WebSocket-Extensions", extensions, &[])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn written(accept: &Accept) -> String {
        let mut out = Vec::new();
        accept.write(&mut out, DIGEST, "").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_response_equals_the_example_of_the_rfc() {
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        assert_eq!(written(&Accept::new().protocol("chat")), expected);
    }

    #[test]
    fn added_headers_follow_those_of_the_handshake() {
        let accept = Accept::new().header("Set-Cookie", "a=1").unwrap();
        let head = written(&accept.header("Set-Cookie", "b=2").unwrap());
        assert!(head.ends_with("xOo=\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"), "{head}");
    }

    #[test]
    fn the_response_is_written_whole_or_not_at_all() {
        let mut out = b"before".to_vec();
        let mut fails = |accept: Accept, extensions| {
            let error = accept.write(&mut out, DIGEST, extensions).err();
            assert_eq!(out, b"before");
            error
        };
        let named = |name: &str| Accept::new().protocol(name);
        assert_eq!(fails(named("a\r\nb"), ""), Some(FieldError::Protocol));
        assert_eq!(fails(named(""), ""), Some(FieldError::Protocol));
        let long = "a".repeat(ACCEPT_PROTOCOL_BYTES_MAX + 1);
        assert_eq!(fails(named(&long), ""), Some(FieldError::TooLong));
        assert_eq!(fails(named("a"), "b\r\nc"), Some(FieldError::Value));
        assert_eq!(fails(named(&long[1..]), "b\n"), Some(FieldError::Value));
    }

    #[test]
    fn headers_of_the_handshake_and_of_bodies_are_reserved() {
        for name in [
            "upgrade",
            "Connection",
            "sec-websocket-accept",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Anything",
            "Content-Length",
            "Transfer-Encoding",
        ] {
            let refused = Accept::new().header(name, "a").err();
            assert_eq!(refused, Some(FieldError::Reserved), "{name}");
        }
        let allowed =
            Accept::new().header("Sec-WebSocket", "a").and_then(|a| a.header("Date", "b"));
        assert!(allowed.is_ok());
        assert_eq!(Accept::new().header("A", "b\r\nC: d").err(), Some(FieldError::Value));
        assert_eq!(Accept::new().header("A\r\nC", "d").err(), Some(FieldError::Name));
    }

    #[test]
    fn added_headers_are_bounded() {
        let line_bytes = "X: \r\n".len();
        let fitting = "v".repeat(ACCEPT_HEADER_BYTES_MAX - line_bytes);
        let full = Accept::new().header("X", &fitting).unwrap();
        assert_eq!(full.header("Y", "").err(), Some(FieldError::TooLong));
        let too_long = format!("{fitting}v");
        assert_eq!(Accept::new().header("X", &too_long).err(), Some(FieldError::TooLong));
    }
}
