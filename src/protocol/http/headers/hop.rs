//! Headers that belong to one connection, between two neighbours (RFC 9110, 7.6.1).
//!
//! They are removed in both directions; `request` and `response` write those of our own connections.

use super::super::forwarded::is_alike;
use crate::protocol::handshake::field::Fields;

/// Headers that belong to one connection. So are all that start with [`PROXY_PREFIX`].
const HOP_BY_HOP: [&str; 7] =
    ["Connection", "HTTP2-Settings", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade"];

const PROXY_PREFIX: &str = "Proxy-";

/// Maximum number of items in Connection: each is compared with each header.
const CONNECTION_ITEMS_MAX: usize = 64;

/// Whether a header belongs to one connection and is not forwarded. `_` counts as `-`: a server behind
/// CGI or WSGI would read `Transfer_Encoding` as `Transfer-Encoding`.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|own| is_alike(name, own)) || has_prefix(name, PROXY_PREFIX)
}

/// Whether `name` starts with `prefix`, in any case, with `_` for `-`.
pub(super) fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| is_alike(start, prefix))
}

/// Whether Connection names this header.
pub(super) fn is_nominated(fields: Fields<'_>, name: &str) -> bool {
    fields.has_token("Connection", name)
}

/// Whether Connection has more items than are compared.
pub(super) fn nominates_too_many(fields: Fields<'_>) -> bool {
    fields.items("Connection").nth(CONNECTION_ITEMS_MAX).is_some()
}

/// Appends a received header. Its name is a token, and its value has no line end.
pub(super) fn append_received(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
