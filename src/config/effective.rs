//! Writes the effective configuration as a file: every key of the server, of every route, network,
//! pool, relay and gate.

use std::fmt;

use serde::Serialize;
use weir::reactor::settings::RouteHeartbeat;
use weir::services::proxy::PoolSettings;

use super::Config;
use super::access::Access;
use super::auth::{AuthConfig, GateKind};
use super::networks::{NetworkConfig, NetworkOptions, NetworkTable};
use super::options::{
    AuthTable, GateFiles, GateOptions, HeartbeatOptions, HookOptions, JwtOptions, PoolOptions,
    PoolTable, ProxyOptions, RelayOptions, RelayTable, RoomOptions, RouteOptions, ServerOptions,
};
use super::relays::RelayConfig;
use super::routes::{NostrOptions, RouteConfig, RouteService, ServiceKind};
use super::values::{Count, FileName, OrOff};

#[derive(Serialize)]
struct Effective<'a> {
    #[serde(flatten)]
    server: ServerOptions,
    route: Vec<EffectiveRoute<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    network: Vec<EffectiveNetwork>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pool: Vec<EffectivePool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relay: Vec<EffectiveRelay>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    auth: Vec<EffectiveAuth>,
}

#[derive(Serialize)]
pub(super) struct EffectiveAuth {
    #[serde(flatten)]
    table: AuthTable,
    #[serde(flatten)]
    options: GateOptions,
    #[serde(flatten)]
    files: GateFiles,
    #[serde(flatten)]
    jwt: Option<JwtOptions>,
    #[serde(flatten)]
    hook: Option<HookOptions>,
}

impl From<&AuthConfig> for EffectiveAuth {
    fn from(auth: &AuthConfig) -> EffectiveAuth {
        let table = AuthTable { name: auth.name.clone(), kind: auth.kind.name() };
        let (ca_file, jwt, hook) = match &auth.kind {
            GateKind::Jwt(jwt) => (&jwt.ca_file, Some(jwt.into()), None),
            GateKind::Http(hook) => (&hook.ca_file, None, Some(hook.into())),
        };
        let files = GateFiles::new(ca_file.as_deref());
        EffectiveAuth { table, options: (&auth.gate).into(), files, jwt, hook }
    }
}

#[derive(Serialize)]
pub(super) struct EffectiveRelay {
    #[serde(flatten)]
    table: RelayTable,
    #[serde(flatten)]
    options: RelayOptions,
}

impl From<&RelayConfig> for EffectiveRelay {
    fn from(relay: &RelayConfig) -> EffectiveRelay {
        let (name, data_dir) = (relay.name.clone(), FileName(relay.settings.data_dir.clone()));
        let table = RelayTable { name, data_dir };
        EffectiveRelay { table, options: (&relay.settings).into() }
    }
}

#[derive(Serialize)]
pub(super) struct EffectivePool {
    #[serde(flatten)]
    table: PoolTable,
    #[serde(flatten)]
    options: PoolOptions,
}

impl From<&PoolSettings> for EffectivePool {
    fn from(pool: &PoolSettings) -> EffectivePool {
        EffectivePool { table: pool.into(), options: pool.into() }
    }
}

#[derive(Serialize)]
pub(super) struct EffectiveNetwork {
    #[serde(flatten)]
    table: NetworkTable,
    #[serde(flatten)]
    limits: RouteOptions,
    #[serde(flatten)]
    calls: NetworkOptions,
    /// Unless it has no gate.
    #[serde(flatten)]
    access: Option<Access>,
}

impl From<&NetworkConfig> for EffectiveNetwork {
    fn from(network: &NetworkConfig) -> EffectiveNetwork {
        EffectiveNetwork {
            table: NetworkTable::from(network),
            limits: RouteOptions::from(&network.settings),
            calls: NetworkOptions::from(network),
            access: network.access.auth().map(|_| network.access.clone()),
        }
    }
}

#[derive(Serialize)]
pub(super) struct EffectiveRoute<'a> {
    path: &'a str,
    service: ServiceKind,
    page: bool,
    connections_max: OrOff<Count<usize>>,
    /// Unless it has no gate.
    #[serde(flatten)]
    access: Option<&'a Access>,
    #[serde(flatten)]
    limits: RouteOptions,
    /// Unless it is the server's.
    #[serde(flatten)]
    heartbeat: Option<HeartbeatOptions>,
    #[serde(flatten)]
    rooms: Option<RoomOptions>,
    #[serde(flatten)]
    proxy: Option<ProxyOptions>,
    #[serde(flatten)]
    nostr: Option<NostrOptions>,
}

impl<'a> From<&'a RouteConfig> for EffectiveRoute<'a> {
    fn from(route: &'a RouteConfig) -> EffectiveRoute<'a> {
        EffectiveRoute {
            path: &route.path,
            service: route.service.kind(),
            page: route.page,
            connections_max: OrOff(route.settings.connections_max.map(Count)),
            access: route.access.auth().map(|_| &route.access),
            limits: RouteOptions::from(&route.settings),
            heartbeat: match route.settings.heartbeat {
                RouteHeartbeat::Server => None,
                RouteHeartbeat::Off => Some(None.into()),
                RouteHeartbeat::Own(heartbeat) => Some(Some(heartbeat).into()),
            },
            rooms: match &route.service {
                RouteService::Rooms(settings) => Some(settings.into()),
                _ => None,
            },
            proxy: match &route.service {
                RouteService::Proxy(settings) => Some(settings.into()),
                _ => None,
            },
            nostr: match &route.service {
                RouteService::Nostr(relay) => Some(NostrOptions { relay: relay.clone() }),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Config {
    /// As TOML. Limits are written per route, where they apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effective = Effective {
            server: ServerOptions::new(&self.server),
            route: self.routes.iter().map(EffectiveRoute::from).collect(),
            network: self.networks.iter().map(EffectiveNetwork::from).collect(),
            pool: self.pools.iter().map(EffectivePool::from).collect(),
            relay: self.relays.iter().map(EffectiveRelay::from).collect(),
            auth: self.auths.iter().map(EffectiveAuth::from).collect(),
        };
        f.write_str(&toml::to_string(&effective).map_err(|_| fmt::Error)?)
    }
}
