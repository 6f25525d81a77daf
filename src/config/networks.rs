//! The networks: which upstreams stand behind `/{project}/evm/{chain_id}`, and with which limits.
//!
//! Owns what a `[[network]]` must and may say besides the limits of a route.

use std::collections::HashSet;
use std::fmt;

use clap::Args;
use serde::Serialize;
use weir::reactor::settings::{RouteSettings, Settings, SettingsError};
use weir::services::rpc::gateway::{GatewaySettings, UPSTREAMS_MAX};
use weir::services::rpc::{Network, RpcSettings, UpstreamUrl};

use super::error::{ConfigError, Place, place_of, shown};
use super::keys::{Layer, read};
use super::options::RouteOptions;
use super::values::{Count, FileName, OrOff, Size, Span, texts};

/// The kind of chain that there is.
const ARCHITECTURE: &str = "evm";
/// What the keys are called that a network must have.
const REQUIRED: [&str; 3] = ["project", "chain_id", "upstreams"];

/// The key whose values may hold keys of providers: errors redact them.
pub(super) const SECRET: &str = "upstreams";

/// One network, ready to be served.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkConfig {
    pub(crate) gateway: GatewaySettings,
    pub(crate) rpc: RpcSettings,
    pub(crate) settings: RouteSettings,
}

impl NetworkConfig {
    /// Where clients connect to.
    pub(crate) fn path(&self) -> String {
        let Network { project, architecture, chain_id } = &self.gateway.network;
        format!("/{project}/{architecture}/{chain_id}")
    }
}

/// What a `[[network]]` says besides the limits.
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

/// The limits of calls and subscriptions. They are set in the file alone, where the network is.
#[derive(Debug, Args, Serialize)]
pub(super) struct NetworkOptions {
    /// Connections of one network at once; one more is answered 503
    #[arg(long, value_name = "N", default_value_t = Count(rpc().connections_max))]
    network_connections_max: Count<usize>,

    /// Subscriptions of one connection; one more is answered -32005
    #[arg(long, value_name = "N")]
    #[arg(default_value_t = Count(rpc().subscriptions_per_connection_max))]
    subscriptions_per_connection_max: Count<usize>,

    /// Subscriptions of one network; one more is answered -32005
    #[arg(long, value_name = "N", default_value_t = Count(rpc().subscriptions_max))]
    subscriptions_max: Count<usize>,

    /// Calls of one batch; past it -32600
    #[arg(long, value_name = "N", default_value_t = Count(rpc().batch_items_max))]
    batch_max: Count<usize>,

    /// Largest answer; past it -32003
    #[arg(long, value_name = "SIZE", default_value_t = Size(rpc().response_bytes_max))]
    response_max: Size,

    /// Brackets open at once within the parameters of a call; past it -32600
    #[arg(long, value_name = "N", default_value_t = Count(rpc().depth_max))]
    depth_max: Count<usize>,

    /// Calls of one connection under way, from which on it is not read from
    #[arg(long, value_name = "N", default_value_t = Count(rpc().calls_per_connection_max))]
    calls_per_connection_max: Count<usize>,

    /// Calls of one network under way; one more is answered -32005
    #[arg(long, value_name = "N", default_value_t = Count(rpc().calls_max))]
    calls_max: Count<usize>,

    /// From a call to its answer, all tries with upstreams included; past it -32002
    #[arg(long, value_name = "TIME", default_value_t = Span(rpc().call_timeout))]
    call_timeout: Span,

    /// PEM file of the certificates that those of upstreams by https and wss must lead to; off is the
    /// web's own authorities
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    upstream_ca: OrOff<FileName>,

    /// Calls that one upstream works on at a time
    #[arg(long, value_name = "N", default_value_t = Count(64))]
    upstream_concurrency: Count<usize>,

    /// Calls that wait for an upstream; one more is answered -32005
    #[arg(long, value_name = "N", default_value_t = Count(1024))]
    upstream_queue_max: Count<usize>,
}

fn rpc() -> RpcSettings {
    RpcSettings::default()
}

