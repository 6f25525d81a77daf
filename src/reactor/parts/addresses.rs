//! Addresses of clients: by which one a client is counted, and whether a prefix contains one.

use std::net::{IpAddr, Ipv6Addr};

use crate::reactor::api::settings::Prefix;

/// The address that a client is counted by: of an IPv6 address, the network of 64 bits, since a
/// customer usually gets at least that.
pub(crate) fn counted_address(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

/// Whether one of these prefixes contains an address.
pub(crate) fn is_in(prefixes: &[Prefix], peer: IpAddr) -> bool {
    prefixes.iter().any(|prefix| contains(prefix, peer))
}

/// Whether `prefix` contains an address. An IPv4 address may be mapped into IPv6.
pub(crate) fn contains(prefix: &Prefix, peer: IpAddr) -> bool {
    let (range, peer, width) = match (prefix.address, peer.to_canonical()) {
        (IpAddr::V4(range), IpAddr::V4(peer)) => {
            (u128::from(range.to_bits()), u128::from(peer.to_bits()), 32)
        }
        (IpAddr::V6(range), IpAddr::V6(peer)) => (range.to_bits(), peer.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - u32::from(prefix.bits);
    (range ^ peer).checked_shr(ignored).unwrap_or(0) == 0
}
