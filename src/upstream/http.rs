//! The HTTP client for upstreams: one configuration for gateway and follower.
//!
//! It connects to the host of the URL and to no other: `HTTP_PROXY` and its relatives are ignored, and a
//! redirect is an answer like any other. A status is never an error of the client's: callers look at it.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

/// A kept connection that was idle for longer may be closed at the other end.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A client that keeps up to `connections` idle connections to its upstream.
pub(crate) fn agent(tls: Option<TlsConfig>, connections: usize) -> Agent {
    Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent("weir")
        .tls_config(tls.unwrap_or_default())
        .max_idle_age(IDLE_MAX)
        .max_idle_connections(connections)
        .max_idle_connections_per_host(connections)
        .build()
        .new_agent()
}
