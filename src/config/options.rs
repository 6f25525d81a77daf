//! Every setting, once: its key, its flag, its type, its default and its help.
//!
//! A field's name is the key of the file; the flag and the variable follow from it (`message_max`,
//! `--message-max`, `WEIR_MESSAGE_MAX`). Defaults come from the plain settings structs, which these
//! options turn into and can be made from again. Nothing is checked here but the form of one value.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::{
    DeflateMode, Heartbeat, ListenSettings, Prefix, Rate, RouteSettings, Settings, SlowPolicy,
    TlsSettings,
};

use super::Config;
use super::tls::{TlsMistake, TlsOptions};
use super::values::{Count, Listen, OrAuto, OrOff, Origin, Size, Span, texts};
use crate::logging::{LogFilter, LogFormat, LogSettings};
use weir::services::rooms::RoomSettings;

/// Where the server listens unless told otherwise.
const LISTEN: Listen =
    Listen { address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001)), secure: false };
/// The site of the routes for operators; those of everybody else are on site 0.
pub(crate) const ADMIN_SITE: u16 = 1;
/// A hard limit that was not set is rounded up to a multiple of this, for round numbers.
const OUTBOX_HARD_STEP: usize = 64 * 1024;

/// All settings that have a flag.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(super) server: ServerOptions,
    #[command(flatten)]
    pub(super) route: RouteOptions,
    #[command(flatten)]
    pub(super) room: RoomOptions,
}

/// The settings of the server as a whole.
#[derive(Debug, Args, Serialize)]
pub(super) struct ServerOptions {
    /// Address and port to listen on, behind wss:// for TLS; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", help_heading = "Listening", value_delimiter = ',')]
    #[arg(default_values_t = [LISTEN])]
    listen: Vec<Listen>,

    /// Address and port for operators: GET /metrics and /healthz, which nobody else sees; or off
    #[arg(long, value_name = "ADDR", help_heading = "Listening", default_value_t = OrOff(None))]
    admin: OrOff<SocketAddr>,

    /// Share the port with other processes (SO_REUSEPORT)
    #[arg(long, value_name = "BOOL", help_heading = "Listening", default_value_t = false)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    reuse_port: bool,

    /// error, warn, info, debug, trace or off; also per target, as in "warn,weir=debug"
    #[arg(long, value_name = "LEVEL", help_heading = "Log", default_value_t)]
    log: LogFilter,

    /// How a line of the log on stderr is written
    #[arg(long, value_name = "FORMAT", help_heading = "Log", value_enum, default_value_t)]
    log_format: LogFormat,

    /// Connections at once, those in handshake included; one more is answered 503
    #[arg(long, value_name = "N", help_heading = "Admission")]
    #[arg(default_value_t = Count(server().connections_max))]
    connections_max: Count<usize>,

    /// Connections at once from one address (IPv6: one /64); one more is answered 429. 0 is
    /// unlimited; auto is unlimited from loopback and 64 from elsewhere
    #[arg(long, value_name = "N", help_heading = "Admission")]
    #[arg(default_value_t = OrAuto(server().connections_per_address.map(Count)))]
    connections_per_address: OrAuto<Count<usize>>,

    /// Address range to which the limits per address do not apply
    #[arg(long, value_name = "CIDR", help_heading = "Admission", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    exempt: Vec<Prefix>,

    /// New connections from one address, as in "10/s burst 50"; past it 429
    #[arg(long, value_name = "RATE", help_heading = "Admission")]
    #[arg(default_value_t = OrOff(server().rate_per_address))]
    rate_per_address: OrOff<Rate>,

    /// New connections from everywhere, as in "100/s"; past it 429
    #[arg(long, value_name = "RATE", help_heading = "Admission")]
    #[arg(default_value_t = OrOff(server().rate))]
    rate: OrOff<Rate>,

    /// Head of a request; past it 431
    #[arg(long, value_name = "SIZE", help_heading = "Admission")]
    #[arg(default_value_t = Size(server().head_bytes_max))]
    head_max: Size,

    /// How long a Sec-WebSocket-Key may not be used again
    #[arg(long, value_name = "TIME", help_heading = "Admission")]
    #[arg(default_value_t = OrOff(server().key_reuse_window.map(Span)))]
    key_reuse_window: OrOff<Span>,

    /// What all connections together may hold in queues and unfinished messages
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    #[arg(default_value_t = Size(server().buffered_bytes_max))]
    buffered_max: Size,

    /// Topics that all connections together may have joined
    #[arg(long, value_name = "N", help_heading = "Limits")]
    #[arg(default_value_t = Count(server().topics_max))]
    topics_max: Count<usize>,

