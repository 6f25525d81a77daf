//! Why a `[[route]]` is rejected.

use std::fmt;

use weir::reactor::PatternError;
use weir::reactor::settings::SettingsError;

use super::access::AccessError;
use crate::nearest::suggest;

/// Why a route was rejected. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteConfigError {
    Missing(&'static str),
    /// A key that only routes with this service have.
    OtherService {
        key: String,
        service: &'static str,
    },
    Path(String, PathError),
    Twice(String),
    /// A page needs a path without parameters.
    Page(String),
    PageOfProxy(String),
    PageOfRelay(String),
    /// A route to a gate serves one request.
    Refresh(String),
    NoPool {
        path: String,
        pool: String,
        near: Option<String>,
    },
    NoRelay {
        path: String,
        relay: String,
        near: Option<String>,
    },
    /// A held frame alone would congest the connection that it is for.
    HoldAboveSoft {
        path: String,
        hold: usize,
        soft: usize,
    },
    /// The gate of the route.
    Access(String, AccessError),
    Settings(String, SettingsError),
    /// The limit of all buffered bytes is below the limit of one outbox.
    AboveBuffered {
        path: String,
        hard: usize,
        all: usize,
    },
    /// A new member could not be sent the whole history of its room.
    HistoryAboveSoft {
        path: String,
        history: usize,
        soft: usize,
    },
}

/// Why a path was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathError {
    Pattern(PatternError),
    EmptySegment,
    /// A character that does not appear in the path of a request as it is.
    BadCharacter,
    NoRoomName,
}

impl RouteConfigError {
    /// The keys that contradict each other, as a text; empty if the error concerns the route
    /// itself.
    pub(in crate::config) fn contradiction(&self) -> String {
        match self {
            RouteConfigError::Settings(_, error) => error.to_string(),
            RouteConfigError::AboveBuffered { .. } => "outbox_hard buffered_max".to_owned(),
            RouteConfigError::HistoryAboveSoft { .. } => "history_bytes_max outbox_soft".to_owned(),
            RouteConfigError::HoldAboveSoft { .. } => "hold_max outbox_soft".to_owned(),
            RouteConfigError::NoPool { .. } => "pool".to_owned(),
            RouteConfigError::NoRelay { .. } => "relay".to_owned(),
            RouteConfigError::Access(_, error) => error.contradiction().to_owned(),
            _ => String::new(),
        }
    }
}

impl fmt::Display for RouteConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteConfigError::Missing(key) => write!(f, "a [[route]] needs a {key}"),
            RouteConfigError::OtherService { key, service } => {
                write!(f, "{key} needs service = {service:?}")
            }
            RouteConfigError::Path(path, error) => write!(f, "path {path:?}: {error}"),
            RouteConfigError::Twice(path) => {
                write!(f, "path {path:?} already has a service: this route would never be reached")
            }
            RouteConfigError::Page(path) => write!(
                f,
                "path {path:?}: page = true needs a path without parameters and without *, as in \
                 \"/echo\""
            ),
            RouteConfigError::PageOfRelay(path) => write!(
                f,
                "path {path:?}: page = true is not for service = \"nostr\": a relay has its own page"
            ),
            RouteConfigError::Refresh(path) => write!(
                f,
                "path {path:?}: service = \"auth\" needs a path that ends in /refresh, and has no page"
            ),
            RouteConfigError::PageOfProxy(path) => write!(
                f,
                "path {path:?}: page = true is not for service = \"proxy\": GET is forwarded"
            ),
            RouteConfigError::NoPool { path, pool, near } => {
                write!(f, "path {path:?}: there is no [[pool]] with name = {pool:?}")?;
                suggest(f, near.as_deref())
            }
            RouteConfigError::NoRelay { path, relay, near } => {
                write!(f, "path {path:?}: there is no [[relay]] with name = {relay:?}")?;
                suggest(f, near.as_deref())
            }
            RouteConfigError::HoldAboveSoft { path, hold, soft } => write!(
                f,
                "path {path:?}: hold_max ({hold} bytes) must not exceed outbox_soft ({soft} bytes)"
            ),
            RouteConfigError::Access(path, error) => write!(f, "path {path:?}: {error}"),
            RouteConfigError::Settings(path, error) => write!(f, "path {path:?}: {error}"),
            RouteConfigError::AboveBuffered { path, hard, all } => write!(
                f,
                "path {path:?}: outbox_hard ({hard} bytes) must not exceed buffered_max \
                 ({all} bytes)"
            ),
            RouteConfigError::HistoryAboveSoft { path, history, soft } => write!(
                f,
                "path {path:?}: history_bytes_max ({history} bytes) must not exceed \
                 outbox_soft ({soft} bytes)"
            ),
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Pattern(error) => error.fmt(f),
            PathError::EmptySegment => f.write_str("has an empty segment"),
            PathError::BadCharacter => PatternError::BadSegment.fmt(f),
            PathError::NoRoomName => {
                f.write_str("a path of rooms must contain the parameter {name}")
            }
        }
    }
}