impl NetworkOptions {
    fn rpc(&self, settings: &RouteSettings) -> RpcSettings {
        RpcSettings {
            connections_max: self.network_connections_max.0,
            subscriptions_per_connection_max: self.subscriptions_per_connection_max.0,
            subscriptions_max: self.subscriptions_max.0,
            batch_items_max: self.batch_max.0,
            request_bytes_max: settings.message_bytes_max,
            response_bytes_max: self.response_max.0,
            depth_max: self.depth_max.0,
            calls_per_connection_max: self.calls_per_connection_max.0,
            calls_max: self.calls_max.0,
            call_timeout: self.call_timeout.0,
        }
    }

    fn gateway(&self, network: Network, upstreams: Vec<UpstreamUrl>) -> GatewaySettings {
        GatewaySettings {
            network,
            upstreams,
            authorities: self.upstream_ca.0.as_ref().map(|name| name.0.clone()),
            concurrency: self.upstream_concurrency.0,
            queue_max: self.upstream_queue_max.0,
            timeout: self.call_timeout.0,
            answer_bytes_max: self.response_max.0,
        }
    }
}

impl From<&NetworkConfig> for NetworkOptions {
    fn from(NetworkConfig { gateway, rpc, settings: _ }: &NetworkConfig) -> NetworkOptions {
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
            upstream_ca: OrOff(gateway.authorities.clone().map(FileName)),
            upstream_concurrency: Count(gateway.concurrency),
            upstream_queue_max: Count(gateway.queue_max),
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

/// Reads `tables`, each on top of `defaults`, and checks them against each other and the server's own
/// `settings`.
pub(super) fn networks(
    tables: Vec<(Place, Layer)>,
    defaults: &Layer,
    settings: &Settings,
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
    Ok(NetworkConfig { gateway, settings: rpc.fit(settings), rpc })
}

fn check(network: &NetworkConfig, server: &Settings) -> Result<(), NetworkError> {
    let NetworkConfig { gateway, rpc, settings } = network;
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
    // A subscription is a topic: one that is granted and cannot be joined would be silent.
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
    let (hard, all) = (settings.outbox_hard, server.buffered_bytes_max);
    if hard > all { Err(NetworkError::AboveBuffered { hard, all }) } else { Ok(()) }
}

/// What is wrong with a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkError {
    Missing(&'static str),
    Project(String),
    /// So many upstreams.
    Upstreams(usize),
    Twice(String),
    Settings(SettingsError),
    /// The server would never let one outbox hold a largest answer. In bytes.
    AboveBuffered {
        hard: usize,
        all: usize,
    },
    /// More subscriptions than there may be topics.
    AboveTopics {
        name: &'static str,
        count: usize,
        limit: &'static str,
        max: usize,
    },
}

impl NetworkError {
    /// The keys that contradict each other, in a text; empty if the network itself is at fault.
    fn contradiction(&self) -> String {
        match self {
            NetworkError::Settings(error) => error.to_string(),
            NetworkError::AboveBuffered { .. } => "response_max buffered_max".to_owned(),
            NetworkError::AboveTopics { name, limit, .. } => format!("{name} {limit}"),
            _ => String::new(),
        }
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkError::Missing(key) => write!(f, "a [[network]] needs {key}"),
            NetworkError::Project(name) => {
                let name = shown(name);
                write!(f, "project = {name:?}: expected letters, digits, '-', '_' and '.'")
            }
            NetworkError::Upstreams(count) => {
                write!(f, "a [[network]] has at most {UPSTREAMS_MAX} upstreams, not {count}")
            }
            NetworkError::Twice(path) => write!(f, "{path} is given twice"),
            NetworkError::Settings(error) => error.fmt(f),
            NetworkError::AboveBuffered { hard, all } => write!(
                f,
                "an answer of response_max wants an outbox of {hard} bytes, which must not be more \
                 than buffered_max, {all} bytes"
            ),
            NetworkError::AboveTopics { name, count, limit, max } => {
                write!(f, "{name} = {count}: must not be more than {limit}, {max}")
            }
        }
    }
}
