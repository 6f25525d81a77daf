//! The settings of an upstream pool of the proxy.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};
use weir::reactor::settings::{CertificateFiles, Rate};
use weir::services::proxy::{
    Choose, DownPolicy, HashBy, HealthCheck, PoolSettings, PoolUpstream, ProxyVersion,
};
use weir::upstream::is_token;

use crate::config::error::PoolError;
use crate::config::values::{Count, FileName, OrOff, Span, one_text, texts};

/// The keys of a `[[pool]]` without a default.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct PoolTable {
    /// The name that routes refer to
    #[arg(long, required = true)]
    name: String,
    #[arg(long, required = true)]
    #[serde(serialize_with = "texts")]
    upstreams: Vec<PoolUpstream>,
}

/// Settings of a pool. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct PoolOptions {
    /// Which upstream gets a client
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().choose.into())]
    choose: Policy,

    /// Key of choose = "hash": address, path or header:NAME
    #[arg(long, value_name = "KEY")]
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    hash_by: Option<HashBy>,

    /// Name of a cookie that leads a client back to its upstream
    #[arg(long, value_name = "NAME", default_value_t = OrOff(None))]
    sticky_cookie: OrOff<CookieName>,

    /// Maximum upstreams tried for one request
    #[arg(long, value_name = "N", default_value_t = Count(usual().tries))]
    tries: Count<u8>,

    /// Timeout of a connection to an upstream, TLS included
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().connect_timeout))]
    connect_timeout: Span,

    /// Timeout from the end of a request to the head of its response; then 504
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().answer_timeout))]
    answer_timeout: Span,

    /// How long a body may be silent; then 408, or the response is aborted
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().body_timeout))]
    body_timeout: Span,

    /// Maximum tunnels and requests per upstream; more get another one, or 503
    #[arg(long, value_name = "N", default_value_t = OrOff(None))]
    upstream_connections_max: OrOff<Count<usize>>,

    /// Maximum idle connections per upstream
    #[arg(long, value_name = "N", default_value_t = Count(usual().keepalive_max))]
    keepalive_max: Count<usize>,

    /// How long a connection stays idle
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().keepalive_idle))]
    keepalive_idle: Span,

    /// Active check of each upstream: connect, a path for GET, or ws:/path
    #[arg(long, value_name = "CHECK", default_value_t = OrOff(None))]
    health: OrOff<HealthCheck>,

    /// Interval between active checks
    #[arg(long, value_name = "TIME", default_value_t = Span(usual().health_interval))]
    health_interval: Span,

    /// What happens to tunnels of an upstream that active checks find down
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = usual().down.into())]
    down: Down,

    /// Interval between lookups of DNS names; off: once
    #[arg(long, value_name = "TIME", default_value_t = OrOff(usual().resolve_interval.map(Span)))]
    resolve_interval: OrOff<Span>,

    /// How long tunnels to a removed upstream stay open; off: until they end
    #[arg(long, value_name = "TIME", default_value_t = OrOff(None))]
    drain_after: OrOff<Span>,

    /// Rate at which tunnels to an upstream that is removed or down are closed
    #[arg(long, value_name = "RATE", default_value_t = usual().drain_rate)]
    #[serde(serialize_with = "one_text")]
    drain_rate: Rate,

    /// CA certificates (PEM) trusted for https:// and wss:// upstreams; off: the built-in Mozilla
    /// roots
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    upstream_ca: OrOff<FileName>,

    /// Name in the certificates of the upstreams; off: the host of the URL
    #[arg(long, value_name = "NAME", default_value_t = OrOff(None))]
    upstream_name: OrOff<String>,

    /// Client certificate (PEM) presented to upstreams
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    upstream_cert: OrOff<FileName>,

    /// Private key (PEM) of upstream_cert
    #[arg(long, value_name = "FILE", default_value_t = OrOff(None))]
    upstream_key: OrOff<FileName>,

    /// PROXY protocol header at the start of each connection
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = usual().send_proxy.into())]
    send_proxy: SendProxy,
}

/// The names of [`Choose`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    /// The first in the list that is up and has room
    Priority,
    /// The one with the fewest tunnels and requests, divided by its weight
    Least,
    /// By hash_by, so that a client returns to its upstream
    Hash,
}

/// The names of [`DownPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Down {
    /// They stay open
    Keep,
    /// They are closed with 1012, at drain_rate
    Close,
}

/// The names of [`ProxyVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum SendProxy {
    /// No header
    Off,
    /// Version 1, a line of text
    V1,
    /// Version 2, binary
    V2,
}

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CookieName(String);

