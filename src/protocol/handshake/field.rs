//! Header fields: validation (RFC 9110, 5) and lookup in a parsed head.
//!
//! A caller's header gets into a head only through [`append`], so that no string can inject a line.
//! Received values are bytes; nothing is copied.

use std::fmt;

/// Why a string must not be written into a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldError {
    /// A header name is not a token.
    Name,
    /// A header value contains a byte other than printable ASCII, space and tab.
    Value,
    /// weir writes this header itself.
    Reserved,
    /// Not a host with an optional port.
    Host,
    /// A path must begin with `/`, be printable ASCII without spaces, and have no fragment.
    Path,
    /// A subprotocol must be a token and be offered once (RFC 6455, 4.1, item 10).
    Protocol,
    /// The accepted subprotocol is not one that the client offered (RFC 6455, 4.2.2).
    NotOffered,
    /// The headers of a service, or its subprotocol, exceed their limit in bytes.
    TooLong,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldError::Name => "header name is not a token",
            FieldError::Value => "header value is not printable ASCII",
            FieldError::Reserved => "header is set by weir and cannot be added",
            FieldError::Host => "invalid host",
            FieldError::Path => "invalid path",
            FieldError::Protocol => "subprotocol is not a token, or is offered twice",
            FieldError::NotOffered => "subprotocol was not offered by the client",
            FieldError::TooLong => "headers or subprotocol exceed their limit in bytes",
        })
    }
}

impl std::error::Error for FieldError {}

/// Whether `byte` is valid in a token (RFC 9110, 5.6.2).
pub(in crate::protocol) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `bytes` are a token: not empty, no separators, no blanks.
pub(in crate::protocol) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// Whether every byte is printable ASCII, space or tab. Required of headers that we write, and of
/// received headers that decisions depend on.
pub(in crate::protocol) fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|&byte| matches!(byte, b'\t' | b' '..=b'~'))
}

/// Whether all bytes are valid in a host and port (RFC 3986, 3.2.2): no user, no path.
pub(in crate::protocol) fn is_host(host: &[u8]) -> bool {
    host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}

/// Whether `target` is printable ASCII without blanks or a fragment (RFC 3986, 2; RFC 6455, 3).
pub(super) fn is_target(target: &[u8]) -> bool {
    target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Appends `name: value`, or leaves `out` unchanged on an error. The name must be a token and not
/// in `reserved`, the value printable.
pub(in crate::protocol) fn append(
    out: &mut Vec<u8>,
    name: &str,
    value: &str,
    reserved: &[&str],
) -> Result<(), FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    if !is_plain(value.as_bytes()) {
        return Err(FieldError::Value);
    }
    if reserved.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(FieldError::Reserved);
    }
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// The header fields of a parsed head; names are case-insensitive.
#[derive(Clone, Copy)]
pub(in crate::protocol) struct Fields<'a>(pub(in crate::protocol) &'a [httparse::Header<'a>]);

impl<'a> Fields<'a> {
    /// Every field, in order, with the name as received.
    pub(in crate::protocol) fn all(self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let Fields(headers) = self;
        headers.iter().map(|header| (header.name, header.value))
    }

    /// Every value of `name`, in order.
    pub(in crate::protocol) fn values<'n>(
        self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        let Fields(headers) = self;
        headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// Whether `name` is present.
    pub(in crate::protocol) fn has(self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The value of `name` if it is present exactly once.
    pub(in crate::protocol) fn sole(self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The items of `name` as one comma list over all its occurrences (RFC 9110, 5.3), trimmed.
    pub(in crate::protocol) fn items<'n>(
        self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a, 'n> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
    }

    /// Whether a field is present whose name starts with `prefix`.
    pub(in crate::protocol) fn has_prefix(self, prefix: &str) -> bool {
        let Fields(headers) = self;
        let begins = |name: &str| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        headers.iter().any(|header| begins(header.name))
    }

    /// Whether the comma list `name` contains `token`, case-insensitively.
    pub(in crate::protocol) fn has_token(self, name: &str, token: &str) -> bool {
        self.items(name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_string_can_inject_a_line() {
        let mut out = Vec::new();
        let mut fails = |name, value| append(&mut out, name, value, &["Host"]).err();
        for name in ["", "a b", "a:", "a\r\nb", "a\0", "\u{e9}"] {
            assert_eq!(fails(name, "v"), Some(FieldError::Name), "{name:?}");
        }
        for value in ["\r", "\n", "v\r\nSet-Cookie: x", "\0", "\u{7f}", "\u{e9}"] {
            assert_eq!(fails("a", value), Some(FieldError::Value), "{value:?}");
        }
        assert_eq!(fails("hOST", "v"), Some(FieldError::Reserved));
        assert!(out.is_empty());
        append(&mut out, "A", "b c", &["Host"]).unwrap();
        assert_eq!(out, b"A: b c\r\n");
    }
}
