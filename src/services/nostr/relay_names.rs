//! The names by which clients may reach a relay: host and port, for the `relay` tags of NIP-42 and NIP-62.
//!
//! Names come from the settings or from the listeners, never from a request's Host header, which a relay
//! in the middle could choose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Host and port of a URL, comparable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RelayName {
    /// In lower case and without a final dot; an address in its shortest form.
    host: String,
    port: u16,
}

impl RelayName {
    /// Reads a URL: default ports are filled in; scheme, path and query count no further.
    pub(super) fn of_url(url: &str) -> Option<RelayName> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => 80,
            "wss" | "https" => 443,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (address, port) = bracketed.split_once(']')?;
                (address.parse::<Ipv6Addr>().ok()?.to_string(), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (host, port) = authority.split_at(end);
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if host.is_empty() || !host.bytes().all(is_name) {
                    return None;
                }
                (host, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            Some("") => default_port,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            _ => return None,
        };
        Some(RelayName { host, port })
    }

    fn of_address(address: IpAddr, port: u16) -> RelayName {
        RelayName { host: address.to_string(), port }
    }
}

/// Path and query of a URL; the path of a URL without one is `/`.
pub(super) fn target(url: &str) -> Option<&str> {
    let (_, rest) = url.trim().split_once("://")?;
    let rest = rest.split('#').next()?;
    match rest.find(['/', '?']) {
        Some(start) => Some(&rest[start..]),
        None => Some("/"),
    }
}

/// All names of a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayNames(Vec<RelayName>);

impl RelayNames {
    /// The names in the relay's own URLs; the URL that is malformed otherwise.
    pub fn of_urls<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<RelayNames, &'a str> {
        let names = urls.into_iter().map(|url| RelayName::of_url(url).ok_or(url));
        names.collect::<Result<_, _>>().map(RelayNames)
    }

    /// The addresses of the listeners, and `localhost`. A listener of all addresses is reached by the
    /// loopback ones.
    pub fn of_listeners(listeners: impl IntoIterator<Item = SocketAddr>) -> RelayNames {
        let mut names = Vec::new();
        for listener in listeners {
            let port = listener.port();
            if listener.ip().is_unspecified() {
                names.push(RelayName::of_address(Ipv4Addr::LOCALHOST.into(), port));
                names.push(RelayName::of_address(Ipv6Addr::LOCALHOST.into(), port));
            } else {
                names.push(RelayName::of_address(listener.ip(), port));
            }
            names.push(RelayName { host: "localhost".to_owned(), port });
        }
        RelayNames(names)
    }

    /// Whether a URL names this relay.
    pub fn contains(&self, url: &str) -> bool {
        RelayName::of_url(url).is_some_and(|name| self.0.contains(&name))
    }
}

#[cfg(test)]
mod tests;
