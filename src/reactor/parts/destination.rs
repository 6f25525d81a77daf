//! What of a request decides on its route: the listener group, path and host. The subprotocol comes after.

use crate::protocol::handshake::Request;

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// The listener group.
    pub(crate) site: u16,
    pub(crate) path: &'a str,
    /// With an optional port.
    pub(crate) host: Option<&'a str>,
}

impl<'a> Destination<'a> {
    pub(crate) fn of(site: u16, request: &Request<'a>) -> Destination<'a> {
        Destination { site, path: request.path(), host: request.host() }
    }
}
