//! The limits and deadlines of one route's connections: [`RouteSettings`].
//!
//! `check.rs` checks their ranges and relations. The limits of the whole loop are in `reactor.rs`.

use std::time::Duration;

use super::host::HostPattern;

/// The settings of one route's connections.
///
/// Settings may be added: end a literal with `..RouteSettings::default()`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSettings {
    /// Maximum size of a frame and of an assembled message; beyond it 1009. Maximum size of a
    /// request body; beyond it 413. [`outbox_hard_bytes`](RouteSettings::outbox_hard_bytes) must
    /// rise with it.
    pub message_bytes_max: usize,
    /// Queued output above which `send` returns `Congested` and the grace time runs.
    pub outbox_soft_bytes: usize,
    /// Maximum of queued output: `send` returns `Full` instead of exceeding it, and `TooLarge` for
    /// a message that alone exceeds it. It must have room for one message of maximum size above the
    /// soft limit: [`outbox_hard_min`](RouteSettings::outbox_hard_min) is the smallest value.
    ///
    /// ```
    /// use weir::reactor::settings::RouteSettings;
    ///
    /// let mut route = RouteSettings { message_bytes_max: 4 << 20, ..RouteSettings::default() };
    /// assert!(route.check().is_err());
    /// route.outbox_hard_bytes = route.outbox_hard_min();
    /// assert!(route.check().is_ok());
    /// ```
    pub outbox_hard_bytes: usize,
    /// Queued output below which a congested connection has drained: `on_drain` is called.
    pub outbox_low_bytes: usize,
    /// How long a connection may stay above the soft limit; then `slow_policy` applies.
    pub outbox_grace: Duration,
    /// What happens to a peer that reads too slowly.
    pub slow_policy: SlowPolicy,
    /// Time from the first fragment of a message to its last; beyond it 1002.
    pub fragment_timeout: Duration,
    /// How long queued output may make no progress; then the connection is closed with 1013, under
    /// both slow consumer policies.
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
    /// The listener group of the route: only listeners of the same group lead to it. This gives
    /// routes for operators an address of their own.
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
            outbox_soft_bytes: 256 * 1024,
            outbox_hard_bytes: 2 * 1024 * 1024,
            outbox_low_bytes: 64 * 1024,
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

/// What happens to a peer that reads more slowly than messages are sent. A peer that reads nothing
/// for [`RouteSettings::write_timeout`] is closed under both policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowPolicy {
    /// Further messages are dropped and counted until its queue has drained below
    /// `outbox_low_bytes`.
    Drop,
    /// It is closed with 1013: after the grace time above the soft limit, or at once at the hard
    /// limit.
    Close,
}
