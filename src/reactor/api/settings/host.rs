//! The notation of hosts that requests may name: [`HostPattern`] (`localhost`, `127.0.0.0/8`, `*`).
//!
//! It parses and formats. `hosts.rs` compares requests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::notation::{NotationError, Prefix};

/// A host that requests may name, with any port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostPattern {
    /// Every host.
    Any,
    /// A name, in lower case.
    Name(Box<str>),
    /// An address, or a range of addresses.
    Addresses(Prefix),
}

impl HostPattern {
    /// The names and addresses of this machine: `localhost`, `127.0.0.0/8`, `[::1]`.
    pub fn loopback() -> Vec<HostPattern> {
        let four = Prefix { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 };
        let six = Prefix { address: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 };
        let name = HostPattern::Name("localhost".into());
        vec![name, HostPattern::Addresses(four), HostPattern::Addresses(six)]
    }
}

impl FromStr for HostPattern {
    type Err = NotationError;

    /// A name, an address (IPv6 with or without brackets), a range, or `*`.
    fn from_str(text: &str) -> Result<HostPattern, Self::Err> {
        const FORM: &str = r#"expected a host without a port, such as "node.example.org", "127.0.0.0/8", "[::1]", or "*""#;
        let text = text.trim();
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let address = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'));
        if let Ok(range) = address.ok_or(FORM)?.parse() {
            return Ok(HostPattern::Addresses(range));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let name = text.strip_suffix('.').unwrap_or(text);
        match !name.is_empty() && name.bytes().all(is_plain) {
            true => Ok(HostPattern::Name(name.to_ascii_lowercase().into())),
            false => Err(FORM.into()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Name(name) => f.write_str(name),
            HostPattern::Addresses(range) => range.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_are_parsed_from_their_own_format() {
        for (text, shown) in [
            ("*", "*"),
            ("Node.Example.org.", "node.example.org"),
            ("localhost", "localhost"),
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("[::1]", "::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            let pattern: HostPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), shown);
            assert_eq!(shown.parse(), Ok(pattern));
        }
        for text in ["", ".", "a:80", "[::1]:80", "[::1", "http://a", "*.a", "a b", "a/b", "u@a"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
