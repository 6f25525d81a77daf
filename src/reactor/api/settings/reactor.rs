//! The limits and deadlines of one reactor: [`Settings`].
//!
//! `check.rs` checks their ranges and relations. The limits of routes are in `route.rs`.

use std::time::Duration;

use super::client_address::ClientAddressFrom;
use super::limit::Limit;
use super::load::MemoryMax;
use super::notation::{Prefix, Rate};
use super::setters::with_setters;
use crate::reactor::api::budget::REFUSED_MAX;

with_setters! {
    /// The limits and deadlines of one reactor.
    ///
    /// Change the defaults by the setters, which have the names of the fields, or assign the
    /// fields:
    ///
    /// ```
    /// use weir::reactor::settings::{Heartbeat, Settings};
    ///
    /// let settings = Settings::default()
    ///     .connections_max(1000)
    ///     .connections_per_address(10)
    ///     .heartbeat(Heartbeat::default().misses_max(1));
    /// assert_eq!(settings.connections_per_address, Some(10));
    /// assert_eq!(settings.heartbeat(None).heartbeat, None);
    /// ```
    #[derive(Debug, Clone, PartialEq)]
    pub struct Settings {
        /// Clients connected or in their handshake at once; further ones get 503.
        pub connections_max: usize = 10_000,
        /// Connections opened by services at once; a further one is an error of
        /// [`Context::connect`](crate::reactor::Context::connect). They do not count for
        /// `connections_max`.
        pub outbound_max: usize = 256,
        /// Clients that wait for their 503 or 429, besides the admitted ones; further ones are
        /// dropped without an answer. At most [`REFUSED_MAX`], the default; fewer if descriptors
        /// are scarce.
        pub refused_max: usize = REFUSED_MAX,
        /// Connections from one address (IPv6: one /64) at once; further ones get 429. `None`:
        /// unlimited for loopback, [`PER_ADDRESS_DEFAULT`] for other addresses. `Some(0)`:
        /// unlimited.
        pub connections_per_address: Option<usize> = None,
        /// Addresses exempt from `connections_per_address` and `rate_per_address`.
        pub exempt: Vec<Prefix> = Vec::new(),
        /// Peers whose headers state the addresses of their clients. They are not counted by their own
        /// address: an upgrade counts for its client, and HTTP requests only for
        /// [`requests_per_address`](field@super::RouteSettings::requests_per_address). From other
        /// peers, headers such as `X-Forwarded-For` are removed before services see them.
        pub trusted_proxies: Vec<Prefix> = Vec::new(),
        /// The header in which trusted proxies state the client's address.
        pub client_address_from: ClientAddressFrom = ClientAddressFrom::XForwardedFor,
        /// Rate of new connections from one address; further ones get 429.
        pub rate_per_address: Option<Rate> = None,
        /// Rate of new connections from all addresses together; further ones get 429.
        pub rate: Option<Rate> = None,
        /// Limits that are counted and logged, but not enforced.
        pub limits_dry_run: Vec<Limit> = Vec::new(),
        /// Whether the measured load changes the [level](crate::reactor::Level) of the loop. Without, it
        /// is only measured.
        pub levels: bool = true,
        /// How long a random event waits for the loop at [`Level::Elevated`](crate::reactor::Level).
        pub delay_elevated: Duration = Duration::from_millis(10),
        /// How long a random event waits for the loop at [`Level::Critical`](crate::reactor::Level).
        pub delay_critical: Duration = Duration::from_millis(50),
        /// The limit of the process's memory.
        pub memory_max: MemoryMax = MemoryMax::Auto,
        /// The part of `memory_max`, or of the half of `buffered_bytes_max` that all connections share,
        /// at [`Level::Elevated`](crate::reactor::Level).
        pub memory_elevated_percent: u8 = 85,
        /// The same for [`Level::Critical`](crate::reactor::Level).
        pub memory_critical_percent: u8 = 93,
        /// The last part of `connections_max`, for connections of high and critical priority. It is
        /// not reserved unless a route has a gate or a priority of at least
        /// [`High`](crate::reactor::Priority::High).
        pub reserve_percent: u8 = 5,
        /// How many of the open connections may be closed because of load until the load has been below
        /// [`Level::Critical`](crate::reactor::Level) again; 0: none.
        pub shed_max_percent: u8 = 20,
        /// Bytes of a request head; a longer one gets 431.
        pub head_bytes_max: usize = 16 * 1024,
        /// Bytes that all connections together may hold in queues and unfinished messages.
        pub buffered_bytes_max: usize = 1024 * 1024 * 1024,
        /// How long a `Sec-WebSocket-Key` may not be reused; `None`: not checked (RFC 6455 does not
        /// require it).
        pub key_reuse_window: Option<Duration> = None,
        /// Time from accept to the response, and between two HTTP requests on one connection.
        pub handshake_timeout: Duration = Duration::from_secs(10),
        /// Time from our Close to the peer's.
        pub close_timeout: Duration = Duration::from_secs(5),
        /// Time from the start of a shutdown to the end of the last connection.
        pub drain_timeout: Duration = Duration::from_secs(30),
        /// Pings to silent peers; `None`: no pings.
        pub heartbeat: Option<Heartbeat> = Some(Heartbeat::default()),
        /// Topics of all connections together; a join that would create a further one is refused.
        pub topics_max: usize = 100_000,
        /// Topics that one connection may join.
        pub topics_per_connection_max: usize = 256,
        /// Compression level: 1, the fastest, to 9, the smallest.
        pub deflate_level: u8 = 1,
        /// zlib's memLevel, the memory for compressing a block: 1 to 9, some 2^(n + 9) bytes for
        /// each window size in use.
        pub deflate_mem_level: u8 = 8,
        /// Bytes that the windows of all connections with context takeover may grow to. Beyond it,
        /// new connections get no context takeover.
        pub deflate_windows_bytes_max: usize = 256 * 1024 * 1024,
        /// Whether each request belongs to a trace (W3C Trace Context): that of its `traceparent`, or a
        /// new one. Log lines and forwarded requests have its id.
        pub trace: bool = false,
        /// Whether normally ended connections are logged, too.
        pub log_access: bool = false,
        /// Whether the time of each phase of a turn is measured, for
        /// [`TurnReport`](crate::reactor::TurnReport)s.
        pub turn_stats: bool = false,
    }
}

/// Default for connections from one address, except loopback.
pub const PER_ADDRESS_DEFAULT: usize = 64;

with_setters! {
    /// When a silent peer is pinged, and when its connection is closed.
    #[derive(Debug, Clone, Copy, PartialEq)]
    pub struct Heartbeat {
        /// The longest silence before a ping. Pings are spread over the second half of the
        /// interval.
        pub interval: Duration = Duration::from_secs(30),
        /// The time after a ping in which the peer must send a frame of any kind.
        pub pong_timeout: Duration = Duration::from_secs(10),
        /// Consecutive unanswered pings after which the connection ends with 1001.
        pub misses_max: u8 = 2,
    }
}
