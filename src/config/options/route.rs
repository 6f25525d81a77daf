//! The settings of one route, and the names of the enum values.

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::Priority;
use weir::reactor::settings::{
    DeflateMode, HostPattern, OverRate, Rate, RefuseBy, RouteSettings, SlowPolicy,
};

use crate::config::addresses::Origin;
use crate::config::values::{ByteRate, Count, OrAuto, OrOff, Size, Span, texts};

/// An automatic hard limit is rounded up to a multiple of this.
const OUTBOX_HARD_STEP: usize = 64 * 1024;

/// The settings of a route. Set outside a `[[route]]`, they are the defaults of all routes.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Routes (can also be set per [[route]] in the file)")]
pub(in crate::config) struct RouteOptions {
    /// Maximum message size, announced or assembled; larger messages are closed with 1009
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().message_bytes_max))]
    message_max: Size,

    /// Queued output below which a congested connection counts as drained
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().outbox_low_bytes))]
    outbox_low: Size,

    /// Queued output above which a connection is congested
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().outbox_soft_bytes))]
    outbox_soft: Size,

    /// Maximum queued output; auto: 2 MiB, or more if outbox_soft plus one largest message needs it
    #[arg(long, value_name = "SIZE", default_value_t = OrAuto(None))]
    outbox_hard: OrAuto<Size>,

    /// How long a connection may stay congested
    #[arg(long, value_name = "TIME", default_value_t = Span(route().outbox_grace))]
    outbox_grace: Span,

    /// Policy for peers that read too slowly
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = route().slow_policy.into())]
    slow: Slow,

    /// Deadline from the first fragment of a message to the last; then close with 1002
    #[arg(long, value_name = "TIME", default_value_t = Span(route().fragment_timeout))]
    fragment_timeout: Span,

    /// How long queued output may make no progress
    #[arg(long, value_name = "TIME", default_value_t = Span(route().write_timeout))]
    write_timeout: Span,

    /// Time without data messages after which a connection is closed with 1001
    #[arg(long, value_name = "TIME", default_value_t = OrOff(route().idle_timeout.map(Span)))]
    idle_timeout: OrOff<Span>,

    /// Origins that may connect, as in "https://example.org", or "https://*.example.org" for all
    /// its subdomains at any depth; default: all origins
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    origins: Vec<Origin>,

    /// Hosts that requests may name, with any port, as in "example.org", "10.0.0.0/8" or "[::1]";
    /// others are refused with 403; default: all hosts
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    hosts: Vec<HostPattern>,

    /// Maximum rate of requests per address (IPv6: per /64), upgrades included, as in "1/s burst 5";
    /// more are refused with 429
    #[arg(long, value_name = "RATE", default_value_t = OrOff(route().requests_per_address))]
    requests_per_address: OrOff<Rate>,

    /// Priority of the connections under load: low ones are refused and closed first, high and critical
    /// ones are never closed because of load
    #[arg(long, value_name = "PRIORITY", value_enum, default_value_t = route().priority.into())]
    priority: PriorityName,

    /// Highest priority that a gate may give a connection
    #[arg(long, value_name = "PRIORITY", value_enum, default_value_t = route().priority_max.into())]
    priority_max: PriorityName,

    /// Maximum rate of messages and control frames per connection, as in "100/s burst 200"; at the
    /// rate the connection is not read until tokens are back
    #[arg(long, value_name = "RATE", default_value_t = OrOff(route().messages_rate))]
    messages_rate: OrOff<Rate>,

    /// Maximum rate of bytes per connection, as in "1MB/s burst 4MB": frames as they arrive
    #[arg(long, value_name = "RATE", default_value_t = OrOff(route().bytes_rate.map(ByteRate)))]
    bytes_rate: OrOff<ByteRate>,

    /// Maximum rate of messages and control frames per address (IPv6: per /64)
    #[arg(long, value_name = "RATE", default_value_t = OrOff(route().messages_rate_per_address))]
    messages_rate_per_address: OrOff<Rate>,

    /// Maximum rate of bytes per address (IPv6: per /64)
    #[arg(long, value_name = "RATE")]
    #[arg(default_value_t = OrOff(route().bytes_rate_per_address.map(ByteRate)))]
    bytes_rate_per_address: OrOff<ByteRate>,

    /// Maximum rate of messages and control frames per subject of the gate in auth
    #[arg(long, value_name = "RATE", default_value_t = OrOff(route().messages_rate_per_subject))]
    messages_rate_per_subject: OrOff<Rate>,

    /// Policy for connections above a rate of messages or bytes
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = route().over.into())]
    over: Over,

    /// With over = "close": how long rates may pause reading in one minute; then close with 1008. 0s:
    /// at the first message above the rate
    #[arg(long, value_name = "TIME", default_value_t = Span(route().over_grace))]
    over_grace: Span,

    /// How a valid upgrade is refused; browsers hide an HTTP status from scripts
    #[arg(long, value_name = "HOW", value_enum, default_value_t = route().refuse.into())]
    refuse: Refuse,

    /// Refuse an upgrade that offers no subprotocol of the service
    #[arg(long, value_name = "BOOL", default_value_t = route().require_protocol)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    require_protocol: bool,

    /// Compression (permessage-deflate) for clients that offer it
    #[arg(long, value_name = "MODE", value_enum, default_value_t = route().deflate.into())]
    deflate: Deflate,

    /// Minimum size of a message that is compressed
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().deflate_bytes_min))]
    deflate_min: Size,

    /// Window size with deflate = "dedicated": 2^N bytes, 9 to 15
    #[arg(long, value_name = "N", default_value_t = Count(route().deflate_window_bits))]
    deflate_window_bits: Count<u8>,

    /// Free a connection's compression window after this long without sending
    #[arg(long, value_name = "TIME", default_value_t = Span(route().deflate_idle))]
    deflate_idle: Span,
}

