//! The networks: the upstreams and limits for each `/{project}/evm/{chain_id}`.
//!
//! Validates a `[[network]]`, except for the limits that it shares with a route.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use weir::reactor::settings::{RouteSettings, Settings, SettingsError};
use weir::services::rpc::gateway::{GatewaySettings, UPSTREAMS_MAX};
use weir::services::rpc::{MethodCosts, Network, RpcSettings};
use weir::upstream::UpstreamUrl;

use super::access::Access;
use super::auth::AuthConfig;
use super::error::{ConfigError, NetworkError};
use super::keys::{Layer, place_of, read};
use super::options::RouteOptions;
use super::place::Place;
use super::values::{Count, FileName, OrOff, Size, Span, texts};

/// The only supported kind of chain.
const ARCHITECTURE: &str = "evm";
/// The required keys of a network.
const REQUIRED: [&str; 3] = ["project", "chain_id", "upstreams"];

/// The key whose values may contain provider keys: errors redact them.
pub(super) const SECRET: &str = "upstreams";

/// One network, ready to serve.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkConfig {
    pub(crate) gateway: GatewaySettings,
    pub(crate) rpc: RpcSettings,
    pub(crate) settings: RouteSettings,
    pub(crate) access: Access,
}

impl NetworkConfig {
    /// The path that clients connect to.
    pub(crate) fn path(&self) -> String {
        let Network { project, architecture, chain_id } = &self.gateway.network;
        format!("/{project}/{architecture}/{chain_id}")
    }
}

/// The keys of a `[[network]]` besides its limits.
#[derive(Debug, Args, Serialize)]
pub(super) struct NetworkTable {
    #[arg(long, required = true)]
    project: String,
    #[arg(long, required = true)]
    chain_id: Count<u64>,
    #[arg(long, required = true, value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    upstreams: Vec<UpstreamUrl>,
}

/// Limits of calls and subscriptions. They can only be set in the network's table of the file.
#[derive(Debug, Args, Serialize)]
pub(super) struct NetworkOptions {
    /// Maximum connections of one network; more are refused with 503
    #[arg(long, value_name = "N", default_value_t = Count(rpc().connections_max))]
    network_connections_max: Count<usize>,

    /// Maximum subscriptions per connection; more are answered with -32005
    #[arg(long, value_name = "N")]
    #[arg(default_value_t = Count(rpc().subscriptions_per_connection_max))]
    subscriptions_per_connection_max: Count<usize>,

    /// Maximum subscriptions of one network; more are answered with -32005
    #[arg(long, value_name = "N", default_value_t = Count(rpc().subscriptions_max))]
    subscriptions_max: Count<usize>,

    /// Maximum calls in one batch; larger batches are answered with -32600
    #[arg(long, value_name = "N", default_value_t = Count(rpc().batch_items_max))]
    batch_max: Count<usize>,

    /// Maximum size of an answer; larger ones are replaced by -32003
    #[arg(long, value_name = "SIZE", default_value_t = Size(rpc().response_bytes_max))]
    response_max: Size,

    /// Maximum nesting depth of a call's parameters; deeper calls are answered with -32600
    #[arg(long, value_name = "N", default_value_t = Count(rpc().depth_max))]
    depth_max: Count<usize>,

    /// Pending calls per connection at which reading from it pauses
    #[arg(long, value_name = "N", default_value_t = Count(rpc().calls_per_connection_max))]
    calls_per_connection_max: Count<usize>,

    /// Maximum pending calls of one network; more are answered with -32005
    #[arg(long, value_name = "N", default_value_t = Count(rpc().calls_max))]
    calls_max: Count<usize>,

    /// Deadline from a call to its answer, upstream retries included; then -32002
    #[arg(long, value_name = "TIME", default_value_t = Span(rpc().call_timeout))]
    call_timeout: Span,

    /// CA certificates (PEM) trusted for https:// and wss:// upstreams; off: the built-in Mozilla
    /// roots
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    upstream_ca: OrOff<FileName>,

