//! Where settings come from: flags over variables over the file over defaults, merged and checked
//! into one [`Config`] of plain structs.
//!
//! [`options`] declares each setting once; file and environment are read as if their values stood on
//! the command line. Nothing else of the program reads a file or a variable, and nothing but `main`
//! depends on this module. A configuration is accepted whole or refused by name.

mod addresses;
mod differences;
mod effective;
mod environment;
mod error;
mod file;
mod keys;
mod networks;
mod notes;
mod options;
mod routes;
mod syntax;
mod tls;
mod values;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use weir::reactor::TlsError;
use weir::reactor::settings::{ListenSettings, Settings, TlsSettings};

use crate::logging::LogSettings;
use error::Place;
use file::File;
use networks::NetworkOptions;
use options::ServerOptions;

pub(crate) use weir::services::rpc::redacted;

pub(crate) use addresses::{Origin, socket_address};
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

/// Whether a certificate must be valid at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    Checked,
    /// A server that starts may have no better certificate, and logs a warning.
    Ignored,
}

impl Config {
    /// Reads every source. `file` is what the command line names; `WEIR_CONFIG` stands in for it.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Layer,
        dates: Dates,
    ) -> Result<Config, ConfigError> {
        let mut variables = environment::layer(variables)?;
        let named = variables.remove(environment::CONFIG).and_then(|mut given| given.values.pop());
        let file = match file.or(named.as_deref().map(Path::new)) {
            Some(path) => File::open(path)?,
            None => File::default(),
        };
        let of_server = [&flags, &variables, &file.settings].into_iter();
        let mut files = keys::files::<Options>(of_server);
        let of_networks = file.networks.iter().map(|(_, table)| table);
        files.extend(keys::files::<NetworkOptions>(of_networks));
        let config = Config::merge(file, variables, flags)?;
        config.check_files(&files, dates)?;
        Ok(config)
    }

    /// Whether certificates and keys can be served; each of `files` has its key and place.
    fn check_files(
        &self,
        files: &[(PathBuf, String, Place)],
        dates: Dates,
    ) -> Result<(), ConfigError> {
        let upstreams = self.networks.iter().map(|network| network.gateway.check());
        let mut all = self.tls.iter().map(TlsSettings::check).chain(upstreams);
        let is_wrong = |error: &TlsError| {
            dates == Dates::Checked || !matches!(error, TlsError::NotValidNow(..))
        };
        let Some(error) = all.find_map(|checked| checked.err().filter(is_wrong)) else {
            return Ok(());
        };
        let named = files.iter().find(|(path, ..)| error.path() == Some(path));
        Err(match named {
            Some((_, key, place)) => ConfigError::BadFile {
                place: place.clone(),
                key: key.clone(),
                error: Box::new(error),
            },
            None => ConfigError::Contradiction { place: None, why: error.to_string() },
        })
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
        let tls = server.tls().map_err(|mistake| refused(&mistake))?;
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
fn check_listen<'a>(listen: impl Iterator<Item = &'a ListenSettings>) -> Result<(), String> {
    let mut seen: Vec<&ListenSettings> = Vec::new();
    for listen in listen.filter(|listen| listen.address.port() != 0) {
        let address = listen.address;
        if let Some(first) = seen.iter().find(|first| overlap(first, listen)) {
            let first = first.address;
            return Err(match first == address {
                true => format!("listen: {address} is given twice"),
                false => format!(
                    "listen: {first} and {address} cannot both be bound: one of them takes the port \
                     on every address"
                ),
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
