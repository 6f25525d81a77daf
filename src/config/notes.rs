//! Notes on a valid configuration: settings that have no effect or an unexpected one, and secrets that
//! others can read.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use weir::reactor::settings::{RouteSettings, Settings};
use weir::services::proxy::{Choose, DownPolicy, PoolSettings};

use super::Config;
use super::auth::AuthConfig;
use super::networks::NetworkConfig;
use super::relays::RelayConfig;
use super::routes::{RouteConfig, RouteService};

/// Tokens per second below which a rate pauses reading for more than 10 s.
const SLOW_PER_SECOND: f64 = 0.1;

impl Config {
    /// Warnings about the files of secrets, one line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let audit_key = self.server.audit.as_ref().and_then(|audit| audit.key.as_deref());
        let of_gates = self.auths.iter().filter_map(AuthConfig::secret_file);
        let of_gates = of_gates.map(|path| ("secret_file", path));
        let secrets = audit_key.map(|path| ("audit_key", path)).into_iter().chain(of_gates);
        let warning = |(key, path): (&str, &Path)| {
            format!("{key}: other users can read {}: chmod o= {0}", path.display())
        };
        secrets.filter(|(_, path)| is_public(path)).map(warning).collect()
    }

    /// The notes, one line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let limits =
            self.networks.iter().filter_map(|network| above_server(network, &self.server.settings));
        let server = &self.server.settings;
        let of_pools = self.pools.iter().flat_map(|pool| pool_notes(pool, self));
        limits
            .chain(shared_by_networks(self))
            .chain(too_many_upstreams(self))
            .chain(unused_address_header(server))
            .chain(all_trusted(server))
            .chain(of_pools)
            .chain(self.routes.iter().flat_map(route_notes))
            .chain(self.relays.iter().flat_map(|relay| relay_notes(relay, self)))
            .chain(self.auths.iter().filter_map(|auth| unused_gate(auth, self)))
            .collect()
    }
}

/// Whether users that neither own the file nor are in its group can read it.
fn is_public(path: &Path) -> bool {
    const READ_BY_OTHERS: u32 = 0o004;
    path.metadata().is_ok_and(|metadata| metadata.mode() & READ_BY_OTHERS != 0)
}

fn unused_gate(auth: &AuthConfig, config: &Config) -> Option<String> {
    let of_routes = config.routes.iter().map(|route| &route.access);
    let of_networks = config.networks.iter().map(|network| &network.access);
    let is_used = of_routes.chain(of_networks).any(|access| access.auth() == Some(&auth.name));
    (!is_used).then(|| format!("auth {}: is unused: no route names it", auth.name))
}

fn unused_address_header(server: &Settings) -> Option<String> {
    let is_unused = server.trusted_proxies.is_empty()
        && server.client_address_from != Settings::default().client_address_from;
    let note = "client_address_from has no effect without trusted_proxies";
    is_unused.then(|| note.to_owned())
}

fn all_trusted(server: &Settings) -> Option<String> {
    let all = server.trusted_proxies.iter().find(|prefix| prefix.bits == 0)?;
    Some(format!(
        "trusted_proxies = {all} trusts every peer: clients that connect directly can choose the \
         address that they are logged and limited by"
    ))
}

fn pool_notes(pool: &PoolSettings, config: &Config) -> Vec<String> {
    let name = &pool.name;
    let is_of_pool = |route: &RouteConfig| match &route.service {
        RouteService::Proxy(proxy) => proxy.pool == *name,
        _ => false,
    };
    let has_backup = pool.upstreams.iter().any(|upstream| upstream.is_backup);
    let has_weight = pool.upstreams.iter().any(|upstream| upstream.weight != 1);
    let is_priority = pool.choose == Choose::Priority;
    let notes = [
        (!config.routes.iter().any(is_of_pool), "is unused: no route names it"),
        (
            is_priority && has_backup,
            "backup has no effect with choose = \"priority\", which takes the first in the list",
        ),
        (
            is_priority && has_weight,
            "weight has no effect with choose = \"priority\", which takes the first in the list",
        ),
        (
            pool.down == DownPolicy::Close && pool.health.is_none(),
            "down = \"close\" has no effect without health",
        ),
    ];
    let notes = notes.into_iter().filter(|(is_true, _)| *is_true);
    notes.map(|(_, note)| format!("pool {name}: {note}")).collect()
}

/// Notes on the rates of a route that pause reading.
fn route_notes(route: &RouteConfig) -> Vec<String> {
    let (path, settings) = (&route.path, &route.settings);
    let set =
        || settings.reading_rates().into_iter().filter_map(|(name, rate)| Some((name, rate?)));
    let slow = set().filter(|(_, rate)| rate.per_second < SLOW_PER_SECOND);
    let mut notes: Vec<String> = slow
        .map(|(name, rate)| {
            format!("{path}: {name} = {rate} pauses reading for more than 10 s at a time")
        })
        .collect();
    if settings.messages_rate_per_subject.is_some() && route.access.auth().is_none() {
        notes.push(format!("{path}: messages_rate_per_subject has no effect without auth"));
    }
    if set().next().is_none() && settings.over != RouteSettings::default().over {
        notes.push(format!("{path}: over has no effect without a rate of messages or bytes"));
    }
    notes
}

fn relay_notes(relay: &RelayConfig, config: &Config) -> Vec<String> {
    let name = &relay.name;
    let is_of_relay = |route: &RouteConfig| match &route.service {
        RouteService::Nostr(relay) => relay == name,
        _ => false,
    };
    let routes: Vec<&RouteConfig> =
        config.routes.iter().filter(|route| is_of_relay(route)).collect();
    let event = relay.settings.event_bytes_max;
    let mut notes = Vec::new();
    if routes.is_empty() {
        notes.push(format!("relay {name}: is unused: no route names it"));
    }
    for route in routes.iter().filter(|route| route.settings.message_bytes_max < event) {
        notes.push(format!(
            "relay {name}: event_max is never reached at {}: message_max = {} bytes is less",
            route.path, route.settings.message_bytes_max
        ));
    }
    notes
}

fn above_server(network: &NetworkConfig, server: &Settings) -> Option<String> {
    let (limit, max) = (network.rpc.connections_max, server.connections_max);
    (limit >= max).then(|| {
        format!(
            "{}: network_connections_max = {limit} is never reached: the clients of all \
             networks and routes count towards connections_max = {max}",
            network.path()
        )
    })
}

fn shared_by_networks(config: &Config) -> Option<String> {
    let limits = config.networks.iter().map(|network| network.rpc.connections_max);
    let max = config.server.settings.connections_max;
    let all = limits.clone().fold(0, usize::saturating_add);
    let is_new = config.networks.len() > 1 && limits.clone().all(|limit| limit < max);
    (is_new && all > max).then(|| {
        format!(
            "network_connections_max adds up to {all} over all networks, but they share \
             connections_max = {max}: clients of one network can use up the connections of another"
        )
    })
}

fn too_many_upstreams(config: &Config) -> Option<String> {
    let sockets: usize = config.networks.iter().map(|network| network.gateway.websockets()).sum();
    let max = config.server.settings.outbound_max;
    (sockets > max)
        .then(|| format!("{sockets} upstreams have ws:// or wss:// URLs, but outbound_max = {max}"))
}
