//! The settings of a route of the proxy, besides the limits that all routes have.

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::services::proxy::{
    ClientLost, ForwardedHeaders, HeaderLine, HeaderName, HostHeader, ProxySettings,
};

use crate::config::values::{Count, Size, one_text, texts};

/// Settings of a route with `service = "proxy"`. They can only be set in its table of the file.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct ProxyOptions {
    /// The name of the pool
    #[arg(long, value_name = "NAME", required = true)]
    pool: String,

    /// Host of requests to upstreams: keep (the client's), upstream (that of the URL), or a name
    #[arg(long, value_name = "HOST", default_value_t = usual().host)]
    #[serde(serialize_with = "one_text")]
    host: HostHeader,

    /// Headers that state the client's address to upstreams
    #[arg(long, value_name = "HEADERS", value_enum, default_value_t = usual().forwarded.into())]
    forwarded: Forwarded,

    /// Segments removed from the start of the path
    #[arg(long, value_name = "N", default_value_t = Count(usual().strip_prefix))]
    strip_prefix: Count<usize>,

    /// Answer requests without an upgrade with 426
    #[arg(long, value_name = "BOOL", default_value_t = usual().websocket_only)]
    #[arg(action = clap::ArgAction::Set)]
    websocket_only: bool,

    /// Headers set in requests to upstreams, as in "X-Tenant: a"
    #[arg(long, value_name = "HEADER")]
    #[serde(serialize_with = "texts")]
    set_headers: Vec<HeaderLine>,

    /// Headers removed from requests to upstreams
    #[arg(long, value_name = "NAME")]
    #[serde(serialize_with = "texts")]
    remove_headers: Vec<HeaderName>,

    /// Maximum size of a frame that is forwarded whole; longer ones become fragments
    #[arg(long, value_name = "SIZE", default_value_t = Size(usual().hold_bytes_max))]
    hold_max: Size,

    /// Ping both ends of a tunnel
    #[arg(long, value_name = "BOOL", default_value_t = usual().tunnel_pings)]
    #[arg(action = clap::ArgAction::Set)]
    tunnel_pings: bool,

    /// How the upstream's side of a tunnel ends if the client is lost without a Close
    #[arg(long, value_name = "HOW", value_enum, default_value_t = usual().client_lost.into())]
    client_lost: Lost,
}

/// The names of [`ForwardedHeaders`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Forwarded {
    /// X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host and X-Real-IP
    X,
    /// Forwarded (RFC 7239)
    Rfc7239,
    /// None; those of clients are removed
    Off,
}

/// The names of [`ClientLost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lost {
    /// Without a Close, as the client's side did
    End,
    /// With a Close 1001
    Close,
}

fn usual() -> ProxySettings {
    ProxySettings::new(String::new())
}

impl From<ForwardedHeaders> for Forwarded {
    fn from(headers: ForwardedHeaders) -> Forwarded {
        match headers {
            ForwardedHeaders::X => Forwarded::X,
            ForwardedHeaders::Rfc7239 => Forwarded::Rfc7239,
            ForwardedHeaders::Off => Forwarded::Off,
        }
    }
}

impl From<Forwarded> for ForwardedHeaders {
    fn from(headers: Forwarded) -> ForwardedHeaders {
        match headers {
            Forwarded::X => ForwardedHeaders::X,
            Forwarded::Rfc7239 => ForwardedHeaders::Rfc7239,
            Forwarded::Off => ForwardedHeaders::Off,
        }
    }
}

impl From<ClientLost> for Lost {
    fn from(lost: ClientLost) -> Lost {
        match lost {
            ClientLost::End => Lost::End,
            ClientLost::Close => Lost::Close,
        }
    }
}

impl From<Lost> for ClientLost {
    fn from(lost: Lost) -> ClientLost {
        match lost {
            Lost::End => ClientLost::End,
            Lost::Close => ClientLost::Close,
        }
    }
}

impl From<&ProxySettings> for ProxyOptions {
    fn from(settings: &ProxySettings) -> ProxyOptions {
        ProxyOptions {
            pool: settings.pool.clone(),
            host: settings.host.clone(),
            forwarded: settings.forwarded.into(),
            strip_prefix: Count(settings.strip_prefix),
            websocket_only: settings.websocket_only,
            set_headers: settings.set_headers.clone(),
            remove_headers: settings.remove_headers.clone(),
            hold_max: Size(settings.hold_bytes_max),
            tunnel_pings: settings.tunnel_pings,
            client_lost: settings.client_lost.into(),
        }
    }
}

impl From<ProxyOptions> for ProxySettings {
    fn from(options: ProxyOptions) -> ProxySettings {
        ProxySettings::new(options.pool)
            .host(options.host)
            .forwarded(options.forwarded.into())
            .strip_prefix(options.strip_prefix.0)
            .websocket_only(options.websocket_only)
            .set_headers(options.set_headers)
            .remove_headers(options.remove_headers)
            .hold_bytes_max(options.hold_max.0)
            .tunnel_pings(options.tunnel_pings)
            .client_lost(options.client_lost.into())
    }
}
