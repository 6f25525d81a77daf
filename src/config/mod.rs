//! Loads the settings: flags override variables, variables the file, the file the defaults. The
//! result is one checked [`Config`] of plain structs.
//!
//! [`options`] declares each setting once; file and environment are parsed as if their values were
//! on the command line. No other part of the program reads a configuration file or a variable, and
//! only the binary depends on this module.
//!
//! To add a setting of a route:
//! 1. `reactor/api/settings/route.rs`: one field in `with_setters!`, with its contract, type and
//!    default. The setter follows from it.
//! 2. `reactor/api/settings/check.rs`: its range, and its relations to other settings of the route.
//! 3. `config/options/route.rs`: the option with its help text and the type of its value, and one
//!    line in each of the two conversions, to the settings and back. Without the line back, it does
//!    not compile.
//! 4. `config/tests.rs`: a value in `the_effective_configuration_parses_to_an_equal_one`. The test
//!    fails without it, and without the line to the settings.
//! 5. `guide/limits.md`: a row, if the setting is a limit; the name list in `guide/embedding.md`, if
//!    the names differ.
//! 6. The code that enforces it: in `reactor/effects/`, or in `conn/outboxes.rs`, `conn/deadline.rs`
//!    or `parts/admission.rs` for limits of output, time and admission.
//!
//! A setting of the loop is in `settings/reactor.rs` and `options/server.rs` (conversions:
//! `ServerOptions::new` and `settings`), a setting of rooms or networks in the settings of the
//! service and in `options/room.rs` or `networks.rs`. `routes.rs` and `networks.rs` check relations
//! between different tables. The development node has flags of its own, and builds its settings in
//! `src/node/options.rs`.
//!
//! A new struct of settings is declared by `with_setters!`, too. It is `#[non_exhaustive]`, so the
//! binary builds it from its defaults by setters, as any program does. The default of an option is
//! read from there: it is written once.
//!
//! Flag, variable, key of the file, `--help`, `weir check` and suggestions for typing errors follow
//! from the option.

mod access;
mod addresses;
mod auth;
mod differences;
mod effective;
mod environment;
mod error;
mod file;
mod keys;
mod networks;
mod notes;
mod options;
mod place;
mod pools;
mod relays;
mod routes;
mod start;
mod syntax;
mod tls;
mod values;

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use weir::reactor::TlsError;
use weir::reactor::settings::{ListenSettings, Settings, TlsSettings};
use weir::services::proxy::PoolSettings;

use file::File;
use networks::NetworkOptions;
use options::{GateFiles, JwtOptions, PoolOptions, ServerConfig, ServerOptions};
use place::Place;
use routes::Known;

pub(crate) use weir::upstream::redacted;

pub(crate) use access::Gates;
pub(crate) use addresses::{Listen, Origin, socket_address};
pub(crate) use auth::{AuthConfig, GateKind};
pub(crate) use error::ConfigError;
pub(crate) use keys::{Layer, given};
pub(crate) use networks::NetworkConfig;
pub(crate) use options::{ADMIN_GROUP, Options};
pub(crate) use relays::{RELAY_LISTEN, RelayConfig, RelayDefaults};
pub(crate) use routes::{RouteConfig, RouteService};
pub(crate) use start::Start;
pub(crate) use values::{Count, OrOff, Span};

/// Everything that a server is started with. `Display` writes it as a file that parses to an equal
/// value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) server: ServerConfig,
    pub(crate) routes: Vec<RouteConfig>,
    /// There is at least one network or one route.
    pub(crate) networks: Vec<NetworkConfig>,
    /// The pools that routes of the proxy name.
    pub(crate) pools: Vec<PoolSettings>,
    /// The relays that routes name.
    pub(crate) relays: Vec<RelayConfig>,
    /// The gates that routes and networks name.
    pub(crate) auths: Vec<AuthConfig>,
}

/// Whether certificates must be valid at the current time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    Checked,
    /// A starting server may have no better certificate; it logs a warning.
    Ignored,
}

/// Where the configuration comes from. A running server reads the file again.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The value of `--config`; without it, `WEIR_CONFIG` applies.
    pub(crate) file: Option<PathBuf>,
    pub(crate) variables: Vec<(OsString, OsString)>,
    pub(crate) flags: Layer,
    /// What `weir relay` adds.
    pub(crate) relay: Option<RelayDefaults>,
}

