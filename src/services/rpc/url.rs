//! Where an upstream is: by HTTP or WebSocket, at which host, with which path.
//!
//! What is shown of it is scheme and host alone: the rest may hold a key.

use std::fmt;
use std::str::FromStr;

use ureq::http::Uri;

use crate::protocol::handshake::ClientRequest;

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `http` and `https`.
    Http,
    /// `ws` and `wss`.
    WebSocket,
}

/// The URL of an upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    text: String,
    scheme: Scheme,
    is_secure: bool,
    host: String,
    port: u16,
}

impl UpstreamUrl {
    /// All of it, as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it is spoken to by TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Host and port, for a resolver.
    pub(super) fn place(&self) -> (String, u16) {
        (self.host.trim_matches(['[', ']']).to_owned(), self.port)
    }

    /// The request that opens a WebSocket there.
    pub(super) fn request(&self) -> Option<ClientRequest> {
        let uri: Uri = self.text.parse().ok()?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        ClientRequest::new(uri.authority()?.as_str(), path).ok()
    }
}

impl FromStr for UpstreamUrl {
    type Err = &'static str;

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
        let port = if is_secure { 443 } else { 80 };
        let authority = uri.authority().ok_or(EXPECTED)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err("a host and a port, without a user, are expected in the URL");
        }
        let url = UpstreamUrl {
            text: text.trim().to_owned(),
            scheme,
            is_secure,
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(port),
        };
        let is_odd = scheme == Scheme::WebSocket && url.request().is_none();
        if is_odd { Err(EXPECTED) } else { Ok(url) }
    }
}

impl fmt::Display for UpstreamUrl {
    /// Scheme, host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.text.split_once(':').map_or("", |(scheme, _)| scheme);
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
        assert_eq!(url("https://a.example/key").place(), ("a.example".to_owned(), 443));
        assert_eq!(url("ws://[::1]").place(), ("::1".to_owned(), 80));
        assert_eq!(url("wss://a.example/key").place(), ("a.example".to_owned(), 443));
        let is_secure =
            ["http://a", "https://a", "ws://a", "wss://a"].map(|text| url(text).is_secure());
        assert_eq!(is_secure, [false, true, false, true]);
        assert_eq!(url(" http://127.0.0.1:8545 ").place(), ("127.0.0.1".to_owned(), 8545));
        assert_eq!(url("http://127.0.0.1:8545").scheme(), Scheme::Http);
        assert_eq!(url("ws://a:1/b?c=d").request().unwrap().path(), "/b");
    }

    #[test]
    fn keys_are_not_shown() {
        for text in ["https://a.example/v3/secret", "ws://a.example:1/?key=secret"] {
            let shown = format!("{} {:?}", url(text), url(text));
            assert!(!shown.contains("secret") && shown.contains("a.example"), "{shown}");
            assert_eq!(url(text).as_str(), text);
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        for text in ["", "a", "/a", "ftp://a", "wss:a", "http://", "ws://u:p@a/", "ws://a b"] {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
    }
}
