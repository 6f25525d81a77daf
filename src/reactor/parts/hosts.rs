//! Compares the Host of a request (RFC 9110, 7.2) with the hosts that a route admits.
//!
//! It defends against DNS rebinding: a page that makes its own name resolve to this machine still
//! sends that name.

use std::net::IpAddr;

use super::addresses::contains;
use crate::reactor::api::settings::HostPattern;

/// Whether `authority`, a host with an optional port, matches one of the patterns. Without
/// patterns, every host matches, and so does a request without a host.
pub(crate) fn admits_host(patterns: &[HostPattern], authority: Option<&str>) -> bool {
    patterns.is_empty()
        || patterns.contains(&HostPattern::Any)
        || authority.is_some_and(|authority| {
            let host = without_port(authority);
            let address = address_of(host);
            patterns.iter().any(|pattern| match (pattern, address) {
                (HostPattern::Addresses(range), Some(address)) => contains(range, address),
                (HostPattern::Name(name), None) => is_name(host, name),
                _ => false,
            })
        })
}

fn without_port(authority: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => authority,
    }
}

fn address_of(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// Compares names. A trailing dot names the same host (RFC 1034, 3.1).
fn is_name(host: &str, name: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_addresses_are_compared_without_port_and_case() {
        let admits = |host| admits_host(&HostPattern::loopback(), Some(host));
        for host in [
            "localhost",
            "LocalHost:8545",
            "localhost.:80",
            "127.0.0.1",
            "127.255.1.2:1",
            "[::1]",
            "[::1]:8545",
            "[0:0::1]",
            "[::ffff:127.0.0.1]",
            "localhost:",
        ] {
            assert!(admits(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1:evil.example",
            "localhost:80:80",
            "128.0.0.1",
            "[::2]",
            "[::1",
            "::1",
            "0.0.0.0",
            "localhost..",
        ] {
            assert!(!admits(host), "{host}");
        }
        assert!(!admits_host(&HostPattern::loopback(), None));
    }

    #[test]
    fn without_patterns_or_with_a_star_every_host_is_admitted() {
        for patterns in [vec![], vec![HostPattern::Name("a".into()), HostPattern::Any]] {
            assert!(admits_host(&patterns, Some("evil.example")) && admits_host(&patterns, None));
        }
    }
}
