//! Paths on their way to an upstream: what must not pass, and what is removed.
//!
//! Paths are forwarded as sent, neither decoded nor normalised.

/// Whether a server that decodes the path finds a segment `.` or `..` in it: it would serve another
/// path than the one that routes and gates have seen. `%2e`, `%2f` and `%5c` are decoded, and a
/// backslash separates segments, as some servers do. So does a segment's parameter (`..;a`), which
/// some servers drop before they resolve the path.
pub(super) fn has_dot_segment(path: &str) -> bool {
    if !path.contains(['.', '%']) {
        return false;
    }
    let decoded = decode_separators(path);
    decoded.split(|&byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    })
}

/// Whether the path encodes a character that needs no encoding (RFC 3986, 2.3): a server that decodes
/// it serves another path than the one that chose the route (RFC 3986, 6.2.2.2).
pub(super) fn encodes_unreserved(path: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    path.match_indices('%').any(|(at, _)| {
        let digits = path.get(at + 1..at + 3);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).is_some_and(is_unreserved)
    })
}

fn decode_separators(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    loop {
        let (byte, behind) = match rest {
            [] => return decoded,
            [b'%', b'2', b'e' | b'E', behind @ ..] => (b'.', behind),
            [b'%', b'2', b'f' | b'F', behind @ ..] => (b'/', behind),
            [b'%', b'5', b'c' | b'C', behind @ ..] => (b'\\', behind),
            [byte, behind @ ..] => (*byte, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
}

/// The path without its first `count` segments; `/` if nothing is left.
pub(super) fn strip_segments(path: &str, count: usize) -> &str {
    let mut rest = path;
    for _ in 0..count {
        match rest.match_indices('/').nth(1) {
            Some((next, _)) => rest = &rest[next..],
            None => return "/",
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_found_after_decoding() {
        for path in [
            "/.",
            "/..",
            "/./a",
            "/../a",
            "/a/.",
            "/a/..",
            "/a/../b",
            "/public/%2e%2E/admin",
            "/public/.%2e/admin",
            "/public%2f..%2Fadmin",
            "/public/..%2fadmin",
            "/public\\..\\admin",
            "/public%5c..%5Cadmin",
            "/public/..;/admin",
            "/public/..;a=b/admin",
            "/%2e;",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in [
            "/",
            "/a",
            "/...",
            "/a.b/c..",
            "/.well-known/..a",
            "/a;..",
            "/%2e%2e%2e",
            "/%2ea",
            "/a%2eb",
            "/%252e%252e/",
            "/%",
            "/%2",
            "//a",
            "/~/-",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn characters_that_need_no_encoding_are_found() {
        for path in
            ["/%61pi", "/a/%5A", "/%7euser", "/a%2Db", "/a%2eb", "/%30", "/%%61", "/%2561%61"]
        {
            assert!(encodes_unreserved(path), "{path}");
        }
        for path in [
            "/", "/api", "/a%20b", "/%c3%A9", "/%2f", "/%2561pi", "/%", "/%6", "/%+1", "/%6é", "/é",
        ] {
            assert!(!encodes_unreserved(path), "{path}");
        }
    }

    #[test]
    fn a_prefix_is_removed_by_segments() {
        for (path, count, rest) in [
            ("/a/b/c", 0, "/a/b/c"),
            ("/a/b/c", 1, "/b/c"),
            ("/a/b/c", 2, "/c"),
            ("/a/b/c", 3, "/"),
            ("/a/b/c", 9, "/"),
            ("/a/", 1, "/"),
            ("/a", 1, "/"),
            ("/", 1, "/"),
            ("/a//b", 1, "//b"),
            ("//b", 1, "/b"),
        ] {
            assert_eq!(strip_segments(path, count), rest, "{path} by {count}");
        }
    }
}
