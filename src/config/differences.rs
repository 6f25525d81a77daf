//! The settings that differ from their defaults, for the end of `weir check`.

use serde::Serialize;
use toml::Table;
use weir::reactor::settings::GateSettings;
use weir::services::auth::JwtSettings;
use weir::services::nostr::settings::RelaySettings;
use weir::services::proxy::PoolSettings;

use super::auth::{AuthConfig, GateKind};
use super::effective::{
    EffectiveAuth, EffectiveNetwork, EffectivePool, EffectiveRelay, EffectiveRoute,
};
use super::file::File;
use super::keys::{Given, Layer};
use super::networks::{NetworkConfig, networks};
use super::options::{HeartbeatOptions, RouteOptions, ServerOptions};
use super::place::Place;
use super::relays::RelayConfig;
use super::routes::{Known, RouteConfig, built_in, of_gate, of_relay, proxied, routes};
use super::start::Start;
use super::{Config, default_outbound_max};

/// Keys of a route that have no default.
const OF_ROUTE: [&str; 5] = ["path", "service", "page", "pool", "relay"];
/// Keys of a route that name its gate.
const ACCESS: [&str; 2] = ["auth", "require"];
/// Keys of a network that have no default.
const OF_NETWORK: [&str; 3] = ["project", "chain_id", "upstreams"];
/// Keys of a pool that have no default.
const OF_POOL: [&str; 2] = ["name", "upstreams"];
/// Keys of a gate that have no default.
const OF_AUTH: [&str; 4] = ["name", "kind", "algorithms", "url"];
/// Keys of a relay that have no default.
const OF_RELAY: [&str; 2] = ["name", "data_dir"];

/// Keys of a relay that a running server reads again.
const RELAY_LISTS: [&str; 9] = [
    "administrators",
    "allow_authors",
    "deny_authors",
    "allow_kinds",
    "deny_kinds",
    "allow_only",
    "allow_tagged",
    "open_kinds",
    "allow_readers",
];

impl Config {
    /// One line for each setting that differs from its default, in the syntax of the file. Settings
    /// of a route or network follow its path.
    pub(crate) fn differences(&self) -> Vec<String> {
        let Ok(mut usual) = Config::merge(File::default(), Layer::new(), Layer::new()) else {
            return Vec::new();
        };
        let (connections_max, own) = (self.server.settings.connections_max, &mut usual);
        own.server.settings.outbound_max =
            default_outbound_max(connections_max, &self.routes, &self.pools);
        let server = |config: &Config| table(&ServerOptions::new(&config.server));
        let mut lines = differing(&server(self), &server(&usual), "", &[]);
        for route in &self.routes {
            if let Some(usual) = usual_route(route) {
                let (own, usual) = (EffectiveRoute::from(route), EffectiveRoute::from(&usual));
                let before = format!("{}: ", route.path);
                lines.extend(differing(&table(&own), &table(&usual), &before, &OF_ROUTE));
            }
        }
        for network in &self.networks {
            if let Some(usual) = usual_network() {
                let (own, usual) =
                    (EffectiveNetwork::from(network), EffectiveNetwork::from(&usual));
                let before = format!("{}: ", network.path());
                lines.extend(differing(&table(&own), &table(&usual), &before, &OF_NETWORK));
            }
        }
        for pool in &self.pools {
            let usual = PoolSettings::new(pool.name.clone(), Vec::new());
            let (own, usual) = (EffectivePool::from(pool), EffectivePool::from(&usual));
            let before = format!("pool {}: ", pool.name);
            lines.extend(differing(&table(&own), &table(&usual), &before, &OF_POOL));
        }
        for relay in &self.relays {
            let settings = RelaySettings::new(relay.settings.data_dir.clone());
            let usual = RelayConfig { name: relay.name.clone(), settings };
            let (own, usual) = (EffectiveRelay::from(relay), EffectiveRelay::from(&usual));
            let before = format!("relay {}: ", relay.name);
            lines.extend(differing(&table(&own), &table(&usual), &before, &OF_RELAY));
        }
        for auth in &self.auths {
            let (name, kind) = (auth.name.clone(), auth.kind.usual());
            let usual = AuthConfig { name, kind, gate: GateSettings::default() };
            let (own, usual) = (EffectiveAuth::from(auth), EffectiveAuth::from(&usual));
            let before = format!("auth {}: ", auth.name);
            lines.extend(differing(&table(&own), &table(&usual), &before, &OF_AUTH));
        }
        lines
    }
}

impl Config {
    /// What differs in `new` and cannot be changed while a server with these settings runs, a line
    /// each.
    pub(crate) fn needing_restart(&self, new: &Config, start: &Start) -> Vec<String> {
        let has_proxy = start.has_proxy;
        let mut reloaded = vec!["trusted_proxies", "client_address_from"];
        if start.has_default_outbound_max && new.has_default_outbound_max() {
            // It follows from the pools.
            reloaded.push("outbound_max");
        }
        let server = |config: &Config| table(&ServerOptions::new(&config.server));
        let mut lines = changed(&server(self), &server(new), "", &reloaded);
        let (old_routes, new_routes) = (self.routes_by_path(), new.routes_by_path());
        for route in &self.routes {
            let is_kept = route.is_proxy() && has_proxy;
            let Some(new) = new_routes.get(route.path.as_str()) else {
                if !is_kept {
                    lines.push(format!("{}: the route is removed", route.path));
                }
                continue;
            };
            if !route.has_service_of(new) {
                lines.push(format!("{}: the route has another service", route.path));
            } else if !is_kept {
                let limits = table(&RouteOptions::from(&route.settings));
                let heartbeat = table(&HeartbeatOptions::from(None));
                let limits = limits.keys().chain(heartbeat.keys()).map(String::as_str);
                let limits: Vec<&str> = limits.chain(ACCESS).collect();
                let (old, new) =
                    (table(&EffectiveRoute::from(route)), table(&EffectiveRoute::from(*new)));
                lines.extend(changed(&old, &new, &format!("{}: ", route.path), &limits));
            }
        }
        let added = new.routes.iter().filter(|route| !old_routes.contains_key(route.path.as_str()));
        let added = added.filter(|route| !(route.is_proxy() && has_proxy));
        lines.extend(added.map(|route| format!("{}: the route is new", route.path)));
        if self.networks != new.networks {
            lines.push("network: the networks have changed".to_owned());
        }
        if self.auths != new.auths {
            lines.push("auth: the gates have changed".to_owned());
        }
        lines.extend(self.relays_needing_restart(new));
        lines
    }

