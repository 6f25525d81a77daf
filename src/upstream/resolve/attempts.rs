//! The addresses of a host: looked up on a thread, then tried in turn.
//!
//! A name may have addresses at which nothing listens, such as `::1` beside `127.0.0.1` for
//! `localhost`. Each round of attempts starts with a new lookup, since a host may have moved. Opens
//! no connection itself: [`Link`](crate::upstream::link::Link) does.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::thread;

use super::host::{ADDRESSES_MAX, HostPort};

/// The addresses of a host that are not tried yet, in the order of the resolver.
#[derive(Debug, Default)]
pub(crate) struct Addresses(VecDeque<SocketAddr>);

impl Addresses {
    pub(in crate::upstream) fn new(found: impl IntoIterator<Item = SocketAddr>) -> Addresses {
        Addresses(found.into_iter().take(ADDRESSES_MAX).collect())
    }

    pub(in crate::upstream) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes each address to `connect`, in turn, until one connection is started.
    pub(in crate::upstream) fn connect<C>(
        &mut self,
        mut connect: impl FnMut(SocketAddr) -> io::Result<C>,
    ) -> Option<C> {
        while let Some(address) = self.0.pop_front() {
            match connect(address) {
                Ok(connection) => return Some(connection),
                Err(error) => log::debug!("no connection to {address}: {error}"),
            }
        }
        None
    }
}

/// Looks a host up on a thread of its own, since that blocks, and passes its addresses to `deliver`
/// there. A failed lookup finds none.
///
/// # Errors
/// The thread could not be started.
pub(in crate::upstream) fn look_up(
    host: HostPort,
    deliver: impl FnOnce(Addresses) + Send + 'static,
) -> io::Result<()> {
    let look_up = move || {
        let found = host.to_socket_addrs().inspect_err(|error| {
            log::debug!("no addresses of {}: {error}", host.0);
        });
        deliver(found.map(Addresses::new).unwrap_or_default());
    };
    thread::Builder::new().name("resolver".to_owned()).spawn(look_up).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn addresses(count: u16) -> impl Iterator<Item = SocketAddr> {
        (1..=count).map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn each_address_is_tried_once_in_turn() {
        let mut all = Addresses::new(addresses(5));
        let mut tried = Vec::new();
        let mut attempt = |all: &mut Addresses| {
            all.connect(|address| {
                tried.push(address.port());
                let is_refused = address.port() % 2 == 1;
                if is_refused { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(address) }
            })
        };
        assert_eq!(attempt(&mut all).unwrap().port(), 2);
        assert_eq!(attempt(&mut all).unwrap().port(), 4);
        assert!(!all.is_empty());
        assert_eq!(attempt(&mut all), None);
        assert!(all.is_empty());
        assert_eq!(tried, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_addresses_of_one_host_are_bounded() {
        assert_eq!(Addresses::new(addresses(100)).0.len(), ADDRESSES_MAX);
    }

    #[test]
    fn lookups_deliver_the_addresses_of_the_resolver_or_none() {
        for (host, expected) in [("127.0.0.1", Some("127.0.0.1:9")), ("host.invalid", None)] {
            let (sender, receiver) = channel();
            look_up((host.to_owned(), 9), move |found| sender.send(found).unwrap()).unwrap();
            let found = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(found.0.front().map(SocketAddr::to_string).as_deref(), expected);
        }
    }
}
