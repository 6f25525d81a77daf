//! Whether a request for operators comes from a page in a browser.

use core::net::IpAddr;

use crate::protocol::handshake::Request;

/// Checks that a request does not come from a page in a browser: an operator may have one open that
/// sends requests to this address. A browser states its `Origin`; a page that reaches the address by
/// a name of its own (DNS rebinding) states that name as `Host`.
pub(crate) fn check_sender(request: &Request<'_>) -> Result<(), &'static str> {
    if request.has_header("Origin") {
        return Err("requests from web pages are refused\n");
    }
    match request.host() {
        Some(host) if is_own(host) => Ok(()),
        _ => Err("the host of the URL must be an IP address or localhost\n"),
    }
}

/// Whether a host, with a port or without one, is no DNS name.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_own_hosts() {
        for host in ["127.0.0.1", "10.0.0.1:9002", "[::1]", "[2001:db8::1]:9002", "LocalHost:1"] {
            assert!(is_own(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:9002", "localhost.evil", "[a]"] {
            assert!(!is_own(host), "{host}");
        }
    }
}
