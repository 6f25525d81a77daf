//! The status codes that may appear in a Close frame: RFC 6455, 7.4.

use std::fmt;

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

    /// The client must authenticate, or do it again (IANA registry).
    pub const UNAUTHORIZED: CloseCode = CloseCode(3000);
    /// The client may not do this (IANA registry).
    pub const FORBIDDEN: CloseCode = CloseCode(3003);

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
