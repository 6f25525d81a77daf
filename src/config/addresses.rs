//! Parses listener addresses and the origins that may connect.
//!
//! An error states what to write instead. Host names are not resolved: a listener needs an address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Serialize, Serializer};
use weir::reactor::settings::ListenSettings;

/// An address with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Address(address));
        }
        let port = |text: &str| text.parse::<u16>().ok();
        let is_bare = text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let (host, number) = match text.rsplit_once(':') {
            Some((host, number)) if !is_bare => (host, port(number)),
            _ => (if port(text).is_some() { "" } else { text }, port(text)),
        };
        let example = number.unwrap_or(9001);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_named =
            host.starts_with(|c: char| c.is_ascii_alphabetic()) && host.chars().all(is_name);
        Err(match host.trim_matches(['[', ']']) {
            "localhost" => format!(
                r#"expected an address instead of a name: write "127.0.0.1:{example}" or "[::1]:{example}""#
            ),
            "" | "*" if number.is_some() => format!(
                r#"address missing: write "127.0.0.1:{example}", or "0.0.0.0:{example}" for all addresses"#
            ),
            _ if is_named => {
                format!(r#"expected an address instead of a name, such as "127.0.0.1:{example}""#)
            }
            address => match address.parse::<IpAddr>() {
                Ok(address) => {
                    let address = SocketAddr::new(address, example);
                    format!(
                        r#"port missing: write an address and a port from 0 to 65535, such as "{address}""#
                    )
                }
                Err(_) => {
                    r#"expected an address and a port such as "127.0.0.1:9001" or "[::1]:9001""#
                        .to_owned()
                }
            },
        })
    }
}

/// Parses an address for a flag whose type has no parser.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map(|Address(address)| address)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A listener: an address with a port, after `wss://` for TLS, and `proxy+` for PROXY headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) proxy_header: bool,
}

impl Listen {
    /// The scheme of the listener's URL.
    pub(crate) fn scheme(self) -> &'static str {
        match (self.proxy_header, self.secure) {
            (false, false) => "ws",
            (false, true) => "wss",
            (true, false) => "proxy+ws",
            (true, true) => "proxy+wss",
        }
    }
}

impl From<&ListenSettings> for Listen {
    fn from(settings: &ListenSettings) -> Listen {
        let ListenSettings { address, secure, proxy_header, .. } = *settings;
        Listen { address, secure, proxy_header }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let text = text.trim();
        let (proxy_header, secure, address) = match text.split_once("://") {
            Some(("ws", address)) => (false, false, address),
            Some(("wss", address)) => (false, true, address),
            Some(("proxy+ws", address)) => (true, false, address),
            Some(("proxy+wss", address)) => (true, true, address),
            _ => (false, false, text),
        };
        let Address(address) = address.trim_end_matches('/').parse()?;
        Ok(Listen { address, secure, proxy_header })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme() {
            "ws" => write!(f, "{}", self.address),
            scheme => write!(f, "{scheme}://{}", self.address),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The origin of a page (RFC 6454, 6.2): `https://example.org`, or `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Origin(pub(crate) String);

impl FromStr for Origin {
    type Err = &'static str;

    /// Browsers send scheme and host in lower case, and never a path, a user or the scheme's default
    /// port: an origin with one of them would never match.
    fn from_str(text: &str) -> Result<Origin, Self::Err> {
        let mut text = text.trim().to_ascii_lowercase();
        for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
            if text.starts_with(scheme) && text.ends_with(port) {
                text.truncate(text.len() - port.len());
            }
        }
        let (scheme, host) = text.split_once("://").unwrap_or_default();
        if matches!(scheme, "ws" | "wss") {
            return Err(r#"expected the origin of a page, such as "https://example.org""#);
        }
        if text == "*" {
            return Err(r#"omit "*": without origins, every origin may connect"#);
        }
        let labels = host.strip_prefix("*.").unwrap_or(host);
        if labels.contains('*') || labels.is_empty() && !host.is_empty() {
            return Err(
                r#"a wildcard must replace whole labels at the start, as in "https://*.example.org""#,
            );
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/\\@?#,".contains(&byte);
        if text == "null" || !host.is_empty() && host.bytes().all(plain) {
            Ok(Origin(text))
        } else {
            Err(r#"expected an origin without a path, such as "https://example.org""#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_address_is_answered_with_a_valid_one() {
        for (text, expected) in [
            ("localhost:9112", r#"write "127.0.0.1:9112" or "[::1]:9112""#),
            ("localhost", r#"write "127.0.0.1:9001" or "[::1]:9001""#),
            ("weir.example:80", r#"expected an address instead of a name, such as "127.0.0.1:80""#),
            ("9001", r#"write "127.0.0.1:9001", or "0.0.0.0:9001" for all addresses"#),
            (":80", r#"write "127.0.0.1:80", or "0.0.0.0:80" for all addresses"#),
            ("*:80", r#""0.0.0.0:80" for all addresses"#),
            ("127.0.0.1", r#"from 0 to 65535, such as "127.0.0.1:9001""#),
            ("127.0.0.1:99999", r#"from 0 to 65535, such as "127.0.0.1:9001""#),
            ("[::1]", r#"such as "[::1]:9001""#),
            ("a b:1", r#"expected an address and a port such as"#),
            ("", "expected an address and a port such as"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!("[::1]:80".parse::<Address>().unwrap().to_string(), "[::1]:80");
    }

    #[test]
    fn listeners_are_written_with_their_scheme() {
        for (text, written, secure, proxy_header) in [
            ("127.0.0.1:80", "127.0.0.1:80", false, false),
            ("ws://[::1]:80/", "[::1]:80", false, false),
            ("wss://127.0.0.1:443/", "wss://127.0.0.1:443", true, false),
            ("proxy+ws://10.0.0.1:80", "proxy+ws://10.0.0.1:80", false, true),
            ("proxy+wss://10.0.0.1:443/", "proxy+wss://10.0.0.1:443", true, true),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!((listen.secure, listen.proxy_header), (secure, proxy_header), "{text}");
            assert_eq!(listen.to_string(), written);
        }
        for text in ["proxy://127.0.0.1:80", "proxy+127.0.0.1:80", "proxy+http://127.0.0.1:80"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn origins_have_no_path_and_wildcards_replace_whole_labels() {
        assert_eq!("HTTPS://Example.org".parse(), Ok(Origin("https://example.org".to_owned())));
        assert_eq!("http://[::1]:8080".parse(), Ok(Origin("http://[::1]:8080".to_owned())));
        assert!("null".parse::<Origin>().is_ok());
        assert!("https://*.example.org:8443".parse::<Origin>().is_ok());
        for text in ["https://*", "https://a.*.org", "https://*example.org", "https://*.", "*"] {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(error.contains("wildcard") || error.contains("omit"), "{text}: {error}");
        }
        for text in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://a b",
            "https://user@example.org",
            "https://example.org?a",
            "https://example.org#a",
            "wss://example.org",
            "ws://example.org:9001",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_port_of_a_scheme_is_omitted_as_browsers_do() {
        for (text, sent) in [
            ("https://example.org:443", "https://example.org"),
            ("http://Example.org:80", "http://example.org"),
            ("https://*.example.org:443", "https://*.example.org"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://example.org:80", "https://example.org:80"),
            ("http://example.org:443", "http://example.org:443"),
            ("http://example.org:8080", "http://example.org:8080"),
        ] {
            assert_eq!(text.parse(), Ok(Origin(sent.to_owned())));
        }
    }
}
