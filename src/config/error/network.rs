//! Why a `[[network]]` is rejected.

use std::fmt;

use weir::reactor::settings::SettingsError;
use weir::services::rpc::gateway::UPSTREAMS_MAX;

use super::access::AccessError;
use crate::config::values::shown;

/// Why a network was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkError {
    Missing(&'static str),
    Project(String),
    /// Too many upstreams: this many.
    Upstreams(usize),
    Twice(String),
    /// The gate of the network.
    Access(AccessError),
    Settings(SettingsError),
    /// The server would never let one outbox hold the largest answer. In bytes.
    AboveBuffered {
        hard: usize,
        all: usize,
    },
    /// More subscriptions than topics are allowed.
    AboveTopics {
        name: &'static str,
        count: usize,
        limit: &'static str,
        max: usize,
    },
}

impl NetworkError {
    /// The keys that contradict each other, as a text; empty if the error concerns the network
    /// itself.
    pub(in crate::config) fn contradiction(&self) -> String {
        match self {
            NetworkError::Access(error) => error.contradiction().to_owned(),
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
                write!(f, "a [[network]] may have at most {UPSTREAMS_MAX} upstreams, not {count}")
            }
            NetworkError::Twice(path) => write!(f, "{path} is defined twice"),
            NetworkError::Access(error) => error.fmt(f),
            NetworkError::Settings(error) => error.fmt(f),
            NetworkError::AboveBuffered { hard, all } => write!(
                f,
                "an answer of response_max bytes needs an outbox of {hard} bytes, which must not exceed \
                 buffered_max, {all} bytes"
            ),
            NetworkError::AboveTopics { name, count, limit, max } => {
                write!(f, "{name} = {count}: must not exceed {limit}, {max}")
            }
        }
    }
}
