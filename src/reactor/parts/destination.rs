//! The parts of a request that select its route: listener group, path and host.
//!
//! Among the routes found, the subprotocol decides. [`router`](super::router) compares.

use crate::protocol::handshake::Request;

/// The destination of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// The listener group.
    pub(crate) listener_group: u16,
    pub(crate) path: &'a str,
    /// The host, with an optional port.
    pub(crate) host: Option<&'a str>,
}

impl<'a> Destination<'a> {
    pub(crate) fn of(listener_group: u16, request: &Request<'a>) -> Destination<'a> {
        Destination { listener_group, path: request.path(), host: request.host() }
    }
}
