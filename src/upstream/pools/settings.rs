//! The settings of one upstream pool of the proxy: [`PoolSettings`], and the notation of its values.
//!
//! It parses and formats single values and checks their ranges. It reads no file: `loaded.rs` does.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::reactor::settings::{CertificateFiles, Rate, with_setters};
use crate::upstream::url::UpstreamUrl;

/// The highest number of upstreams in the list of one pool.
pub const POOL_UPSTREAMS_MAX: usize = 64;
/// Range of [`PoolUpstream::weight`].
pub const WEIGHT_RANGE: RangeInclusive<u8> = 1..=100;
/// Range of [`PoolSettings::tries`].
pub const TRIES_RANGE: RangeInclusive<u8> = 1..=16;

/// One entry in the list of a pool: a server, and its part in the pool. A DNS name stands for all
/// addresses that it resolves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUpstream {
    /// Scheme, host and port; without path, query and user. `ws` and `wss` stand for `http` and
    /// `https`.
    pub url: UpstreamUrl,
    /// The share of clients with [`Choose::Least`] and [`Choose::Hash`], in [`WEIGHT_RANGE`].
    pub weight: u8,
    /// Whether it is used only while all others are down.
    pub is_backup: bool,
}

impl PoolUpstream {
    /// The upstream `host:port` in metrics, logs and `/drain`. An IPv6 address is in brackets.
    pub fn host_port(&self) -> String {
        self.url.host_port_text()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.url.host_and_port().1
    }

    /// Whether connections use TLS.
    pub fn is_secure(&self) -> bool {
        self.url.is_secure()
    }

    /// Whether the host is `localhost`, or a name below it (RFC 6761, 6.3).
    pub fn is_localhost(&self) -> bool {
        let (host, _) = self.url.host_and_port();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost")
    }

    /// The address, unless the host is a DNS name.
    pub fn address(&self) -> Option<IpAddr> {
        self.url.host_and_port().0.parse().ok()
    }
}

impl FromStr for PoolUpstream {
    type Err = String;

    /// A URL, then `weight N` and `backup`, if wanted.
    fn from_str(text: &str) -> Result<PoolUpstream, String> {
        let mut words = text.split_whitespace();
        let url: UpstreamUrl = words.next().unwrap_or_default().parse()?;
        if url.has_path() {
            return Err("the URL of an upstream must have no path and no query: requests keep \
                        their own"
                .to_owned());
        }
        if url.host_and_port().1 == 0 {
            return Err("the port of an upstream must be 1 to 65535".to_owned());
        }
        let mut upstream = PoolUpstream { url, weight: 1, is_backup: false };
        while let Some(word) = words.next() {
            match word {
                "backup" => upstream.is_backup = true,
                "weight" => upstream.weight = weight(words.next())?,
                _ => {
                    return Err(format!(
                        r#"expected "weight N" or "backup" after the URL, not {word:?}"#
                    ));
                }
            }
        }
        Ok(upstream)
    }
}

fn weight(word: Option<&str>) -> Result<u8, String> {
    let weight = word.and_then(|word| word.parse().ok());
    let (least, most) = WEIGHT_RANGE.into_inner();
    weight
        .filter(|weight| WEIGHT_RANGE.contains(weight))
        .ok_or_else(|| format!("a weight must be {least} to {most}"))
}

impl fmt::Display for PoolUpstream {
    /// The notation that [`PoolUpstream::from_str`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)?;
        if self.weight != 1 {
            write!(f, " weight {}", self.weight)?;
        }
        if self.is_backup { f.write_str(" backup") } else { Ok(()) }
    }
}

/// Which upstream of a pool gets a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choose {
    /// The first in the list that is up and has room.
    Priority,
    /// The one with the fewest tunnels and exchanges, divided by its weight.
    Least,
    /// The one with the highest hash of the client's key and the upstream's name (rendezvous
    /// hashing), weighted.
    Hash,
}

/// The key of [`Choose::Hash`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    Address,
    /// The path of the request, without query.
    Path,
    /// The value of a header; [`Choose::Least`] if the request has none.
    Header(String),
}

impl FromStr for HashBy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HashBy, Self::Err> {
        match (text, text.strip_prefix("header:")) {
            ("address", _) => Ok(HashBy::Address),
            ("path", _) => Ok(HashBy::Path),
            (_, Some(name)) if is_token(name) => Ok(HashBy::Header(name.to_ascii_lowercase())),
            _ => Err(r#"expected "address", "path" or "header:NAME""#),
        }
    }
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashBy::Address => f.write_str("address"),
            HashBy::Path => f.write_str("path"),
            HashBy::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// How active checks decide whether an upstream is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// It accepts a connection; with TLS, the handshake succeeds.
    Connect,
    /// GET of this path is answered with 2xx.
    Http(String),
    /// A WebSocket handshake with this path is answered with 101.
    WebSocket(String),
}

impl FromStr for HealthCheck {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HealthCheck, Self::Err> {
        let is_path =
            |path: &str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        match (text, text.strip_prefix("ws:")) {
            ("connect", _) => Ok(HealthCheck::Connect),
            (_, Some(path)) if is_path(path) => Ok(HealthCheck::WebSocket(path.to_owned())),
            (path, None) if is_path(path) => Ok(HealthCheck::Http(path.to_owned())),
            _ => Err(r#"expected "connect", a path such as "/health", or "ws:/path""#),
        }
    }
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HealthCheck::Connect => f.write_str("connect"),
            HealthCheck::Http(path) => f.write_str(path),
            HealthCheck::WebSocket(path) => write!(f, "ws:{path}"),
        }
    }
}

/// What happens to the tunnels of an upstream that active checks find down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownPolicy {
    /// They stay open.
    Keep,
    /// They are closed with 1012, at the drain rate.
    Close,
}

