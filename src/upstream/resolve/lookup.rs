//! Lookups for the pools of the proxy: a few threads look up all names, again and again.

use std::net::{SocketAddr, ToSocketAddrs as _};

use super::host::{ADDRESSES_MAX, HostPort};
use crate::reactor::WorkerSettings;

/// Lookups that wait or run at a time.
pub(in crate::upstream) const LOOKUPS_MAX: usize = 64;

/// The outcome of one lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// What was looked up.
    pub host: HostPort,
    /// At least one address, at most 16, sorted; or the error of the lookup.
    pub found: Result<Vec<SocketAddr>, String>,
}

/// The threads that look up the names of pools: a name that hangs must not delay all others.
pub(crate) fn resolver_settings() -> WorkerSettings {
    const THREADS_MAX: usize = 2;
    WorkerSettings::new("resolver", THREADS_MAX, LOOKUPS_MAX)
}

impl Lookup {
    /// Looks a host up. Blocks.
    pub fn of(host: HostPort) -> Lookup {
        let found = host.to_socket_addrs().map_err(|error| error.to_string());
        Lookup { host, found: found.and_then(Lookup::sorted) }
    }

    /// In the same order on every machine, whatever the order of the resolver.
    fn sorted(found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, String> {
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_pool_are_sorted_and_bounded() {
        let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 80));
        let found: Vec<SocketAddr> = (0..100).map(address).collect();
        let sorted = Lookup::sorted(found.iter().rev().chain(&found).copied()).unwrap();
        assert_eq!(sorted, found[..ADDRESSES_MAX]);
        assert!(Lookup::sorted([].into_iter()).is_err());
        assert!(Lookup::of(("host.invalid".to_owned(), 9)).found.is_err());
        let found = Lookup::of(("127.0.0.1".to_owned(), 9)).found.unwrap();
        assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], 9))]);
    }
}