    /// Topics that one connection may have joined
    #[arg(long, value_name = "N", help_heading = "Limits")]
    #[arg(default_value_t = Count(server().topics_per_connection_max))]
    topics_per_connection_max: Count<usize>,

    /// How hard messages are compressed: 1, the fastest, to 9, the smallest
    #[arg(long, value_name = "N", help_heading = "Compression")]
    #[arg(default_value_t = Count(server().deflate_level))]
    deflate_level: Count<u8>,

    /// Memory that compressing has to gather a block in: 1 to 9, some 2^(N+9) bytes
    #[arg(long, value_name = "N", help_heading = "Compression")]
    #[arg(default_value_t = Count(server().deflate_mem_level))]
    deflate_mem_level: Count<u8>,

    /// What all windows of deflate = "dedicated" may come to hold; past it new connections get "shared"
    #[arg(long, value_name = "SIZE", help_heading = "Compression")]
    #[arg(default_value_t = Size(server().deflate_windows_bytes_max))]
    deflate_windows_max: Size,

    /// From accept to the answered request
    #[arg(long, value_name = "TIME", help_heading = "Deadlines")]
    #[arg(default_value_t = Span(server().handshake_timeout))]
    handshake_timeout: Span,

    /// From our Close frame to the peer's
    #[arg(long, value_name = "TIME", help_heading = "Deadlines")]
    #[arg(default_value_t = Span(server().close_timeout))]
    close_timeout: Span,

    /// From the order to shut down to the end of the last connection
    #[arg(long, value_name = "TIME", help_heading = "Deadlines")]
    #[arg(default_value_t = Span(server().drain_timeout))]
    drain_timeout: Span,

    /// Silence before a ping, or off
    #[arg(long, value_name = "TIME", help_heading = "Heartbeat")]
    #[arg(default_value_t = OrOff(server().heartbeat.map(|beat| Span(beat.interval))))]
    ping_interval: OrOff<Span>,

    /// How long any frame may take to follow a ping
    #[arg(long, value_name = "TIME", help_heading = "Heartbeat")]
    #[arg(default_value_t = Span(Heartbeat::default().pong_timeout))]
    pong_timeout: Span,

    /// Unanswered pings in a row that end a connection with 1001
    #[arg(long, value_name = "N", help_heading = "Heartbeat")]
    #[arg(default_value_t = Count(Heartbeat::default().misses_max))]
    pong_misses_max: Count<u8>,

    /// CPU to stay on, counted from 0, or off
    #[arg(long, value_name = "CPU", help_heading = "Measuring", default_value_t = OrOff(None))]
    pin: OrOff<Count<usize>>,

    /// Log where the time of the loop's turns went, at the end and on SIGUSR1
    #[arg(long, value_name = "BOOL", help_heading = "Measuring", default_value_t = false)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    turn_stats: bool,

    #[command(flatten)]
    #[serde(flatten)]
    tls: TlsOptions,
}

/// The settings of a route; given without a route, those of every route that says nothing else.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Routes (each may be set for one [[route]] of the file)")]
pub(super) struct RouteOptions {
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

    /// Origin that may connect, as in "https://example.org"; without any, all may
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    origins: Vec<Origin>,

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

/// The settings of the rooms service.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Rooms (each may be set for one [[route]] of the file)")]
pub(super) struct RoomOptions {
    /// Messages that a room remembers for those who join; 0 is none
    #[arg(long, value_name = "N", default_value_t = Count(rooms().history_max))]
    history_max: Count<usize>,

    /// What the messages that a room remembers may take
    #[arg(long, value_name = "SIZE", default_value_t = Size(rooms().history_bytes_max))]
    history_bytes_max: Size,

    /// How long a room remembers a message; off is until newer ones replace it
    #[arg(long, value_name = "TIME", default_value_t = OrOff(rooms().history_ttl.map(Span)))]
    history_ttl: OrOff<Span>,

    /// Rooms at once
    #[arg(long, value_name = "N", default_value_t = Count(rooms().rooms_max))]
    rooms_max: Count<usize>,
}

/// [`SlowPolicy`] as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slow {
    /// Messages for it are dropped until its queue has drained
    Drop,
    /// It is closed with 1013
    Close,
}

/// [`DeflateMode`] as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Deflate {
    /// Nothing is compressed
    Off,
    /// Each message by itself; a connection needs no memory for it
    Shared,
    /// Messages refer to those before; each connection has windows of its own
    Dedicated,
}

fn server() -> Settings {
    Settings::default()
}

fn route() -> RouteSettings {
    RouteSettings::default()
}

