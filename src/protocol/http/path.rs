//! Paths on their way to an upstream: their normal form, what must not pass, and what is removed.
//!
//! Routes compare decoded segments, so a path and its normal form have the same route. An upstream
//! gets the normal form. What is left of encodings, and empty segments, may change a path for a server
//! that decodes and merges more than RFC 3986 allows: [`lenient_path`] is its reading.

use std::borrow::Cow;

/// Whether a server that decodes the path finds a segment `.` or `..` in it: it would serve another
/// path than the one that routes and gates have seen. `%2e`, `%2f` and `%5c` are decoded, and a
/// backslash separates segments, as some servers do. So does a segment's parameter (`..;a`), which
/// some servers drop before they resolve the path.
#[cfg(feature = "proxy")]
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

/// Whether the path has an encoded NUL: a server may end the path there.
#[cfg(feature = "proxy")]
pub(super) fn has_nul(path: &str) -> bool {
    path.contains("%00")
}

/// The normal form of a path (RFC 3986, 6.2.2.1 and 6.2.2.2): characters that need no encoding are
/// decoded, and hexadecimal digits are uppercase. Dot segments stay.
pub fn normalized_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, behind)) = rest.split_once('%') {
        normal += plain;
        rest = behind;
        match behind.split_at_checked(2).and_then(|(digits, _)| octet(digits)) {
            Some(octet) if is_unreserved(octet) => normal.push(char::from(octet)),
            Some(octet) => normal += &format!("%{octet:02X}"),
            None => {
                normal.push('%');
                continue;
            }
        }
        rest = &behind[2..];
    }
    normal += rest;
    normal.into()
}

/// The octet that two hexadecimal digits stand for.
fn octet(digits: &str) -> Option<u8> {
    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Whether an octet is an unreserved character (RFC 3986, 2.3).
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)
}

/// The path that a lenient server finds: encoded separators are decoded, backslashes are slashes,
/// parameters of segments (`;a=b`) are dropped, and empty segments merged. `None` if it is the same.
#[cfg(feature = "proxy")]
pub(crate) fn lenient_path(path: &str) -> Option<String> {
    if !path.contains(['%', '\\', ';']) && !path.contains("//") {
        return None;
    }
    let decoded = decode_separators(path);
    let decoded = String::from_utf8_lossy(&decoded).replace('\\', "/");
    let name = |segment: &'_ str| segment.split(';').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = decoded.split('/').map(name).collect();
    let last = names.pop().unwrap_or_default();
    let mut lenient = String::from("/");
    for name in names.iter().filter(|name| !name.is_empty()) {
        lenient = lenient + name + "/";
    }
    lenient += &last;
    (lenient != path).then_some(lenient)
}

#[cfg(feature = "proxy")]
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
#[cfg(feature = "proxy")]
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

#[cfg(all(test, feature = "proxy"))]
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
    fn the_normal_form_decodes_what_needs_no_encoding() {
        for (path, normal) in [
            ("/", "/"),
            ("/api", "/api"),
            ("/%61pi", "/api"),
            ("/%41%5a%30%2D%2e%5f%7E", "/AZ0-._~"),
            ("/%7euser/%7Efile", "/~user/~file"),
            ("/a%20b%2fc", "/a%20b%2Fc"),
            ("/%c3%A9/%e2%82%ac", "/%C3%A9/%E2%82%AC"),
            ("/%2561pi", "/%2561pi"),
            ("/%%61", "/%a"),
            ("/%", "/%"),
            ("/%6", "/%6"),
            ("/%6g%61", "/%6ga"),
            ("/%+1%2b1", "/%+1%2B1"),
            ("/%6\u{e9}", "/%6\u{e9}"),
            ("/%2e%2e/", "/../"),
        ] {
            assert_eq!(normalized_path(path), normal, "{path}");
            assert!(path == "/%%61" || normalized_path(normal) == normal, "{normal}");
        }
    }

    #[test]
    fn a_lenient_server_decodes_separators_and_merges_slashes() {
        for (path, lenient) in [
            ("//api/x", "/api/x"),
            ("/api//x///y/", "/api/x/y/"),
            ("//", "/"),
            ("/api%2Fx", "/api/x"),
            ("/api%5cx", "/api/x"),
            ("/api\\x", "/api/x"),
            ("/%2fapi", "/api"),
            ("/api;v=1/x;y", "/api/x"),
            ("/;/api", "/api"),
            ("/api/%2F", "/api/"),
        ] {
            assert_eq!(lenient_path(path).as_deref(), Some(lenient), "{path}");
        }
        for path in ["/", "/api", "/api/", "/a%20b", "/%252f", "/a.b/~c"] {
            assert_eq!(lenient_path(path), None, "{path}");
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
