//! An address to listen on: [`ListenSettings`].
//!
//! It opens no socket: [`listener`](crate::reactor::parts::listener) does.

use std::net::SocketAddr;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// SO_REUSEPORT: several processes share the port, and the kernel distributes connections.
    pub reuse_port: bool,
    /// TLS, with the certificates set before by [`set_tls`](crate::reactor::Reactor::set_tls).
    pub secure: bool,
    /// The listener group: its requests find only routes of the same
    /// [group](super::RouteSettings::listener_group).
    pub listener_group: u16,
    /// Accepts connections of operators, not clients: up to
    /// [`OPERATORS_MAX`](crate::reactor::budget::OPERATORS_MAX) at all such listeners,
    /// independently of the limits of clients. During a shutdown it stays open until the last
    /// client connection has ended.
    pub for_operators: bool,
}

impl ListenSettings {
    /// Listens on this address for routes of listener group 0, without TLS and SO_REUSEPORT.
    pub fn new(address: SocketAddr) -> ListenSettings {
        ListenSettings {
            address,
            reuse_port: false,
            secure: false,
            listener_group: 0,
            for_operators: false,
        }
    }

    /// Like [`new`](ListenSettings::new), with TLS.
    pub fn secure(address: SocketAddr) -> ListenSettings {
        ListenSettings { secure: true, ..ListenSettings::new(address) }
    }
}