fn rooms() -> RoomSettings {
    RoomSettings::default()
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

impl ServerOptions {
    /// The options that [`settings`](Self::settings), [`listen`](Self::listen), [`tls`](Self::tls),
    /// [`log`](Self::log) and [`pin`](Self::pin) turn into these values.
    pub(super) fn new(config: &Config) -> Self {
        let Config { listen, admin, tls, log, pin, settings, routes: _, networks: _ } = config;
        let written =
            |listen: &ListenSettings| Listen { address: listen.address, secure: listen.secure };
        let beat = settings.heartbeat.unwrap_or_default();
        ServerOptions {
            listen: listen.iter().map(written).collect(),
            admin: OrOff(admin.as_ref().map(|listen| listen.address)),
            reuse_port: listen.iter().any(|listen| listen.reuse_port),
            log: log.filter.clone(),
            log_format: log.format,
            connections_max: Count(settings.connections_max),
            connections_per_address: OrAuto(settings.connections_per_address.map(Count)),
            exempt: settings.exempt.clone(),
            rate_per_address: OrOff(settings.rate_per_address),
            rate: OrOff(settings.rate),
            head_max: Size(settings.head_bytes_max),
            key_reuse_window: OrOff(settings.key_reuse_window.map(Span)),
            buffered_max: Size(settings.buffered_bytes_max),
            topics_max: Count(settings.topics_max),
            topics_per_connection_max: Count(settings.topics_per_connection_max),
            deflate_level: Count(settings.deflate_level),
            deflate_mem_level: Count(settings.deflate_mem_level),
            deflate_windows_max: Size(settings.deflate_windows_bytes_max),
            handshake_timeout: Span(settings.handshake_timeout),
            close_timeout: Span(settings.close_timeout),
            drain_timeout: Span(settings.drain_timeout),
            ping_interval: OrOff(settings.heartbeat.map(|beat| Span(beat.interval))),
            pong_timeout: Span(beat.pong_timeout),
            pong_misses_max: Count(beat.misses_max),
            pin: OrOff(pin.map(Count)),
            turn_stats: settings.turn_stats,
            tls: TlsOptions::new(tls.as_ref()),
        }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            connections_max: self.connections_max.0,
            connections_per_address: self.connections_per_address.0.map(|count| count.0),
            exempt: self.exempt.clone(),
            rate_per_address: self.rate_per_address.0,
            rate: self.rate.0,
            head_bytes_max: self.head_max.0,
            buffered_bytes_max: self.buffered_max.0,
            key_reuse_window: self.key_reuse_window.duration(),
            handshake_timeout: self.handshake_timeout.0,
            close_timeout: self.close_timeout.0,
            drain_timeout: self.drain_timeout.0,
            heartbeat: self.ping_interval.duration().map(|interval| Heartbeat {
                interval,
                pong_timeout: self.pong_timeout.0,
                misses_max: self.pong_misses_max.0,
            }),
            topics_max: self.topics_max.0,
            topics_per_connection_max: self.topics_per_connection_max.0,
            deflate_level: self.deflate_level.0,
            deflate_mem_level: self.deflate_mem_level.0,
            deflate_windows_bytes_max: self.deflate_windows_max.0,
            turn_stats: self.turn_stats,
        }
    }

    pub(super) fn listen(&self) -> Vec<ListenSettings> {
        let reuse_port = self.reuse_port;
        let listen = |&Listen { address, secure }: &Listen| ListenSettings {
            address,
            reuse_port,
            secure,
            site: 0,
        };
        self.listen.iter().map(listen).collect()
    }

    pub(super) fn tls(&self) -> Result<Option<TlsSettings>, TlsMistake> {
        self.tls.settings(&self.listen)
    }

    pub(super) fn admin(&self) -> Option<ListenSettings> {
        let listen = |address| ListenSettings { site: ADMIN_SITE, ..ListenSettings::new(address) };
        self.admin.0.map(listen)
    }

    pub(super) fn log(&self) -> LogSettings {
        LogSettings { filter: self.log.clone(), format: self.log_format }
    }

    pub(super) fn pin(&self) -> Option<usize> {
        self.pin.0.map(|cpu| cpu.0)
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

impl From<&RoomSettings> for RoomOptions {
    fn from(settings: &RoomSettings) -> RoomOptions {
        RoomOptions {
            history_max: Count(settings.history_max),
            history_bytes_max: Size(settings.history_bytes_max),
            history_ttl: OrOff(settings.history_ttl.map(Span)),
            rooms_max: Count(settings.rooms_max),
        }
    }
}

impl From<RoomOptions> for RoomSettings {
    fn from(options: RoomOptions) -> RoomSettings {
        RoomSettings {
            history_max: options.history_max.0,
            history_bytes_max: options.history_bytes_max.0,
            history_ttl: options.history_ttl.duration(),
            rooms_max: options.rooms_max.0,
        }
    }
}
