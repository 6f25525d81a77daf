//! The payload of a Close frame: RFC 6455, 5.5.1.
//!
//! The codes that may appear on the wire are in `close_code.rs`. Why a connection ended on our side is
//! the reactor's `CloseReason`; this module only covers what the Close frames carry.

use super::close_code::CloseCode;
use super::error::ProtocolError;
use super::frame::CONTROL_BYTES_MAX;

/// The contents of a Close frame. An empty Close frame is `None` in an `Option<CloseFrame>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The status code.
    pub code: CloseCode,
    /// A reason for humans; may be empty.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// The longest reason, in bytes, that fits beside the code in a control frame (5.5): 123.
    pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

    /// A frame with this code and reason. A reason above
    /// [`REASON_BYTES_MAX`](CloseFrame::REASON_BYTES_MAX) is cut between two characters.
    pub fn new(code: CloseCode, reason: &'a str) -> CloseFrame<'a> {
        // `floor_char_boundary` needs Rust 1.91, a release more than the dependencies do.
        let fitting = 0..=reason.len().min(Self::REASON_BYTES_MAX);
        let end = fitting.rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
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