    /// Maximum concurrent calls per upstream
    #[arg(long, value_name = "N", default_value_t = Count(gateway().concurrency))]
    upstream_concurrency: Count<usize>,

    /// Maximum calls that wait for an upstream; more are answered with -32005
    #[arg(long, value_name = "N", default_value_t = Count(gateway().queue_max))]
    upstream_queue_max: Count<usize>,

    /// As how many messages calls of a method count for messages_rate, as in { eth_getLogs = 10 }; calls
    /// of other methods count as one
    #[arg(long, value_name = "METHOD=N", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    costs: Vec<MethodCost>,
}

/// The cost of one method.
#[derive(Debug, Clone)]
pub(super) struct MethodCost(String, u32);

impl FromStr for MethodCost {
    type Err = String;

    fn from_str(text: &str) -> Result<MethodCost, String> {
        const FORM: &str = r#"expected a method and its cost, as in { eth_getLogs = 10 }"#;
        let (method, cost) = text.split_once('=').ok_or(FORM)?;
        let (method, cost) = (method.trim(), cost.trim().parse().map_err(|_| FORM)?);
        match method.is_empty() || cost == 0 {
            true => Err(format!("{FORM}; the least cost is 1")),
            false => Ok(MethodCost(method.to_owned(), cost)),
        }
    }
}

impl fmt::Display for MethodCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MethodCost(method, cost) = self;
        write!(f, "{method}={cost}")
    }
}

fn rpc() -> RpcSettings {
    RpcSettings::default()
}

fn gateway() -> GatewaySettings {
    let any = Network { project: String::new(), architecture: ARCHITECTURE, chain_id: 0 };
    GatewaySettings::new(any, Vec::new())
}

impl NetworkOptions {
    fn rpc(&self, settings: &RouteSettings) -> RpcSettings {
        RpcSettings::default()
            .connections_max(self.network_connections_max.0)
            .subscriptions_per_connection_max(self.subscriptions_per_connection_max.0)
            .subscriptions_max(self.subscriptions_max.0)
            .batch_items_max(self.batch_max.0)
            .request_bytes_max(settings.message_bytes_max)
            .response_bytes_max(self.response_max.0)
            .depth_max(self.depth_max.0)
            .calls_per_connection_max(self.calls_per_connection_max.0)
            .calls_max(self.calls_max.0)
            .call_timeout(self.call_timeout.0)
            .costs(MethodCosts::new(self.costs.iter().map(|cost| (cost.0.as_str(), cost.1))))
    }

    fn gateway(&self, network: Network, upstreams: Vec<UpstreamUrl>) -> GatewaySettings {
        GatewaySettings::new(network, upstreams)
            .ca_file(self.upstream_ca.0.as_ref().map(|name| name.0.clone()))
            .concurrency(self.upstream_concurrency.0)
            .queue_max(self.upstream_queue_max.0)
            .timeout(self.call_timeout.0)
            .answer_bytes_max(self.response_max.0)
    }
}

impl From<&NetworkConfig> for NetworkOptions {
    fn from(NetworkConfig { gateway, rpc, .. }: &NetworkConfig) -> NetworkOptions {
        NetworkOptions {
            network_connections_max: Count(rpc.connections_max),
            subscriptions_per_connection_max: Count(rpc.subscriptions_per_connection_max),
            subscriptions_max: Count(rpc.subscriptions_max),
            batch_max: Count(rpc.batch_items_max),
            response_max: Size(rpc.response_bytes_max),
            depth_max: Count(rpc.depth_max),
            calls_per_connection_max: Count(rpc.calls_per_connection_max),
            calls_max: Count(rpc.calls_max),
            call_timeout: Span(rpc.call_timeout),
            upstream_ca: OrOff(gateway.ca_file.clone().map(FileName)),
            upstream_concurrency: Count(gateway.concurrency),
            upstream_queue_max: Count(gateway.queue_max),
            costs: rpc.costs.iter().map(|(name, cost)| MethodCost(name.to_owned(), cost)).collect(),
        }
    }
}

