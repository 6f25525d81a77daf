//! Upstreams: the servers that weir itself connects to, by HTTP or WebSocket.
//!
//! Knows URLs, addresses, TLS and failures, and nothing of what is asked: the gateway and the follower
//! of JSON-RPC use it, and any other service may. What blocks (name resolution, HTTP) belongs on
//! threads; nothing here is a service of the loop.

pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod http;
pub(crate) mod resolve;
pub(crate) mod tls;
pub(crate) mod url;

pub use self::url::{UpstreamUrl, redacted};
