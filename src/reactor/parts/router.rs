//! Routing: finds the service of a request by listener group, path and host, then by subprotocol.
//!
//! The most specific matching [pattern] wins.
//!
//! It owns routes, their settings and the static pages. It parses no HTTP and opens no connection.
//! Next: `effects/upgrade.rs` and `effects/http.rs` call it; `hosts.rs` compares host names.

mod pattern;

use std::collections::HashMap;
use std::rc::Rc;

use super::destination::Destination;
use super::hosts::admits_host;
use super::shared_rates::RouteRates;
use crate::reactor::api::id::{GateId, RouteId, ServiceId};
use crate::reactor::api::request::Params;
use crate::reactor::api::route::{Page, RouteError};
use crate::reactor::api::settings::{GateSettings, RouteSettings};

pub use self::pattern::RoutePattern;

#[derive(Debug)]
struct Route {
    text: Rc<str>,
    /// `None` for outbound connections: no request is routed here.
    pattern: Option<RoutePattern>,
    service: ServiceId,
    settings: RouteSettings,
    /// Computed from the settings.
    rates: Rc<RouteRates>,
    /// Connections that count towards `connections_max`.
    connections: usize,
}

/// All routes and static pages.
#[derive(Debug, Default)]
pub(crate) struct Router {
    routes: Vec<Route>,
    /// Whether any route lists hosts. Without such a route, requests skip the host check.
    has_hosts: bool,
    /// Whether any route has had a gate or a high priority.
    has_high_priorities: bool,
    unrouted: RouteSettings,
    unrated: Rc<RouteRates>,
    /// Routes with a pattern, the most specific first.
    ordered: Vec<RouteId>,
    /// Each route with a pattern, by what a second one must not have. Patterns are never changed.
    by_pattern: HashMap<(RoutePattern, ServiceId, u16), RouteId>,
    pages: Vec<(Box<str>, Page)>,
    /// The subprotocols of each service.
    protocols: Vec<Rc<[Box<str>]>>,
    /// The methods of HTTP requests that each service answers.
    methods: Vec<&'static [&'static str]>,
    /// Whether each service gets HTTP requests of any method before their body is read.
    streaming: Vec<bool>,
    gates: Vec<(GateId, GateSettings)>,
}

