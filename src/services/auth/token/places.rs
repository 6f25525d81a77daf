//! Where requests have tokens: `Authorization` (RFC 6750, 2.1), a cookie, the query, or an offered
//! subprotocol, since browsers cannot set headers of a WebSocket.
//!
//! It finds every occurrence in every place of the settings, so that all of them can be overwritten.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::protocol::handshake::{Request, TOKEN_PREFIX};
use crate::protocol::secret::Secret;

const BEARER: &[u8] = b"Bearer";

/// A place where a request may have its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer TOKEN`.
    Header,
    /// The cookie of this name.
    Cookie(String),
    /// The pair of this name in the query.
    Query(String),
    /// An offered subprotocol `weir.token.TOKEN`.
    Protocol,
}

impl FromStr for TokenPlace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<TokenPlace, Self::Err> {
        const EXPECTED: &str = "expected header, cookie:NAME, query:NAME or protocol";
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && name.bytes().all(is_plain)
        };
        match text.split_once(':') {
            None if text == "header" => Ok(TokenPlace::Header),
            None if text == "protocol" => Ok(TokenPlace::Protocol),
            Some(("cookie", name)) if is_name(name) => Ok(TokenPlace::Cookie(name.to_owned())),
            Some(("query", name)) if is_name(name) => Ok(TokenPlace::Query(name.to_owned())),
            _ => Err(EXPECTED),
        }
    }
}

impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenPlace::Header => f.write_str("header"),
            TokenPlace::Cookie(name) => write!(f, "cookie:{name}"),
            TokenPlace::Query(name) => write!(f, "query:{name}"),
            TokenPlace::Protocol => f.write_str("protocol"),
        }
    }
}

/// The tokens of a request.
#[derive(Debug)]
pub(in crate::services::auth) struct Found<'a> {
    pub(in crate::services::auth) token: Choice<'a>,
    /// The parts of the head that must be overwritten, in every place.
    pub(in crate::services::auth) parts: Secret<Vec<&'a [u8]>>,
}

/// The token that counts: that of the first place with one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::services::auth) enum Choice<'a> {
    Missing,
    One(Secret<Cow<'a, str>>),
    /// The place has several.
    Several,
}

/// Finds the tokens of a request in `places`, the first of which has precedence.
pub(in crate::services::auth) fn find<'a>(
    request: &Request<'a>,
    places: &[TokenPlace],
) -> Found<'a> {
    let mut found = Found { token: Choice::Missing, parts: Secret::default() };
    for place in places {
        let parts = parts(request, place);
        if found.token == Choice::Missing {
            found.token = match parts[..] {
                [] => Choice::Missing,
                [part] => Choice::One(Secret(token(place, part))),
                _ => Choice::Several,
            };
        }
        found.parts.extend(parts);
    }
    found
}

/// The parts of the head with a token in one place. Empty ones do not count.
fn parts<'a>(request: &Request<'a>, place: &TokenPlace) -> Vec<&'a [u8]> {
    let field = |name: &'static str| {
        let headers = request.all_headers();
        headers.filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let mut parts: Vec<&[u8]> = match place {
        TokenPlace::Header => field("Authorization").filter_map(bearer).collect(),
        TokenPlace::Cookie(name) => {
            let pairs = field("Cookie").flat_map(|value| value.split(|&byte| byte == b';'));
            pairs.filter_map(|pair| value_of(pair, name)).collect()
        }
        TokenPlace::Query(name) => {
            let pairs = request.query().unwrap_or_default().split('&');
            let pairs = pairs.filter_map(|pair| pair.split_once('='));
            let ours = pairs.filter(|(key, _)| percent_decode_str(key).eq(name.bytes()));
            ours.map(|(_, value)| value.as_bytes()).collect()
        }
        TokenPlace::Protocol => {
            let offers =
                field("Sec-WebSocket-Protocol").flat_map(|value| value.split(|&b| b == b','));
            offers
                .filter_map(|offer| offer.trim_ascii().strip_prefix(TOKEN_PREFIX.as_bytes()))
                .collect()
        }
    };
    parts.retain(|part| !part.is_empty());
    parts
}

/// The token as text. Bytes that no token has become a character that none has, either.
fn token<'a>(place: &TokenPlace, part: &'a [u8]) -> Cow<'a, str> {
    let text = String::from_utf8_lossy(part);
    match (place, text) {
        (TokenPlace::Query(_), Cow::Borrowed(text)) => percent_decode_str(text).decode_utf8_lossy(),
        // A target is ASCII.
        (_, text) => text,
    }
}

/// What follows the scheme, which is case-insensitive (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    let is_blank = rest.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    (is_blank && scheme.eq_ignore_ascii_case(BEARER)).then_some(rest.trim_ascii())
}