impl From<&NetworkConfig> for NetworkTable {
    fn from(NetworkConfig { gateway, .. }: &NetworkConfig) -> NetworkTable {
        NetworkTable {
            project: gateway.network.project.clone(),
            chain_id: Count(gateway.network.chain_id),
            upstreams: gateway.upstreams.clone(),
        }
    }
}

/// Reads `tables`, each on top of `defaults`, and checks them against each other, the server's
/// `settings`, and the gates that they name.
pub(super) fn networks(
    tables: Vec<(Place, Layer)>,
    defaults: &Layer,
    settings: &Settings,
    auths: &[AuthConfig],
) -> Result<Vec<NetworkConfig>, ConfigError> {
    let mut seen = HashSet::new();
    let mut networks = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let refused = |error: NetworkError| {
            let place =
                place_of(&error.contradiction(), &[&table, defaults]).unwrap_or(place.clone());
            ConfigError::Network { place, error }
        };
        let is_missing = |key: &&&str| table.get(**key).is_none_or(|given| given.values.is_empty());
        let missing = REQUIRED.iter().find(is_missing);
        if let Some(key) = missing {
            return Err(refused(NetworkError::Missing(key)));
        }
        let network = network(&table, defaults)?;
        check(&network, settings).map_err(refused)?;
        let checked = network.access.check(&network.settings, auths);
        checked.map_err(|error| refused(NetworkError::Access(error)))?;
        if !seen.insert(network.path()) {
            return Err(refused(NetworkError::Twice(network.path())));
        }
        networks.push(network);
    }
    Ok(networks)
}

fn network(table: &Layer, defaults: &Layer) -> Result<NetworkConfig, ConfigError> {
    let NetworkTable { project, chain_id, mut upstreams } = read(table)?;
    UpstreamUrl::number(&mut upstreams);
    let options: NetworkOptions = read(table)?;
    let mut layer = defaults.clone();
    layer.extend(table.clone());
    let settings: RouteSettings = read::<RouteOptions>(&layer)?.into();
    let rpc = options.rpc(&settings);
    let network = Network { project, architecture: ARCHITECTURE, chain_id: chain_id.0 };
    let gateway = options.gateway(network, upstreams);
    let access = read::<Access>(table)?;
    Ok(NetworkConfig { gateway, settings: rpc.fit(settings), rpc, access })
}

fn check(network: &NetworkConfig, server: &Settings) -> Result<(), NetworkError> {
    let NetworkConfig { gateway, rpc, settings, access: _ } = network;
    let project = &gateway.network.project;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if project.is_empty() || !project.bytes().all(is_plain) {
        return Err(NetworkError::Project(project.clone()));
    }
    if gateway.upstreams.len() > UPSTREAMS_MAX {
        return Err(NetworkError::Upstreams(gateway.upstreams.len()));
    }
    let counts = [
        ("network_connections_max", rpc.connections_max),
        ("batch_max", rpc.batch_items_max),
        ("response_max", rpc.response_bytes_max),
        ("depth_max", rpc.depth_max),
        ("calls_per_connection_max", rpc.calls_per_connection_max),
        ("calls_max", rpc.calls_max),
        ("upstream_concurrency", gateway.concurrency),
        ("upstream_queue_max", gateway.queue_max),
        ("call_timeout", usize::from(!gateway.timeout.is_zero())),
    ];
    if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(NetworkError::Settings(SettingsError::Zero(name)));
    }
    // A subscription is a topic: a subscription whose topic cannot be joined would never be
    // notified.
    let topics = [
        ("subscriptions_max", rpc.subscriptions_max, "topics_max", server.topics_max),
        (
            "subscriptions_per_connection_max",
            rpc.subscriptions_per_connection_max,
            "topics_per_connection_max",
            server.topics_per_connection_max,
        ),
    ];
    for (name, count, limit, max) in topics {
        if count > max {
            return Err(NetworkError::AboveTopics { name, count, limit, max });
        }
    }
    settings.check().map_err(NetworkError::Settings)?;
    let (hard, all) = (settings.outbox_hard_bytes, server.buffered_bytes_max);
    if hard > all { Err(NetworkError::AboveBuffered { hard, all }) } else { Ok(()) }
}
