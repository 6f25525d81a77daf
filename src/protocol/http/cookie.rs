//! Cookies of a proxy's own (RFC 6265): finds one in a request, and writes one for a response.

use crate::protocol::handshake::field::is_token;
use crate::protocol::handshake::{FieldError, Request};

/// The value of the first cookie with this name, as sent. Names are case-sensitive.
pub fn cookie<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    request.headers("Cookie").flat_map(|value| value.split(';')).find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found.trim_ascii() == name).then_some(value.trim_ascii())
    })
}

/// The value of Set-Cookie for a cookie that ties a client to an upstream: for all paths, hidden from
/// scripts, and not sent by other sites' requests.
///
/// # Errors
///
/// `name` or `value` is not a token (RFC 6265, 4.1.1, permits more in a value).
pub fn sticky_cookie(name: &str, value: &str, is_secure: bool) -> Result<String, FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    if !is_token(value.as_bytes()) {
        return Err(FieldError::Value);
    }
    let secure = if is_secure { "; Secure" } else { "" };
    Ok(format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    #[test]
    fn cookies_are_found_by_their_exact_name() {
        let found = |lines: &str, name: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let mut slots = EMPTY_SLOTS;
            let request = Request::parse(head.as_bytes(), &mut slots).unwrap();
            cookie(&request, name).map(str::to_owned)
        };
        let lines = "Cookie: a=1; ab=2;b = 3\r\ncookie: c==4=; a=5; d\r\n";
        for (name, value) in [("a", "1"), ("ab", "2"), ("b", "3"), ("c", "=4=")] {
            assert_eq!(found(lines, name).as_deref(), Some(value), "{name}");
        }
        for name in ["A", "d", "", "1"] {
            assert_eq!(found(lines, name), None, "{name}");
        }
        assert_eq!(found("", "a"), None);
    }

    #[test]
    fn the_cookie_is_limited_to_the_site() {
        let cookie = "u=0f; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(sticky_cookie("u", "0f", false).as_deref(), Ok(cookie));
        let secure = format!("{cookie}; Secure");
        assert_eq!(sticky_cookie("u", "0f", true), Ok(secure));
    }

    #[test]
    fn names_and_values_cannot_add_attributes_or_lines() {
        for text in ["", "a b", "a=b", "a;b", "a\r\nX: y", "\u{e9}"] {
            assert_eq!(sticky_cookie(text, "0f", false), Err(FieldError::Name), "{text:?}");
            assert_eq!(sticky_cookie("u", text, false), Err(FieldError::Value), "{text:?}");
        }
    }
}
