//! Routes and trusted proxies, changed while the loop runs.

use super::Context;
use crate::reactor::api::id::RouteId;
use crate::reactor::api::route::RouteError;
use crate::reactor::api::settings::{ClientAddressFrom, Prefix, RouteSettings};

impl Context<'_> {
    /// Adds a route to this service, or changes the settings of its route with this pattern, as
    /// [`set_route`](Context::set_route) does.
    ///
    /// # Errors
    /// The path is malformed, the settings contradict each other, or there are too many routes.
    pub fn put_route(
        &mut self,
        path: &str,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        self.core.put_route(path, self.core.served, settings)
    }

    /// Removes a route of this service: it gets no further request. Its connections stay, with its
    /// settings.
    ///
    /// # Errors
    /// It is not a route of this service.
    pub fn remove_route(&mut self, route: RouteId) -> Result<(), RouteError> {
        self.core.remove_route(route, self.core.served)
    }

    /// Changes the settings of a route, of any service. Limits and deadlines hold from now on, for
    /// open connections, too. What was agreed in a handshake, such as compression, stays for
    /// connections that are open, and the listener group for the route.
    ///
    /// ```
    /// use weir::reactor::settings::RouteSettings;
    /// use weir::reactor::{Context, RouteId};
    ///
    /// fn admit_larger_messages(cx: &mut Context<'_>, chat: RouteId) {
    ///     let settings = RouteSettings::default().outbox_hard_bytes(8 << 20);
    ///     if let Err(error) = cx.set_route(chat, settings.message_bytes_max(4 << 20)) {
    ///         eprintln!("the old limits stay: {error}");
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The settings contradict each other, or there is no such route. Nothing has changed.
    pub fn set_route(&mut self, route: RouteId, settings: RouteSettings) -> Result<(), RouteError> {
        self.core.set_route(route, settings)
    }

    /// Changes [`trusted_proxies`](field@crate::reactor::settings::Settings::trusted_proxies) and
    /// [`client_address_from`](field@crate::reactor::settings::Settings::client_address_from), from the
    /// next request of each connection on. A PROXY header is accepted from a peer that was trusted when
    /// it connected.
    pub fn set_trusted_proxies(&mut self, proxies: Vec<Prefix>, from: ClientAddressFrom) {
        self.core.set_trusted_proxies(proxies, from);
    }
}
