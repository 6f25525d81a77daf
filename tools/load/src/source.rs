//! Local addresses that connections are made from.
//!
//! One address has about 28,000 ports towards one server. Loopback has 16 million addresses, so for
//! a loopback server as many as needed are used by default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Maximum number of connections from one address: below the kernel's range of ports.
const PER_ADDRESS: usize = 20_000;
/// Maximum number of addresses: they differ in one byte.
const ADDRESSES_MAX: usize = 250;

/// Addresses to connect from; if empty, the kernel chooses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sources(Vec<IpAddr>);

impl Sources {
    /// The addresses that `connections` to `target` need.
    pub(crate) fn automatic(target: SocketAddr, connections: usize) -> Sources {
        let needed = connections.div_ceil(PER_ADDRESS).min(ADDRESSES_MAX);
        match target.ip() {
            IpAddr::V4(ip) if ip.is_loopback() && needed > 1 => {
                let address = |last: usize| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last as u8));
                Sources((1..=needed).map(address).collect())
            }
            _ => Sources::default(),
        }
    }

    /// The local address of the connection with this number.
    pub(crate) fn pick(&self, number: usize) -> Option<IpAddr> {
        let at = number.checked_rem(self.0.len())?;
        self.0.get(at).copied()
    }
}

impl FromStr for Sources {
    type Err = String;

    /// `127.0.0.1-8`, `10.0.0.5`, or several of these separated by commas.
    fn from_str(text: &str) -> Result<Sources, String> {
        let mut addresses = Vec::new();
        for item in text.split(',').map(str::trim) {
            match item.split_once('-') {
                None => addresses.push(parse(item)?),
                Some((first, last)) => addresses.extend(range(parse(first)?, last)?),
            }
        }
        Ok(Sources(addresses))
    }
}

fn parse(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("'{text}' is not an address"))
}

/// All addresses from `first` to the one that ends in `last`.
fn range(first: IpAddr, last: &str) -> Result<Vec<IpAddr>, String> {
    let IpAddr::V4(first) = first else {
        return Err("ranges are only supported for IPv4".to_owned());
    };
    let [a, b, c, from] = first.octets();
    match last.parse::<u8>() {
        Ok(to) if to >= from => {
            Ok((from..=to).map(|d| IpAddr::V4(Ipv4Addr::new(a, b, c, d))).collect())
        }
        _ => Err(format!("'{last}' is not a valid end of a range from {first}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(sources: &Sources, count: usize) -> Vec<String> {
        (0..count).filter_map(|number| sources.pick(number)).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn sources_are_ranges_and_lists() {
        let sources: Sources = "127.0.0.7-9, 10.0.0.1".parse().unwrap();
        let expected = ["127.0.0.7", "127.0.0.8", "127.0.0.9", "10.0.0.1", "127.0.0.7"];
        assert_eq!(picked(&sources, 5), expected);
        for text in ["", "x", "127.0.0.9-8", "127.0.0.1-256", "::1-2", "1.2.3.4-"] {
            assert!(text.parse::<Sources>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_many_connections_to_loopback_use_several_addresses() {
        let automatic = |target: &str, count| Sources::automatic(target.parse().unwrap(), count);
        assert!(picked(&automatic("127.0.0.1:9", 20_000), 3).is_empty());
        assert!(picked(&automatic("192.0.2.1:9", 50_000), 3).is_empty());
        assert!(picked(&automatic("[::1]:9", 50_000), 3).is_empty());
        let three = automatic("127.0.0.1:9", 50_000);
        assert_eq!(picked(&three, 4), ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]);
    }
}