impl Router {
    pub(crate) fn add_service(
        &mut self,
        protocols: &[&str],
        methods: &'static [&'static str],
        streams_http: bool,
    ) {
        self.protocols.push(protocols.iter().map(|&name| name.into()).collect());
        self.methods.push(methods);
        self.streaming.push(streams_http);
    }

    /// Lets routes name a service as their gate.
    pub(crate) fn add_gate(&mut self, gate: GateId, settings: GateSettings) {
        self.gates.push((gate, settings));
    }

    /// The settings of a gate.
    pub(crate) fn gate(&self, gate: GateId) -> Option<&GateSettings> {
        let found = self.gates.iter().find(|(id, _)| *id == gate);
        found.map(|(_, settings)| settings)
    }

    /// Checks the settings of a route.
    fn check(&self, settings: &RouteSettings) -> Result<(), RouteError> {
        settings.check().map_err(RouteError::Settings)?;
        match settings.gate {
            Some(gate) if self.gate(gate).is_none() => Err(RouteError::NoGate),
            _ => Ok(()),
        }
    }

    pub(crate) fn add(
        &mut self,
        path: &str,
        service: ServiceId,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        let pattern: RoutePattern = path.parse().map_err(RouteError::Pattern)?;
        let key = (pattern.clone(), service, settings.listener_group);
        if self.by_pattern.contains_key(&key) {
            return Err(RouteError::Duplicate);
        }
        let id = self.insert(path, Some(pattern), service, settings)?;
        self.by_pattern.insert(key, id);
        self.order(id);
        Ok(id)
    }

    /// The service's route with this pattern, also if it was removed.
    pub(crate) fn find_pattern(
        &self,
        path: &str,
        service: ServiceId,
        listener_group: u16,
    ) -> Result<Option<RouteId>, RouteError> {
        let pattern: RoutePattern = path.parse().map_err(RouteError::Pattern)?;
        Ok(self.by_pattern.get(&(pattern, service, listener_group)).copied())
    }

    /// Changes the settings of a route. Its listener group stays.
    pub(crate) fn set(&mut self, id: RouteId, settings: RouteSettings) -> Result<(), RouteError> {
        self.check(&settings)?;
        let route = self.routes.get_mut(id.index()).ok_or(RouteError::NoRoute)?;
        let listener_group = route.settings.listener_group;
        self.has_hosts |= !settings.hosts.is_empty();
        route.rates = Rc::new(RouteRates::from(&settings));
        self.has_high_priorities |= settings.gate.is_some() || settings.priority.is_exempt();
        route.settings = RouteSettings { listener_group, ..settings };
        Ok(())
    }

    /// Routes requests to this route again, with the same pattern as it is written now.
    pub(crate) fn restore(&mut self, id: RouteId, path: &str) -> Result<(), RouteError> {
        let pattern: RoutePattern = path.parse().map_err(RouteError::Pattern)?;
        let route = self.routes.get_mut(id.index()).ok_or(RouteError::NoRoute)?;
        if *route.text != *path {
            route.text = path.into();
        }
        route.pattern = Some(pattern);
        if !self.ordered.contains(&id) {
            self.order(id);
        }
        Ok(())
    }

    /// Routes no further request to this route. Its connections keep its settings.
    pub(crate) fn remove(&mut self, id: RouteId) {
        self.ordered.retain(|other| *other != id);
    }

    /// Inserts a route behind those that are as specific.
    fn order(&mut self, id: RouteId) {
        let key = |id: RouteId| self.routes[id.index()].pattern.as_ref().map(RoutePattern::order);
        let own = key(id);
        let at = self.ordered.partition_point(|other| key(*other) <= own);
        self.ordered.insert(at, id);
    }

    /// Limits for connections that a service makes itself.
    pub(crate) fn add_outbound(
        &mut self,
        service: ServiceId,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        self.insert("", None, service, settings)
    }

    fn insert(
        &mut self,
        text: &str,
        pattern: Option<RoutePattern>,
        service: ServiceId,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        self.check(&settings)?;
        let id = u16::try_from(self.routes.len()).map_err(|_| RouteError::TooMany)?;
        self.has_hosts |= !settings.hosts.is_empty();
        let is_high = settings.gate.is_some() || settings.priority.is_exempt();
        self.has_high_priorities |= is_high && pattern.is_some();
        let rates = Rc::new(RouteRates::from(&settings));
        self.routes.push(Route {
            text: text.into(),
            pattern,
            service,
            settings,
            rates,
            connections: 0,
        });
        Ok(RouteId(id))
    }

    pub(crate) fn add_page(&mut self, path: &str, page: Page) {
        self.pages.push((path.into(), page));
    }

    /// The page at this path. Only listener group 0 has pages. The hosts of a page are those of the
    /// routes with the same path.
    pub(crate) fn page(&self, to: Destination<'_>) -> Option<&Page> {
        let found = self.pages.iter().find(|(at, _)| **at == *to.path);
        let routes = self.routes.iter().filter(|route| {
            route.pattern.is_some() && route.settings.listener_group == 0 && *route.text == *to.path
        });
        let mut hosts = routes.map(|route| &route.settings.hosts).peekable();
        let is_admitted =
            hosts.peek().is_none() || hosts.any(|patterns| admits_host(patterns, to.host));
        found.filter(|_| to.listener_group == 0 && is_admitted).map(|(_, page)| page)
    }

    /// The routes for this path and host, the most specific first.
    pub(crate) fn find(&self, to: Destination<'_>) -> impl Iterator<Item = (RouteId, Params)> {
        self.matching(to).filter(move |(id, _)| admits_host(&self.settings(*id).hosts, to.host))
    }

    /// The routes for this path, with any host.
    fn matching(&self, to: Destination<'_>) -> impl Iterator<Item = (RouteId, Params)> {
        let routes = self.ordered.iter().map(|&id| (id, &self.routes[id.index()]));
        routes
            .filter(move |(_, route)| route.settings.listener_group == to.listener_group)
            .filter_map(move |(id, route)| Some((id, route.pattern.as_ref()?.matches(to.path)?)))
    }

    /// Whether any route has had a gate or a priority of at least high.
    pub(crate) fn has_high_priorities(&self) -> bool {
        self.has_high_priorities
    }

    /// Whether routes match this path, but none of them this host.
    pub(crate) fn refuses_host(&self, to: Destination<'_>) -> bool {
        self.has_hosts && self.matching(to).next().is_some() && !self.has_route(to)
    }

    /// Whether another reading of the path finds other routes.
    #[cfg(feature = "proxy")]
    pub(crate) fn is_ambiguous(&self, to: Destination<'_>, reading: &str) -> bool {
        let ids = |path| self.find(Destination { path, ..to }).map(|(id, _)| id);
        !ids(to.path).eq(ids(reading))
    }

    /// Whether a route matches this path and host.
    pub(crate) fn has_route(&self, to: Destination<'_>) -> bool {
        self.find(to).next().is_some()
    }

    /// The methods that a path supports, for `Allow`: GET for a page and for an upgrade, HEAD for a
    /// page, the methods of its services, and OPTIONS. `None` if nothing is served at the path.
    pub(crate) fn allowed(&self, to: Destination<'_>) -> Option<Vec<&'static str>> {
        let is_page = self.page(to).is_some();
        if !is_page && !self.has_route(to) {
            return None;
        }
        let services = self.find(to).map(|(id, _)| self.methods(self.service(id)));
        let of_services = services.flatten().copied();
        let of_page: &[&str] = if is_page { &["HEAD"] } else { &[] };
        let mut allowed = vec!["GET"];
        for method in of_page.iter().copied().chain(of_services).chain(["OPTIONS"]) {
            if !allowed.contains(&method) {
                allowed.push(method);
            }
        }
        Some(allowed)
    }

    /// The route to a service that answers HTTP requests with this method.
    pub(crate) fn find_http(&self, to: Destination<'_>, method: &str) -> Option<(RouteId, Params)> {
        let answers = |id: &RouteId| {
            let service = self.service(*id);
            self.methods(service).contains(&method) || self.streams_http(service)
        };
        self.find(to).find(|(id, _)| answers(id))
    }

    /// The settings of a route. A connection without a route gets the defaults if the loop has
    /// none.
    pub(crate) fn settings(&self, id: RouteId) -> &RouteSettings {
        self.routes.get(id.index()).map_or(&self.unrouted, |route| &route.settings)
    }

    /// The connections of a route.
    pub(crate) fn connections(&self, id: RouteId) -> usize {
        self.routes.get(id.index()).map_or(0, |route| route.connections)
    }

    /// Counts a connection of a route.
    pub(crate) fn enter(&mut self, id: RouteId) {
        if let Some(route) = self.routes.get_mut(id.index()) {
            route.connections += 1;
        }
    }

    /// Uncounts a connection of a route.
    pub(crate) fn leave(&mut self, id: RouteId) {
        if let Some(route) = self.routes.get_mut(id.index()) {
            debug_assert!(route.connections > 0, "a connection left its route twice");
            route.connections = route.connections.saturating_sub(1);
        }
    }

    /// The routes with rates, by their paths.
    pub(crate) fn rated(&self) -> impl Iterator<Item = (&str, &RouteRates)> {
        let rated = self.routes.iter().filter(|route| route.rates.is_any());
        rated.map(|route| (&*route.text, &*route.rates))
    }

    /// The rates of a route.
    pub(crate) fn rates(&self, id: RouteId) -> &Rc<RouteRates> {
        self.routes.get(id.index()).map_or(&self.unrated, |route| &route.rates)
    }

    pub(crate) fn service(&self, id: RouteId) -> ServiceId {
        self.routes[id.index()].service
    }

    /// The service of a route, if there is such a route.
    pub(crate) fn owner(&self, id: RouteId) -> Option<ServiceId> {
        self.routes.get(id.index()).map(|route| route.service)
    }

    /// The methods of requests that a service answers itself.
    pub(crate) fn methods(&self, service: ServiceId) -> &'static [&'static str] {
        self.methods[service.index()]
    }

    /// Whether a service gets HTTP requests of any method before their body is read.
    pub(crate) fn streams_http(&self, service: ServiceId) -> bool {
        self.streaming[service.index()]
    }

    /// The pattern of a route as it was added; empty for one of outbound connections.
    pub(crate) fn text(&self, id: RouteId) -> &str {
        self.routes.get(id.index()).map_or("", |route| &route.text)
    }

    /// `path` as a connection stores it. For an exact route it shares the route's text.
    pub(crate) fn intern(&self, id: RouteId, path: &str) -> Rc<str> {
        let text = &self.routes[id.index()].text;
        if **text == *path { Rc::clone(text) } else { path.into() }
    }

    pub(crate) fn protocols(&self, service: ServiceId) -> &[Box<str>] {
        &self.protocols[service.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::api::route::PatternError;

    fn router(paths: &[&str]) -> Router {
        let mut router = Router::default();
        for (index, path) in paths.iter().enumerate() {
            let service = ServiceId(index as u16);
            router.add(path, service, RouteSettings::default()).unwrap();
        }
        router
    }

    fn to<'a>(path: &'a str, host: Option<&'a str>) -> Destination<'a> {
        Destination { listener_group: 0, path, host }
    }

    fn first(router: &Router, path: &str) -> Option<usize> {
        router.find(to(path, None)).next().map(|(id, _)| id.index())
    }

    #[test]
    fn the_most_specific_route_comes_first() {
        let router =
            router(&["/*", "/rooms/{name}", "/rooms/lobby", "/rooms/*", "/", "/rooms/{name}/x"]);
        assert_eq!(first(&router, "/"), Some(4));
        assert_eq!(first(&router, "/rooms/lobby"), Some(2));
        assert_eq!(first(&router, "/rooms/other"), Some(1));
        assert_eq!(first(&router, "/rooms/other/x"), Some(5));
        assert_eq!(first(&router, "/rooms/other/y"), Some(3));
        assert_eq!(first(&router, "/elsewhere"), Some(0));
    }

    #[test]
    fn equally_specific_routes_keep_the_order_in_which_they_were_added() {
        let mut router = router(&["/b/*", "/a", "/{x}/*", "/a/*", "/b", "/{y}/c", "/a/{z}"]);
        let order = |router: &Router| -> Vec<usize> {
            router.ordered.iter().map(|id| id.index()).collect()
        };
        assert_eq!(order(&router), [1, 4, 5, 6, 0, 3, 2]);
        router.remove(RouteId(0));
        router.restore(RouteId(0), "/b/*").unwrap();
        router.restore(RouteId(4), "/b").unwrap();
        assert_eq!(
            order(&router),
            [1, 4, 5, 6, 3, 0, 2],
            "a restored route is the last of its kind"
        );
    }

    #[test]
    fn a_removed_route_is_found_by_its_pattern() {
        let mut router = router(&["/a/{name}"]);
        router.remove(RouteId(0));
        let found = |path: &str, service: u16, listener_group: u16| {
            router.find_pattern(path, ServiceId(service), listener_group).unwrap()
        };
        assert_eq!(found("/a/{other}", 0, 0), Some(RouteId(0)));
        for (path, service, group) in [("/a/b", 0, 0), ("/a/{name}", 1, 0), ("/a/{name}", 0, 1)] {
            assert_eq!(found(path, service, group), None, "{path} {service} {group}");
        }
    }

    #[test]
    fn each_route_has_hosts_of_its_own() {
        let mut router = Router::default();
        let hosted = |host: &str| {
            let hosts = vec![host.parse().unwrap()];
            RouteSettings { hosts, ..RouteSettings::default() }
        };
        for (index, (path, host)) in
            [("/a", "a.example"), ("/a", "b.example"), ("/*", "c.example")].into_iter().enumerate()
        {
            let service = ServiceId(index as u16);
            router.add_service(&[], if index == 2 { &["POST"] } else { &[] }, false);
            router.add(path, service, hosted(host)).unwrap();
        }
        let page = Page { content_type: "text/plain", body: b"a", security_policy: "" };
        router.add_page("/a", page);
        for (host, route) in [("a.example", 0), ("b.example:80", 1), ("c.example", 2)] {
            let to = to("/a", Some(host));
            let found: Vec<_> = router.find(to).map(|(id, _)| id.index()).collect();
            assert_eq!((found, router.refuses_host(to)), (vec![route], false), "{host}");
            assert_eq!(router.page(to).is_some(), route < 2, "{host}");
            assert_eq!(router.find_http(to, "POST").is_some(), route == 2, "{host}");
        }
        for host in [Some("evil.example"), None] {
            let to = to("/a", host);
            assert!(router.refuses_host(to) && router.page(to).is_none(), "{host:?}");
        }
        assert!(!router.refuses_host(to("a", None)), "no route matches the path");
    }

    #[test]
    fn parameters_are_decoded_and_never_empty() {
        let router = router(&["/rooms/{name}"]);
        let (_, params) = router.find(to("/rooms/caf%C3%A9", None)).next().unwrap();
        assert_eq!(params.get("name"), Some("café"));
        assert_eq!(params.get("other"), None);
        for path in ["/rooms/", "/rooms", "/rooms/a/", "rooms/a", "/rooms/%FF"] {
            assert!(router.find(to(path, None)).next().is_none(), "{path}");
        }
    }

    #[test]
    fn malformed_and_duplicate_patterns_are_rejected() {
        let mut router = router(&["/a/{name}"]);
        for (path, error) in [
            ("/a/{name}", RouteError::Duplicate),
            // Matches the same requests.
            ("/a/{other}", RouteError::Duplicate),
            ("/a/{", RouteError::Pattern(PatternError::BadSegment)),
        ] {
            let again = router.add(path, ServiceId(0), RouteSettings::default());
            assert_eq!(again, Err(error), "{path}");
        }
        router.add("/a/{name}", ServiceId(1), RouteSettings::default()).unwrap();
    }
}