impl FromStr for CookieName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<CookieName, Self::Err> {
        match is_token(text) {
            true => Ok(CookieName(text.to_owned())),
            false => Err(r#"expected the name of a cookie, such as "upstream""#),
        }
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn usual() -> PoolSettings {
    PoolSettings::new(String::new(), Vec::new())
}

/// Serializes a key that is left out if it is `None`.
fn optional_text<S: Serializer>(value: &Option<HashBy>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => one_text(value, to),
        None => to.serialize_none(),
    }
}

impl From<Choose> for Policy {
    fn from(choose: Choose) -> Policy {
        match choose {
            Choose::Priority => Policy::Priority,
            Choose::Least => Policy::Least,
            Choose::Hash => Policy::Hash,
        }
    }
}

impl From<Policy> for Choose {
    fn from(policy: Policy) -> Choose {
        match policy {
            Policy::Priority => Choose::Priority,
            Policy::Least => Choose::Least,
            Policy::Hash => Choose::Hash,
        }
    }
}

impl From<DownPolicy> for Down {
    fn from(policy: DownPolicy) -> Down {
        match policy {
            DownPolicy::Keep => Down::Keep,
            DownPolicy::Close => Down::Close,
        }
    }
}

impl From<Down> for DownPolicy {
    fn from(policy: Down) -> DownPolicy {
        match policy {
            Down::Keep => DownPolicy::Keep,
            Down::Close => DownPolicy::Close,
        }
    }
}

impl From<Option<ProxyVersion>> for SendProxy {
    fn from(version: Option<ProxyVersion>) -> SendProxy {
        match version {
            None => SendProxy::Off,
            Some(ProxyVersion::V1) => SendProxy::V1,
            Some(ProxyVersion::V2) => SendProxy::V2,
        }
    }
}

impl From<SendProxy> for Option<ProxyVersion> {
    fn from(version: SendProxy) -> Option<ProxyVersion> {
        match version {
            SendProxy::Off => None,
            SendProxy::V1 => Some(ProxyVersion::V1),
            SendProxy::V2 => Some(ProxyVersion::V2),
        }
    }
}

impl From<&PoolSettings> for PoolTable {
    fn from(pool: &PoolSettings) -> PoolTable {
        PoolTable { name: pool.name.clone(), upstreams: pool.upstreams.clone() }
    }
}

impl From<&PoolSettings> for PoolOptions {
    fn from(pool: &PoolSettings) -> PoolOptions {
        let certificate = pool.client_certificate.as_ref();
        PoolOptions {
            choose: pool.choose.into(),
            hash_by: (pool.choose == Choose::Hash).then(|| pool.hash_by.clone()),
            sticky_cookie: OrOff(pool.sticky_cookie.clone().map(CookieName)),
            tries: Count(pool.tries),
            connect_timeout: Span(pool.connect_timeout),
            answer_timeout: Span(pool.answer_timeout),
            body_timeout: Span(pool.body_timeout),
            upstream_connections_max: OrOff(pool.upstream_connections_max.map(Count)),
            keepalive_max: Count(pool.keepalive_max),
            keepalive_idle: Span(pool.keepalive_idle),
            health: OrOff(pool.health.clone()),
            health_interval: Span(pool.health_interval),
            down: pool.down.into(),
            resolve_interval: OrOff(pool.resolve_interval.map(Span)),
            drain_after: OrOff(pool.drain_after.map(Span)),
            drain_rate: pool.drain_rate,
            upstream_ca: OrOff(pool.ca_file.clone().map(FileName)),
            upstream_name: OrOff(pool.server_name.clone()),
            upstream_cert: OrOff(certificate.map(|files| FileName(files.chain.clone()))),
            upstream_key: OrOff(certificate.map(|files| FileName(files.key.clone()))),
            send_proxy: pool.send_proxy.into(),
        }
    }
}

impl PoolOptions {
    /// The settings of the pool with these options.
    pub(in crate::config) fn settings(
        self,
        PoolTable { name, upstreams }: PoolTable,
    ) -> Result<PoolSettings, PoolError> {
        let choose = Choose::from(self.choose);
        if self.hash_by.is_some() && choose != Choose::Hash {
            return Err(PoolError::UnusedKey);
        }
        let path = |file: OrOff<FileName>| file.0.map(|name| name.0);
        let certificate = match (path(self.upstream_cert), path(self.upstream_key)) {
            (Some(chain), Some(key)) => Some(CertificateFiles::new(chain, key)),
            (None, None) => None,
            (Some(_), None) => return Err(PoolError::HalfCertificate("upstream_key")),
            (None, Some(_)) => return Err(PoolError::HalfCertificate("upstream_cert")),
        };
        let pool = PoolSettings::new(name, upstreams)
            .choose(choose)
            .hash_by(self.hash_by.unwrap_or(HashBy::Address))
            .sticky_cookie(self.sticky_cookie.0.map(|name| name.0))
            .tries(self.tries.0)
            .connect_timeout(self.connect_timeout.0)
            .answer_timeout(self.answer_timeout.0)
            .body_timeout(self.body_timeout.0)
            .upstream_connections_max(self.upstream_connections_max.0.map(|count| count.0))
            .keepalive_max(self.keepalive_max.0)
            .keepalive_idle(self.keepalive_idle.0)
            .health(self.health.0)
            .health_interval(self.health_interval.0)
            .down(self.down.into())
            .resolve_interval(self.resolve_interval.duration())
            .drain_after(self.drain_after.0.map(|span| span.0))
            .drain_rate(self.drain_rate)
            .ca_file(path(self.upstream_ca))
            .server_name(self.upstream_name.0)
            .client_certificate(certificate)
            .send_proxy(Option::from(self.send_proxy));
        Ok(pool)
    }
}
