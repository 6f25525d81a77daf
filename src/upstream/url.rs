//! The URL of an upstream: scheme, host, port, and a path that may hold a key.
//!
//! `Display` and `Debug` redact path and query, so that logs, metrics, errors and `weir check`
//! cannot leak them. [`UpstreamUrl::full_text`] is the one way to the whole URL.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::Uri;

use super::resolve::HostPort;
use crate::protocol::handshake::ClientRequest;

/// Shown instead of a path and query that are hidden.
const HIDDEN: &str = "/..";

/// The protocol of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `http` and `https`.
    Http,
    /// `ws` and `wss`.
    WebSocket,
}

/// The URL of an upstream. `Display` and `Debug` hide its path and query.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    scheme: Scheme,
    is_secure: bool,
    /// An IPv6 address is in brackets.
    host: String,
    port: u16,
    /// Host and port; without the port if it is the scheme's default.
    authority: String,
    /// Path and query; starts with a slash.
    target: String,
    /// The request that opens a WebSocket there.
    request: Box<ClientRequest>,
    /// The position among the upstreams of its network, from 1, if another one prints the same
    /// text.
    number: Option<usize>,
}

impl UpstreamUrl {
    /// The whole URL with its path and query, which may hold a key: for requests, never for output.
    pub fn full_text(&self) -> String {
        format!("{}://{}{}", self.scheme_text(), self.authority, self.target)
    }

    /// Numbers the URLs that would print the same text, such as two keys at one host.
    pub fn number(urls: &mut [UpstreamUrl]) {
        let texts: Vec<String> = urls.iter().map(UpstreamUrl::redacted_text).collect();
        for (index, url) in urls.iter_mut().enumerate() {
            let is_same = |text: &&String| **text == texts[index];
            let is_shared = texts.iter().filter(is_same).count() > 1;
            url.number = is_shared.then_some(index + 1);
        }
    }

    #[cfg(any(feature = "auth", feature = "rpc"))]
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the connection uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Host and port, for a resolver.
    pub(crate) fn host_and_port(&self) -> HostPort {
        (self.host.trim_matches(['[', ']']).to_owned(), self.port)
    }

    /// Its address, if the host is one and not a name.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let (host, port) = self.host_and_port();
        host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, port))
    }

    /// Host and port as one text, in one form for equal hosts: lower case, an address as Rust prints
    /// it, IPv6 in brackets.
    #[cfg(feature = "proxy")]
    pub(crate) fn host_port_text(&self) -> String {
        match self.address() {
            Some(address) => address.to_string(),
            None => format!("{}:{}", self.host.to_ascii_lowercase(), self.port),
        }
    }

    /// Host and port; without the port if it is the scheme's default.
    #[cfg(feature = "proxy")]
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether there is a path or a query, which may hold a key.
    pub(crate) fn has_path(&self) -> bool {
        self.target != "/"
    }

    /// The request that opens a WebSocket there.
    #[cfg(feature = "rpc")]
    pub(crate) fn request(&self) -> &ClientRequest {
        &self.request
    }

    fn scheme_text(&self) -> &'static str {
        match (self.scheme, self.is_secure) {
            (Scheme::Http, false) => "http",
            (Scheme::Http, true) => "https",
            (Scheme::WebSocket, false) => "ws",
            (Scheme::WebSocket, true) => "wss",
        }
    }

    /// The URL without path, query and number.
    fn redacted_text(&self) -> String {
        let hidden = if self.has_path() { HIDDEN } else { "/" };
        format!("{}://{}:{}{hidden}", self.scheme_text(), self.host, self.port)
    }
}

impl FromStr for UpstreamUrl {
    type Err = &'static str;

    /// A fragment is ignored, as it is never sent (RFC 9110, 7.1).
    fn from_str(text: &str) -> Result<UpstreamUrl, Self::Err> {
        const EXPECTED: &str =
            r#"expected a URL such as "http://127.0.0.1:8545" or "ws://node.example:8546/key""#;
        let uri: Uri = text.trim().parse().map_err(|_| EXPECTED)?;
        let (scheme, is_secure) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, false),
            Some("https") => (Scheme::Http, true),
            Some("ws") => (Scheme::WebSocket, false),
            Some("wss") => (Scheme::WebSocket, true),
            _ => return Err(EXPECTED),
        };
        let authority = uri.authority().ok_or(EXPECTED)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err("the URL must have a host and may have a port, but no user");
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if target == HIDDEN {
            return Err(r#"the URL is redacted: replace "/.." by the path and query"#);
        }
        // A query may follow the host at once: its path is "/" (RFC 9110, 4.2.3).
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let host = authority.host().to_owned();
        let default_port = if is_secure { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default_port);
        // A default port is left out (RFC 9110, 4.2.3).
        let authority = if port == default_port { host.clone() } else { format!("{host}:{port}") };
        let request = ClientRequest::new(&authority, &target).map_err(|_| EXPECTED)?.into();
        let number = None;
        Ok(UpstreamUrl { scheme, is_secure, host, port, authority, target, request, number })
    }
}

