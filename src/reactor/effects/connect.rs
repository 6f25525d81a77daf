//! Outbound connections (the client's role): opened by a service, on the same loop and in the same
//! table.
//!
//! From the connecting socket to the server's response. Then the connection is like any other,
//! except that its frames are masked. It resolves no names: that blocks, and belongs on a thread.

use std::io;

use mio::net::TcpStream;

use crate::protocol::handshake::{ClientRequest, Settled};
use crate::protocol::secret::Secret;
use crate::protocol::{Decoder, Role};
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::connect::Connect;
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::conn::connection::{Connection, Place};
use crate::reactor::conn::handshake::{Awaited, Handshake};
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::socket::connect_from;
use crate::reactor::parts::tls::SessionBox;

impl Core {
    pub(crate) fn connect(
        &mut self,
        service: ServiceId,
        to: Connect<'_>,
        route: RouteId,
        request: &ClientRequest,
    ) -> io::Result<ConnId> {
        let (socket, session) = self.open_socket(&to)?;
        let address = to.address;
        let id = self.conns.next_id();
        let mut bytes = Vec::new();
        let (request, windows) = self.offer(request);
        let expected = request.write(self.masks.nonce(), &mut bytes);
        let mut handshake = Handshake::new(self.now);
        handshake.awaited = Some(Awaited { request: Secret(bytes), expected });
        let place = Place { route, service, path: request.path().into() };
        let decoder = Decoder::new(Role::Client);
        let phase = Phase::Connecting;
        let mut conn = Connection::new(id, socket, address, decoder, phase, handshake, place);
        conn.register(Quota::Outbound, Registration::Announced);
        conn.cold().session = session;
        self.insert(conn);
        if windows.is_some() {
            self.set_windows(id, windows);
        }
        self.metrics.connects += 1;
        self.sync_interest(id);
        self.arm(id);
        Ok(id)
    }

    /// Opens a socket that connects, and counts it.
    pub(crate) fn open_socket(
        &mut self,
        to: &Connect<'_>,
    ) -> io::Result<(TcpStream, Option<SessionBox>)> {
        if !self.admission.has_outbound_room() {
            self.metrics.connects_refused += 1;
            let text = "outbound_max is reached, or the loop is shutting down";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        let session = to.tls.map(|connector| self.tls.connect(connector)).transpose()?;
        let socket = match to.local {
            None => TcpStream::connect(to.address)?,
            Some(local) => connect_from(local, to.address)?,
        };
        socket.set_nodelay(true)?;
        self.admission.admit_outbound();
        Ok((socket, session))
    }

    /// Checks whether the kernel has connected the socket.
    pub(crate) fn finish_connect(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let Ok(Some(error)) | Err(error) = conn.socket.take_error() {
            return self.drop_connection(id, CloseReason::ConnectFailed(error.kind()));
        }
        match conn.socket.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
            Err(error) => {
                return self.drop_connection(id, CloseReason::ConnectFailed(error.kind()));
            }
        }
        conn.phase = Phase::Handshake;
        let is_secure = conn.is_secure();
        self.send_preface(id);
        if is_secure {
            self.begin_handshake(id);
        } else {
            self.begin_http(id);
        }
    }

    /// The connection is established, TLS included: queues our request, in the client's role.
    pub(crate) fn begin_http(&mut self, id: ConnId) {
        let handshake = self.conns.get_mut(id).and_then(|conn| conn.handshake());
        if let Some(awaited) = handshake.and_then(|handshake| handshake.awaited.as_mut()) {
            let request = std::mem::take(&mut awaited.request);
            self.queue_head(id, request.0);
        } else {
            self.finish_dial(id);
        }
    }
}

impl Reactor {
    /// Handles the head of the server's response (RFC 6455, 4.1).
    pub(crate) fn handle_answer(&mut self, id: ConnId, head: &[u8]) {
        let Some(handshake) = self.core.conns.get_mut(id).and_then(|conn| conn.handshake()) else {
            return;
        };
        let Some(awaited) = handshake.awaited.take() else {
            return self.handle_response(id, head);
        };
        match awaited.expected.check(head) {
            Ok(Settled { protocol, deflate }) => {
                // Releases the reservation for the widest windows; `begin_deflate` reserves the
                // agreed ones.
                self.core.set_windows(id, None);
                if let Some(agreed) = deflate {
                    self.core.begin_deflate(id, &agreed);
                }
                let protocol = protocol.and_then(|index| awaited.expected.offered(index));
                self.open(id, protocol);
            }
            Err(error) => self.core.drop_connection(id, CloseReason::UpgradeFailed(error)),
        }
    }
}
