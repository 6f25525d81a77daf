//! Where settings come from: flags over variables over the file over defaults, merged and checked
//! into one [`Config`] of plain structs.
//!
//! [`options`] declares each setting once; file and environment are read as if their values stood on
//! the command line. Nothing else of the program reads a file or a variable, and nothing but `main`
//! depends on this module. A configuration is accepted whole or refused by name.

mod effective;
mod environment;
mod error;
mod file;
mod keys;
mod networks;
mod notes;
mod options;
mod routes;
mod tls;
mod values;

use std::ffi::OsString;
use std::path::Path;

use weir::reactor::settings::{ListenSettings, Settings, TlsSettings};

use crate::logging::LogSettings;
use file::File;
use options::ServerOptions;

pub(crate) use weir::services::rpc::redacted;

pub(crate) use error::ConfigError;
pub(crate) use keys::{Layer, given};
pub(crate) use networks::NetworkConfig;
pub(crate) use options::{ADMIN_SITE, Options};
pub(crate) use routes::{RouteConfig, Service};
pub(crate) use values::{Count, OrOff, Origin, Span};

/// All that a server is started with. `Display` writes it as a file that reads back the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: Vec<ListenSettings>,
    /// What the secure ones of them show.
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) log: LogSettings,
    /// Where operators ask, if they may.
    pub(crate) admin: Option<ListenSettings>,
    /// The CPU that the process stays on.
    pub(crate) pin: Option<usize>,
    pub(crate) settings: Settings,
    pub(crate) routes: Vec<RouteConfig>,
    /// At least one of these or of the routes.
    pub(crate) networks: Vec<NetworkConfig>,
}

impl Config {
    /// Reads every source. `file` is what the command line names; `WEIR_CONFIG` stands in for it.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Layer,
    ) -> Result<Config, ConfigError> {
        let mut variables = environment::layer(variables)?;
        let named = variables.remove(environment::CONFIG).and_then(|mut names| names.pop());
        let file = match file.or(named.as_deref().map(Path::new)) {
            Some(path) => File::open(path)?,
            None => File::default(),
        };
        Config::merge(file, variables, flags)
    }

    fn merge(file: File, variables: Layer, flags: Layer) -> Result<Config, ConfigError> {
        let mut layer = file.settings;
        layer.extend(variables);
        layer.extend(flags);
        let server: ServerOptions = keys::read(&layer)?;
        let settings = server.settings();
        settings.check()?;
        let listen = server.listen();
        let admin = server.admin();
        check_listen(listen.iter().chain(&admin))?;
        let tls = server.tls()?;
        let networks = networks::networks(file.networks, &layer, &settings)?;
        // A gateway is no place for an echo that nobody has asked for.
        let built_in = || if networks.is_empty() { routes::built_in() } else { Vec::new() };
        let tables = file.routes.unwrap_or_else(built_in);
        let taken = networks.iter().map(NetworkConfig::path);
        let routes = routes::routes(tables, &layer, &settings, taken)?;
        if routes.is_empty() && networks.is_empty() {
            return Err(ConfigError::NoRoute);
        }
        let log = server.log();
        Ok(Config { listen, admin, tls, log, pin: server.pin(), settings, routes, networks })
    }
}

/// Port 0 may be given twice: the system chooses a different one each time.
fn check_listen<'a>(listen: impl Iterator<Item = &'a ListenSettings>) -> Result<(), ConfigError> {
    let mut seen: Vec<&ListenSettings> = Vec::new();
    for listen in listen.filter(|listen| listen.address.port() != 0) {
        let address = listen.address;
        if let Some(first) = seen.iter().find(|first| overlap(first, listen)) {
            return Err(match first.address == address {
                true => ConfigError::ListenTwice(address),
                false => ConfigError::ListenOverlap(first.address, address),
            });
        }
        seen.push(listen);
    }
    Ok(())
}

/// Whether the system lets only one of two listeners bind: 0.0.0.0 takes the port on every address of
/// IPv4, unless both share it. IPv6 and IPv4 are apart (IPV6_V6ONLY).
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