    fn relays_needing_restart(&self, new: &Config) -> Vec<String> {
        let named = |relays: &[RelayConfig], name: &str| {
            relays.iter().find(|relay| relay.name == name).cloned()
        };
        let mut lines = Vec::new();
        for relay in &self.relays {
            let before = format!("relay {}: ", relay.name);
            let Some(new) = named(&new.relays, &relay.name) else {
                lines.push(format!("{before}it is removed"));
                continue;
            };
            let is_managed = |relay: &RelayConfig| !relay.settings.administrators.is_empty();
            let reloaded = match is_managed(relay) == is_managed(&new) {
                true => &RELAY_LISTS[..],
                // Whether there is a management API at all.
                false => &RELAY_LISTS[1..],
            };
            let (old, new) = (EffectiveRelay::from(relay), EffectiveRelay::from(&new));
            lines.extend(changed(&table(&old), &table(&new), &before, reloaded));
        }
        let added = new.relays.iter().filter(|relay| named(&self.relays, &relay.name).is_none());
        lines.extend(added.map(|relay| format!("relay {}: it is new", relay.name)));
        lines
    }

    /// What a server with this configuration starts with.
    pub(crate) fn start(&self) -> Start {
        Start {
            has_proxy: self.routes.iter().any(RouteConfig::is_proxy),
            has_default_outbound_max: self.has_default_outbound_max(),
        }
    }

    fn has_default_outbound_max(&self) -> bool {
        let settings = &self.server.settings;
        let usual = default_outbound_max(settings.connections_max, &self.routes, &self.pools);
        settings.outbound_max == usual
    }
}

/// The keys that have different values in two tables.
fn changed(old: &Table, new: &Table, before: &str, except: &[&str]) -> Vec<String> {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differs = |key: &&String| !except.contains(&key.as_str()) && old.get(*key) != new.get(*key);
    keys.into_iter().filter(differs).map(|key| format!("{before}{key}")).collect()
}

fn table(settings: &impl Serialize) -> Table {
    Table::try_from(settings).unwrap_or_default()
}

/// The settings of `own` whose value in `usual` differs, without the keys in `except`.
fn differing(own: &Table, usual: &Table, before: &str, except: &[&str]) -> Vec<String> {
    let differs = |(key, value): &(&String, _)| {
        !except.contains(&key.as_str()) && usual.get(*key) != Some(*value)
    };
    own.iter().filter(differs).map(|(key, value)| format!("{before}{key} = {value}")).collect()
}

/// A route with the same service and no settings of its own.
fn usual_route(route: &RouteConfig) -> Option<RouteConfig> {
    let service = |route: &RouteConfig| route.service.kind();
    let pool = PoolSettings::new("any".to_owned(), Vec::new());
    let own = [proxied("any"), of_relay("any"), of_gate("any")];
    let tables = built_in().into_iter().chain(own).collect();
    let kind = GateKind::Jwt(JwtSettings::new(Vec::new()));
    let gate = AuthConfig { name: "any".to_owned(), kind, gate: GateSettings::default() };
    let known = Known { pools: &[pool], relays: &["any"], auths: &[gate] };
    let all = routes(tables, &Layer::new(), &Default::default(), known, std::iter::empty());
    all.ok()?.into_iter().find(|usual| service(usual) == service(route))
}

/// A network without settings of its own.
fn usual_network() -> Option<NetworkConfig> {
    let given = |(key, value): (&str, &str)| {
        let values = vec![value.to_owned()];
        (key.to_owned(), Given { place: Place::BuiltIn, values })
    };
    let required = [("project", "any"), ("chain_id", "1"), ("upstreams", "http://127.0.0.1")];
    let table: Layer = required.into_iter().map(given).collect();
    let usual = networks(vec![(Place::BuiltIn, table)], &Layer::new(), &Default::default(), &[]);
    usual.ok()?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(text: &str) -> Vec<String> {
        let file = File::parse("weir.toml", text).unwrap();
        Config::merge(file, Layer::new(), Layer::new()).unwrap().differences()
    }

    #[test]
    fn only_settings_that_differ_from_their_default_are_listed() {
        assert_eq!(differences(""), [""; 0]);
        assert_eq!(differences("connections_max = 10000\nlog = 'info'"), [""; 0]);
        let text = "connections_max = 5
            message_max = '64 KiB'
            [[route]]
            path = '/a'
            service = 'echo'
            [[route]]
            path = '/b/{name}'
            service = 'rooms'
            message_max = '1 MiB'
            history_max = 7
            [[network]]
            project = 'main'
            chain_id = 7
            upstreams = ['https://a.example/KEY']
            calls_max = 9";
        assert_eq!(
            differences(text),
            [
                "connections_max = 5",
                "/a: message_max = \"64 KiB\"",
                "/b/{name}: history_max = 7",
                "/main/evm/7: calls_max = 9",
                "/main/evm/7: message_max = \"64 KiB\"",
            ]
        );
    }
}
