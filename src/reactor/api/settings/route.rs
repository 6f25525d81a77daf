//! The limits and deadlines of one route's connections: [`RouteSettings`].
//!
//! `check.rs` checks their ranges and relations. The limits of the whole loop are in `reactor.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::host::HostPattern;
use super::notation::Rate;
use super::reactor::Heartbeat;
use super::setters::with_setters;
use crate::reactor::api::id::GateId;
use crate::reactor::api::identity::Requirement;
use crate::reactor::api::priority::Priority;

with_setters! {
    /// The settings of one route's connections.
    ///
    /// Change the defaults by the setters, which have the names of the fields, or assign the
    /// fields.
    #[derive(Debug, Clone, PartialEq)]
    pub struct RouteSettings {
        /// Maximum size of a frame and of an assembled message; beyond it 1009. Maximum size of a
        /// request body; beyond it 413.
        /// [`outbox_hard_bytes`](field@RouteSettings::outbox_hard_bytes) must rise with it.
        pub message_bytes_max: usize = 1024 * 1024,
        /// Queued output above which `send` returns `Congested` and the grace time runs.
        pub outbox_soft_bytes: usize = 256 * 1024,
        /// Maximum of queued output: `send` returns `Full` instead of exceeding it, and `TooLarge`
        /// for a message that alone exceeds it. It must have room for one message of maximum size
        /// above the soft limit: [`outbox_hard_min`](RouteSettings::outbox_hard_min) is the
        /// smallest value.
        ///
        /// ```
        /// use weir::reactor::settings::RouteSettings;
        ///
        /// let mut route = RouteSettings::default().message_bytes_max(4 << 20);
        /// assert!(route.check().is_err());
        /// route.outbox_hard_bytes = route.outbox_hard_min();
        /// assert!(route.check().is_ok());
        /// ```
        pub outbox_hard_bytes: usize = 2 * 1024 * 1024,
        /// Room that the outbox must have above the soft limit, frame headers included; `None`: for
        /// one message of maximum size. Set by routes whose service stores no whole messages.
        pub outbox_room_bytes: Option<usize> = None,
        /// Queued output below which a congested connection has drained: `on_drain` is called.
        pub outbox_low_bytes: usize = 64 * 1024,
        /// How long a connection may stay above the soft limit; then `slow_policy` applies.
        pub outbox_grace: Duration = Duration::from_secs(10),
        /// What happens to a peer that reads too slowly.
        pub slow_policy: SlowPolicy = SlowPolicy::Close,
        /// Time from the first fragment of a message to its last; beyond it 1002.
        pub fragment_timeout: Duration = Duration::from_secs(60),
        /// How long queued output may make no progress; then the connection is closed with 1013,
        /// under both slow consumer policies.
        pub write_timeout: Duration = Duration::from_secs(10),
        /// Time without data messages after which a connection is closed with 1001; `None`: never.
        pub idle_timeout: Option<Duration> = None,
        /// Pings to silent peers.
        pub heartbeat: RouteHeartbeat = RouteHeartbeat::Server,
        /// Origins whose pages may connect, send requests and read responses (CORS); others get
        /// 403. Empty: every origin may connect and send requests, but none may read responses. A
        /// wildcard stands for one or more labels of a host: `https://*.example.org`.
        pub origins: Vec<String> = Vec::new(),
        /// Hosts that requests may name, with any port; others get 403. Empty: every host. If
        /// several routes share a path, each must admit the host.
        pub hosts: Vec<HostPattern> = Vec::new(),
        /// Whether requests without Origin are refused if `origins` is not empty. Browsers send an
        /// Origin.
        pub require_origin: bool = true,
        /// The gate that decides on requests before the service sees them; `None`: no gate.
        pub gate: Option<GateId> = None,
        /// What the identity of a client must have, all of it; others get 403.
        pub require: Arc<[Requirement]> = Arc::default(),
        /// How a valid upgrade is refused.
        pub refuse: RefuseBy = RefuseBy::Http,
        /// Whether an upgrade must name a subprotocol of the service; otherwise it gets 400.
        pub require_protocol: bool = false,
        /// Rate of requests from one address (IPv6: one /64), upgrades included; further ones get 429
        /// with `Retry-After`. `None`: unlimited. Addresses in
        /// [`exempt`](field@super::Settings::exempt) are not limited.
        pub requests_per_address: Option<Rate> = None,
        /// The priority of the route's connections under load. Outbound connections always have the
        /// highest.
        pub priority: Priority = Priority::Normal,
        /// The highest priority that a gate may give a connection, if it is above `priority`.
        pub priority_max: Priority = Priority::High,
        /// Connections of the route, from the upgrade request on; further upgrades get 503
        /// `route_full`. `None`: unlimited.
        pub connections_max: Option<usize> = None,
        /// Rate of messages and control frames of one connection, whatever they inflate to. A
        /// connection without tokens is not read: TCP makes its peer wait. In tunnels, final frames
        /// and control frames count. Connections that were open before a rate was set have none.
        pub messages_rate: Option<Rate> = None,
        /// Rate of bytes of one connection: frames as they arrive, with their headers, compressed.
        /// One read may exceed it; the next one waits for longer.
        pub bytes_rate: Option<Rate> = None,
        /// Like [`messages_rate`](field@RouteSettings::messages_rate), for all connections from one
        /// address (IPv6: one /64) to this route. Addresses in
        /// [`exempt`](field@super::Settings::exempt) are not limited. Calls of JSON-RPC by POST take
        /// tokens, too, and get 429 without any; other requests without upgrade do not.
        pub messages_rate_per_address: Option<Rate> = None,
        /// Like [`bytes_rate`](field@RouteSettings::bytes_rate), for all connections from one address
        /// to this route.
        pub bytes_rate_per_address: Option<Rate> = None,
        /// Like [`messages_rate`](field@RouteSettings::messages_rate), for all connections of one subject
        /// of the route's gate to this route. Connections without an identity are not limited by it.
        /// Calls of JSON-RPC by POST count as for the address.
        pub messages_rate_per_subject: Option<Rate> = None,
        /// What happens to a connection above one of these rates.
        pub over: OverRate = OverRate::Pause,
        /// With [`OverRate::Close`]: how long reading may be paused by rates in one minute. Zero: the
        /// first message above the rate closes the connection.
        pub over_grace: Duration = Duration::from_secs(10),
        /// The listener group of the route: only listeners of the same group lead to it. This gives
        /// routes for operators an address of their own.
        pub listener_group: u16 = 0,
        /// Whether messages are compressed for clients that offer it. For outbound connections, the
        /// offer follows from it, too. Without the feature `deflate`, nothing is compressed.
        pub deflate: DeflateMode = DeflateMode::Shared,
        /// Smaller messages are not compressed.
        pub deflate_bytes_min: usize = 256,
        /// Maximum window size for context takeover ([`DeflateMode::Dedicated`]): 2^n bytes, 9 to
        /// 15.
        pub deflate_window_bits: u8 = 12,
        /// Free a connection's compression window after this long without sending.
        pub deflate_idle: Duration = Duration::from_secs(60),
    }
}

