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
