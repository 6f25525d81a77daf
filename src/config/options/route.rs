//! The settings of one route, and the words for those that are a choice.

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::{DeflateMode, HostPattern, RouteSettings, SlowPolicy};

use crate::config::addresses::Origin;
use crate::config::values::{Count, OrAuto, OrOff, Size, Span, texts};

/// A hard limit that was not set is rounded up to a multiple of this, for round numbers.
const OUTBOX_HARD_STEP: usize = 64 * 1024;

/// The settings of a route; given without a route, those of every route that says nothing else.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Routes (each may be set for one [[route]] of the file)")]
pub(in crate::config) struct RouteOptions {
    /// Largest message, announced or assembled; past it 1009
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().message_bytes_max))]
    message_max: Size,

    /// Queued output below which a congested connection is filled again
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().outbox_low))]
    outbox_low: Size,

    /// Queued output above which a connection is congested
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().outbox_soft))]
    outbox_soft: Size,

    /// Queued output that is never exceeded; auto is 2 MiB, or what one largest message on top of
    /// outbox_soft needs
    #[arg(long, value_name = "SIZE", default_value_t = OrAuto(None))]
    outbox_hard: OrAuto<Size>,

    /// How long a connection may stay congested
    #[arg(long, value_name = "TIME", default_value_t = Span(route().outbox_grace))]
    outbox_grace: Span,

    /// What happens to a peer that reads too slowly
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = route().slow_policy.into())]
    slow: Slow,

    /// From the first fragment of a message to its last; past it 1002
    #[arg(long, value_name = "TIME", default_value_t = Span(route().fragment_timeout))]
    fragment_timeout: Span,

    /// How long queued output may make no progress at all
    #[arg(long, value_name = "TIME", default_value_t = Span(route().write_timeout))]
    write_timeout: Span,

    /// Silence in data messages that ends a connection with 1001
    #[arg(long, value_name = "TIME", default_value_t = OrOff(route().idle_timeout.map(Span)))]
    idle_timeout: OrOff<Span>,

    /// Origin that may connect, as in "https://example.org", or "https://*.example.org" for all its
    /// subdomains, at any depth; without any, all may
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    origins: Vec<Origin>,

    /// Host that requests may name, as in "example.org", "10.0.0.0/8" or "[::1]", whatever the port; past
    /// it 403; without any, every host
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    hosts: Vec<HostPattern>,

    /// Refuse an upgrade that names no subprotocol of the service
    #[arg(long, value_name = "BOOL", default_value_t = route().require_protocol)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    require_protocol: bool,

    /// Compression (permessage-deflate) for clients that offer it
    #[arg(long, value_name = "MODE", value_enum, default_value_t = route().deflate.into())]
    deflate: Deflate,

    /// Smallest message that is compressed
    #[arg(long, value_name = "SIZE", default_value_t = Size(route().deflate_bytes_min))]
    deflate_min: Size,

    /// How far back a message may refer where deflate is "dedicated": 2^N bytes, 9 to 15
    #[arg(long, value_name = "N", default_value_t = Count(route().deflate_window_bits))]
    deflate_window_bits: Count<u8>,

    /// How long nothing need be sent until what messages may refer to is forgotten
    #[arg(long, value_name = "TIME", default_value_t = Span(route().deflate_idle))]
    deflate_idle: Span,
}

/// [`SlowPolicy`] as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Slow {
    /// Messages for it are dropped until its queue has drained
    Drop,
    /// It is closed with 1013
    Close,
}

/// [`DeflateMode`] as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Deflate {
    /// Nothing is compressed
    Off,
    /// Each message by itself; a connection needs no memory for it
    Shared,
    /// Messages refer to those before; each connection has windows of its own
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
            outbox_low: Size(settings.outbox_low),
            outbox_soft: Size(settings.outbox_soft),
            outbox_hard: OrAuto(Some(Size(settings.outbox_hard))),
            outbox_grace: Span(settings.outbox_grace),
            slow: settings.slow_policy.into(),
            fragment_timeout: Span(settings.fragment_timeout),
            write_timeout: Span(settings.write_timeout),
            idle_timeout: OrOff(settings.idle_timeout.map(Span)),
            origins: settings.origins.iter().cloned().map(Origin).collect(),
            hosts: settings.hosts.clone(),
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
        let mut settings = RouteSettings {
            message_bytes_max: options.message_max.0,
            outbox_low: options.outbox_low.0,
            outbox_soft: options.outbox_soft.0,
            outbox_hard: route().outbox_hard,
            outbox_grace: options.outbox_grace.0,
            slow_policy: options.slow.into(),
            fragment_timeout: options.fragment_timeout.0,
            write_timeout: options.write_timeout.0,
            idle_timeout: options.idle_timeout.duration(),
            origins: options.origins.into_iter().map(|origin| origin.0).collect(),
            hosts: options.hosts,
            require_origin: route().require_origin,
            require_protocol: options.require_protocol,
            site: 0,
            deflate: options.deflate.into(),
            deflate_bytes_min: options.deflate_min.0,
            deflate_window_bits: options.deflate_window_bits.0,
            deflate_idle: options.deflate_idle.0,
        };
        settings.outbox_hard = match options.outbox_hard.0 {
            Some(size) => size.0,
            None => outbox_hard(&settings),
        };
        settings
    }
}

/// The usual hard limit, or the least one that these settings allow.
fn outbox_hard(settings: &RouteSettings) -> usize {
    let least = settings.outbox_hard_min();
    let rounded = least.checked_next_multiple_of(OUTBOX_HARD_STEP);
    settings.outbox_hard.max(rounded.unwrap_or(least))
}
