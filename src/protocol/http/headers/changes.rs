//! An operator's own changes to the headers of a route's requests.

use super::super::forwarded::is_alike;
use super::hop::{has_prefix, is_hop_by_hop};
use crate::protocol::handshake::FieldError;
use crate::protocol::handshake::field::{append, is_token};
use crate::protocol::secret::Secret;

/// Headers that a route's options must not change, besides those of one connection: they decide
/// where a request goes and where its body ends.
const OWN: [&str; 3] = ["Content-Length", "Expect", "Host"];

const HANDSHAKE_PREFIX: &str = "Sec-WebSocket-";

/// The headers that a route sets and removes, after all other rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// The headers that are not forwarded as received: removed ones, and those that are set.
    dropped: Vec<Box<str>>,
    /// Validated header lines, each with its CR LF.
    pub(super) lines: Secret<Vec<u8>>,
}

impl HeaderChanges {
    /// Removes the headers `remove`, and sends the headers `set` instead of received ones.
    ///
    /// # Errors
    ///
    /// A name is not a token, or belongs to one connection, to the body or to the handshake; a value
    /// is not printable ASCII.
    pub fn new<'a>(
        set: impl IntoIterator<Item = (&'a str, &'a str)>,
        remove: impl IntoIterator<Item = &'a str>,
    ) -> Result<HeaderChanges, FieldError> {
        let mut changes = HeaderChanges::default();
        for name in remove {
            changes.drop_received(name)?;
        }
        for (name, value) in set {
            changes.drop_received(name)?;
            append(&mut changes.lines, name, value, &[])?;
        }
        Ok(changes)
    }

    fn drop_received(&mut self, name: &str) -> Result<(), FieldError> {
        if !is_token(name.as_bytes()) {
            return Err(FieldError::Name);
        }
        let is_own = OWN.iter().any(|own| is_alike(name, own));
        if is_own || is_hop_by_hop(name) || has_prefix(name, HANDSHAKE_PREFIX) {
            return Err(FieldError::Reserved);
        }
        self.dropped.push(name.into());
        Ok(())
    }

    /// Whether a header is not forwarded as received.
    pub(super) fn drops(&self, name: &str) -> bool {
        self.dropped.iter().any(|dropped| dropped.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_reserved_headers_are_rejected() {
        let set = |name, value| HeaderChanges::new([(name, value)], []).err();
        let remove = |name| HeaderChanges::new([], [name]).err();
        for name in [
            "connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "transfer-encoding",
            "Transfer_Encoding",
            "Upgrade",
            "Proxy-Authorization",
            "Sec-WebSocket-Protocol",
            "sec-websocket-x",
            "Host",
            "Content-Length",
            "Expect",
        ] {
            assert_eq!(set(name, "a"), Some(FieldError::Reserved), "{name}");
            assert_eq!(remove(name), Some(FieldError::Reserved), "{name}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
            assert_eq!(set(name, "a"), Some(FieldError::Name), "{name:?}");
            assert_eq!(remove(name), Some(FieldError::Name), "{name:?}");
        }
        for value in ["a\r\nX: y", "a\0", "\u{e9}"] {
            assert_eq!(set("A", value), Some(FieldError::Value), "{value:?}");
        }
        for name in ["X-Forwarded-For", "Cookie", "Sec-WebSocket", "Proxy", "Server"] {
            assert_eq!((set(name, "a"), remove(name)), (None, None), "{name}");
        }
    }
}