impl RouteSettings {
    /// The priority of a connection whose identity states this one.
    pub(crate) fn priority_of(&self, wished: Option<Priority>) -> Priority {
        wished.map_or(self.priority, |wished| wished.min(self.priority_max.max(self.priority)))
    }
}

/// How a valid upgrade is refused after its route was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefuseBy {
    /// By an HTTP status, which browsers hide from scripts: they report code 1006.
    Http,
    /// By a 101 and a Close whose code and reason browsers report: 1013 for 429 and 5xx, 3000 for 401,
    /// 3003 for 403 and 404. Other statuses, and all once many such connections wait for their end,
    /// are sent as by [`Http`](RefuseBy::Http).
    Close,
}

/// The pings to silent peers of a route.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RouteHeartbeat {
    /// [`Settings::heartbeat`](field@super::Settings::heartbeat).
    Server,
    /// No pings.
    Off,
    /// A heartbeat of the route's own.
    Own(Heartbeat),
}

impl RouteHeartbeat {
    /// The heartbeat of the route, with this one of the server.
    pub(crate) fn or(self, server: Option<Heartbeat>) -> Option<Heartbeat> {
        match self {
            RouteHeartbeat::Server => server,
            RouteHeartbeat::Off => None,
            RouteHeartbeat::Own(heartbeat) => Some(heartbeat),
        }
    }
}

/// What happens to a connection above its rate of messages or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverRate {
    /// Reading pauses until tokens are back.
    Pause,
    /// The same, and after [`over_grace`](field@RouteSettings::over_grace) of pauses in one minute the
    /// connection is closed with 1008.
    Close,
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
/// for [`field@RouteSettings::write_timeout`] is closed under both policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowPolicy {
    /// Further messages are dropped and counted until its queue has drained below
    /// `outbox_low_bytes`.
    Drop,
    /// It is closed with 1013: after the grace time above the soft limit, or at once at the hard
    /// limit.
    Close,
}
