//! Checks a server's answer to the opening handshake (RFC 6455, 4.1).
//!
//! Redirects and authentication are left to the caller: any status but 101 is an error that
//! contains the status.

use std::fmt;

use super::field::Fields;
use super::head::{EMPTY_SLOTS, is_whole};
use super::key::accept_key;
use super::refusal::Refusal;
use crate::protocol::deflate::agreement::Agreement;
use crate::protocol::deflate::offer::Offer;
use crate::protocol::secret::Secret;

/// Separates the offered subprotocols.
pub(super) const SEPARATOR: &str = ", ";

/// Why a server's answer does not open a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientError {
    /// The head is not valid HTTP/1.1.
    Malformed,
    /// The head exceeds its limit in bytes or headers.
    HeadTooLong,
    /// The status is not 101: the server answered with an HTTP response.
    Status(u16),
    /// `Upgrade` is not `websocket`.
    Upgrade,
    /// `Connection` lacks `upgrade`.
    Connection,
    /// `Sec-WebSocket-Accept` does not match our key.
    Accept,
    /// An extension that was not offered, or with parameters that do not match the offer.
    Extension,
    /// A subprotocol that was not offered, or more than one.
    Protocol,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Malformed => f.write_str("malformed response"),
            ClientError::HeadTooLong => f.write_str("response head is too long"),
            ClientError::Status(status) => write!(f, "server responded with status {status}"),
            ClientError::Upgrade => f.write_str("response has no Upgrade: websocket"),
            ClientError::Connection => f.write_str("response has no Connection: upgrade"),
            ClientError::Accept => f.write_str("wrong Sec-WebSocket-Accept"),
            ClientError::Extension => f.write_str("server chose an extension that was not offered"),
            ClientError::Protocol => f.write_str("server chose a subprotocol that was not offered"),
        }
    }
}

impl std::error::Error for ClientError {}

/// The errors of [`HeadScan`](super::HeadScan).
impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> ClientError {
        match refusal {
            Refusal::HeadTooLong | Refusal::TooManyHeaders => ClientError::HeadTooLong,
            _ => ClientError::Malformed,
        }
    }
}

/// The expected answer to one [`ClientRequest`](super::ClientRequest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    accept: [u8; 28],
    /// As offered; empty (and not allocated) if none was offered.
    protocols: Secret<Box<str>>,
    /// The offer of permessage-deflate, if there was one.
    deflate: Option<Offer>,
}

/// What client and server agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// The index of the server's choice among the offered subprotocols, if it chose one.
    pub protocol: Option<usize>,
    /// The parameters of permessage-deflate, if the server agreed to it.
    pub deflate: Option<Agreement>,
}

impl Expected {
    /// Derives the expected answer from the key and the offers that were sent.
    pub(super) fn new(key: &[u8], protocols: &str, deflate: Option<Offer>) -> Expected {
        Expected { accept: accept_key(key), protocols: Secret(protocols.into()), deflate }
    }

