//! The settings of one route of the proxy. Those of its pool are [`PoolSettings`].
//!
//! [`PoolSettings`]: crate::upstream::PoolSettings

use std::fmt;
use std::str::FromStr;

use crate::reactor::ClientLost;
use crate::reactor::budget::READ_BYTES;
use crate::reactor::settings::with_setters;
use crate::upstream::is_token;

/// One read, and the longest frame header (RFC 6455, 5.2).
const READ_AND_HEADER_BYTES: usize = READ_BYTES + 14;

with_setters! {
    /// The settings of one route of the proxy.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ProxySettings {
        /// The name of the pool.
        pub pool: String = pool,
        /// The `Host` of requests to upstreams.
        pub host: HostHeader = HostHeader::Keep,
        /// The headers that state the client's address.
        pub forwarded: ForwardedHeaders = ForwardedHeaders::X,
        /// Segments that are removed from the start of the path.
        pub strip_prefix: usize = 0,
        /// Whether requests without an upgrade get 426.
        pub websocket_only: bool = false,
        /// Headers that are set in requests to upstreams.
        pub set_headers: Vec<HeaderLine> = Vec::new(),
        /// Headers that are removed from requests to upstreams.
        pub remove_headers: Vec<HeaderName> = Vec::new(),
        /// Frames of up to this many bytes are forwarded whole; longer ones as fragments of at
        /// least as many.
        pub hold_bytes_max: usize = 64 * 1024,
        /// Whether weir pings the ends of a tunnel.
        pub tunnel_pings: bool = true,
        /// How the upstream's side ends if the client is lost without a Close.
        pub client_lost: ClientLost = ClientLost::End,
    }

    /// A route to the pool of this name, with default settings.
    pub fn new(pool: String);
}

impl ProxySettings {
    /// The [`outbox_room_bytes`](crate::reactor::settings::RouteSettings::outbox_room_bytes) of a
    /// route with these settings: while a peer is congested, nothing more is read for it, but the
    /// last read and a held frame have to fit.
    pub fn outbox_room_bytes(&self) -> usize {
        self.hold_bytes_max.saturating_add(READ_AND_HEADER_BYTES)
    }
}

/// The `Host` of requests to upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's, which upstreams compare with `Origin`.
    Keep,
    /// The host and port of the upstream's URL.
    Upstream,
    /// This one.
    Name(String),
}

impl FromStr for HostHeader {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HostHeader, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        match text {
            "keep" => Ok(HostHeader::Keep),
            "upstream" => Ok(HostHeader::Upstream),
            name if !name.is_empty() && name.bytes().all(is_plain) => {
                Ok(HostHeader::Name(name.to_owned()))
            }
            _ => Err(r#"expected "keep", "upstream", or a host such as "node.example:8080""#),
        }
    }
}

impl fmt::Display for HostHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostHeader::Keep => "keep",
            HostHeader::Upstream => "upstream",
            HostHeader::Name(name) => name,
        })
    }
}

/// The headers that state the client's address to upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For`, `-Proto` and `-Host`, and `X-Real-IP`.
    X,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
    /// None.
    Off,
}

/// The name of a header, in lower case, which a route may set or remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(String);

impl HeaderName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<HeaderName, String> {
        if !is_token(text) {
            return Err("expected the name of a header, such as X-Tenant".to_owned());
        }
        let name = text.to_ascii_lowercase();
        match reserved(&name) {
            Some(why) => Err(format!("{name}: {why}")),
            None => Ok(HeaderName(name)),
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a route may not change this header, if it may not.
fn reserved(name: &str) -> Option<&'static str> {
    // RFC 9110, 7.6.1.
    const HOP_BY_HOP: [&str; 6] =
        ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
    match name {
        "host" => Some("the setting host decides about it"),
        "content-length" => Some("it follows from the body"),
        _ if HOP_BY_HOP.contains(&name) || name.starts_with("proxy-") => {
            Some("it is about one connection (hop-by-hop), and weir writes it itself")
        }
        _ if name.starts_with("sec-websocket-") => Some("it belongs to the WebSocket handshake"),
        _ => None,
    }
}

/// A header line that a route sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderLine {
    name: HeaderName,
    value: String,
}

impl HeaderLine {
    /// The name, in lower case.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for HeaderLine {
    type Err = String;

    /// `NAME: VALUE`, as in a request.
    fn from_str(text: &str) -> Result<HeaderLine, String> {
        const FORM: &str = r#"expected a header such as "X-Tenant: a""#;
        let (name, value) = text.split_once(':').ok_or(FORM)?;
        let value = value.trim_matches([' ', '\t']);
        // Visible ASCII, spaces and tabs (RFC 9110, 5.5, without obs-text).
        let is_plain = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        if !value.bytes().all(is_plain) {
            return Err("a header's value must be ASCII without control characters".to_owned());
        }
        Ok(HeaderLine { name: name.parse()?, value: value.to_owned() })
    }
}

impl fmt::Display for HeaderLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_parsed_from_their_own_format() {
        for (text, shown) in [
            ("X-Tenant: a", "x-tenant: a"),
            ("x-a:b, c:d", "x-a: b, c:d"),
            ("x-empty:", "x-empty: "),
            ("cache-control:\t no-store \t", "cache-control: no-store"),
        ] {
            let line: HeaderLine = text.parse().unwrap();
            assert_eq!(line.to_string(), shown);
            assert_eq!(shown.parse(), Ok(line));
        }
        let line: HeaderLine = "X-A: b".parse().unwrap();
        assert_eq!((line.name(), line.value()), ("x-a", "b"));
        for text in ["", "x-a", "x a: b", ": b", "x-a: b\r\nx-c: d", "x-a: \u{e9}", "x-a: \0"] {
            assert!(text.parse::<HeaderLine>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn headers_of_a_connection_or_a_handshake_are_reserved() {
        for name in [
            "Connection",
            "keep-alive",
            "TE",
            "trailer",
            "Transfer-Encoding",
            "upgrade",
            "proxy-authorization",
            "Proxy-Connection",
            "Host",
            "content-length",
            "Sec-WebSocket-Key",
            "sec-websocket-extensions",
        ] {
            let error = name.parse::<HeaderName>().unwrap_err();
            assert!(error.starts_with(&name.to_ascii_lowercase()), "{error}");
            assert!(format!("{name}: a").parse::<HeaderLine>().is_err(), "{name}");
        }
        for name in ["Origin", "X-Forwarded-For", "Cookie", "Authorization", "sec-fetch-mode"] {
            assert!(name.parse::<HeaderName>().is_ok(), "{name}");
        }
    }

    #[test]
    fn hosts_are_parsed_from_their_own_format() {
        for text in ["keep", "upstream", "a.example", "a.example:8080", "[::1]:80"] {
            assert_eq!(text.parse::<HostHeader>().unwrap().to_string(), text);
        }
        for text in ["", "a b", "http://a", "a/b", "a\r\nx: y", "u@a"] {
            assert!(text.parse::<HostHeader>().is_err(), "{text:?}");
        }
    }
}
