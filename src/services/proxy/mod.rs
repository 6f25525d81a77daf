//! The reverse proxy: WebSockets and HTTP requests to upstream pools.
//!
//! [`Proxy`] is one service for all proxy routes. For each request it chooses an upstream, sends the
//! request there with its head written again, and joins the two connections after a 101. Frames pass
//! in the reactor; here it is decided which connections are joined and which Close a client of a
//! lost upstream gets. Everything about pools is in [`upstream`](crate::upstream).
//!
//! | file | owns |
//! |---|---|
//! | `settings`, `routes` | the options of a route, and the rules for requests made from them |
//! | `exchange` | the life of one request: a state machine without effects |
//! | `failure` | why a request gets no response of an upstream, and what it gets |
//! | `service` | the state of the service, and the events of the loop |
//! | `tries` | choosing an upstream, sending the request, what follows a failure |
//! | `responses` | what follows a response head |
//! | `forwarding` | responses that are forwarded |
//! | `tunnels`, `losses` | ends of tunnels; the log of those that are a fault of an upstream |
//! | `idle` | idle connections to upstreams |
//! | `control` | what an operator changes while it runs: pools, drained upstreams |
//! | `mail`, `reload` | what its mailbox carries; new pools and routes for a running proxy |
//! | `operator`, `question`, `status` | the state for operators by HTTP, and drains |
//! | `checks`, `due`, `upkeep` | active checks; what is due by time |
//! | `counts` | the counts by pool |

mod checks;
mod control;
mod counts;
mod due;
mod exchange;
mod failure;
mod forwarding;
mod idle;
mod losses;
mod mail;
mod operator;
mod question;
mod reload;
mod responses;
mod routes;
mod service;
mod settings;
mod status;
mod tries;
mod tunnels;
mod upkeep;

pub use self::counts::{ProxyCounts, ProxyPoolCounts};
pub use self::mail::{ProxyMail, ProxyReload, ProxyRoute};
pub use self::operator::{DRAIN, ProxyOperator, STATUS, UNDRAIN};
pub use self::routes::ProxyRoutes;
pub use self::service::Proxy;
pub use self::settings::{ForwardedHeaders, HeaderLine, HeaderName, HostHeader, ProxySettings};
pub use crate::reactor::ClientLost;
pub use crate::upstream::{
    CheckFailure, Choose, DownPolicy, HashBy, HealthCheck, LoadedPool, Lookup, PoolSettings,
    PoolUpstream, ProxyVersion, UpstreamState, UpstreamStatus,
};
