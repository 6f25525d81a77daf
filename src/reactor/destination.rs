//! What of a request decides on its route: the listener group, path and host. The subprotocol comes after.

use crate::protocol::handshake::Request;

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The listener group.
    pub(super) site: u16,
    pub(super) path: &'a str,
    /// With an optional port.
    pub(super) host: Option<&'a str>,
}

impl<'a> Destination<'a> {
    pub(super) fn of(site: u16, request: &Request<'a>) -> Destination<'a> {
        Destination { site, path: request.path(), host: request.host() }
    }
}
