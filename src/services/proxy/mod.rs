//! The reverse proxy: WebSocket tunnels and HTTP to upstream pools.

mod settings;

pub use self::settings::{
    ClientLost, ForwardedHeaders, HeaderLine, HeaderName, HostHeader, ProxySettings,
};
pub use crate::upstream::{
    Choose, DownPolicy, HashBy, HealthCheck, PoolSettings, PoolUpstream, ProxyVersion,
};