impl Sources {
    /// Reads every source.
    pub(crate) fn load(&self, dates: Dates) -> Result<Config, ConfigError> {
        let mut variables = environment::layer(self.variables.iter().cloned())?;
        let named = variables.remove(environment::CONFIG).and_then(|mut given| given.values.pop());
        let mut file = match self.file.as_deref().or(named.as_deref().map(Path::new)) {
            Some(path) => File::open(path)?,
            None => File::default(),
        };
        if let Some(relay) = &self.relay {
            relay.complete(&mut file)?;
        }
        Config::load(file, variables, self.flags.clone(), dates)
    }

    /// Whether there is a file, which may have changed.
    pub(crate) fn has_file(&self) -> bool {
        let mut variables = self.variables.iter();
        self.file.is_some() || variables.any(|(name, value)| environment::is_config(name, value))
    }
}

/// A file, with the key that names it and the key's place.
type NamedFile = (PathBuf, String, Place);

/// The error of a file, at the key that names it.
fn bad_file(named: Option<&NamedFile>, error: Box<dyn Error>) -> ConfigError {
    match named {
        Some((_, key, place)) => {
            ConfigError::BadFile { place: place.clone(), key: key.clone(), error }
        }
        None => ConfigError::Contradiction { place: None, why: error.to_string() },
    }
}

impl Config {
    /// The routes by their paths, of which each has one.
    pub(crate) fn routes_by_path(&self) -> HashMap<&str, &RouteConfig> {
        self.routes.iter().map(|route| (route.path.as_str(), route)).collect()
    }

    fn load(
        file: File,
        variables: Layer,
        flags: Layer,
        dates: Dates,
    ) -> Result<Config, ConfigError> {
        let of_server = [&flags, &variables, &file.settings].into_iter();
        let mut files = keys::files::<Options>(of_server);
        let of_networks = file.networks.iter().map(|(_, table)| table);
        files.extend(keys::files::<NetworkOptions>(of_networks));
        let of_pools = file.pools.iter().map(|(_, table)| table);
        files.extend(keys::files::<PoolOptions>(of_pools));
        let of_gates = file.auths.iter().map(|(_, table)| table);
        files.extend(keys::files::<JwtOptions>(of_gates.clone()));
        files.extend(keys::files::<GateFiles>(of_gates));
        let of_relays = file.relays.clone();
        let config = Config::merge(file, variables, flags)?;
        config.check_files(&files, dates)?;
        relays::check_files(&config.relays, &of_relays)?;
        config.check_audit_key(&files)?;
        config.check_gates(&files)?;
        Ok(config)
    }

    /// Checks that certificates and keys can be loaded; each of `files` has its key and place.
    fn check_files(&self, files: &[NamedFile], dates: Dates) -> Result<(), ConfigError> {
        let upstreams = self.networks.iter().map(|network| network.gateway.check());
        let pools = self.pools.iter().map(PoolSettings::check_tls);
        let mut all = self.server.tls.iter().map(TlsSettings::check).chain(upstreams).chain(pools);
        let is_wrong = |error: &TlsError| {
            dates == Dates::Checked || !matches!(error, TlsError::NotValidNow(..))
        };
        let Some(error) = all.find_map(|checked| checked.err().filter(is_wrong)) else {
            return Ok(());
        };
        let named = files.iter().find(|(path, ..)| error.path() == Some(path));
        Err(bad_file(named, error.into()))
    }

    /// Checks the key of the audit log; each of `files` has its key and place.
    fn check_audit_key(&self, files: &[NamedFile]) -> Result<(), ConfigError> {
        let Some(audit) = &self.server.audit else {
            return Ok(());
        };
        audit.check().map_err(|error| {
            let named = files.iter().find(|(path, ..)| audit.key.as_ref() == Some(path));
            bad_file(named, error)
        })
    }

    /// Checks the files of gates; each of `files` has its key and place.
    fn check_gates(&self, files: &[NamedFile]) -> Result<(), ConfigError> {
        let Some(error) = self.auths.iter().find_map(|auth| auth.check_files().err()) else {
            return Ok(());
        };
        let named = files.iter().find(|(path, ..)| error.path() == Some(path));
        Err(bad_file(named, error.into()))
    }

