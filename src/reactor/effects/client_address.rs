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
use crate::reactor::api::settings::Limit;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::phase::Registration;
use crate::reactor::core::Core;
use crate::reactor::parts::addresses::is_in;
use crate::reactor::parts::admission::Quota;

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
        let surplus = self.admission.assign_to_address(&self.settings, client, self.now)?;
        let quota = if surplus.is_some() { Quota::Surplus } else { Quota::Clients };
        conn.register(quota, conn.registration());
        if let Some(limit) = surplus {
            self.count_dry(id, limit);
        }
        Ok(())
    }

    /// Takes a token of the client's address for a request to a route with `requests_per_address`.
    /// False if it has none in a dry run.
    ///
    /// # Errors
    /// [`Requests`](Refusal::Requests) without one.
    pub(crate) fn take_request(&mut self, id: ConnId, route: RouteId) -> Result<bool, Refusal> {
        let Some(rate) = self.router.settings(route).requests_per_address else {
            return Ok(true);
        };
        if self.is_surplus(id) && self.is_dry(Limit::Requests) {
            return Ok(true);
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(true);
        };
        let client = SocketAddr::from(conn.peer).ip();
        let Some(handshake) = conn.handshake() else {
            return Ok(true);
        };
        if handshake.proxy.as_ref().is_some_and(|proxy| proxy.is_client_exempt) {
            return Ok(true);
        }
        let taken = self.admission.take_request(&self.settings, route, &rate, client, self.now);
        let Err(wait) = taken else {
            return Ok(true);
        };
        handshake.requests_wait = wait;
        if self.enforces(id, Limit::Requests) { Err(Refusal::Requests) } else { Ok(false) }
    }

    /// Whether a limit in a dry run would have refused a connection. Later ones would not have seen
    /// it.
    fn is_surplus(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.quota() == Quota::Surplus)
    }

    /// Uncounts a connection, for its address, that a limit in a dry run would have refused.
    pub(crate) fn make_surplus(&mut self, id: ConnId) {
        let conn = self.conns.get_mut(id).filter(|conn| conn.quota() == Quota::Clients);
        if let Some(conn) = conn {
            self.admission.release_to_proxy(SocketAddr::from(conn.peer).ip());
            conn.register(Quota::Surplus, conn.registration());
        }
    }

    /// Counts an upgrade towards the connections of its route.
    ///
    /// # Errors
    /// [`RouteFull`](Refusal::RouteFull): the route has too many.
    pub(crate) fn enter_route(&mut self, id: ConnId, route: RouteId) -> Result<(), Refusal> {
        if self.is_surplus(id) && self.is_dry(Limit::RouteFull) {
            return Ok(());
        }
        let max = self.router.settings(route).connections_max;
        let is_full = max.is_some_and(|max| self.router.connections(route) >= max);
        if is_full {
            return match self.enforces(id, Limit::RouteFull) {
                true => Err(Refusal::RouteFull),
                // In a dry run it does not count, so that the limit refuses as many as it would.
                false => Ok(()),
            };
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.count_for_route();
            conn.route = route;
            self.router.enter(route);
        }
        Ok(())
    }

    /// Uncounts a connection that was refused after it was counted for its route.
    pub(crate) fn leave_route_of(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.uncount_for_route()
        {
            self.router.leave(conn.route);
        }
    }

    /// Uncounts a connection that has ended for its route.
    pub(crate) fn leave_route(&mut self, conn: &mut Connection) {
        if conn.uncount_for_route() {
            self.router.leave(conn.route);
        }
    }
}

/// Whether reading the chain of proxies ended at a trusted one before its end.
fn is_cut(client: Option<&ClientAddress>, is_trusted: impl Fn(IpAddr) -> bool) -> bool {
    client.is_some_and(|client| !client.is_trusted && is_trusted(client.address))
}