impl fmt::Display for UpstreamUrl {
    /// `scheme://host:port/..`, or `scheme://host:port/` if there is no path to hide; with `#N` if
    /// another upstream prints the same text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted_text())?;
        match self.number {
            Some(number) => write!(f, "#{number}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that was given as a URL, without any part that could hold a key. For error messages: the
/// text need not be a valid URL.
pub fn redacted(text: &str) -> String {
    let (scheme, rest) = match text.trim().split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text.trim()),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    // A user before an @ may itself hold any character.
    if rest.contains('@') || !scheme.trim_end_matches("://").chars().all(is_plain) {
        return "..".to_owned();
    }
    match rest.find(['/', '?', '#', '\\']) {
        Some(end) if rest[end..].len() > 1 => format!("{scheme}{}{HIDDEN}", &rest[..end]),
        _ => format!("{scheme}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> UpstreamUrl {
        text.parse().unwrap()
    }

    #[test]
    fn ports_follow_the_scheme() {
        assert_eq!(url("https://a.example/key").host_and_port(), ("a.example".to_owned(), 443));
        assert_eq!(url("ws://[::1]").host_and_port(), ("::1".to_owned(), 80));
        assert_eq!(url("wss://a.example/key").host_and_port(), ("a.example".to_owned(), 443));
        let is_secure =
            ["http://a", "https://a", "ws://a", "wss://a"].map(|text| url(text).is_secure());
        assert_eq!(is_secure, [false, true, false, true]);
        assert_eq!(url(" http://127.0.0.1:8545 ").host_and_port(), ("127.0.0.1".to_owned(), 8545));
        assert_eq!(url("http://127.0.0.1:8545").scheme, Scheme::Http);
        assert_eq!(url("ws://a:1/b?c=d").request.path(), "/b");
    }

    #[test]
    fn path_and_query_are_redacted() {
        for (text, full, shown) in [
            ("https://a.example/v3/secret", "", "https://a.example:443/.."),
            ("ws://a.example:1/?key=secret", "", "ws://a.example:1/.."),
            ("ws://a.example?secret", "ws://a.example/?secret", "ws://a.example:80/.."),
            ("wss://[::1]:8/secret#secret", "wss://[::1]:8/secret", "wss://[::1]:8/.."),
            ("http://a", "http://a/", "http://a:80/"),
        ] {
            let url = url(text);
            assert_eq!(format!("{url} {url:?}"), format!("{shown} {shown}"));
            assert_eq!(url.full_text(), if full.is_empty() { text } else { full });
        }
    }

    #[test]
    fn upstreams_that_print_the_same_are_numbered() {
        let mut urls = ["ws://a/x", "http://a/x", "ws://a/y", "ws://a", "ws://a:80/"].map(url);
        UpstreamUrl::number(&mut urls);
        let shown = urls.map(|url| url.to_string());
        let expected =
            ["ws://a:80/..#1", "http://a:80/..", "ws://a:80/..#3", "ws://a:80/#4", "ws://a:80/#5"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn urls_without_a_path_read_back_the_same() {
        for text in ["http://a", "wss://a:443", "ws://[::1]:8/"] {
            assert_eq!(url(&url(text).to_string()), url(text), "{text}");
        }
        assert!("http://a:80/..#2".parse::<UpstreamUrl>().unwrap_err().contains("redacted"));
    }

    #[test]
    fn malformed_urls_are_rejected() {
        for text in ["", "a", "/a", "ftp://a", "wss:a", "http://", "ws://u:p@a/", "ws://a b"] {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn malformed_urls_are_redacted() {
        for (text, shown) in [
            ("ftp://a.example:1/secret", "ftp://a.example:1/.."),
            ("wss:/a.example/secret", "wss:/.."),
            ("a.example?secret", "a.example/.."),
            ("http://u:secret@a/b", ".."),
            ("secret/x://a", ".."),
            ("localhost:8545", "localhost:8545"),
            ("http://a b/", "http://a b/"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
