//! The target of a request (RFC 9112, 3.2).
//!
//! Splits it, and decodes query values on demand. Paths are compared as sent, so nothing is
//! normalised.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::field::{is_host, is_target};

/// Schemes of a target in absolute form (RFC 9112, 3.2.2).
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// A target in origin or absolute form.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) whole: &'a str,
    /// Host and optional port of a target in absolute form.
    pub(super) authority: Option<&'a str>,
    /// Never empty.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `None` if `whole` is in another form, has a fragment (RFC 6455, 3), or is not printable
    /// ASCII.
    pub(super) fn parse(whole: &'a str) -> Option<Target<'a>> {
        if !is_target(whole.as_bytes()) {
            return None;
        }
        let (authority, local) = match whole.starts_with('/') {
            true => (None, whole),
            false => split_authority(whole).map(|(authority, local)| (Some(authority), local))?,
        };
        let (path, query) = match local.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (local, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        Some(Target { whole, authority, path, query })
    }

    /// The first value of `name` in the query that decodes to UTF-8, decoded.
    pub(super) fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key)? == name).then(|| decode(value))?
        })
    }
}

/// The authority, which must be valid, and the rest of the target.
fn split_authority(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let known = SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let is_valid = !authority.is_empty() && is_host(authority.as_bytes());
    (known && is_valid).then_some((authority, local))
}

/// Decodes a key or a value of a query. Not by `form_urlencoded`, which replaces invalid UTF-8 instead
/// of reporting it.
fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('+') {
        return percent_decode_str(raw).decode_utf8().ok();
    }
    let spaced = raw.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_reduced_to_path_and_query() {
        let cases = [
            ("/", "/", None),
            ("/chat?", "/chat", Some("")),
            ("/chat?a=1?b", "/chat", Some("a=1?b")),
            ("http://a:80/chat?x", "/chat", Some("x")),
            ("WSS://[::1]:9/chat", "/chat", None),
            ("http://a", "/", None),
            ("http://a?x=/", "/", Some("x=/")),
            ("//a/b", "//a/b", None),
        ];
        for (whole, path, query) in cases {
            let target = Target::parse(whole).unwrap();
            let found = (target.whole, target.path, target.query);
            assert_eq!(found, (whole, path, query));
        }
        let others = "* a:80 chat /a#b # ?x ftp://a/ http:// http:///x http://u@a/ /\u{e9} /\t";
        for other in others.split(' ').chain(["", "/ "]) {
            assert!(Target::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn query_values_are_decoded() {
        let query =
            "a=1&b=x%20y+z&%63=%E2%82%AC&a=2&flag&bad=%FF&plus=%2B&odd=%zz&=empty&i=%FF&i=3";
        let whole = format!("/?{query}");
        let target = Target::parse(&whole).unwrap();
        let cases = [
            ("a", Some("1")),
            ("b", Some("x y z")),
            ("c", Some("\u{20ac}")),
            ("flag", Some("")),
            ("plus", Some("+")),
            ("odd", Some("%zz")),
            ("", Some("empty")),
            ("i", Some("3")),
            ("bad", None),
            ("missing", None),
        ];
        for (name, expected) in cases {
            assert_eq!(target.query_value(name).as_deref(), expected, "{name}");
        }
        assert_eq!(Target::parse("/").unwrap().query_value("a"), None);
    }
}
