//! Tokens that come in messages of open connections: what a gate gets, and why one was not passed on.
//!
//! [`effects::present`](crate::reactor::effects::present) carries them to their gate and back.

use std::fmt;
use std::net::SocketAddr;

use super::budget::{PRESENTED_BYTES_MAX, PRESENTED_MAX};
use super::id::RouteId;

/// A token that came in a message of an open connection, for a [`Gate`](crate::reactor::Gate).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct TokenRequest<'a> {
    /// The token.
    pub token: &'a str,
    /// The route of the connection.
    pub route: RouteId,
    /// The client's address. If a proxy in
    /// [`trusted_proxies`](field@super::settings::Settings::trusted_proxies) stated it, its port is 0.
    pub peer: SocketAddr,
}

/// Omits the token.
impl fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TokenRequest");
        shown.field("route", &self.route).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Why a token was not passed to a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresentError {
    /// The connection has ended, is not open, or belongs to another service.
    Gone,
    /// The route of the connection has no gate.
    NoGate,
    /// The gate has not decided on the connection's last token yet.
    Pending,
    /// [`PRESENTED_MAX`] tokens wait for a verdict.
    Full,
    /// The token is longer than [`PRESENTED_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for PresentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PresentError::Gone => f.write_str("the connection has ended or is not open"),
            PresentError::NoGate => f.write_str("the route has no gate"),
            PresentError::Pending => f.write_str("the last token of the connection is pending"),
            PresentError::Full => write!(f, "{PRESENTED_MAX} tokens are pending"),
            PresentError::TooLong => write!(f, "the token exceeds {PRESENTED_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for PresentError {}
