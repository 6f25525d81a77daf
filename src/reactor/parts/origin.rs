//! Compares the Origin of a request (RFC 6454) with a route's list of origins and wildcards.
//!
//! It decides nothing else: [`upgrade`](crate::reactor::effects::upgrade) refuses with 403, and
//! [`cors`](super::cors) adds headers.

use crate::reactor::api::settings::RouteSettings;

/// Whether a route admits requests with this origin, or without one.
pub(crate) fn is_admitted(route: &RouteSettings, origin: Option<&str>) -> bool {
    let may_lack_origin = !route.require_origin && origin.is_none();
    may_lack_origin || is_allowed(&route.origins, origin)
}

/// Whether an `Origin` is on the list. An empty list allows every origin, and requests without one.
pub(crate) fn is_allowed(allowed: &[String], origin: Option<&str>) -> bool {
    allowed.is_empty()
        || origin.is_some_and(|origin| allowed.iter().any(|pattern| matches(pattern, origin)))
}

/// Compares an origin with a pattern, ignoring case; browsers send scheme and host in lower case
/// (RFC 6454, 6.1). A leading `*.` of the host stands for one or more labels, as in a Content
/// Security Policy: `https://*.example.org` matches `https://a.example.org` and
/// `https://b.a.example.org`, but not `https://example.org`. Scheme and port must be equal.
fn matches(pattern: &str, origin: &str) -> bool {
    if pattern.eq_ignore_ascii_case(origin) {
        return true;
    }
    let (Some((scheme, base)), Some((origin_scheme, host))) =
        (pattern.split_once("://*."), origin.split_once("://"))
    else {
        return false;
    };
    let Some((labels, rest)) =
        host.len().checked_sub(base.len()).and_then(|at| host.split_at_checked(at))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case(origin_scheme)
        && rest.eq_ignore_ascii_case(base)
        && labels.strip_suffix('.').is_some_and(|labels| labels.split('.').all(is_label))
}

/// Whether the text is one label of a host name (RFC 1123, 2.1; underscores occur in practice).
fn is_label(label: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !label.is_empty() && label.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_matches_one_or_more_labels() {
        let pattern = "https://*.example.org";
        for origin in
            ["https://a.example.org", "https://b.a.example.org", "HTTPS://A-1.Example.ORG"]
        {
            assert!(matches(pattern, origin), "{origin}");
        }
        for origin in [
            "https://example.org",
            "https://.example.org",
            "https://a..example.org",
            "https://aexample.org",
            "http://a.example.org",
            "https://a.example.org:8443",
            "https://a.example.org.evil.net",
            "https://evil.net/.example.org",
            "https://evil.net:1.example.org",
            "https://u@a.example.org",
            "https://\u{e9}.example.org",
            "https://\u{e9}xample.org",
            "null",
            "",
        ] {
            assert!(!matches(pattern, origin), "{origin}");
        }
        assert!(matches("http://*.a.example:8080", "http://b.a.example:8080"));
        assert!(!matches("http://*.a.example:8080", "http://b.a.example"));
    }

    #[test]
    fn an_empty_list_allows_every_origin() {
        let list = ["https://a.example".to_owned(), "null".to_owned()];
        assert!(is_allowed(&[], None) && is_allowed(&[], Some("https://b.example")));
        assert!(is_allowed(&list, Some("https://A.example")) && is_allowed(&list, Some("null")));
        assert!(!is_allowed(&list, None) && !is_allowed(&list, Some("https://b.example")));
    }
}
