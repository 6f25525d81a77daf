//! Stands in for `parts/tls/` without the feature `tls`: no connection has a session.
//!
//! [`Session`] has no value, so the compiler removes each branch that needs one. An `Option` of it
//! takes no byte.

use std::convert::Infallible;
use std::io;

use crate::reactor::api::time::Time;
use crate::reactor::api::tls_info::TlsInfo;

const NO_TLS: &str = "weir was built without the feature `tls`";

/// The TLS session of one connection: has no value.
#[derive(Debug)]
pub(crate) struct Session(pub(crate) Infallible);

/// How a connection stores its session.
pub(crate) type SessionBox = Session;

impl Session {
    pub(crate) fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn held_bytes(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn info(&self) -> TlsInfo {
        match self.0 {}
    }
}

/// The TLS configuration of outbound connections: has no value.
#[derive(Debug)]
pub(crate) struct TlsConnector(Infallible);

/// The TLS state of one loop.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) buffers: SessionBuffers,
    pub(crate) handshakes: Handshakes,
}

impl Tls {
    /// # Errors
    /// Always: there is no TLS.
    pub(crate) fn check_identity(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS))
    }

    /// # Errors
    /// Always: there is no TLS.
    pub(crate) fn accept(&mut self) -> io::Result<SessionBox> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS))
    }

    pub(crate) fn connect(&mut self, connector: &TlsConnector) -> io::Result<SessionBox> {
        match connector.0 {}
    }
}

/// No memory.
#[derive(Debug, Default)]
pub(crate) struct SessionBuffers;

/// No handshakes.
#[derive(Debug, Default)]
pub(crate) struct Handshakes;

impl Handshakes {
    pub(crate) fn refill(&mut self) {}

    pub(crate) fn refused_at(&self) -> Option<Time> {
        None
    }
}
