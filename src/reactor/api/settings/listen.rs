//! An address to listen on: [`ListenSettings`].
//!
//! It opens no socket: [`listener`](crate::reactor::parts::listener) does.

use std::net::SocketAddr;

use super::setters::with_setters;

with_setters! {
    /// An address to listen on.
    ///
    /// ```
    /// use weir::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listen = ListenSettings::new("127.0.0.1:9001".parse()?).reuse_port(true);
    /// assert_eq!(listen.address.port(), 9001);
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ListenSettings {
        /// Address and port; port 0 lets the kernel choose.
        pub address: SocketAddr = address,
        /// SO_REUSEPORT: several processes share the port, and the kernel distributes connections.
        pub reuse_port: bool = false,
        /// TLS, with the certificates set before by [`set_tls`](crate::reactor::Reactor::set_tls).
        pub secure: bool = false,
        /// Each connection starts with a PROXY header, version 1 or 2, before TLS: the address in it
        /// replaces the peer's. Connections without one, and those of peers that are not in
        /// [`trusted_proxies`](field@super::Settings::trusted_proxies), are closed.
        pub proxy_header: bool = false,
        /// The listener group: its requests find only routes of the same
        /// [group](field@super::RouteSettings::listener_group).
        pub listener_group: u16 = 0,
        /// Accepts connections of operators, not clients: up to
        /// [`OPERATORS_MAX`](crate::reactor::budget::OPERATORS_MAX) at all such listeners,
        /// independently of the limits of clients. During a shutdown it stays open until the last
        /// client connection has ended.
        pub for_operators: bool = false,
    }

    /// Listens on this address for routes of listener group 0, without TLS and SO_REUSEPORT.
    pub fn new(address: SocketAddr);
}