/// The value of a cookie with this name, without the quotes that RFC 6265, 4.1.1 permits.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = pair.iter().position(|&byte| byte == b'=')?;
    let (found, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    (found == name.as_bytes()).then_some(unquoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::handshake::EMPTY_SLOTS;

    fn places(names: &str) -> Vec<TokenPlace> {
        names.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    /// The choice, and the number of parts in the request.
    fn found(names: &str, target: &str, lines: &[u8]) -> (String, usize) {
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n").into_bytes();
        head.extend_from_slice(lines);
        head.extend_from_slice(b"\r\n");
        let mut slots = EMPTY_SLOTS;
        let request = Request::parse(&head, &mut slots).unwrap();
        let found = find(&request, &places(names));
        let range = head.as_ptr_range();
        assert!(found.parts.iter().all(|part| range.contains(&part.as_ptr())), "not in the head");
        let token = match found.token {
            Choice::Missing => "-".to_owned(),
            Choice::One(token) => token.0.into_owned(),
            Choice::Several => "several".to_owned(),
        };
        (token, found.parts.len())
    }

    #[test]
    fn a_token_is_found_in_each_place() {
        let is = |names, target, lines: &str, token: &str| {
            assert_eq!(found(names, target, lines.as_bytes()), (token.to_owned(), 1), "{lines}");
        };
        is("header", "/", "authorization: bEARER   a.b.c \r\n", "a.b.c");
        is("header", "/", "Authorization: Basic x\r\nAuthorization: Bearer\ta\r\n", "a");
        is("cookie:t", "/", "Cookie: tt=1; t = \"a.b\" ;T=2\r\n", "a.b");
        is("query:t", "/?x&%74=a%2Eb&tt=1", "", "a.b");
        is("query:t", "http://a/?t=a.b", "", "a.b");
        is(
            "protocol",
            "/",
            "Sec-WebSocket-Protocol: weir.token\r\nsec-websocket-protocol: x , weir.token.a.b\r\n",
            "a.b",
        );
    }

    #[test]
    fn values_that_are_no_token_count_as_missing() {
        let is_missing = |names, target, lines: &str| {
            let found = found(names, target, lines.as_bytes());
            assert_eq!(found, ("-".to_owned(), 0), "{target} {lines}");
        };
        for value in ["Basic YQ==", "Bearer", "Bearer ", "Bearera.b.c", "a.b.c", "Bearer: a", ""] {
            is_missing("header", "/", &format!("Authorization: {value}\r\n"));
        }
        is_missing("cookie:t", "/", "Cookie: T=a; xt=b; t; t=; t=\"\"\r\n");
        is_missing("query:t", "/?T=a&t&t=&%FF=a&x=t=a", "");
        is_missing(
            "protocol",
            "/",
            "Sec-WebSocket-Protocol: weir.token, weir.token., Weir.token.a\r\n",
        );
        is_missing("header query:t", "/?x=1", "Cookie: t=a\r\n");
    }

    #[test]
    fn the_first_place_counts_and_every_occurrence_is_overwritten() {
        let lines = b"Cookie: t=a\r\nAuthorization: Bearer b\r\n\
            Cookie: u=1; t=c\r\nSec-WebSocket-Protocol: weir.token.d\r\n";
        let all = |names| found(names, "/?t=e&t=f", lines);
        assert_eq!(all("header cookie:t query:t protocol"), ("b".to_owned(), 6));
        assert_eq!(all("protocol header"), ("d".to_owned(), 2));
        assert_eq!(all("query:x header"), ("b".to_owned(), 1));
        assert_eq!(all("cookie:t header"), ("several".to_owned(), 3));
        assert_eq!(all("query:t header"), ("several".to_owned(), 3));
        let twice = b"Authorization: Bearer b\r\nAuthorization: Bearer b\r\n";
        assert_eq!(found("header", "/", twice), ("several".to_owned(), 2));
    }

    #[test]
    fn bytes_that_are_no_text_are_overwritten_too() {
        let (token, parts) = found("header", "/", b"Authorization: Bearer a\xff\r\n");
        assert_eq!((&*token, parts), ("a\u{fffd}", 1));
        let (token, parts) = found("cookie:t", "/", b"Cookie: x=\xff; t=a\r\n");
        assert_eq!((&*token, parts), ("a", 1));
    }

    #[test]
    fn places_are_parsed_from_their_own_format() {
        for text in ["header", "protocol", "cookie:a-b", "query:access_token"] {
            assert_eq!(text.parse::<TokenPlace>().unwrap().to_string(), text);
        }
        for text in
            ["", "Header", "cookie", "cookie:", "query:a b", "query:a=b", "body", "header:x"]
        {
            assert!(text.parse::<TokenPlace>().is_err(), "{text}");
        }
    }
}
