//! The proxy routes: settings made into rules for requests, found by the id of the route.
//!
//! The table is shared with the program that adds routes to the reactor, since a route has its id
//! only after the service was added.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::counts::{ProxyCounts, ProxyPoolCounts};
use super::settings::{ForwardedHeaders, HeaderName, HostHeader, ProxySettings};
use crate::protocol::handshake::FieldError;
use crate::protocol::http::{ForwardedMode, HeaderChanges, HostName, HostRule, RequestRules};
use crate::reactor::RouteId;

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) settings: ProxySettings,
    /// How request heads are written again.
    pub(super) rules: RequestRules,
    /// The counts of its pool.
    pub(super) counts: Rc<ProxyPoolCounts>,
}

/// The routes of a [`Proxy`](super::Proxy). Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct ProxyRoutes {
    routes: Rc<RefCell<HashMap<RouteId, Rc<Route>>>>,
    counts: Rc<ProxyCounts>,
}

impl ProxyRoutes {
    pub(super) fn new(counts: Rc<ProxyCounts>) -> ProxyRoutes {
        ProxyRoutes { routes: Rc::default(), counts }
    }

    /// Sets the settings of a route of the service. Requests under way keep the old ones.
    ///
    /// # Errors
    /// A header to set or remove is invalid, or must not be changed; the host is invalid.
    pub fn set(&self, route: RouteId, settings: ProxySettings) -> Result<(), FieldError> {
        let rules = rules(&settings)?;
        let counts = self.counts.assign(route, &settings.pool);
        let settings = Rc::new(Route { settings, rules, counts });
        self.routes.borrow_mut().insert(route, settings);
        Ok(())
    }

    /// Removes all routes but these; returns the removed ones.
    pub(super) fn remove_others(&self, kept: &HashSet<RouteId>) -> Vec<RouteId> {
        let mut routes = self.routes.borrow_mut();
        let removed: Vec<RouteId> =
            routes.keys().copied().filter(|route| !kept.contains(route)).collect();
        routes.retain(|route, _| kept.contains(route));
        self.counts.forget_unused();
        removed
    }

    pub(super) fn get(&self, route: RouteId) -> Option<Rc<Route>> {
        self.routes.borrow().get(&route).cloned()
    }
}

fn rules(settings: &ProxySettings) -> Result<RequestRules, FieldError> {
    let set = settings.set_headers.iter().map(|line| (line.name(), line.value()));
    let remove = settings.remove_headers.iter().map(HeaderName::as_str);
    Ok(RequestRules {
        host: match &settings.host {
            HostHeader::Keep => HostRule::Keep,
            HostHeader::Upstream => HostRule::Upstream,
            HostHeader::Name(name) => HostRule::Name(HostName::new(name)?),
        },
        forwarded: match settings.forwarded {
            ForwardedHeaders::X => ForwardedMode::X,
            ForwardedHeaders::Rfc7239 => ForwardedMode::Rfc7239,
            ForwardedHeaders::Off => ForwardedMode::Off,
        },
        strip_segments: settings.strip_prefix,
        changes: HeaderChanges::new(set, remove)?,
    })
}
