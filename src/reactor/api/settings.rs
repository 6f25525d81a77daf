//! Settings that an operator may change, as plain structs: the loop's [`Settings`] and each route's
//! [`RouteSettings`].
//!
//! It knows no configuration keys, and no constants of protocol or budget: those are in
//! [`budget`](crate::reactor::budget). [`Settings::check`] and [`RouteSettings::check`] check the relations
//! between numbers. [`Rate`], [`Prefix`] and [`HostPattern`] parse and format their own notation.

use std::net::SocketAddr;
use std::time::Duration;

use super::budget::REFUSED_MAX;

mod check;
mod host;
mod notation;
#[cfg(feature = "tls")]
mod tls;

pub use check::{HEAD_BYTES_RANGE, MESSAGE_BYTES_RANGE, SettingsError};
pub use host::HostPattern;
pub use notation::{Prefix, Rate};
#[cfg(feature = "tls")]
pub use tls::{CertificateFiles, ClientCertificates, TlsSettings};

/// The limits and deadlines of one reactor.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Clients connected or in their handshake at once; further ones get 503.
    pub connections_max: usize,
    /// Connections opened by services at once; a further one is an error of
    /// [`Context::connect`](crate::reactor::Context::connect). They do not count for `connections_max`.
    pub outbound_max: usize,
    /// Clients that wait for their 503 or 429, besides the admitted ones; further ones are dropped
    /// without an answer. At most [`REFUSED_MAX`], the default; fewer if descriptors are scarce.
    pub refused_max: usize,
    /// Connections from one address (IPv6: one /64) at once; further ones get 429. `None`:
    /// unlimited for loopback, [`PER_ADDRESS_DEFAULT`] for other addresses. `Some(0)`: unlimited.
    pub connections_per_address: Option<usize>,
    /// Addresses exempt from `connections_per_address` and `rate_per_address`.
    pub exempt: Vec<Prefix>,
    /// Rate of new connections from one address; further ones get 429.
    pub rate_per_address: Option<Rate>,
    /// Rate of new connections from all addresses together; further ones get 429.
    pub rate: Option<Rate>,
    /// Bytes of a request head; a longer one gets 431.
    pub head_bytes_max: usize,
    /// Bytes that all connections together may hold in queues and unfinished messages.
    pub buffered_bytes_max: usize,
    /// How long a `Sec-WebSocket-Key` may not be reused; `None`: not checked (RFC 6455 does not
    /// require it).
    pub key_reuse_window: Option<Duration>,
    /// Time from accept to the response, and between two HTTP requests on one connection.
    pub handshake_timeout: Duration,
    /// Time from our Close to the peer's.
    pub close_timeout: Duration,
    /// Time from the start of a shutdown to the end of the last connection.
    pub drain_timeout: Duration,
    /// Pings to silent peers; `None`: no pings.
    pub heartbeat: Option<Heartbeat>,
    /// Topics of all connections together; a join that would create a further one is refused.
    pub topics_max: usize,
    /// Topics that one connection may join.
    pub topics_per_connection_max: usize,
    /// Compression level: 1, the fastest, to 9, the smallest.
    pub deflate_level: u8,
    /// zlib's memLevel, the memory for compressing a block: 1 to 9, some 2^(n + 9) bytes for each
    /// window size in use.
    pub deflate_mem_level: u8,
    /// Bytes that the windows of all connections with context takeover may grow to. Beyond it, new
    /// connections get no context takeover.
    pub deflate_windows_bytes_max: usize,
    /// Whether normally ended connections are logged, too.
    pub log_access: bool,
    /// Whether the time of each phase of a turn is measured, for
    /// [`TurnReport`](crate::reactor::TurnReport)s.
    pub turn_stats: bool,
}

/// Default for connections from one address, except loopback.
pub const PER_ADDRESS_DEFAULT: usize = 64;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections_max: 10_000,
            outbound_max: 256,
            refused_max: REFUSED_MAX,
            connections_per_address: None,
            exempt: Vec::new(),
            rate_per_address: None,
            rate: None,
            head_bytes_max: 16 * 1024,
            buffered_bytes_max: 1024 * 1024 * 1024,
            key_reuse_window: None,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            heartbeat: Some(Heartbeat::default()),
            topics_max: 100_000,
            topics_per_connection_max: 256,
            deflate_level: 1,
            deflate_mem_level: 8,
            deflate_windows_bytes_max: 256 * 1024 * 1024,
            log_access: false,
            turn_stats: false,
        }
    }
}

/// When a silent peer is pinged, and when its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heartbeat {
    /// The longest silence before a ping. Pings are spread over the second half of the interval.
    pub interval: Duration,
    /// The time after a ping in which the peer must send a frame of any kind.
    pub pong_timeout: Duration,
    /// Consecutive unanswered pings after which the connection ends with 1001.
    pub misses_max: u8,
}