    fn merge(file: File, variables: Layer, flags: Layer) -> Result<Config, ConfigError> {
        let mut layer = file.settings;
        layer.extend(variables);
        layer.extend(flags);
        let server: ServerOptions = keys::read(&layer)?;
        let settings = server.settings();
        let refused = |error: &dyn Display| ConfigError::contradiction(error, &layer);
        settings.check().map_err(|error| refused(&error))?;
        let listen = server.listen();
        let admin = server.admin();
        check_listen(listen.iter().chain(&admin)).map_err(|why| refused(&why))?;
        check_proxies(&listen, &settings).map_err(|why| refused(&why))?;
        let tls = server.tls().map_err(|mistake| refused(&mistake))?;
        let audit = server.audit().map_err(|why| refused(&why))?;
        let auths = auth::auths(file.auths, &settings)?;
        let networks = networks::networks(file.networks, &layer, &settings, &auths)?;
        // A gateway does not serve the built-in routes.
        let built_in = || if networks.is_empty() { routes::built_in() } else { Vec::new() };
        let relays = relays::relays(file.relays)?;
        let tables = file.routes.unwrap_or_else(built_in);
        let taken = networks.iter().map(NetworkConfig::path);
        let own: Vec<ListenSettings> = listen.iter().chain(&admin).cloned().collect();
        let pools = pools::pools(file.pools, &layer, &settings, &own)?;
        let names: Vec<&str> = relays.iter().map(|relay| relay.name.as_str()).collect();
        let known = Known { pools: &pools, relays: &names, auths: &auths };
        let routes = routes::routes(tables, &layer, &settings, known, taken)?;
        let settings = match layer.contains_key("outbound_max") {
            true => settings,
            false => {
                let outbound = default_outbound_max(settings.connections_max, &routes, &pools);
                settings.outbound_max(outbound)
            }
        };
        if routes.is_empty() && networks.is_empty() {
            return Err(ConfigError::NoRoute);
        }
        let (log, pin) = (server.log(), server.pin());
        let server = ServerConfig { listen, tls, log, audit, admin, pin, settings };
        Ok(Config { server, routes, networks, pools, relays, auths })
    }
}

/// The default of `outbound_max`. The proxy needs a connection for each client, and for all that are
/// idle; other services and active checks need the rest.
fn default_outbound_max(
    connections_max: usize,
    routes: &[RouteConfig],
    pools: &[PoolSettings],
) -> usize {
    let rest = Settings::default().outbound_max;
    if !routes.iter().any(RouteConfig::is_proxy) {
        return rest;
    }
    let idle = pools.iter().map(|pool| pool.idle_max().saturating_mul(pool.upstreams.len()));
    idle.fold(rest.saturating_add(connections_max), usize::saturating_add)
}

/// Port 0 may be listed twice: the system chooses a different port each time.
fn check_listen<'a>(listen: impl Iterator<Item = &'a ListenSettings>) -> Result<(), String> {
    let mut seen: Vec<&ListenSettings> = Vec::new();
    for listen in listen.filter(|listen| listen.address.port() != 0) {
        let address = listen.address;
        if let Some(first) = seen.iter().find(|first| overlap(first, listen)) {
            let first = first.address;
            return Err(match first == address {
                true => format!("listen: {address} is listed twice"),
                false => format!(
                    "listen: {first} and {address} cannot both be bound: one of them uses the port \
                     on every address"
                ),
            });
        }
        seen.push(listen);
    }
    Ok(())
}

/// PROXY headers count only if their senders are trusted.
fn check_proxies(listen: &[ListenSettings], settings: &Settings) -> Result<(), String> {
    match listen.iter().find(|listen| listen.proxy_header) {
        Some(listen) if settings.trusted_proxies.is_empty() => Err(format!(
            "listen: {} needs trusted_proxies, the addresses of the proxies that send PROXY headers",
            Listen::from(listen)
        )),
        _ => Ok(()),
    }
}

/// Whether only one of two listeners can bind: 0.0.0.0 occupies the port on every IPv4 address
/// unless both share it. IPv6 and IPv4 are independent (IPV6_V6ONLY).
fn overlap(one: &ListenSettings, other: &ListenSettings) -> bool {
    let (first, second) = (one.address, other.address);
    let is_any = first.ip().is_unspecified() || second.ip().is_unspecified();
    let is_shared = one.reuse_port && other.reuse_port;
    first == second
        || first.port() == second.port()
            && first.is_ipv4() == second.is_ipv4()
            && is_any
            && !is_shared
}

#[cfg(test)]
mod tests;
