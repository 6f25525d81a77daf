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

use std::collections::HashSet;
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
pub(crate) use values::{Count, OrOff, Span};

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
        let routes = routes::routes(file.routes.unwrap_or_else(built_in), &layer, &settings)?;
        if routes.is_empty() && networks.is_empty() {
            return Err(ConfigError::NoRoute);
        }
        let log = server.log();
        Ok(Config { listen, admin, tls, log, pin: server.pin(), settings, routes, networks })
    }
}

/// Port 0 may stand twice: the system chooses a different one each time.
fn check_listen<'a>(listen: impl Iterator<Item = &'a ListenSettings>) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    let fixed = listen.map(|listen| listen.address).filter(|address| address.port() != 0);
    for address in fixed {
        if !seen.insert(address) {
            return Err(ConfigError::ListenTwice(address));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