/// The names of [`SlowPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Slow {
    /// Drop messages for the peer until its queue has drained
    Drop,
    /// Close the connection with 1013
    Close,
}

/// The names of [`Priority`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum PriorityName {
    /// Refused and closed first
    Low,
    /// Refused and closed when the server is critically loaded
    Normal,
    /// Not refused and not closed because of load
    High,
    /// The same, under another name
    Critical,
}

/// The names of [`OverRate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Over {
    /// Do not read the connection until tokens are back
    Pause,
    /// The same, and after over_grace close the connection with 1008
    Close,
}

/// The names of [`RefuseBy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Refuse {
    /// By an HTTP status
    Http,
    /// By a 101 and a Close, whose code and reason browsers show to scripts
    Close,
}

/// The names of [`DeflateMode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Deflate {
    /// No compression
    Off,
    /// Compress each message separately; connections need no memory for it
    Shared,
    /// Compress with context takeover; each connection has its own windows
    Dedicated,
}

fn route() -> RouteSettings {
    RouteSettings::default()
}

impl From<SlowPolicy> for Slow {
    fn from(policy: SlowPolicy) -> Slow {
        match policy {
            SlowPolicy::Drop => Slow::Drop,
            SlowPolicy::Close => Slow::Close,
        }
    }
}

impl From<Slow> for SlowPolicy {
    fn from(slow: Slow) -> SlowPolicy {
        match slow {
            Slow::Drop => SlowPolicy::Drop,
            Slow::Close => SlowPolicy::Close,
        }
    }
}

impl From<Priority> for PriorityName {
    fn from(priority: Priority) -> PriorityName {
        match priority {
            Priority::Low => PriorityName::Low,
            Priority::Normal => PriorityName::Normal,
            Priority::High => PriorityName::High,
            Priority::Critical => PriorityName::Critical,
        }
    }
}

impl From<OverRate> for Over {
    fn from(policy: OverRate) -> Over {
        match policy {
            OverRate::Pause => Over::Pause,
            OverRate::Close => Over::Close,
        }
    }
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Priority {
        match name {
            PriorityName::Low => Priority::Low,
            PriorityName::Normal => Priority::Normal,
            PriorityName::High => Priority::High,
            PriorityName::Critical => Priority::Critical,
        }
    }
}

impl From<Over> for OverRate {
    fn from(policy: Over) -> OverRate {
        match policy {
            Over::Pause => OverRate::Pause,
            Over::Close => OverRate::Close,
        }
    }
}

impl From<RefuseBy> for Refuse {
    fn from(by: RefuseBy) -> Refuse {
        match by {
            RefuseBy::Http => Refuse::Http,
            RefuseBy::Close => Refuse::Close,
        }
    }
}

impl From<Refuse> for RefuseBy {
    fn from(by: Refuse) -> RefuseBy {
        match by {
            Refuse::Http => RefuseBy::Http,
            Refuse::Close => RefuseBy::Close,
        }
    }
}

impl From<DeflateMode> for Deflate {
    fn from(mode: DeflateMode) -> Deflate {
        match mode {
            DeflateMode::Off => Deflate::Off,
            DeflateMode::Shared => Deflate::Shared,
            DeflateMode::Dedicated => Deflate::Dedicated,
        }
    }
}

