//! TLS of one loop: its certificates, its sessions, and the memory that sessions share.
//!
//! A TLS connection has a [`Session`] in its cold state. Layers above it see plaintext, the socket
//! below it carries records. Input is decrypted completely on each read, output is encrypted when
//! it is flushed, so that no data stays inside rustls. Certificates are read on a thread; the loop
//! swaps a pointer, so that open connections keep their certificate.
//!
//! Next: `session.rs` for records, `read.rs` for reads, `reload.rs` for the certificate thread.

#[cfg_attr(not(feature = "cert-info"), path = "../../without/cert_info.rs")]
mod cert_info;
mod certificates;
mod connector;
mod error;
mod handshakes;
mod pem;
mod read;
mod reload;
mod session;

use std::io::{self, Write};
use std::sync::Arc;

use log::{debug, error, info, warn};
use mio::net::TcpStream;
use rustls::ServerConfig;

use self::certificates::{Resumption, load};
use self::handshakes::Handshakes;
use self::reload::Reloader;
use crate::reactor::Reactor;
use crate::reactor::api::budget::{READ_BYTES, SEAL_BYTES, SEAL_OVERHEAD_BYTES};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::TlsSettings;
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outbox::{Flushed, Outbox, SpareQueues, Workspace, Written};
use crate::reactor::core::Core;

pub use self::connector::TlsConnector;
pub use self::error::TlsError;
pub use self::pem::PEM_BYTES_MAX;
pub(crate) use self::session::Session;

/// How a connection stores its session: boxed.
pub(crate) type SessionBox = Box<Session>;

/// The TLS state of one loop.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    identity: Option<Identity>,
    pub(crate) memory: Memory,
    pub(crate) handshakes: Handshakes,
}

/// The certificates of the server, and the thread that reloads them.
#[derive(Debug)]
struct Identity {
    config: Arc<ServerConfig>,
    reloader: Reloader,
}

/// Buffers that all sessions share while they work. Allocated with the first session.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Records read from a socket.
    incoming: Vec<u8>,
    /// Records to be written.
    outgoing: Vec<u8>,
    /// Plaintext of several chunks, gathered for one record.
    gathered: Vec<u8>,
    /// Records that TLS itself sends in response.
    answer: Vec<u8>,
}

impl Memory {
    fn prepare(&mut self) {
        self.incoming.resize(READ_BYTES, 0);
        self.outgoing.resize(SEAL_BYTES + SEAL_OVERHEAD_BYTES, 0);
    }
}

impl Memory {
    /// Encrypts queued output and writes it. Returns the number of record bytes that the kernel
    /// accepted, and why the flush stopped.
    // Not inlined: the plaintext path must not grow.
    #[inline(never)]
    pub(crate) fn flush(
        &mut self,
        session: &mut Session,
        outbox: &mut Outbox,
        socket: &TcpStream,
        spares: &mut SpareQueues,
        now: Time,
    ) -> io::Result<(usize, Flushed)> {
        let workspace = Workspace { gathered: &mut self.gathered, records: &mut self.outgoing };
        let seal = |plain: &[u8], records: &mut [u8]| {
            session.seal(plain, records).map_err(io::Error::other)
        };
        let Written { bytes, flushed } =
            outbox.flush_sealed(&mut &*socket, seal, workspace, spares, now)?;
        Ok((bytes, flushed))
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
        self.memory.prepare();
        Session::server(config).map(Box::new).map_err(io::Error::other)
    }

    /// Creates the session of an outbound connection.
    pub(crate) fn connect(&mut self, connector: &TlsConnector) -> io::Result<SessionBox> {
        self.memory.prepare();
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

impl Reactor {
    /// Reads the certificates of [TLS listeners](crate::reactor::settings::ListenSettings::secure). A thread
    /// then watches the files, and reloads them on a change or on
    /// [`reload_certificates`](Reactor::reload_certificates).
    ///
    /// # Errors
    /// A file is unreadable, malformed or inconsistent. A certificate that is not valid at this
    /// time only logs a warning.
    pub fn set_tls(&mut self, settings: TlsSettings) -> Result<(), TlsError> {
        let (reloader, loaded) = Reloader::start(settings, self.core.notifiers.loop_waker())?;
        if let Some(error) = loaded.not_valid_now {
            warn!("{error}");
        }
        self.core.tls.identity = Some(Identity { config: loaded.config, reloader });
        Ok(())
    }

    /// Reloads the certificates given to [`set_tls`](Reactor::set_tls), on a thread. If they are
    /// valid, new connections use them. Otherwise the error is logged and the old ones stay in use.
    /// Without TLS it only logs that there is nothing to reload.
    pub fn reload_certificates(&self) {
        match &self.core.tls.identity {
            Some(identity) => identity.reloader.request(),
            None => info!("nothing to reload: no listener uses TLS"),
        }
    }
}

impl Core {
    /// Queues records of TLS itself, before all output that is not encrypted yet.
    fn queue_sealed(&mut self, id: ConnId, records: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.outboxes.change(id, conn, |open| open.outbox.push_sealed(open.spares, records));
            self.mark_dirty(id);
        }
    }

    /// Starts the handshake of an outbound connection: queues the ClientHello.
    pub(crate) fn begin_handshake(&mut self, id: ConnId) {
        let mut hello = Vec::new();
        if let Some(session) = self.conns.get_mut(id).and_then(|conn| conn.session()) {
            session.receive(&mut [], &mut [], &mut hello);
        }
        self.queue_sealed(id, &hello);
    }

    /// Writes our close_notify to a peer that has ended its side, if the socket accepts it at once.
    pub(crate) fn write_close_notify(&mut self, id: ConnId) {
        let Some(Connection { socket, rare: Some(rare), .. }) = self.conns.get_mut(id) else {
            return;
        };
        let records = &mut self.tls.memory.outgoing;
        let sealed = rare.session.as_mut().and_then(|session| session.seal_end(records));
        if let Some(len) = sealed
            && let Err(error) = (&*socket).write(&records[..len])
        {
            debug!("{id}: no close_notify: {error}");
        }
    }

    /// Queues our close_notify; false if it was sent before or cannot be sent.
    pub(crate) fn queue_close_notify(&mut self, id: ConnId) -> bool {
        let Some(session) = self.conns.get_mut(id).and_then(|conn| conn.session()) else {
            return false;
        };
        let records = &mut self.tls.memory.outgoing;
        let Some(len) = session.seal_end(records) else {
            return false;
        };
        let notify = records[..len].to_vec();
        self.queue_sealed(id, &notify);
        true
    }

    /// Uses certificates that the thread has reloaded since the last call, for new connections.
    pub(crate) fn take_reloaded(&mut self) {
        let Some(identity) = &mut self.tls.identity else {
            return;
        };
        match identity.reloader.next() {
            None => {}
            Some(Ok(config)) => {
                identity.config = config;
                self.metrics.tls_reloads += 1;
                info!("certificates reloaded");
            }
            Some(Err(error)) => {
                self.metrics.tls_reloads_refused += 1;
                error!("certificates not reloaded, the old ones stay: {error}");
            }
        }
    }
}
