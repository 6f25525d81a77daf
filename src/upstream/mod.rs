//! Upstreams: the servers that weir itself connects to, by HTTP or WebSocket.
//!
//! This layer knows URLs, addresses, TLS and failures, but not the protocol of requests: the gateway
//! and the follower of JSON-RPC use it, gates, and the reverse proxy. Calls that block (name resolution,
//! HTTP) are made on threads. Nothing here is a service of the loop; the services own the parts and
//! pass events to them.
//!
//! | module | owns |
//! |---|---|
//! | `url` | a parsed URL that hides its path wherever it is printed |
//! | `resolve` | the addresses of a host |
//! | `tls` | the CA certificates that an upstream is verified with |
//! | `http` | the HTTP client of one upstream |
//! | `link` | the WebSocket client of one upstream |
//! | `backoff` | the pause before the next attempt: exponential, with jitter |
//! | `breaker` | whether one upstream has failed too often to be asked |
//! | `pool` | which of several upstreams takes a JSON-RPC request |
//! | `pools` | the upstream pools of the proxy: settings, state, and the choice among upstreams |

#[cfg(any(feature = "proxy", feature = "rpc"))]
pub(crate) mod backoff;
pub(crate) mod breaker;
#[cfg(any(feature = "auth", feature = "rpc"))]
pub(crate) mod http;
#[cfg(feature = "rpc")]
pub(crate) mod link;
#[cfg(feature = "rpc")]
pub(crate) mod pool;
#[cfg(feature = "proxy")]
pub(crate) mod pools;
pub(crate) mod resolve;
#[cfg(any(feature = "auth", feature = "rpc"))]
pub(crate) mod tls;
pub(crate) mod upstream_counts;
pub(crate) mod url;

#[cfg(feature = "proxy")]
pub use self::pools::settings::{
    Choose, DownPolicy, HashBy, HealthCheck, POOL_UPSTREAMS_MAX, PoolSettings, PoolUpstream,
    ProxyVersion, TRIES_RANGE, WEIGHT_RANGE, is_token,
};
#[cfg(feature = "proxy")]
pub use self::pools::{
    CheckFailure, LoadedPool, PoolUpstreamCounts, PoolsCounts, UpstreamState, UpstreamStatus,
};
#[cfg(feature = "proxy")]
pub use self::resolve::Lookup;
pub use self::upstream_counts::Count;
#[cfg(feature = "rpc")]
pub use self::upstream_counts::UpstreamCounts;
pub use self::url::{UpstreamUrl, redacted};