    /// Checks the complete head that [`HeadScan`](super::HeadScan) found, without any bytes after
    /// it.
    ///
    /// # Errors
    ///
    /// The first error, in the order of RFC 6455, 4.1.
    pub fn check(&self, head: &[u8]) -> Result<Settled, ClientError> {
        if !is_whole(head)? {
            return Err(ClientError::Malformed);
        }
        let mut slots = EMPTY_SLOTS;
        let mut parsed = httparse::Response::new(&mut slots.0);
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

    /// Items 2 to 6 of the client's validation in RFC 6455, 4.1.
    fn check_fields(&self, fields: Fields<'_>) -> Result<Settled, ClientError> {
        check_switch(fields, &self.accept)?;
        let deflate = self.check_extensions(fields)?;
        if !fields.has("Sec-WebSocket-Protocol") {
            return Ok(Settled { protocol: None, deflate });
        }
        let chosen = fields.sole("Sec-WebSocket-Protocol");
        match chosen.and_then(|name| self.position(name)) {
            Some(index) => Ok(Settled { protocol: Some(index), deflate }),
            None => Err(ClientError::Protocol),
        }
    }

    /// An empty list is valid and chooses nothing; some servers send it.
    fn check_extensions(&self, fields: Fields<'_>) -> Result<Option<Agreement>, ClientError> {
        let mut values = fields.values("Sec-WebSocket-Extensions");
        match self.deflate {
            Some(offer) => offer.check(values).map_err(|_| ClientError::Extension),
            None if values.any(|value| !value.is_empty()) => Err(ClientError::Extension),
            None => Ok(None),
        }
    }

    /// The subprotocol that was offered at this index.
    pub fn offered(&self, index: usize) -> Option<&str> {
        self.protocols.split(SEPARATOR).nth(index).filter(|name| !name.is_empty())
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        let mut offered = self.protocols.split(SEPARATOR);
        offered.position(|offered| !name.is_empty() && offered.as_bytes() == name)
    }
}

/// Items 2 to 4 of the client's validation in RFC 6455, 4.1: the server switches to WebSocket, and
/// has read the key whose `Sec-WebSocket-Accept` is `accept`.
pub(in crate::protocol) fn check_switch(
    fields: Fields<'_>,
    accept: &[u8; 28],
) -> Result<(), ClientError> {
    let upgrade = fields.sole("Upgrade").unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case(b"websocket") {
        return Err(ClientError::Upgrade);
    }
    if !fields.has_token("Connection", "upgrade") {
        return Err(ClientError::Connection);
    }
    if fields.sole("Sec-WebSocket-Accept") != Some(accept) {
        return Err(ClientError::Accept);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                          Connection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    /// The result for the RFC's answer with `from` replaced by `to`.
    fn altered(from: &str, to: &str) -> Result<Option<usize>, ClientError> {
        assert!(ANSWER.contains(from), "{from:?}");
        let expected = Expected::new(KEY, "chat, superchat", None);
        let settled = expected.check(ANSWER.replace(from, to).as_bytes())?;
        assert_eq!(settled.deflate, None);
        Ok(settled.protocol)
    }

    fn answered_with(lines: &str) -> Result<Option<usize>, ClientError> {
        altered("\r\n\r\n", &format!("\r\n{lines}\r\n"))
    }

    #[test]
    fn valid_answers_are_accepted() {
        assert_eq!(altered("websocket", "WebSocket"), Ok(None));
        assert_eq!(altered(": Upgrade", ": keep-alive, upgrade"), Ok(None));
        assert_eq!(altered("Sec-WebSocket-Accept", "sec-websocket-accept"), Ok(None));
        assert_eq!(altered(" Switching Protocols", ""), Ok(None));
        assert_eq!(answered_with("Sec-WebSocket-Extensions: \r\n"), Ok(None));
        for (index, name) in ["chat", "superchat"].into_iter().enumerate() {
            let line = format!("sec-websocket-protocol: {name}\r\n");
            assert_eq!(answered_with(&line), Ok(Some(index)));
        }
    }

    #[test]
    fn every_error_in_an_answer_is_found() {
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
    fn a_subprotocol_without_an_offer_is_rejected() {
        let expected = Expected::new(KEY, "", None);
        assert_eq!(expected.check(ANSWER.as_bytes()), Ok(Settled::default()));
        for name in ["chat", ""] {
            let line = format!("\r\nSec-WebSocket-Protocol: {name}\r\n\r\n");
            let answer = ANSWER.replace("\r\n\r\n", &line);
            let outcome = expected.check(answer.as_bytes());
            assert_eq!(outcome, Err(ClientError::Protocol), "{name:?}");
        }
    }

    #[test]
    fn the_answer_to_an_offer_of_deflate_is_checked() {
        let expected = Expected::new(KEY, "", Some(Offer { takeover: true }));
        let answered = |value: &str| {
            let line = format!("\r\nSec-WebSocket-Extensions: {value}\r\n\r\n");
            let answer = ANSWER.replace("\r\n\r\n", &line);
            expected.check(answer.as_bytes()).map(|settled| settled.deflate.is_some())
        };
        assert_eq!(expected.check(ANSWER.as_bytes()), Ok(Settled::default()));
        assert_eq!(answered(""), Ok(false));
        assert_eq!(answered("permessage-deflate; client_max_window_bits=10"), Ok(true));
        for value in
            ["permessage-deflate; a=b", "other", "permessage-deflate; client_max_window_bits"]
        {
            assert_eq!(answered(value), Err(ClientError::Extension), "{value}");
        }
        let twice = "permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate";
        assert_eq!(answered(twice), Err(ClientError::Extension));
    }
}
