//! The routes: the service at each path, and its limits.
//!
//! Defines the syntax of paths and validates a `[[route]]`. The router matches requests.

use std::collections::HashSet;

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::RoutePattern;
use weir::reactor::settings::{RouteHeartbeat, RouteSettings, Settings, SettingsError};
use weir::services::nostr::settings::RelaySettings;
use weir::services::proxy::{PoolSettings, ProxySettings};
use weir::services::rooms::RoomSettings;

use super::access::{Access, Gates};
use super::auth::AuthConfig;
use super::error::{AccessError, ConfigError, PathError, RouteConfigError};
use super::keys::{Given, Keys, Layer, place_of, read};
use super::options::{HeartbeatOptions, ProxyOptions, RoomOptions, RouteOptions};
use super::place::Place;
use super::values::{Count, OrOff, Size};
use crate::nearest::nearest;

/// The end of the path of a route to a gate.
const REFRESH: &str = "/refresh";
/// The path parameter that names the room.
const ROOM_NAME: &str = "name";

/// One route, ready to serve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouteConfig {
    /// Starts with `/`. A segment may be a parameter `{name}`; the last one may be `*` for any
    /// rest.
    pub(crate) path: String,
    pub(crate) service: RouteService,
    /// Whether a `GET` of the path without upgrade returns the demo page.
    pub(crate) page: bool,
    pub(crate) settings: RouteSettings,
    pub(crate) access: Access,
}

/// The service of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteService {
    /// Returns each message to its sender.
    Echo,
    /// Sends each message to all members of the room that the path names.
    Rooms(RoomSettings),
    /// Forwards to the upstreams of a pool.
    Proxy(ProxySettings),
    /// Serves the Nostr relay of this name.
    Nostr(String),
    /// Refreshes identities of the gate that `auth` names.
    Auth,
}

/// The keys of a `[[route]]` besides its limits.
#[derive(Debug, Args)]
pub(super) struct RouteTable {
    #[arg(long, required = true)]
    path: String,
    #[arg(long, value_enum, required = true)]
    service: ServiceKind,
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
    page: bool,
    /// Maximum connections of the route; more are refused with 503
    #[arg(long, value_name = "N", default_value_t = OrOff(None))]
    connections_max: OrOff<Count<usize>>,
}

/// The keys of a route of a relay, besides its limits.
#[derive(Debug, Args, Serialize)]
pub(super) struct NostrOptions {
    /// The name of the relay
    #[arg(long, value_name = "NAME", required = true)]
    pub(super) relay: String,
}

/// The names of [`RouteService`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ServiceKind {
    Echo,
    Rooms,
    Proxy,
    Nostr,
    Auth,
}

impl RouteConfig {
    /// Its settings, with its gate. `None` if the loop has no such gate.
    pub(crate) fn limits(&self, gates: &Gates) -> Option<RouteSettings> {
        match self.service {
            // It leads to the gate, which decides on no request there.
            RouteService::Auth => Some(self.settings.clone()),
            _ => self.access.add_to(&self.settings, gates),
        }
    }

    /// Checks its `auth` and `require` against the gates of its file. A reload also checks it against those that
    /// run, which need a restart to change.
    pub(crate) fn check_access(&self, auths: &[AuthConfig]) -> Result<(), AccessError> {
        match self.service {
            RouteService::Auth => self.access.check_refresh(auths),
            _ => self.access.check(&self.settings, auths),
        }
    }

    pub(crate) fn is_proxy(&self) -> bool {
        self.service.kind() == ServiceKind::Proxy
    }

    /// Whether both routes lead to the same service.
    pub(crate) fn has_service_of(&self, other: &RouteConfig) -> bool {
        self.service.kind() == other.service.kind()
    }
}

impl RouteService {
    pub(super) fn kind(&self) -> ServiceKind {
        match self {
            RouteService::Echo => ServiceKind::Echo,
            RouteService::Rooms(_) => ServiceKind::Rooms,
            RouteService::Proxy(_) => ServiceKind::Proxy,
            RouteService::Nostr(_) => ServiceKind::Nostr,
            RouteService::Auth => ServiceKind::Auth,
        }
    }
}

/// Whether a `[[route]]` is one of a relay.
pub(super) fn is_of_relay(table: &Layer) -> bool {
    table.get("service").is_some_and(|given| given.values == ["nostr"])
}

