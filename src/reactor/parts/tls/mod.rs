//! TLS of one loop: its certificates, its sessions, and the memory that sessions share.
//!
//! A TLS connection has a [`Session`] in its cold state. Layers above it see plaintext, the socket
//! below it carries records. Input is decrypted completely on each read, output is encrypted when
//! it is flushed, so that no data stays inside rustls. Certificates are read on a thread; the loop
//! swaps a pointer, so that open connections keep their certificate.
//!
//! Next: `session.rs` for records, `effects/secure.rs` for reads, `reload.rs` for the certificate
//! thread.

#[cfg_attr(not(feature = "cert-info"), path = "../../without/parts/tls/cert_info.rs")]
mod cert_info;
mod certificates;
pub(crate) mod connector;
pub(crate) mod error;
pub(crate) mod handshakes;
pub(crate) mod pem;
pub(crate) mod reload;
pub(crate) mod session;

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;

use self::certificates::{Resumption, load};
use self::handshakes::Handshakes;
use self::reload::Reloader;
use self::session::Session;
use crate::reactor::api::budget::{READ_BYTES, SEAL_BYTES, SEAL_OVERHEAD_BYTES};
use crate::reactor::api::settings::TlsSettings;

pub use self::connector::TlsConnector;
pub use self::error::TlsError;
pub use self::pem::PEM_BYTES_MAX;

/// How a connection stores its session: boxed.
pub(crate) type SessionBox = Box<Session>;

/// The TLS state of one loop.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) identity: Option<Identity>,
    pub(crate) buffers: SessionBuffers,
    pub(crate) handshakes: Handshakes,
}

/// The certificates of the server, and the thread that reloads them.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) reloader: Reloader,
}

/// Buffers that all sessions share while they work. Allocated with the first session.
#[derive(Debug, Default)]
pub(crate) struct SessionBuffers {
    /// Records read from a socket.
    pub(crate) incoming: Vec<u8>,
    /// Records to be written.
    pub(crate) outgoing: Vec<u8>,
    /// Plaintext of several chunks, gathered for one record.
    pub(crate) gathered: Vec<u8>,
    /// Records that TLS itself sends in response.
    pub(crate) answer: Vec<u8>,
}

impl SessionBuffers {
    fn prepare(&mut self) {
        self.incoming.resize(READ_BYTES, 0);
        self.outgoing.resize(SEAL_BYTES + SEAL_OVERHEAD_BYTES, 0);
    }
}

impl Tls {
    /// Creates the session of an accepted connection.
    ///
    /// # Errors
    /// The reactor has no certificate, or rustls rejects the configuration.
    pub(crate) fn accept(&mut self) -> io::Result<SessionBox> {
        let identity = self.identity.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let config = Arc::clone(&identity.config);
        self.buffers.prepare();
        Session::server(config).map(Box::new).map_err(io::Error::other)
    }

    /// Creates the session of an outbound connection.
    pub(crate) fn connect(&mut self, connector: &TlsConnector) -> io::Result<SessionBox> {
        self.buffers.prepare();
        connector.session().map(Box::new).map_err(io::Error::other)
    }

    /// # Errors
    /// A listener with TLS has no certificate.
    pub(crate) fn check_identity(&self) -> io::Result<()> {
        match self.identity {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, TlsError::NoCertificate)),
        }
    }
}

impl TlsSettings {
    /// Reads the files and checks whether a server could use them now.
    ///
    /// # Errors
    /// The first problem found.
    pub fn check(&self) -> Result<(), TlsError> {
        let loaded = load(self, &Resumption::new()?)?;
        loaded.not_valid_now.map_or(Ok(()), Err)
    }
}
