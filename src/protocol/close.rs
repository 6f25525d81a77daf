//! Close codes and the payload of a Close frame: RFC 6455, 5.5.1 and 7.4.
//!
//! Knows which codes may appear on the wire. Why a connection ended on our side is the reactor's
//! `CloseReason`; this module only covers what the Close frames carry.

use std::fmt;

use super::ProtocolError;
use super::frame::CONTROL_BYTES_MAX;

/// The longest close reason that fits beside the code.
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// A status code that is valid in a Close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose of the connection has been fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server shuts down, the browser leaves the page, or the peer no longer responds.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The peer violated the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// A type of data that this endpoint does not accept.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// Data that does not match its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// A violation of policy that no other code covers.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message larger than this endpoint accepts.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// An unexpected condition on the server.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// The service restarts: reconnect.
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// The server is overloaded: reconnect later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);

    /// `code` if it may be sent: 7.4.1, 7.4.2 and the IANA registry (1012 to 1014). 1005, 1006
    /// and 1015 "MUST NOT be set as a status code in a Close control frame".
    pub const fn new(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The contents of a Close frame. An empty Close frame is `None` in an `Option<CloseFrame>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The status code.
    pub code: CloseCode,
    /// A reason for humans; may be empty.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// A frame with this code and reason, cut to [`REASON_BYTES_MAX`] between two characters.
    pub fn new(code: CloseCode, reason: &'a str) -> CloseFrame<'a> {
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        CloseFrame { code, reason: &reason[..end] }
    }

    /// Parses the payload of a Close frame.
    ///
    /// # Errors
    /// A payload of one byte, a code that must not be sent (5.5.1, 7.4), or a reason that is not
    /// UTF-8.
    pub fn parse(payload: &'a [u8]) -> Result<Option<CloseFrame<'a>>, ProtocolError> {
        let (code, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(ProtocolError::InvalidClosePayload),
            [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
        };
        let code = CloseCode::new(code).ok_or(ProtocolError::InvalidCloseCode)?;
        let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Some(CloseFrame { code, reason }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sendable_codes_are_accepted() {
        let sendable = |code| CloseCode::new(code).is_some();
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!sendable(code), "{code}");
        }
        for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
            assert!(sendable(code), "{code}");
        }
    }

    #[test]
    fn malformed_payloads_are_rejected() {
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(ProtocolError::InvalidClosePayload));
        assert_eq!(CloseFrame::parse(b"\x03\xED"), Err(ProtocolError::InvalidCloseCode));
        assert_eq!(CloseFrame::parse(b"\x03\xE8\xFF"), Err(ProtocolError::InvalidUtf8));
        let close = CloseFrame::parse(b"\x03\xE8bye").unwrap().unwrap();
        assert_eq!((close.code, close.reason), (CloseCode::NORMAL, "bye"));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let long = "é".repeat(100);
        let frame = CloseFrame::new(CloseCode::NORMAL, &long);
        assert_eq!(frame.reason.len(), 122);
    }
}