/// The routes without a `[[route]]` in the file: echo with its demo page, and rooms.
pub(super) fn built_in() -> Vec<(Place, Layer)> {
    vec![
        route_table(&[("path", "/"), ("service", "echo"), ("page", "true")]),
        route_table(&[("path", "/rooms/{name}"), ("service", "rooms")]),
    ]
}

/// A route of a relay without settings of its own.
pub(super) fn of_relay(relay: &str) -> (Place, Layer) {
    route_table(&[("path", "/relay"), ("service", "nostr"), ("relay", relay)])
}

/// A route of the proxy without settings of its own.
pub(super) fn proxied(pool: &str) -> (Place, Layer) {
    route_table(&[("path", "/*"), ("service", "proxy"), ("pool", pool)])
}

/// A route to a gate without settings of its own.
pub(super) fn of_gate(auth: &str) -> (Place, Layer) {
    route_table(&[("path", "/auth/refresh"), ("service", "auth"), ("auth", auth)])
}

fn route_table(pairs: &[(&str, &str)]) -> (Place, Layer) {
    let entry = |&(key, value): &(&str, &str)| {
        (key.to_owned(), Given { place: Place::BuiltIn, values: vec![value.to_owned()] })
    };
    (Place::BuiltIn, pairs.iter().map(entry).collect())
}

/// What routes may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) pools: &'a [PoolSettings],
    pub(super) relays: &'a [&'a str],
    pub(super) auths: &'a [AuthConfig],
}