impl Default for Heartbeat {
    fn default() -> Heartbeat {
        Heartbeat {
            interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            misses_max: 2,
        }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// SO_REUSEPORT: several processes share the port, and the kernel distributes connections.
    pub reuse_port: bool,
    /// TLS, with the certificates set before by [`set_tls`](crate::reactor::Reactor::set_tls).
    pub secure: bool,
    /// The listener group: its requests find only routes of the same [group](RouteSettings::listener_group).
    pub listener_group: u16,
    /// Accepts connections of operators, not clients: up to
    /// [`OPERATORS_MAX`](crate::reactor::budget::OPERATORS_MAX) at all such listeners, independently of the
    /// limits of clients. During a shutdown it stays open until the last client connection has
    /// ended.
    pub for_operators: bool,
}

impl ListenSettings {
    /// Listens on this address for routes of listener group 0, without TLS and SO_REUSEPORT.
    pub fn new(address: SocketAddr) -> ListenSettings {
        ListenSettings {
            address,
            reuse_port: false,
            secure: false,
            listener_group: 0,
            for_operators: false,
        }
    }

    /// Like [`new`](ListenSettings::new), with TLS.
    pub fn secure(address: SocketAddr) -> ListenSettings {
        ListenSettings { secure: true, ..ListenSettings::new(address) }
    }
}

/// The settings of one route's connections.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// Maximum size of a frame and of an assembled message; beyond it 1009. Maximum size of a
    /// request body; beyond it 413.
    pub message_bytes_max: usize,
    /// Queued output above which `send` returns `Congested` and the grace time runs.
    pub outbox_soft: usize,
    /// Maximum of queued output: `send` returns `Refused` instead of exceeding it.
    pub outbox_hard: usize,
    /// Queued output below which a congested connection has drained: `on_drain` is called.
    pub outbox_low: usize,
    /// How long a connection may stay above the soft limit.
    pub outbox_grace: Duration,
    /// What happens to a peer that reads too slowly.
    pub slow_policy: SlowPolicy,
    /// Time from the first fragment of a message to its last; beyond it 1002.
    pub fragment_timeout: Duration,
    /// How long queued output may make no progress.
    pub write_timeout: Duration,
    /// Time without data messages after which a connection is closed with 1001; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Origins whose pages may connect, send requests and read responses (CORS); others get 403.
    /// Empty: every origin may connect and send requests, but none may read responses. A wildcard
    /// stands for one or more labels of a host: `https://*.example.org`.
    pub origins: Vec<String>,
    /// Hosts that requests may name, with any port; others get 403. Empty: every host. If several
    /// routes share a path, each must admit the host.
    pub hosts: Vec<HostPattern>,
    /// Whether requests without Origin are refused if `origins` is not empty. Browsers send an
    /// Origin.
    pub require_origin: bool,
    /// Whether an upgrade must name a subprotocol of the service; otherwise it gets 400.
    pub require_protocol: bool,
    /// The listener group of the route: only listeners of the same group lead to it. Routes for
    /// operators can so have an address of their own.
    pub listener_group: u16,
    /// Whether messages are compressed for clients that offer it. For outbound connections, the
    /// offer follows from it, too. Without the feature `deflate`, nothing is compressed.
    pub deflate: DeflateMode,
    /// Smaller messages are not compressed.
    pub deflate_bytes_min: usize,
    /// Maximum window size for context takeover ([`DeflateMode::Dedicated`]): 2^n bytes, 9 to 15.
    pub deflate_window_bits: u8,
    /// Free a connection's compression window after this long without sending.
    pub deflate_idle: Duration,
}

impl Default for RouteSettings {
    fn default() -> RouteSettings {
        RouteSettings {
            message_bytes_max: 1024 * 1024,
            outbox_soft: 256 * 1024,
            outbox_hard: 2 * 1024 * 1024,
            outbox_low: 64 * 1024,
            outbox_grace: Duration::from_secs(10),
            slow_policy: SlowPolicy::Close,
            fragment_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            idle_timeout: None,
            origins: Vec::new(),
            hosts: Vec::new(),
            require_origin: true,
            require_protocol: false,
            listener_group: 0,
            deflate: DeflateMode::Shared,
            deflate_bytes_min: 256,
            deflate_window_bits: 12,
            deflate_idle: Duration::from_secs(60),
        }
    }
}

/// How permessage-deflate (RFC 7692) is negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeflateMode {
    /// No compression.
    Off,
    /// No context takeover: each message is compressed by itself. A connection needs no memory for
    /// it, and a published message is compressed once.
    Shared,
    /// Context takeover in both directions: messages become smaller, at the cost of one window per
    /// connection.
    Dedicated,
}

/// What happens to a peer that reads more slowly than messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowPolicy {
    /// Further messages are dropped and counted until its queue has drained below `outbox_low`.
    Drop,
    /// It is closed with 1013: after the grace time above the soft limit, or at once at the hard
    /// limit.
    Close,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}
