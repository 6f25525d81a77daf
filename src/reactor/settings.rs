//! What an operator may set, as plain structs: the loop's [`Settings`] and each route's
//! [`RouteSettings`].
//!
//! No names of configuration keys here, and no protocol or budget constants: those live in
//! [`budget`](super::budget), never both. [`Settings::check`] and [`RouteSettings::check`] state the
//! relations between the numbers; [`Rate`] and [`Prefix`] know their own notation.

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
    /// Connections of clients open or in handshake at once; one more is answered 503.
    pub connections_max: usize,
    /// Connections that services make (the client's role) at once; one more is an error of
    /// [`Context::connect`](super::Context::connect). They do not count for `connections_max`.
    pub outbound_max: usize,
    /// Clients that wait for their 503 or 429 beside those that were admitted; one more is dropped
    /// unanswered. At most, and by default, [`REFUSED_MAX`]: fewer where
    /// descriptors are few.
    pub refused_max: usize,
    /// Connections from one address (IPv6: one /64) at once; one more is answered 429.
    /// `None`: unlimited from loopback, [`PER_ADDRESS_DEFAULT`] from anywhere else. `Some(0)`: unlimited.
    pub connections_per_address: Option<usize>,
    /// Addresses that neither `connections_per_address` nor `rate_per_address` applies to.
    pub exempt: Vec<Prefix>,
    /// New connections from one address; past it 429.
    pub rate_per_address: Option<Rate>,
    /// New connections from everywhere; past it 429.
    pub rate: Option<Rate>,
    /// Bytes of a request's head; past it 431.
    pub head_bytes_max: usize,
    /// Bytes that all connections together may hold in queues and unfinished messages.
    pub buffered_bytes_max: usize,
    /// How long a `Sec-WebSocket-Key` may not be used twice; `None`: not watched (RFC 6455 asks for
    /// nothing of the kind).
    pub key_reuse_window: Option<Duration>,
    /// From accept to the answered request, and between two plain requests on one connection.
    pub handshake_timeout: Duration,
    /// From our Close to theirs.
    pub close_timeout: Duration,
    /// From the order to shut down to the end of the last connection.
    pub drain_timeout: Duration,
    /// Pings to silent peers; `None`: none are sent.
    pub heartbeat: Option<Heartbeat>,
    /// Topics that all connections together may have joined; a further one is refused.
    pub topics_max: usize,
    /// Topics that one connection may have joined.
    pub topics_per_connection_max: usize,
    /// How hard messages are compressed: 1, the fastest, to 9, the smallest.
    pub deflate_level: u8,
    /// How much memory compressing has to gather a block in: 1 to 9, some 2^(n + 9) bytes for each size
    /// of window in use.
    pub deflate_mem_level: u8,
    /// Bytes that the windows of all connections with context takeover may come to hold; past it new
    /// connections do without.
    pub deflate_windows_bytes_max: usize,
    /// Whether a line is logged for each connection that ended in good order, too.
    pub log_access: bool,
    /// Whether the time of each phase of a turn is taken, for [`TurnReport`](super::TurnReport)s.
    pub turn_stats: bool,
}

/// Connections from one address that is not loopback, unless set otherwise.
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

/// When a silent peer is pinged, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heartbeat {
    /// Silence before a ping, at most; peers are spread over its second half.
    pub interval: Duration,
    /// How long any frame may take to follow a ping.
    pub pong_timeout: Duration,
    /// Unanswered pings in a row that end the connection with 1001.
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

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// SO_REUSEPORT: several processes share the port, the kernel spreads connections.
    pub reuse_port: bool,
    /// TLS, with the certificates that [`set_tls`](super::Reactor::set_tls) was given before.
    pub secure: bool,
    /// Which routes its requests find: those of the same [site](RouteSettings::site).
    pub site: u16,
    /// Its connections are operators': up to [`OPERATORS_MAX`](super::budget::OPERATORS_MAX) at all such
    /// listeners, whatever the limits of clients say; and it stays open during a shutdown, until the last
    /// client has gone.
    pub for_operators: bool,
}

impl ListenSettings {
    /// This address for clients of the routes of site 0, without TLS or a shared port.
    pub fn new(address: SocketAddr) -> ListenSettings {
        ListenSettings { address, reuse_port: false, secure: false, site: 0, for_operators: false }
    }

    /// The same with TLS.
    pub fn secure(address: SocketAddr) -> ListenSettings {
        ListenSettings { secure: true, ..ListenSettings::new(address) }
    }
}

/// The limits of the connections of one route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// A frame's announced length and an assembled message; past it 1009. A request's body; past it
    /// 413.
    pub message_bytes_max: usize,
    /// Queued output above which `send` answers `Congested` and the grace time runs.
    pub outbox_soft: usize,
    /// Queued output that is never exceeded: past it `send` answers `Refused`.
    pub outbox_hard: usize,
    /// Queued output below which a congested connection is told `on_drain`.
    pub outbox_low: usize,
    /// How long a connection may stay above the soft limit.
    pub outbox_grace: Duration,
    /// What happens to a peer that reads too slowly.
    pub slow_policy: SlowPolicy,
    /// From the first fragment of a message to its last; past it 1002.
    pub fragment_timeout: Duration,
    /// How long queued output may make no progress at all.
    pub write_timeout: Duration,
    /// Silence in data messages after which a connection is collected with 1001; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Origins whose pages may connect, send requests and read the answers (CORS); 403 for others. Empty:
    /// every origin may connect and send, and none may read. A wildcard stands for one label or more of
    /// a host: `https://*.example.org`.
    pub origins: Vec<String>,
    /// Hosts that requests may name, whatever the port; 403 for others. Empty: every host. Where several
    /// routes share a path, each must admit the host.
    pub hosts: Vec<HostPattern>,
    /// Whether a request without Origin, which no browser sends, is refused where `origins` has entries.
    pub require_origin: bool,
    /// Whether an upgrade must name a subprotocol that the service speaks; else 400.
    pub require_protocol: bool,
    /// Which listeners lead here: those of the same site. What is for operators alone can so have an
    /// address of its own.
    pub site: u16,
    /// Whether messages are compressed for clients that offer it. What we make of our own connections'
    /// answers follows from what their requests offer. Without the feature `deflate`, nothing is compressed.
    pub deflate: DeflateMode,
    /// Messages below this size are not worth compressing.
    pub deflate_bytes_min: usize,
    /// How far back a message may refer to those before it where [`DeflateMode::Dedicated`] lets it, at
    /// the most: 2^n bytes, 9 to 15.
    pub deflate_window_bits: u8,
    /// How long nothing need be sent until what our messages may refer to is forgotten.
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
            site: 0,
            deflate: DeflateMode::Shared,
            deflate_bytes_min: 256,
            deflate_window_bits: 12,
            deflate_idle: Duration::from_secs(60),
        }
    }
}

/// What is agreed to of permessage-deflate (RFC 7692).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeflateMode {
    /// Nothing.
    Off,
    /// Messages are compressed each by itself: a connection needs no memory for it, and a message for
    /// many is compressed once.
    Shared,
    /// Messages may refer to those before (context takeover), in each direction: smaller, at the price
    /// of a window of each connection's own.
    Dedicated,
}

/// What happens to a peer that reads more slowly than it is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowPolicy {
    /// Messages for it are dropped, and counted, until its queue has drained below low water.
    Drop,
    /// It is closed with 1013: after the grace time above the soft limit, at once at the hard limit.
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