/// Reads `tables`, each on top of `defaults`, and checks them against each other, the server's
/// `settings`, what is `known`, and the paths `taken` by networks.
pub(super) fn routes(
    tables: Vec<(Place, Layer)>,
    defaults: &Layer,
    settings: &Settings,
    known: Known<'_>,
    taken: impl Iterator<Item = String>,
) -> Result<Vec<RouteConfig>, ConfigError> {
    let mut seen: HashSet<RoutePattern> = taken.filter_map(|path| path.parse().ok()).collect();
    let mut routes = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let route = route(&place, table.clone(), defaults)?;
        let refused = |error: RouteConfigError| {
            let place =
                place_of(&error.contradiction(), &[&table, defaults]).unwrap_or(place.clone());
            Err(ConfigError::Route { place, error })
        };
        let pattern = match check(&route, settings).and_then(|pattern| {
            check_pool(&route, known.pools)?;
            check_relay(&route, known.relays)?;
            let checked = route.check_access(known.auths);
            checked.map_err(|error| RouteConfigError::Access(route.path.clone(), error))?;
            Ok(pattern)
        }) {
            Ok(pattern) => pattern,
            Err(error) => return refused(error),
        };
        if !seen.insert(pattern) {
            return refused(RouteConfigError::Twice(route.path));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(place: &Place, table: Layer, defaults: &Layer) -> Result<RouteConfig, ConfigError> {
    let refused = |error| ConfigError::Route { place: place.clone(), error };
    for key in ["path", "service"] {
        if !table.contains_key(key) {
            return Err(refused(RouteConfigError::Missing(key)));
        }
    }
    let given: RouteTable = read(&table)?;
    let others = [
        (ServiceKind::Rooms, "rooms", Keys::of::<RoomOptions>()),
        (ServiceKind::Proxy, "proxy", Keys::of::<ProxyOptions>()),
        (ServiceKind::Nostr, "nostr", Keys::of::<NostrOptions>()),
    ];
    for (kind, service, keys) in others.iter().filter(|(kind, ..)| *kind != given.service) {
        debug_assert_ne!(*kind, ServiceKind::Echo);
        if let Some(key) = keys.names().find(|&key| table.contains_key(key)) {
            let key = key.to_owned();
            return Err(refused(RouteConfigError::OtherService { key, service }));
        }
    }
    let keys = Keys::of::<HeartbeatOptions>();
    let has_own_heartbeat =
        given.service == ServiceKind::Nostr || keys.names().any(|key| table.contains_key(key));
    let mut layer = defaults.clone();
    if given.service == ServiceKind::Proxy {
        if !table.contains_key("pool") {
            return Err(refused(RouteConfigError::Missing("pool")));
        }
        layer.entry("write_timeout".to_owned()).or_insert_with(proxy_write_timeout);
    }
    if given.service == ServiceKind::Nostr {
        if !table.contains_key("relay") {
            return Err(refused(RouteConfigError::Missing("relay")));
        }
        for (key, value) in relay_limits() {
            layer.entry(key.to_owned()).or_insert_with(|| built_in_value(value));
        }
        // The server's heartbeat is not the default here: one value of it would not fit the others.
        for (key, value) in RELAY_HEARTBEAT {
            layer.insert(key.to_owned(), built_in_value(value.to_owned()));
        }
    }
    layer.extend(table);
    let service = match given.service {
        ServiceKind::Echo => RouteService::Echo,
        ServiceKind::Rooms => RouteService::Rooms(read::<RoomOptions>(&layer)?.into()),
        ServiceKind::Proxy => RouteService::Proxy(read::<ProxyOptions>(&layer)?.into()),
        ServiceKind::Nostr => RouteService::Nostr(read::<NostrOptions>(&layer)?.relay),
        ServiceKind::Auth => RouteService::Auth,
    };
    let outbox_room_bytes = match &service {
        RouteService::Proxy(proxy) => Some(proxy.outbox_room_bytes()),
        RouteService::Echo
        | RouteService::Rooms(_)
        | RouteService::Nostr(_)
        | RouteService::Auth => None,
    };
    let settings = read::<RouteOptions>(&layer)?.settings(outbox_room_bytes);
    let heartbeat = match has_own_heartbeat {
        true => own_heartbeat(&layer)?,
        false => RouteHeartbeat::Server,
    };
    let connections_max = given.connections_max.0.map(|count| count.0);
    let settings = settings.heartbeat(heartbeat).connections_max(connections_max);
    let access = read::<Access>(&layer)?;
    Ok(RouteConfig { path: given.path, page: given.page, settings, access, service })
}

/// The heartbeat of a route that has a key of it.
fn own_heartbeat(layer: &Layer) -> Result<RouteHeartbeat, clap::Error> {
    let heartbeat = read::<HeartbeatOptions>(layer)?.heartbeat();
    Ok(heartbeat.map_or(RouteHeartbeat::Off, RouteHeartbeat::Own))
}

/// The default of routes of the proxy. A peer that takes nothing pauses the other end, and no data
/// is dropped: the route can wait for longer.
fn proxy_write_timeout() -> Given {
    built_in_value("60s".to_owned())
}

/// The heartbeat of routes of relays: a silent client is gone after a minute. NIP-01 clients that mobile
/// systems put to sleep answer late.
const RELAY_HEARTBEAT: [(&str, &str); 3] =
    [("ping_interval", "30s"), ("pong_timeout", "29s"), ("pong_misses_max", "1")];

/// The limits of routes of relays that have other defaults there.
fn relay_limits() -> [(&'static str, String); 2] {
    let RouteSettings { message_bytes_max, outbox_hard_bytes, .. } = RelaySettings::route();
    [
        ("message_max", Size(message_bytes_max).to_string()),
        ("outbox_hard", Size(outbox_hard_bytes).to_string()),
    ]
}

fn built_in_value(value: String) -> Given {
    Given { place: Place::BuiltIn, values: vec![value] }
}

/// Checks a route of a relay: its relay exists.
fn check_relay(route: &RouteConfig, relays: &[&str]) -> Result<(), RouteConfigError> {
    let RouteService::Nostr(relay) = &route.service else {
        return Ok(());
    };
    if relays.contains(&relay.as_str()) {
        return Ok(());
    }
    let near = nearest(relay, relays.iter().copied()).map(str::to_owned);
    let (path, relay) = (route.path.clone(), relay.clone());
    Err(RouteConfigError::NoRelay { path, relay, near })
}

/// Checks a route of the proxy: its pool exists, and its limits admit a held frame.
fn check_pool(route: &RouteConfig, pools: &[PoolSettings]) -> Result<(), RouteConfigError> {
    let RouteService::Proxy(proxy) = &route.service else {
        return Ok(());
    };
    let path = || route.path.clone();
    if !pools.iter().any(|pool| pool.name == proxy.pool) {
        let names = pools.iter().map(|pool| pool.name.as_str());
        let near = nearest(&proxy.pool, names).map(str::to_owned);
        return Err(RouteConfigError::NoPool { path: path(), pool: proxy.pool.clone(), near });
    }
    let (hold, soft) = (proxy.hold_bytes_max, route.settings.outbox_soft_bytes);
    if hold == 0 {
        return Err(RouteConfigError::Settings(path(), SettingsError::Zero("hold_max")));
    }
    match hold > soft {
        true => Err(RouteConfigError::HoldAboveSoft { path: path(), hold, soft }),
        false => Ok(()),
    }
}

/// The route's pattern, if its limits do not contradict each other.
fn check(route: &RouteConfig, settings: &Settings) -> Result<RoutePattern, RouteConfigError> {
    let refused = |error| RouteConfigError::Path(route.path.clone(), error);
    let pattern = parse_path(&route.path).map_err(refused)?;
    if route.service.kind() == ServiceKind::Rooms && !pattern.params().any(|name| name == ROOM_NAME)
    {
        return Err(refused(PathError::NoRoomName));
    }
    if route.page && route.service.kind() == ServiceKind::Proxy {
        return Err(RouteConfigError::PageOfProxy(route.path.clone()));
    }
    if route.service == RouteService::Auth && (route.page || !route.path.ends_with(REFRESH)) {
        return Err(RouteConfigError::Refresh(route.path.clone()));
    }
    if route.page && route.service.kind() == ServiceKind::Nostr {
        return Err(RouteConfigError::PageOfRelay(route.path.clone()));
    }
    if route.page && !pattern.is_exact() {
        return Err(RouteConfigError::Page(route.path.clone()));
    }
    if let Err(error) = route.settings.check() {
        return Err(RouteConfigError::Settings(route.path.clone(), error));
    }
    let (hard, all) = (route.settings.outbox_hard_bytes, settings.buffered_bytes_max);
    if hard > all {
        return Err(RouteConfigError::AboveBuffered { path: route.path.clone(), hard, all });
    }
    if let RouteService::Rooms(RoomSettings { join, publish, .. }) = &route.service
        && route.access.auth().is_none()
        && let Some((key, _)) = [("join", join), ("publish", publish)]
            .into_iter()
            .find(|(_, required)| required.is_some())
    {
        let error = AccessError::RoomsWithoutAuth(key);
        return Err(RouteConfigError::Access(route.path.clone(), error));
    }
    let soft = route.settings.outbox_soft_bytes;
    match &route.service {
        RouteService::Rooms(rooms) if rooms.history_bytes_max > soft => {
            let history = rooms.history_bytes_max;
            Err(RouteConfigError::HistoryAboveSoft { path: route.path.clone(), history, soft })
        }
        _ => Ok(pattern),
    }
}

/// Reads a path, with less freedom than the loop: no segment is empty, nor does one contain a
/// character that a request has in its path only percent-encoded, or not at all (RFC 3986, 3.3).
fn parse_path(path: &str) -> Result<RoutePattern, PathError> {
    let pattern = path.parse().map_err(PathError::Pattern)?;
    if path.len() > 1 && path.split('/').skip(1).any(str::is_empty) {
        return Err(PathError::EmptySegment);
    }
    if path.contains(|c: char| matches!(c, '?' | '#' | '%') || !c.is_ascii_graphic()) {
        return Err(PathError::BadCharacter);
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use weir::reactor::PatternError;

    use super::*;

    #[test]
    fn malformed_paths_are_rejected() {
        for path in ["/", "/a", "/a/{b}/c", "/{a}/{b}", "/a/*", "/*", "/.well-known/x~y"] {
            assert!(parse_path(path).is_ok(), "{path}");
        }
        for (path, error) in [
            ("", PathError::Pattern(PatternError::NoSlash)),
            ("//", PathError::EmptySegment),
            ("/a/", PathError::EmptySegment),
            ("/{a b}", PathError::Pattern(PatternError::BadName)),
            ("/a*", PathError::Pattern(PatternError::BadSegment)),
            ("/a?b", PathError::BadCharacter),
            ("/a b", PathError::BadCharacter),
            ("/caf\u{e9}", PathError::BadCharacter),
        ] {
            assert_eq!(parse_path(path).unwrap_err(), error, "{path}");
        }
    }
}
