//! Configuration errors for the operator: place, key, problem, and a suggestion.

mod access;
mod auth;
mod network;
mod pool;
mod relay;
mod route;

use std::error::Error;
use std::fmt;
use std::io;

use super::keys::{Layer, place_of};
use super::place::Place;
use crate::nearest::suggest;

pub(crate) use self::access::AccessError;
pub(crate) use self::auth::AuthConfigError;
pub(crate) use self::network::NetworkError;
pub(crate) use self::pool::PoolError;
pub(crate) use self::relay::RelayError;
pub(crate) use self::route::{PathError, RouteConfigError};

/// Why a configuration was rejected.
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
    /// A value that is valid alone, but not together with the others.
    Unread(clap::Error),
    /// Settings that contradict each other. The place is that of the first one that was set.
    Contradiction {
        place: Option<Place>,
        why: String,
    },
    /// A file that a key names is unusable.
    BadFile {
        place: Place,
        key: String,
        error: Box<dyn Error>,
    },
    NoRoute,
    Route {
        place: Place,
        error: RouteConfigError,
    },
    Network {
        place: Place,
        error: NetworkError,
    },
    Pool {
        place: Place,
        error: PoolError,
    },
    Relay {
        place: Place,
        error: RelayError,
    },
    Auth {
        place: Place,
        error: AuthConfigError,
    },
}

impl From<clap::Error> for ConfigError {
    fn from(error: clap::Error) -> ConfigError {
        ConfigError::Unread(error)
    }
}

impl ConfigError {
    /// For settings that contradict each other; `error` contains their keys.
    pub(super) fn contradiction(error: impl fmt::Display, layer: &Layer) -> ConfigError {
        let why = error.to_string();
        ConfigError::Contradiction { place: place_of(&why, &[layer]), why }
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
                match nearest {
                    Some(_) => suggest(f, nearest.as_deref()),
                    None => f.write_str(
                        "; `weir --help` lists the settings. If Kubernetes sets it for a service \
                         named weir, set enableServiceLinks: false",
                    ),
                }
            }
            ConfigError::BadValue { place, key, value, why } => {
                write!(f, "{place}: {key} = {value}: {why}")
            }
            ConfigError::Unread(error) => error.fmt(f),
            ConfigError::Contradiction { place: Some(place), why } => write!(f, "{place}: {why}"),
            ConfigError::Contradiction { place: None, why } => f.write_str(why),
            ConfigError::BadFile { place, key, error } => {
                write!(f, "{place}: {}: {error}", place.name(key))
            }
            ConfigError::NoRoute => {
                f.write_str("route = []: at least one route or network is required")
            }
            ConfigError::Route { place, error } => write!(f, "{place}: {error}"),
            ConfigError::Network { place, error } => write!(f, "{place}: {error}"),
            ConfigError::Pool { place, error } => write!(f, "{place}: {error}"),
            ConfigError::Relay { place, error } => write!(f, "{place}: {error}"),
            ConfigError::Auth { place, error } => write!(f, "{place}: {error}"),
        }
    }
}

impl Error for ConfigError {}
