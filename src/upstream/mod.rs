//! Upstreams: the servers that weir itself connects to, by HTTP or WebSocket.
//!
//! This layer knows URLs, addresses, TLS and failures, but not the protocol of requests: the gateway
//! and the follower of JSON-RPC use it, and other services can. Calls that block (name resolution,
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
//! | `pool` | which of several upstreams takes a request |

pub(crate) mod backoff;
mod breaker;
pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod pool;
pub(crate) mod resolve;
pub(crate) mod tls;
pub(crate) mod upstream_counts;
pub(crate) mod url;

pub use self::upstream_counts::{Count, UpstreamCounts};
pub use self::url::{UpstreamUrl, redacted};
