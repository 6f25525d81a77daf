//! The limits and deadlines of one reactor: [`Settings`].
//!
//! `check.rs` checks their ranges and relations. The limits of routes are in `route.rs`.

use std::time::Duration;

use super::notation::{Prefix, Rate};
use crate::reactor::api::budget::REFUSED_MAX;

/// The limits and deadlines of one reactor.
///
/// Settings may be added: end a literal with `..Settings::default()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Clients connected or in their handshake at once; further ones get 503.
    pub connections_max: usize,
    /// Connections opened by services at once; a further one is an error of
    /// [`Context::connect`](crate::reactor::Context::connect). They do not count for
    /// `connections_max`.
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
