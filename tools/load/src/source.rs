//! Where from: the addresses of this machine that connections are spread over.
//!
//! Towards one server an address has some 28,000 ports. Loopback is a network of 16 million
//! addresses, so that for a loopback server as many are taken as are needed, unless told otherwise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Connections from one address, at the most: below the kernel's range of ports.
const PER_ADDRESS: usize = 20_000;
/// Addresses at the most: as many as a byte counts.
const ADDRESSES_MAX: usize = 250;

/// Addresses to connect from; none: the kernel's choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sources(Vec<IpAddr>);

impl Sources {
    /// What `connections` to `target` need.
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

    /// Where the connection with this number comes from.
    pub(crate) fn pick(&self, number: usize) -> Option<IpAddr> {
        let at = number.checked_rem(self.0.len())?;
        self.0.get(at).copied()
    }
}

impl FromStr for Sources {
    type Err = String;

    /// `127.0.0.1-8`, `10.0.0.5`, or several of these between commas.
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
    text.parse().map_err(|_| format!("'{text}' is no address"))
}

/// All addresses from `first` to the one that ends in `last`.
fn range(first: IpAddr, last: &str) -> Result<Vec<IpAddr>, String> {
    let IpAddr::V4(first) = first else {
        return Err("ranges are for IPv4".to_owned());
    };
    let [a, b, c, from] = first.octets();
    match last.parse::<u8>() {
        Ok(to) if to >= from => {
            Ok((from..=to).map(|d| IpAddr::V4(Ipv4Addr::new(a, b, c, d))).collect())
        }
        _ => Err(format!("'{last}' does not end a range that begins with {first}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(sources: &Sources, count: usize) -> Vec<String> {
        (0..count).filter_map(|number| sources.pick(number)).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn ranges_and_lists() {
        let sources: Sources = "127.0.0.7-9, 10.0.0.1".parse().unwrap();
        let expected = ["127.0.0.7", "127.0.0.8", "127.0.0.9", "10.0.0.1", "127.0.0.7"];
        assert_eq!(picked(&sources, 5), expected);
        for text in ["", "x", "127.0.0.9-8", "127.0.0.1-256", "::1-2", "1.2.3.4-"] {
            assert!(text.parse::<Sources>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_crowd_towards_loopback_needs_several() {
        let automatic = |target: &str, count| Sources::automatic(target.parse().unwrap(), count);
        assert!(picked(&automatic("127.0.0.1:9", 20_000), 3).is_empty());
        assert!(picked(&automatic("192.0.2.1:9", 50_000), 3).is_empty());
        assert!(picked(&automatic("[::1]:9", 50_000), 3).is_empty());
        let three = automatic("127.0.0.1:9", 50_000);
        assert_eq!(picked(&three, 4), ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]);
    }
}
