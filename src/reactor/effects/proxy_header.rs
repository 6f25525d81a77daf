//! PROXY headers of accepted connections, before TLS and before the request.
//!
//! The header is first peeked at, so that the bytes after it stay in the socket, for HTTP or TLS.
//! `protocol::proxy_header` parses; [`inbound`](crate::reactor::effects::inbound) and
//! [`secure`](crate::reactor::effects::secure) read what follows.

use std::io::{self, Read};
use std::net::SocketAddr;

use log::{Level, error};

use crate::protocol::proxy_header::{self, ProxyHeader, V2_BYTES_MAX};
use crate::reactor::api::close_reason::{CloseReason, ProxyFault};
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::handshake::{AwaitedProxyHeader, TrustedProxy};
use crate::reactor::conn::phase::Registration;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;

/// The result of one look at the received bytes.
enum Peeked {
    Header(ProxyHeader),
    /// The header is incomplete.
    Nothing,
    End,
    Broken,
    Invalid(ProxyFault),
}

impl Core {
    /// Reads the PROXY header if it has arrived.
    #[cold]
    pub(crate) fn read_proxy_header(&mut self, id: ConnId) {
        match self.peek_proxy_header(id) {
            Peeked::Header(header) => self.take_proxy_header(id, &header),
            Peeked::Nothing => {}
            Peeked::End => self.end_input(id, CloseReason::PeerGone),
            Peeked::Broken => self.drop_connection(id, CloseReason::PeerReset),
            Peeked::Invalid(fault) => self.drop_connection(id, CloseReason::ProxyHeader(fault)),
        }
    }

    fn peek_proxy_header(&mut self, id: ConnId) -> Peeked {
        let Some(conn) = self.conns.get_mut(id) else {
            return Peeked::Nothing;
        };
        let mut start = [0; V2_BYTES_MAX];
        let len = match conn.socket.peek(&mut start) {
            Ok(0) => return Peeked::End,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.readable = false;
                return Peeked::Nothing;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Peeked::Nothing,
            Err(_) => return Peeked::Broken,
        };
        match proxy_header::parse(&start[..len]) {
            Ok(Some(header)) => Peeked::Header(header),
            Ok(None) if conn.read_closed => Peeked::End,
            Ok(None) => {
                // Further bytes are a new event.
                conn.readable = false;
                Peeked::Nothing
            }
            Err(error) => Peeked::Invalid(ProxyFault::Header(error)),
        }
    }

    /// Takes a complete header from the socket: the address in it replaces the peer's, in every
    /// rule.
    fn take_proxy_header(&mut self, id: ConnId, header: &ProxyHeader) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        // Every byte of it was peeked at, so that one read returns them all.
        let mut start = [0; V2_BYTES_MAX];
        match (&conn.socket).read(&mut start[..header.len]) {
            Ok(len) if len == header.len => {}
            _ => return self.drop_connection(id, CloseReason::PeerReset),
        }
        conn.last_heard = now;
        let awaited = conn.handshake().and_then(|handshake| handshake.proxy_header.take());
        self.metrics.bytes_read += header.len as u64;
        if let Some(endpoints) = header.endpoints {
            self.replace_peer(id, endpoints.source);
        }
        if awaited == Some(AwaitedProxyHeader::BeforeTls) {
            self.begin_tls(id);
        }
    }

    /// Replaces the peer's address. If the new one is not trusted, it is that of a client, and the
    /// limits per address apply as at accept.
    fn replace_peer(&mut self, id: ConnId, peer: SocketAddr) {
        let is_trusted = self.is_trusted_proxy(peer.ip());
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.peer = peer.into();
        if let Some(handshake) = conn.handshake() {
            handshake.proxy = is_trusted.then(|| TrustedProxy::new(peer));
        }
        if is_trusted || conn.quota() != Quota::Proxies {
            return;
        }
        let Err(refusal) = self.assign_to_client(id) else {
            return;
        };
        // The connection waits for its request, like one that was refused at accept.
        if !self.admission.admit_refused(&self.settings) {
            self.metrics.dropped_at_accept += 1;
            return self.drop_connection(id, CloseReason::Refused(refusal));
        }
        self.admission.release(Quota::Proxies, peer.ip());
        if let Some(conn) = self.conns.get_mut(id) {
            conn.set_registration(Registration::Refused);
            if let Some(handshake) = conn.handshake() {
                handshake.refused = Some(refusal);
            }
        }
    }

    fn begin_tls(&mut self, id: ConnId) {
        match self.tls.accept() {
            Ok(session) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.cold().session = Some(session);
                }
            }
            Err(error) => {
                if self.may_log(Level::Error, "TLS session not created", "no_session") {
                    error!("TLS session not created: {error}");
                }
                self.drop_connection(id, CloseReason::TlsFailed);
            }
        }
    }
}
