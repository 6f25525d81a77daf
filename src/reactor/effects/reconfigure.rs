//! Changes settings while the loop runs: those of routes, and the proxies that are trusted.
//!
//! Limits are read where they apply, so a new one holds from now on for open connections, too. What
//! was agreed in a handshake (compression, subprotocol) stays.

use std::net::SocketAddr;

use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::route::RouteError;
use crate::reactor::api::settings::{ClientAddressFrom, Prefix, RouteSettings};
use crate::reactor::conn::handshake::TrustedProxy;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;

impl Core {
    /// Changes the settings of a route, applies its rates to its connections, and sets timers for
    /// deadlines that are now earlier.
    pub(crate) fn set_route(
        &mut self,
        route: RouteId,
        settings: RouteSettings,
    ) -> Result<(), RouteError> {
        self.router.set(route, settings)?;
        self.review_reserve();
        let conns = self.conns.iter();
        let of_route = conns.filter(|(_, conn)| conn.route == route).map(|(id, _)| id);
        for id in of_route.collect::<Vec<ConnId>>() {
            self.review_rates(id);
            self.arm(id);
        }
        Ok(())
    }

    /// Changes the settings of the service's route with this pattern, or adds it.
    pub(crate) fn put_route(
        &mut self,
        path: &str,
        service: ServiceId,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        match self.router.find_pattern(path, service, settings.listener_group)? {
            Some(route) => {
                if *self.router.settings(route) != settings {
                    self.set_route(route, settings)?;
                }
                self.router.restore(route, path)?;
                Ok(route)
            }
            None => {
                let added = self.router.add(path, service, settings);
                self.review_reserve();
                added
            }
        }
    }

    /// Routes no further request to a route of this service.
    pub(crate) fn remove_route(
        &mut self,
        route: RouteId,
        service: ServiceId,
    ) -> Result<(), RouteError> {
        if self.router.owner(route) != Some(service) {
            return Err(RouteError::NoRoute);
        }
        self.router.remove(route);
        Ok(())
    }

    /// Trusts these proxies from now on.
    pub(crate) fn set_trusted_proxies(&mut self, proxies: Vec<Prefix>, from: ClientAddressFrom) {
        self.settings.trusted_proxies = proxies;
        self.settings.client_address_from = from;
        self.has_trust_changed = true;
    }

    /// Before a request: whether the peer, which may have been accepted under other settings, is a
    /// trusted proxy now.
    pub(crate) fn review_trust(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let (quota, registration, peer) = (conn.quota(), conn.registration(), conn.peer);
        let is_refused = conn.is_refused();
        let proxy = conn.handshake().and_then(|handshake| handshake.proxy.as_ref());
        let proxy = proxy.map(|proxy| proxy.address);
        let peer = proxy.unwrap_or_else(|| SocketAddr::from(peer));
        let is_trusted = self.is_trusted_proxy(peer.ip());
        if is_trusted == proxy.is_some() {
            return;
        }
        if is_trusted && quota == Quota::Clients && !is_refused {
            self.admission.release_to_proxy(peer.ip());
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        // One that is not trusted any more is counted by its address from its next upgrade.
        if is_trusted && matches!(quota, Quota::Clients | Quota::Surplus) {
            conn.register(Quota::Proxies, registration);
        }
        conn.peer = peer.into();
        if let Some(handshake) = conn.handshake() {
            handshake.proxy = is_trusted.then(|| TrustedProxy::new(peer));
        }
    }
}