impl From<Deflate> for DeflateMode {
    fn from(mode: Deflate) -> DeflateMode {
        match mode {
            Deflate::Off => DeflateMode::Off,
            Deflate::Shared => DeflateMode::Shared,
            Deflate::Dedicated => DeflateMode::Dedicated,
        }
    }
}

impl From<&RouteSettings> for RouteOptions {
    fn from(settings: &RouteSettings) -> RouteOptions {
        RouteOptions {
            message_max: Size(settings.message_bytes_max),
            outbox_low: Size(settings.outbox_low_bytes),
            outbox_soft: Size(settings.outbox_soft_bytes),
            outbox_hard: OrAuto(Some(Size(settings.outbox_hard_bytes))),
            outbox_grace: Span(settings.outbox_grace),
            slow: settings.slow_policy.into(),
            fragment_timeout: Span(settings.fragment_timeout),
            write_timeout: Span(settings.write_timeout),
            idle_timeout: OrOff(settings.idle_timeout.map(Span)),
            origins: settings.origins.iter().cloned().map(Origin).collect(),
            hosts: settings.hosts.clone(),
            requests_per_address: OrOff(settings.requests_per_address),
            priority: settings.priority.into(),
            priority_max: settings.priority_max.into(),
            messages_rate: OrOff(settings.messages_rate),
            bytes_rate: OrOff(settings.bytes_rate.map(ByteRate)),
            messages_rate_per_address: OrOff(settings.messages_rate_per_address),
            bytes_rate_per_address: OrOff(settings.bytes_rate_per_address.map(ByteRate)),
            messages_rate_per_subject: OrOff(settings.messages_rate_per_subject),
            over: settings.over.into(),
            over_grace: Span(settings.over_grace),
            refuse: settings.refuse.into(),
            require_protocol: settings.require_protocol,
            deflate: settings.deflate.into(),
            deflate_min: Size(settings.deflate_bytes_min),
            deflate_window_bits: Count(settings.deflate_window_bits),
            deflate_idle: Span(settings.deflate_idle),
        }
    }
}

impl From<RouteOptions> for RouteSettings {
    fn from(options: RouteOptions) -> RouteSettings {
        options.settings(None)
    }
}

impl RouteOptions {
    /// The settings of a route. `outbox_room_bytes` is that of its service, if it has one.
    pub(in crate::config) fn settings(self, outbox_room_bytes: Option<usize>) -> RouteSettings {
        let options = self;
        let mut settings = RouteSettings::default()
            .message_bytes_max(options.message_max.0)
            .outbox_low_bytes(options.outbox_low.0)
            .outbox_soft_bytes(options.outbox_soft.0)
            .outbox_grace(options.outbox_grace.0)
            .slow_policy(options.slow.into())
            .fragment_timeout(options.fragment_timeout.0)
            .write_timeout(options.write_timeout.0)
            .idle_timeout(options.idle_timeout.duration())
            .origins(options.origins.into_iter().map(|origin| origin.0).collect())
            .hosts(options.hosts)
            .requests_per_address(options.requests_per_address.0)
            .priority(options.priority.into())
            .priority_max(options.priority_max.into())
            .messages_rate(options.messages_rate.0)
            .bytes_rate(options.bytes_rate.0.map(|rate| rate.0))
            .messages_rate_per_address(options.messages_rate_per_address.0)
            .bytes_rate_per_address(options.bytes_rate_per_address.0.map(|rate| rate.0))
            .messages_rate_per_subject(options.messages_rate_per_subject.0)
            .over(options.over.into())
            .over_grace(options.over_grace.0)
            .refuse(options.refuse.into())
            .require_protocol(options.require_protocol)
            .deflate(options.deflate.into())
            .deflate_bytes_min(options.deflate_min.0)
            .deflate_window_bits(options.deflate_window_bits.0)
            .deflate_idle(options.deflate_idle.0)
            .outbox_room_bytes(outbox_room_bytes);
        settings.outbox_hard_bytes = match options.outbox_hard.0 {
            Some(size) => size.0,
            None => outbox_hard(&settings),
        };
        settings
    }
}

/// The default hard limit, or the least one that these settings allow.
fn outbox_hard(settings: &RouteSettings) -> usize {
    let least = settings.outbox_hard_min();
    let rounded = least.checked_next_multiple_of(OUTBOX_HARD_STEP);
    settings.outbox_hard_bytes.max(rounded.unwrap_or(least))
}
