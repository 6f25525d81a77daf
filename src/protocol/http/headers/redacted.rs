//! Credentials that a gate has used: the loop has overwritten them with `*`, and an upstream must not
//! get what is left of them.
//!
//! A header, a cookie, a pair of the query or an offered subprotocol is removed if its value is nothing
//! but `*`. Everything else stays as received.

use std::borrow::Cow;

use crate::protocol::handshake::field::Fields;
use crate::protocol::handshake::{TOKEN_PREFIX, TOKEN_PROTOCOL};

/// Shorter values are the client's own: any token is longer.
const REDACTED_BYTES_MIN: usize = 16;

const OFFERS: &str = "Sec-WebSocket-Protocol";

fn is_redacted(value: &[u8]) -> bool {
    value.len() >= REDACTED_BYTES_MIN && value.iter().all(|byte| *byte == b'*')
}

/// Whether the client offers a subprotocol whose token a gate has used. The gate's own subprotocol
/// then is not the upstream's, either.
pub(super) fn has_used_offer(fields: Fields<'_>) -> bool {
    fields.items(OFFERS).any(is_used_offer)
}

fn is_used_offer(offer: &[u8]) -> bool {
    offer.strip_prefix(TOKEN_PREFIX.as_bytes()).is_some_and(is_redacted)
}

/// The value of a received header without redacted parts; `None` if nothing is left of it.
pub(super) fn without_redacted<'v>(
    fields: Fields<'_>,
    name: &str,
    value: &'v [u8],
) -> Option<Cow<'v, [u8]>> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if is("Authorization") {
        let credentials = value.rsplit(|byte| matches!(byte, b' ' | b'\t')).next();
        let is_used = credentials.is_some_and(is_redacted);
        return (!is_used).then_some(Cow::Borrowed(value));
    }
    if is("Cookie") {
        return filtered(value, b';', b"; ", |pair| !is_redacted_cookie(pair));
    }
    if is(OFFERS) && has_used_offer(fields) {
        let is_kept = |offer: &[u8]| offer != TOKEN_PROTOCOL.as_bytes() && !is_used_offer(offer);
        return filtered(value, b',', b", ", is_kept);
    }
    Some(Cow::Borrowed(value))
}

/// A pair of a Cookie; the value may be quoted (RFC 6265, 4.1.1).
fn is_redacted_cookie(pair: &[u8]) -> bool {
    let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let value = pair[at + 1..].trim_ascii();
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    is_redacted(unquoted.unwrap_or(value))
}

/// The items of a list that are kept; the list as it is if all are.
fn filtered<'v>(
    list: &'v [u8],
    separator: u8,
    joined_by: &[u8],
    is_kept: impl Fn(&[u8]) -> bool,
) -> Option<Cow<'v, [u8]>> {
    let items = || list.split(|byte| *byte == separator).map(<[u8]>::trim_ascii);
    if items().all(&is_kept) {
        return Some(Cow::Borrowed(list));
    }
    let kept: Vec<&[u8]> = items().filter(|item| is_kept(item)).collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join(joined_by)))
}

/// The query without redacted pairs.
pub(super) fn query_without_redacted(query: &str) -> Option<Cow<'_, str>> {
    let is_kept =
        |pair: &&str| pair.split_once('=').is_none_or(|(_, value)| !is_redacted(value.as_bytes()));
    if query.split('&').all(|pair| is_kept(&pair)) {
        return Some(Cow::Borrowed(query));
    }
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::{EMPTY_SLOTS, Request};

    const USED: &str = "****************";

    /// What is left of a header.
    fn left(name: &str, value: &str) -> Option<String> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n\r\n");
        let mut slots = EMPTY_SLOTS;
        let request = Request::parse(head.as_bytes(), &mut slots).unwrap();
        let left = without_redacted(request.fields, name, value.as_bytes());
        left.map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn used_credentials_are_removed() {
        for (name, value, expected) in [
            ("authorization", format!("Bearer {USED}"), None),
            ("Authorization", format!("bearer\t {USED}*"), None),
            ("Cookie", format!("a=1;t={USED} ;  b=2"), Some("a=1; b=2")),
            ("cookie", format!("t=\"{USED}\""), None),
            ("Sec-WebSocket-Protocol", format!("weir.token, chat,weir.token.{USED}"), Some("chat")),
            ("sec-websocket-protocol", format!("weir.token.{USED},weir.token"), None),
        ] {
            assert_eq!(left(name, &value).as_deref(), expected, "{name}: {value}");
        }
        for (query, expected) in [
            (format!("t={USED}"), None),
            (format!("a=1&t={USED}&b"), Some("a=1&b")),
            (format!("&t={USED}"), Some("")),
        ] {
            assert_eq!(query_without_redacted(&query).as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn other_values_stay_as_received() {
        for (name, value) in [
            ("Authorization", "Bearer *"),
            ("Authorization", "Bearer a"),
            ("Authorization", ""),
            ("Cookie", "a=1;b=*; ;c"),
            ("Sec-WebSocket-Protocol", "weir.token ,weir.token.secret"),
            ("Sec-WebSocket-Protocol", "weir.token.*"),
            ("X-Stars", USED),
        ] {
            assert_eq!(left(name, value).as_deref(), Some(value), "{name}: {value}");
        }
        for query in ["", "*", "a=*&&b=2", USED] {
            assert_eq!(query_without_redacted(query).as_deref(), Some(query));
        }
    }
}
