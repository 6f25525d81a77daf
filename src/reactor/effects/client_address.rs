//! The addresses of clients behind trusted proxies, and the limits per address.
//!
//! A peer in `trusted_proxies` states the address of the client of each request, in the header that
//! `client_address_from` names. That address replaces the peer's in logs, records and limits. From
//! other peers such headers are removed. `protocol::http` reads the headers;
//! [`admission`](crate::reactor::parts::admission) counts.

use std::net::{IpAddr, SocketAddr};

use crate::protocol::handshake::{Refusal, Request, Slots};
use crate::protocol::http::{
    ClientAddress, client_address, is_forwarded_secure, is_forwarding_header,
};
use crate::reactor::api::id::{ConnId, RouteId};
use crate::reactor::conn::phase::Registration;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::{Quota, is_in};

impl Core {
    /// Whether a peer may state the addresses of its clients.
    pub(crate) fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        is_in(&self.settings.trusted_proxies, address)
    }

    /// Parses a request head. Headers that describe earlier hops are removed, unless the peer is a
    /// trusted proxy.
    ///
    /// # Errors
    /// Those of [`Request::parse`].
    pub(crate) fn parse_request<'a, 'b>(
        &mut self,
        id: ConnId,
        head: &'b [u8],
        slots: &'a mut Slots<'b>,
    ) -> Result<Request<'a>, Refusal> {
        let handshake = self.conns.get_mut(id).and_then(|conn| conn.handshake());
        match handshake.is_some_and(|handshake| handshake.proxy.is_some()) {
            true => Request::parse(head, slots),
            false => Request::parse_without(head, slots, is_forwarding_header),
        }
    }

    /// Determines the client of a request that came through a trusted proxy: from now on, its
    /// address is that of the connection.
    ///
    /// # Errors
    /// [`Forwarded`](Refusal::Forwarded) for a malformed `Forwarded`.
    pub(crate) fn find_client(&mut self, id: ConnId, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        let Some(proxy) = conn.handshake().and_then(|handshake| handshake.proxy.as_mut()) else {
            return Ok(());
        };
        let address = proxy.address;
        let source = self.settings.client_address_from.source();
        let is_trusted = |hop| is_in(&self.settings.trusted_proxies, hop);
        let client = client_address(request, source, address.ip(), is_trusted);
        // A chain that ends at a trusted proxy, but is not trusted: an invalid entry, or too many.
        let is_bad = client.is_err() || is_cut(client.as_ref().ok(), is_trusted);
        self.metrics.forwarded_bad += u64::from(is_bad);
        let client = client?;
        proxy.is_client_exempt = client.is_trusted;
        proxy.is_client_secure =
            request.has_header("X-Forwarded-Proto").then(|| is_forwarded_secure(request));
        // The port is known only if the client is the peer.
        let is_peer = client.address == address.ip().to_canonical();
        let port = if is_peer { address.port() } else { 0 };
        debug_assert_ne!(conn.quota(), Quota::Clients, "counted by the address that it had");
        conn.peer = SocketAddr::new(client.address, port).into();
        Ok(())
    }

    /// Restores the peer's own address, before a request whose client is not known.
    pub(crate) fn forget_client(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && let Some(proxy) = conn.handshake().and_then(|handshake| handshake.proxy.as_ref())
        {
            conn.peer = proxy.address.into();
        }
    }

    /// Counts an admitted connection for the address of its client, if it is a trusted proxy's.
    ///
    /// # Errors
    /// A limit of the address is reached. Then nothing has changed.
    pub(crate) fn assign_to_client(&mut self, id: ConnId) -> Result<(), Refusal> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        if conn.quota() != Quota::Proxies || conn.registration() == Registration::Refused {
            return Ok(());
        }
        let proxy = conn.handshake().and_then(|handshake| handshake.proxy.as_ref());
        if proxy.is_some_and(|proxy| proxy.is_client_exempt) {
            return Ok(());
        }
        let client = SocketAddr::from(conn.peer).ip();
        self.admission.assign_to_address(&self.settings, client, self.now)?;
        conn.register(Quota::Clients, conn.registration());
        Ok(())
    }

    /// Takes a token of the client's address for a request to a route with `requests_per_address`.
    ///
    /// # Errors
    /// [`Requests`](Refusal::Requests) without one.
    pub(crate) fn take_request(&mut self, id: ConnId, route: RouteId) -> Result<(), Refusal> {
        let Some(rate) = self.router.settings(route).requests_per_address else {
            return Ok(());
        };
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        let client = SocketAddr::from(conn.peer).ip();
        let Some(handshake) = conn.handshake() else {
            return Ok(());
        };
        if handshake.proxy.as_ref().is_some_and(|proxy| proxy.is_client_exempt) {
            return Ok(());
        }
        let taken = self.admission.take_request(&self.settings, route, &rate, client, self.now);
        taken.map_err(|wait| {
            // Rounded up: a client that returns after exactly this time is admitted.
            handshake.retry_after_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Refusal::Requests
        })
    }
}

/// Whether reading the chain of proxies ended at a trusted one before its end.
fn is_cut(client: Option<&ClientAddress>, is_trusted: impl Fn(IpAddr) -> bool) -> bool {
    client.is_some_and(|client| !client.is_trusted && is_trusted(client.address))
}
