//! [`Connect`]: the server of an outbound connection, and how to reach it.
//!
//! Plain values. [`connect`](crate::reactor::effects::connect) opens the connection.

use std::net::{IpAddr, SocketAddr};

use crate::reactor::parts::tls::TlsConnector;

/// The address of a server, for [`Context::connect`](crate::reactor::Context::connect), and how to
/// reach it: over TLS, or from a given address of this machine. By default neither.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    pub(in crate::reactor) address: SocketAddr,
    pub(in crate::reactor) local: Option<IpAddr>,
    pub(in crate::reactor) tls: Option<&'a TlsConnector>,
    #[cfg(feature = "proxy")]
    pub(in crate::reactor) preface: &'a [u8],
}

impl<'a> Connect<'a> {
    /// To a server at this address. weir resolves no names: that blocks, and belongs on a thread.
    pub fn to(address: SocketAddr) -> Connect<'a> {
        Connect {
            address,
            local: None,
            tls: None,
            #[cfg(feature = "proxy")]
            preface: &[],
        }
    }

    /// Over TLS, if there is a connector. Feature `tls`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, connector: impl Into<Option<&'a TlsConnector>>) -> Connect<'a> {
        Connect { tls: connector.into(), ..self }
    }

    /// From this address of the machine instead of the one that the system chooses. One address has
    /// some 28,000 ports for connections to one server, a loopback network has 16 million addresses.
    #[must_use]
    pub fn local_address(self, local: impl Into<Option<IpAddr>>) -> Connect<'a> {
        Connect { local: local.into(), ..self }
    }

    /// Sends these bytes first, before TLS: a PROXY header. Feature `proxy`.
    #[cfg(feature = "proxy")]
    #[must_use]
    pub fn preface(self, preface: &'a [u8]) -> Connect<'a> {
        Connect { preface, ..self }
    }
}
