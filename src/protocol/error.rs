//! Every violation of the protocol that a peer can commit, and its close code.

use std::fmt;

use super::close_code::CloseCode;
use super::utf8::InvalidUtf8;

/// Why the connection must be failed (RFC 6455, 7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV1, RSV2 or RSV3 without an extension that gives it a meaning (5.2), or RSV1 where
    /// permessage-deflate gives it none (RFC 7692, 6).
    ReservedBits,
    /// An undefined opcode (5.2).
    ReservedOpcode,
    /// A client's frame without a mask (5.1).
    Unmasked,
    /// A server's frame with a mask (5.1).
    Masked,
    /// A control frame without FIN (5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (5.5).
    OversizedControl,
    /// A length in a longer form than it needs (5.2).
    NonMinimalLength,
    /// A length with the highest bit set (5.2).
    LengthOverflow,
    /// A continuation frame without a message to continue (5.4).
    UnexpectedContinuation,
    /// A new message before the last one is finished (5.4).
    ExpectedContinuation,
    /// A Close payload of one byte (5.5.1).
    InvalidClosePayload,
    /// A close code that must not be sent (7.4).
    InvalidCloseCode,
    /// Text, or a close reason, that is not UTF-8 (8.1).
    InvalidUtf8,
    /// A frame or an assembled message above the limit (7.4.1, 10.4).
    MessageTooBig,
    /// A message whose last fragment did not arrive in time (10.4).
    FragmentTimeout,
    /// A compressed message that is not valid DEFLATE data (RFC 7692, 7.2.2).
    InvalidDeflate,
}

impl ProtocolError {
    /// All errors, in the order above.
    pub const ALL: [ProtocolError; 16] = [
        ProtocolError::ReservedBits,
        ProtocolError::ReservedOpcode,
        ProtocolError::Unmasked,
        ProtocolError::Masked,
        ProtocolError::FragmentedControl,
        ProtocolError::OversizedControl,
        ProtocolError::NonMinimalLength,
        ProtocolError::LengthOverflow,
        ProtocolError::UnexpectedContinuation,
        ProtocolError::ExpectedContinuation,
        ProtocolError::InvalidClosePayload,
        ProtocolError::InvalidCloseCode,
        ProtocolError::InvalidUtf8,
        ProtocolError::MessageTooBig,
        ProtocolError::FragmentTimeout,
        ProtocolError::InvalidDeflate,
    ];

    /// The code for our Close frame.
    pub fn close_code(self) -> CloseCode {
        match self {
            ProtocolError::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            ProtocolError::MessageTooBig => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// A name in snake case for metrics and logs. Errors that point to a setting or to a type of
    /// data have a name each; other violations share one.
    pub fn name(self) -> &'static str {
        match self {
            ProtocolError::InvalidUtf8 => "invalid_utf8",
            ProtocolError::MessageTooBig => "too_big",
            ProtocolError::FragmentTimeout => "fragment_timeout",
            ProtocolError::InvalidDeflate => "invalid_deflate",
            _ => "protocol",
        }
    }

    /// The reason in our Close frame, and the text in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            ProtocolError::ReservedBits => "reserved bit set",
            ProtocolError::ReservedOpcode => "reserved opcode",
            ProtocolError::Unmasked => "client frame not masked",
            ProtocolError::Masked => "server frame masked",
            ProtocolError::FragmentedControl => "fragmented control frame",
            ProtocolError::OversizedControl => "control frame over 125 bytes",
            ProtocolError::NonMinimalLength => "payload length not in its shortest form",
            ProtocolError::LengthOverflow => "payload length above 2^63 - 1",
            ProtocolError::UnexpectedContinuation => "continuation without a message",
            ProtocolError::ExpectedContinuation => "new message inside an unfinished one",
            ProtocolError::InvalidClosePayload => "close payload of one byte",
            ProtocolError::InvalidCloseCode => "invalid close code",
            ProtocolError::InvalidUtf8 => "invalid UTF-8",
            ProtocolError::MessageTooBig => "message too big",
            ProtocolError::FragmentTimeout => "message not finished in time",
            ProtocolError::InvalidDeflate => "invalid compressed data",
        }
    }
}

impl From<InvalidUtf8> for ProtocolError {
    fn from(_: InvalidUtf8) -> ProtocolError {
        ProtocolError::InvalidUtf8
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for ProtocolError {}