/// The version of the PROXY protocol that an upstream expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

with_setters! {
    /// The settings of one upstream pool.
    #[derive(Debug, Clone, PartialEq)]
    pub struct PoolSettings {
        /// The name that routes refer to.
        pub name: String = name,
        /// The list, in order of preference: 1 to [`POOL_UPSTREAMS_MAX`] entries.
        pub upstreams: Vec<PoolUpstream> = upstreams,
        /// Which upstream gets a client.
        pub choose: Choose = Choose::Priority,
        /// The key of [`Choose::Hash`].
        pub hash_by: HashBy = HashBy::Address,
        /// The name of the cookie by which a client returns to its upstream.
        pub sticky_cookie: Option<String> = None,
        /// Upstreams that are tried for one request, in [`TRIES_RANGE`].
        pub tries: u8 = 3,
        /// Timeout of a connection, TLS included.
        pub connect_timeout: Duration = Duration::from_secs(5),
        /// Timeout of the response head, from the end of the request.
        pub answer_timeout: Duration = Duration::from_secs(60),
        /// How long a body may be silent.
        pub body_timeout: Duration = Duration::from_secs(60),
        /// Maximum tunnels and exchanges per upstream.
        pub upstream_connections_max: Option<usize> = None,
        /// Maximum idle connections per upstream.
        pub keepalive_max: usize = 16,
        /// How long a connection stays idle.
        pub keepalive_idle: Duration = Duration::from_secs(15),
        /// The active check; `None`: only passive checks.
        pub health: Option<HealthCheck> = None,
        /// Interval between active checks of one upstream.
        pub health_interval: Duration = Duration::from_secs(5),
        /// What happens to the tunnels of an upstream that active checks find down.
        pub down: DownPolicy = DownPolicy::Keep,
        /// Interval between lookups of a DNS name; `None`: once.
        pub resolve_interval: Option<Duration> = Some(Duration::from_secs(30)),
        /// How long tunnels to a removed upstream stay open; `None`: until they end.
        pub drain_after: Option<Duration> = None,
        /// The rate at which tunnels to a removed upstream, or to one that is down, are closed.
        pub drain_rate: Rate = Rate { per_second: 50.0, burst: 50 },
        /// CA certificates (PEM) that upstreams by TLS must chain to; `None`: the built-in Mozilla
        /// roots.
        pub ca_file: Option<PathBuf> = None,
        /// The name in the certificates of the upstreams; `None`: the host of the URL.
        pub server_name: Option<String> = None,
        /// The client certificate that is presented to upstreams.
        pub client_certificate: Option<CertificateFiles> = None,
        /// The PROXY protocol header that begins each connection.
        pub send_proxy: Option<ProxyVersion> = None,
    }

    /// A pool of these upstreams with default settings.
    pub fn new(name: String, upstreams: Vec<PoolUpstream>);
}

impl PoolSettings {
    /// Idle connections that are kept per upstream. A connection that begins with a PROXY header
    /// serves one client.
    pub fn idle_max(&self) -> usize {
        if self.send_proxy.is_some() { 0 } else { self.keepalive_max }
    }
}

/// Whether a text is a token (RFC 9110, 5.6.2), as names of headers and cookies are.
pub fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_parsed_from_their_own_format() {
        for (text, shown) in [
            ("http://127.0.0.1:9944", "http://127.0.0.1:9944/"),
            ("wss://node.example", "wss://node.example:443/"),
            ("https://[::1]:1/ weight 3", "https://[::1]:1/ weight 3"),
            ("http://a:1  backup", "http://a:1/ backup"),
            ("http://a:1 backup weight 100", "http://a:1/ weight 100 backup"),
            ("http://a:1 weight 1", "http://a:1/"),
        ] {
            let upstream: PoolUpstream = text.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(shown.parse(), Ok(upstream));
        }
    }

    #[test]
    fn equal_hosts_have_one_name() {
        for (url, name, is_address) in [
            ("https://[0::1]", "[::1]:443", true),
            ("http://127.0.0.1", "127.0.0.1:80", true),
            ("http://Node.Example:9", "node.example:9", false),
        ] {
            let upstream: PoolUpstream = url.parse().unwrap();
            assert_eq!(upstream.host_port(), name);
            assert_eq!(upstream.address().is_some(), is_address);
        }
    }

    #[test]
    fn malformed_upstreams_are_rejected() {
        for (text, expected) in [
            ("", "expected a URL"),
            ("http://a/b", "no path"),
            ("http://a/?b", "no path"),
            ("http://u@a", "no user"),
            ("http://a:0", "1 to 65535"),
            ("http://a weight", "1 to 100"),
            ("http://a weight 0", "1 to 100"),
            ("http://a weight 101", "1 to 100"),
            ("http://a wieght 3", r#"not "wieght""#),
        ] {
            let error = text.parse::<PoolUpstream>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn hash_keys_and_health_checks_are_parsed_from_their_own_format() {
        for (text, shown) in
            [("address", "address"), ("path", "path"), ("header:X-Tenant", "header:x-tenant")]
        {
            assert_eq!(text.parse::<HashBy>().unwrap().to_string(), shown);
        }
        for text in ["", "addres", "header:", "header:a b", "Header:a"] {
            assert!(text.parse::<HashBy>().is_err(), "{text}");
        }
        for text in ["connect", "/health?deep=1", "ws:/", "ws:/a/b"] {
            assert_eq!(text.parse::<HealthCheck>().unwrap().to_string(), text);
        }
        for text in ["", "conect", "health", "ws:", "ws:a", "/a b", "ws:/a\n"] {
            assert!(text.parse::<HealthCheck>().is_err(), "{text}");
        }
    }
}
