//! Stands in for `tls/` without the feature `tls`: no connection has a session.
//!
//! [`Session`] has no value, so the compiler removes each branch that needs one. An `Option` of it takes
//! no byte.

use std::convert::Infallible;
use std::io;

use mio::net::TcpStream;

use super::outbox::{Flushed, Outbox, SpareQueues};
use super::{ConnId, Reactor, Time, TlsInfo};

const NO_TLS: &str = "weir was built without the feature `tls`";

/// The TLS session of one connection: has no value.
#[derive(Debug)]
pub(super) struct Session(Infallible);

/// How a connection stores its session.
pub(super) type SessionBox = Session;

impl Session {
    pub(super) fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn held_bytes(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn info(&self) -> TlsInfo {
        match self.0 {}
    }
}

/// The TLS configuration of outbound connections: has no value.
#[derive(Debug)]
pub(super) struct TlsConnector(Infallible);

/// The TLS state of one loop.
#[derive(Debug, Default)]
pub(super) struct Tls {
    pub(super) memory: Memory,
    pub(super) handshakes: Handshakes,
}

impl Tls {
    /// # Errors
    /// Always: there is no TLS.
    pub(super) fn check_identity(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS))
    }

    /// # Errors
    /// Always: there is no TLS.
    pub(super) fn accept(&mut self) -> io::Result<SessionBox> {
        Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS))
    }

    pub(super) fn connect(&mut self, connector: &TlsConnector) -> io::Result<SessionBox> {
        match connector.0 {}
    }
}

/// No memory.
#[derive(Debug, Default)]
pub(super) struct Memory;

impl Memory {
    pub(super) fn flush(
        &mut self,
        session: &mut Session,
        _: &mut Outbox,
        _: &TcpStream,
        _: &mut SpareQueues,
        _: Time,
    ) -> io::Result<(usize, Flushed)> {
        match session.0 {}
    }
}

/// No handshakes.
#[derive(Debug, Default)]
pub(super) struct Handshakes;

impl Handshakes {
    pub(super) fn refill(&mut self) {}

    pub(super) fn refused_at(&self) -> Option<Time> {
        None
    }
}

impl Reactor {
    pub(super) fn read_secure(&mut self, _: ConnId) {}

    pub(super) fn read_refused(&mut self) {}
}

impl super::core::Core {
    pub(super) fn begin_handshake(&mut self, _: ConnId) {}

    pub(super) fn write_close_notify(&mut self, _: ConnId) {}

    /// Queues a close_notify: never.
    pub(super) fn queue_close_notify(&mut self, _: ConnId) -> bool {
        false
    }

    pub(super) fn take_reloaded(&mut self) {}
}
