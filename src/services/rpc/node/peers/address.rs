//! The addresses of boot peers, as an operator writes them.

use std::fmt;
use std::str::FromStr;

use crate::upstream::resolve::HostPort;

/// The highest number of boot peers.
pub const BOOT_PEERS_MAX: usize = 32;

const EXPECTED: &str = r#"expected HOST:PORT, separated by commas, such as "127.0.0.1:30303""#;

/// `HOST:PORT` of another node's P2P address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    host: String,
    port: u16,
}

/// The peers that a node connects to: `HOST:PORT,HOST:PORT`, without duplicates, at most
/// [`BOOT_PEERS_MAX`]. May be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootPeers(pub Vec<PeerAddress>);

impl PeerAddress {
    /// Host and port, for a resolver.
    pub(super) fn host_and_port(&self) -> HostPort {
        (self.host.trim_matches(['[', ']']).to_owned(), self.port)
    }
}

impl FromStr for PeerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PeerAddress, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        // DNS names have no underscore, but names of containers may.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_host = if is_bracketed {
            host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty() && host.bytes().all(is_plain)
        };
        let port = port.parse().ok().filter(|&port| port > 0 && is_host).ok_or(EXPECTED)?;
        Ok(PeerAddress { host: host.to_owned(), port })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for BootPeers {
    type Err = String;

    fn from_str(text: &str) -> Result<BootPeers, Self::Err> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let mut peers: Vec<PeerAddress> = Vec::new();
        for item in items {
            let peer = item.parse()?;
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        if peers.len() > BOOT_PEERS_MAX {
            return Err(format!("at most {BOOT_PEERS_MAX} peers"));
        }
        Ok(BootPeers(peers))
    }
}

impl fmt::Display for BootPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, peer) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{peer}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_hosts_and_ports_are_read() {
        let text = "127.0.0.1:30303, node-2.example:30304,[::1]:1,weir_leader:2";
        let peers: BootPeers = text.parse().unwrap();
        assert_eq!(peers.to_string(), text.replace(' ', ""));
        assert_eq!(peers.0[0].host_and_port(), ("127.0.0.1".to_owned(), 30303));
        assert_eq!(peers.0[2].host_and_port(), ("::1".to_owned(), 1));
        assert_eq!("".parse(), Ok(BootPeers::default()));
    }

    #[test]
    fn duplicate_peers_are_removed() {
        let peers: BootPeers = "a:1,b:1, a:1,a:2".parse().unwrap();
        assert_eq!(peers.to_string(), "a:1,b:1,a:2");
    }

    #[test]
    fn malformed_addresses_are_rejected() {
        for text in ["a", ":1", "a:0", "a:65536", "::1:30303", "http://a:1", "u@a:1", "[a]:1"] {
            assert!(text.parse::<BootPeers>().is_err(), "{text}");
        }
        let peers =
            |count| (1..=count).map(|port| format!("a:{port}")).collect::<Vec<_>>().join(",");
        assert!(peers(BOOT_PEERS_MAX).parse::<BootPeers>().is_ok());
        assert!(peers(BOOT_PEERS_MAX + 1).parse::<BootPeers>().is_err());
    }
}
