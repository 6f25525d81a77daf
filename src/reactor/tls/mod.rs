//! TLS under the connections of a loop: its identity, its sessions, and the memory that they share.
//!
//! A secure connection is one with a [`Session`] in its rare part; all above it sees plaintext, all
//! below records. What is read is decrypted at once and whole, what is sent is sealed when it is
//! flushed: neither side leaves anything with rustls. Certificates are read on a thread; the loop
//! swaps a pointer, so that connections keep what they began with.

#[cfg_attr(not(feature = "cert-info"), path = "../without/cert_info.rs")]
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
use super::budget::{READ_BYTES, SEAL_BYTES, SEAL_OVERHEAD_BYTES};
use super::connection::Connection;
use super::core::Core;
use super::outbox::{Flushed, Outbox, SpareQueues, Workspace, Written};
use super::settings::TlsSettings;
use super::{ConnId, Reactor, Time};

pub use self::connector::TlsConnector;
pub use self::error::TlsError;
pub use self::pem::PEM_BYTES_MAX;
pub(super) use self::session::Session;

/// A session as a connection holds it.
pub(super) type SessionBox = Box<Session>;

/// The TLS of one loop.
#[derive(Debug, Default)]
pub(super) struct Tls {
    identity: Option<Identity>,
    pub(super) memory: Memory,
    pub(super) handshakes: Handshakes,
}

/// What clients are shown, now and after a change of the files.
#[derive(Debug)]
struct Identity {
    config: Arc<ServerConfig>,
    reloader: Reloader,
}

/// What sessions use while they work and none of them owns; no memory at all before the first.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Records that are read.
    incoming: Vec<u8>,
    /// Records that are written.
    outgoing: Vec<u8>,
    /// Plaintext of several chunks that goes into one record.
    gathered: Vec<u8>,
    /// What TLS itself answers.
    answer: Vec<u8>,
}

impl Memory {
    fn prepare(&mut self) {
        self.incoming.resize(READ_BYTES, 0);
        self.outgoing.resize(SEAL_BYTES + SEAL_OVERHEAD_BYTES, 0);
    }
}

impl Memory {
    /// Seals what is queued and writes it. Returns how many bytes of records the kernel took, and why the
    /// flush stopped.
    // Not inlined: the way in the clear stays as short as it was.
    #[inline(never)]
    pub(super) fn flush(
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
    /// The TLS of a connection that a client has made.
    ///
    /// # Errors
    /// There is no identity to show, or rustls refuses it.
    pub(super) fn accept(&mut self) -> io::Result<SessionBox> {
        let identity = self.identity.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let config = Arc::clone(&identity.config);
        self.memory.prepare();
        Session::server(config).map(Box::new).map_err(io::Error::other)
    }

    /// The TLS of a connection that we make.
    pub(super) fn connect(&mut self, connector: &TlsConnector) -> io::Result<SessionBox> {
        self.memory.prepare();
        connector.session().map(Box::new).map_err(io::Error::other)
    }

    /// # Errors
    /// There is no certificate for a secure listener.
    pub(super) fn check_identity(&self) -> io::Result<()> {
        match self.identity {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, TlsError::NoCertificate)),
        }
    }
}

impl TlsSettings {
    /// Whether a server could serve with these files now. Reads them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), TlsError> {
        let loaded = load(self, &Resumption::new()?)?;
        loaded.untimely.map_or(Ok(()), Err)
    }
}

impl Reactor {
    /// The certificates of listeners that are [secure](super::settings::ListenSettings::secure), read
    /// now. From here on a thread watches their files, for changes and for
    /// [`reload_certificates`](Reactor::reload_certificates).
    ///
    /// # Errors
    /// What is wrong with the files. Certificates that are not valid at this time are warned of.
    pub fn set_tls(&mut self, settings: TlsSettings) -> Result<(), TlsError> {
        let (reloader, loaded) = Reloader::start(settings, self.core.bells.alarm())?;
        if let Some(error) = loaded.untimely {
            warn!("{error}");
        }
        self.core.tls.identity = Some(Identity { config: loaded.config, reloader });
        Ok(())
    }

    /// Reloads the certificates given to [`set_tls`](Reactor::set_tls), on a thread. If they are valid,
    /// new connections get them; if not, the log says why and the old ones stay. Without TLS there is
    /// nothing to reload, and the log says so.
    pub fn reload_certificates(&self) {
        match &self.core.tls.identity {
            Some(identity) => identity.reloader.order(),
            None => info!("nothing to reload: no listener uses TLS"),
        }
    }
}

impl Core {
    /// Queues records of TLS's own, before all that is not sealed yet.
    fn queue_sealed(&mut self, id: ConnId, records: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.outboxes.change(id, conn, |open| open.outbox.push_sealed(open.spares, records));
            self.mark_dirty(id);
        }
    }

    /// Begins the handshake, as the client that we are.
    pub(super) fn begin_handshake(&mut self, id: ConnId) {
        let mut hello = Vec::new();
        if let Some(session) = self.conns.get_mut(id).and_then(|conn| conn.session()) {
            session.receive(&mut [], &mut [], &mut hello);
        }
        self.queue_sealed(id, &hello);
    }

    /// Tells a peer that has ended its own side that ours ends in good order, too, if that can be said at
    /// once.
    pub(super) fn bid_farewell(&mut self, id: ConnId) {
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

    /// Queues our close_notify; whether there was one to be queued.
    pub(super) fn queue_close_notify(&mut self, id: ConnId) -> bool {
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

    /// Shows new clients the certificates that were read since this was last asked.
    pub(super) fn take_reloaded(&mut self) {
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
