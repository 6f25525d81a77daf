//! Why a configuration was refused, in words for the operator: where, which key, what is wrong, and
//! what was probably meant.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use weir::reactor::settings::SettingsError;

use super::networks::NetworkError;
use super::routes::RouteError;
use super::tls::TlsMistake;

/// Where a key was written; flags are clap's own business.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Line {
        file: String,
        line: usize,
    },
    Environment,
    /// In no source of the operator's: a built-in route.
    BuiltIn,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(crate) enum ConfigError {
    Unreadable {
        file: String,
        error: io::Error,
    },
    Syntax {
        place: Place,
        why: String,
    },
    UnknownKey {
        place: Place,
        key: String,
        nearest: Option<String>,
    },
    UnknownVariable {
        name: String,
        nearest: Option<String>,
    },
    BadValue {
        place: Place,
        key: String,
        value: String,
        why: String,
    },
    /// A value that passed on its own and failed among the others.
    Unread(clap::Error),
    ListenTwice(SocketAddr),
    /// One is the unspecified address, which takes the port on all of them.
    ListenOverlap(SocketAddr, SocketAddr),
    Tls(TlsMistake),
    NoRoute,
    Route {
        place: Place,
        error: RouteError,
    },
    Network {
        place: Place,
        error: NetworkError,
    },
    Settings(SettingsError),
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> ConfigError {
        ConfigError::Unread(error)
    }
}

impl From<SettingsError> for ConfigError {
    fn from(error: SettingsError) -> ConfigError {
        ConfigError::Settings(error)
    }
}

impl From<TlsMistake> for ConfigError {
    fn from(mistake: TlsMistake) -> ConfigError {
        ConfigError::Tls(mistake)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line } => write!(f, "{file}:{line}"),
            Place::Environment => f.write_str("environment"),
            Place::BuiltIn => f.write_str("built-in route"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, error } => write!(f, "{file}: {error}"),
            ConfigError::Syntax { place, why } => write!(f, "{place}: {why}"),
            ConfigError::UnknownKey { place, key, nearest } => {
                write!(f, "{place}: unknown key {key:?}")?;
                suggest(f, nearest.as_deref())
            }
            ConfigError::UnknownVariable { name, nearest } => {
                write!(f, "{}: unknown variable {name:?}", Place::Environment)?;
                suggest(f, nearest.as_deref())
            }
            ConfigError::BadValue { place, key, value, why } => {
                write!(f, "{place}: {key} = {value}: {why}")
            }
            ConfigError::Unread(error) => error.fmt(f),
            ConfigError::ListenTwice(address) => write!(f, "listen: {address} is given twice"),
            ConfigError::ListenOverlap(first, second) => write!(
                f,
                "listen: {first} and {second} cannot both be bound: one of them takes the port on \
                 every address"
            ),
            ConfigError::Tls(mistake) => mistake.fmt(f),
            ConfigError::NoRoute => f.write_str("route = []: a server needs a route or a network"),
            ConfigError::Route { place, error } => write!(f, "{place}: {error}"),
            ConfigError::Network { place, error } => write!(f, "{place}: {error}"),
            ConfigError::Settings(error) => error.fmt(f),
        }
    }
}

fn suggest(f: &mut fmt::Formatter<'_>, nearest: Option<&str>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(f, " (did you mean {nearest:?}?)"),
        None => Ok(()),
    }
}

impl std::error::Error for ConfigError {}
