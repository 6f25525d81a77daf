//! Why a `[[pool]]` is rejected.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use weir::reactor::settings::SettingsError;
use weir::upstream::POOL_UPSTREAMS_MAX;

use crate::config::values::shown;

/// Why a pool was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PoolError {
    Missing(&'static str),
    Name(String),
    Twice(String),
    /// Too many upstreams: this many.
    Upstreams(usize),
    UpstreamTwice(String),
    /// Requests would come back to weir.
    OwnListener {
        upstream: String,
        listener: SocketAddr,
    },
    Settings(SettingsError),
    /// `hash_by` without `hash`.
    UnusedKey,
    /// A certificate without this key, which names its other file.
    HalfCertificate(&'static str),
    /// This key needs an upstream with TLS.
    NoTls(&'static str),
    /// The client's handshake would end before the first try.
    ConnectTimeout {
        timeout: Duration,
        handshake: Duration,
    },
}

impl PoolError {
    /// The keys that contradict each other, as a text; empty if the error concerns the pool itself.
    pub(in crate::config) fn contradiction(&self) -> String {
        match self {
            PoolError::Missing(_) => String::new(),
            PoolError::Name(_) | PoolError::Twice(_) => "name".to_owned(),
            PoolError::Upstreams(_)
            | PoolError::UpstreamTwice(_)
            | PoolError::OwnListener { .. } => "upstreams".to_owned(),
            PoolError::Settings(_)
            | PoolError::UnusedKey
            | PoolError::HalfCertificate(_)
            | PoolError::NoTls(_)
            | PoolError::ConnectTimeout { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Missing(key) => write!(f, "a [[pool]] needs {key}"),
            PoolError::Name(name) => {
                let name = shown(name);
                write!(f, "name = {name:?}: expected letters, digits, '-', '_' and '.'")
            }
            PoolError::Twice(name) => write!(f, "pool {name:?} is defined twice"),
            PoolError::Upstreams(count) => {
                write!(f, "a [[pool]] may have at most {POOL_UPSTREAMS_MAX} upstreams, not {count}")
            }
            PoolError::UpstreamTwice(upstream) => {
                write!(f, "upstream {upstream} is listed twice: use weight for a larger share")
            }
            PoolError::OwnListener { upstream, listener } => write!(
                f,
                "upstream {upstream} is weir's own listener {listener}: requests would go round in \
                 circles"
            ),
            PoolError::Settings(error) => error.fmt(f),
            PoolError::UnusedKey => f.write_str("hash_by needs choose = \"hash\""),
            PoolError::HalfCertificate(key) => {
                write!(f, "{key} is missing: upstream_cert and upstream_key belong together")
            }
            PoolError::NoTls(key) => {
                write!(f, "{key} is set, but no upstream is https:// or wss://")
            }
            PoolError::ConnectTimeout { timeout, handshake } => write!(
                f,
                "connect_timeout ({timeout:?}) must be less than handshake_timeout \
                 ({handshake:?}), or no client waits for a second try"
            ),
        }
    }
}
