//! The settings that apply to the whole server.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use weir::reactor::settings::{
    ClientAddressFrom, Limit, ListenSettings, MemoryMax, Prefix, Rate, Settings, TlsSettings,
};

use super::heartbeat::HeartbeatOptions;
use crate::audit::AuditSettings;
use crate::config::addresses::{Address, Listen};
use crate::config::tls::{TlsMistake, TlsOptions};
use crate::config::values::{Count, FileName, OrAuto, OrOff, Percent, Size, Span, texts};
use crate::logging::{LogFilter, LogFormat, LogSettings};

/// The default listener.
const LISTEN: Listen = Listen {
    address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9001)),
    secure: false,
    proxy_header: false,
};
/// The listener group of the admin routes; all other routes are in group 0.
pub(crate) const ADMIN_GROUP: u16 = 1;

/// The settings that apply to the whole server.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct ServerOptions {
    /// Address and port to listen on, after wss:// for TLS, proxy+ws:// or proxy+wss:// if
    /// trusted_proxies send PROXY headers; port 0: chosen by the system
    #[arg(long, value_name = "ADDR", help_heading = "Listening", value_delimiter = ',')]
    #[arg(default_values_t = [LISTEN])]
    listen: Vec<Listen>,

    /// Address and port for operators: GET /metrics, /healthz, /readyz, /status, /connections, with a
    /// relay exports; with their own connection limit beside connections_max; or off
    #[arg(long, value_name = "ADDR", help_heading = "Listening", default_value_t = OrOff(None))]
    admin: OrOff<Address>,

    /// Share the port with other processes (SO_REUSEPORT)
    #[arg(long, value_name = "BOOL", help_heading = "Listening", default_value_t = false)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    reuse_port: bool,

    /// Log level: error, warn, info, debug, trace or off; also per target, as in "warn,weir=debug".
    /// Libraries log only warnings and errors unless the filter names them, as in "debug,rustls=debug";
    /// ureq never logs more, because its lines contain the keys in upstream URLs
    #[arg(long, value_name = "LEVEL", help_heading = "Log", default_value_t)]
    log: LogFilter,

    /// Format of log lines on stderr
    #[arg(long, value_name = "FORMAT", help_heading = "Log", value_enum, default_value_t)]
    log_format: LogFormat,

    /// Log connections that ended normally, too
    #[arg(long, value_name = "BOOL", help_heading = "Log", default_value_t = false)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    log_access: bool,

    /// Give each request the id of a trace, that of its traceparent or a new one, in log lines and in
    /// requests to upstreams
    #[arg(long, value_name = "BOOL", help_heading = "Log", default_value_t = server().trace)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    trace: bool,

    /// Append events of connections, identities and operators to this file, as JSON lines; or off
    #[arg(long, value_name = "FILE", help_heading = "Log", default_value_t = OrOff(None))]
    audit: OrOff<FileName>,

    /// Key of at least 32 bytes for an HMAC in each line of the audit log, which weir audit checks; or
    /// off
    #[arg(long, value_name = "FILE", help_heading = "Log", default_value_t = OrOff(None))]
    audit_key: OrOff<FileName>,

    /// Maximum client connections, handshakes included; more are refused with 503
    #[arg(long, value_name = "N", help_heading = "Admission")]
    #[arg(default_value_t = Count(server().connections_max))]
    connections_max: Count<usize>,

    /// Maximum WebSocket connections to upstreams, beside connections_max; at the limit, connecting
    /// fails and is retried
    #[arg(long, value_name = "N", help_heading = "Admission")]
    #[arg(default_value_t = Count(server().outbound_max))]
    outbound_max: Count<usize>,

    /// Maximum connections per address (IPv6: per /64); more are refused with 429; 0: unlimited;
    /// auto: unlimited from loopback, 64 from other addresses
    #[arg(long, value_name = "N", help_heading = "Admission")]
    #[arg(default_value_t = OrAuto(server().connections_per_address.map(Count)))]
    connections_per_address: OrAuto<Count<usize>>,

    /// Address ranges that are exempt from the limits per address
    #[arg(long, value_name = "CIDR", help_heading = "Admission", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    exempt: Vec<Prefix>,

    /// Address ranges of proxies in front, whose headers state the addresses of their clients
    #[arg(long, value_name = "CIDR", help_heading = "Admission", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    trusted_proxies: Vec<Prefix>,

    /// Header in which trusted_proxies state the client's address
    #[arg(long, value_name = "HEADER", help_heading = "Admission", value_enum)]
    #[arg(default_value_t = server().client_address_from.into())]
    client_address_from: AddressHeader,

    /// Maximum rate of new connections per address, as in "10/s burst 50"; more are refused with
    /// 429
    #[arg(long, value_name = "RATE", help_heading = "Admission")]
    #[arg(default_value_t = OrOff(server().rate_per_address))]
    rate_per_address: OrOff<Rate>,

    /// Maximum rate of new connections in total, as in "100/s"; more are refused with 429
    #[arg(long, value_name = "RATE", help_heading = "Admission")]
    #[arg(default_value_t = OrOff(server().rate))]
    rate: OrOff<Rate>,

    /// Limits that are counted and logged, but not enforced, as in "messages" or "rate_limited"
    #[arg(long, value_name = "LIMIT", help_heading = "Admission", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    limits_dry_run: Vec<Limit>,

    /// Maximum size of a request head; larger ones are refused with 431
    #[arg(long, value_name = "SIZE", help_heading = "Admission")]
    #[arg(default_value_t = Size(server().head_bytes_max))]
    head_max: Size,

    /// How long a Sec-WebSocket-Key must not be reused
    #[arg(long, value_name = "TIME", help_heading = "Admission")]
    #[arg(default_value_t = OrOff(server().key_reuse_window.map(Span)))]
    key_reuse_window: OrOff<Span>,

    /// Maximum memory of all connections' queues and unfinished messages
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    #[arg(default_value_t = Size(server().buffered_bytes_max))]
    buffered_max: Size,

    /// Maximum joined topics of all connections
    #[arg(long, value_name = "N", help_heading = "Limits")]
    #[arg(default_value_t = Count(server().topics_max))]
    topics_max: Count<usize>,

    /// Maximum joined topics per connection
    #[arg(long, value_name = "N", help_heading = "Limits")]
    #[arg(default_value_t = Count(server().topics_per_connection_max))]
    topics_per_connection_max: Count<usize>,

    /// Restrict new and low-priority connections under load, and close some of them if that is not
    /// enough; without, the load is only measured
    #[arg(long, value_name = "BOOL", help_heading = "Load", default_value_t = server().levels)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    levels: bool,

    /// Wait of an event for the loop at which the load is elevated
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    #[arg(default_value_t = Span(server().delay_elevated))]
    delay_elevated: Span,

    /// Wait of an event for the loop at which the load is critical
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    #[arg(default_value_t = Span(server().delay_critical))]
    delay_critical: Span,

    /// Memory limit of the process, for the load; auto: that of its cgroup, else of the machine; off:
    /// only buffered bytes are measured
    #[arg(long, value_name = "SIZE", help_heading = "Load")]
    #[arg(default_value_t = server().memory_max.into())]
    memory_max: OrAuto<OrOff<Size>>,

    /// Part of memory_max, or of the shared half of buffered_max, at which the load is elevated
    #[arg(long, value_name = "PERCENT", help_heading = "Load")]
    #[arg(default_value_t = Percent(server().memory_elevated_percent))]
    memory_elevated: Percent,

    /// Part of memory_max, or of the shared half of buffered_max, at which the load is critical
    #[arg(long, value_name = "PERCENT", help_heading = "Load")]
    #[arg(default_value_t = Percent(server().memory_critical_percent))]
    memory_critical: Percent,

    /// Part of connections_max for priorities high and critical; 0% unless a route has such a priority
    /// or a gate
    #[arg(long, value_name = "PERCENT", help_heading = "Load")]
    #[arg(default_value_t = Percent(server().reserve_percent))]
    reserve: Percent,

    /// Part of the open connections that may be closed while the load is critical; 0%: none
    #[arg(long, value_name = "PERCENT", help_heading = "Load")]
    #[arg(default_value_t = Percent(server().shed_max_percent))]
    shed_max: Percent,

    /// Compression level, from 1 (fastest) to 9 (smallest output)
    #[arg(long, value_name = "N", help_heading = "Compression")]
    #[arg(default_value_t = Count(server().deflate_level))]
    deflate_level: Count<u8>,

    /// Memory level of compression, 1 to 9: about 2^(N+9) bytes
    #[arg(long, value_name = "N", help_heading = "Compression")]
    #[arg(default_value_t = Count(server().deflate_mem_level))]
    deflate_mem_level: Count<u8>,

    /// Maximum memory of all windows with deflate = "dedicated"; at the limit, new connections get
    /// "shared"
    #[arg(long, value_name = "SIZE", help_heading = "Compression")]
    #[arg(default_value_t = Size(server().deflate_windows_bytes_max))]
    deflate_windows_max: Size,

    /// Deadline from accepting a connection to answering its request
    #[arg(long, value_name = "TIME", help_heading = "Deadlines")]
    #[arg(default_value_t = Span(server().handshake_timeout))]
    handshake_timeout: Span,

    /// Deadline from our Close frame to the peer's
    #[arg(long, value_name = "TIME", help_heading = "Deadlines")]
    #[arg(default_value_t = Span(server().close_timeout))]
    close_timeout: Span,

    /// Deadline from the shutdown signal to the end of the last connection
    #[arg(long, value_name = "TIME", help_heading = "Deadlines")]
    #[arg(default_value_t = Span(server().drain_timeout))]
    drain_timeout: Span,

    #[command(flatten)]
    #[serde(flatten)]
    heartbeat: HeartbeatOptions,

    /// Pin the process to this CPU, counted from 0, or off
    #[arg(long, value_name = "CPU", help_heading = "Measuring", default_value_t = OrOff(None))]
    pin: OrOff<Count<usize>>,

    /// Log how the loop's time is spent, at the end and on SIGUSR1
    #[arg(long, value_name = "BOOL", help_heading = "Measuring", default_value_t = false)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    turn_stats: bool,

    #[command(flatten)]
    #[serde(flatten)]
    tls: TlsOptions,
}

/// The names of [`ClientAddressFrom`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AddressHeader {
    /// A list to which each proxy appends an address
    XForwardedFor,
    /// The same as a standard (RFC 7239)
    Forwarded,
    /// One address, set by Cloudflare
    CfConnectingIp,
    /// One address, set by Akamai and Cloudflare
    TrueClientIp,
    /// One address, usually set by nginx
    XRealIp,
}

impl From<ClientAddressFrom> for AddressHeader {
    fn from(from: ClientAddressFrom) -> AddressHeader {
        match from {
            ClientAddressFrom::Forwarded => AddressHeader::Forwarded,
            ClientAddressFrom::CfConnectingIp => AddressHeader::CfConnectingIp,
            ClientAddressFrom::TrueClientIp => AddressHeader::TrueClientIp,
            ClientAddressFrom::XRealIp => AddressHeader::XRealIp,
            _ => AddressHeader::XForwardedFor,
        }
    }
}

impl From<AddressHeader> for ClientAddressFrom {
    fn from(header: AddressHeader) -> ClientAddressFrom {
        match header {
            AddressHeader::XForwardedFor => ClientAddressFrom::XForwardedFor,
            AddressHeader::Forwarded => ClientAddressFrom::Forwarded,
            AddressHeader::CfConnectingIp => ClientAddressFrom::CfConnectingIp,
            AddressHeader::TrueClientIp => ClientAddressFrom::TrueClientIp,
            AddressHeader::XRealIp => ClientAddressFrom::XRealIp,
        }
    }
}

impl From<MemoryMax> for OrAuto<OrOff<Size>> {
    fn from(limit: MemoryMax) -> OrAuto<OrOff<Size>> {
        match limit {
            MemoryMax::Auto => OrAuto(None),
            MemoryMax::Off => OrAuto(Some(OrOff(None))),
            MemoryMax::Bytes(bytes) => OrAuto(Some(OrOff(Some(Size(bytes))))),
        }
    }
}

fn memory_max(limit: OrAuto<OrOff<Size>>) -> MemoryMax {
    match limit {
        OrAuto(None) => MemoryMax::Auto,
        OrAuto(Some(OrOff(None))) => MemoryMax::Off,
        OrAuto(Some(OrOff(Some(Size(bytes))))) => MemoryMax::Bytes(bytes),
    }
}

fn server() -> Settings {
    Settings::default()
}

/// What one server is started with, except its routes and networks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServerConfig {
    pub(crate) listen: Vec<ListenSettings>,
    /// TLS settings of the secure listeners.
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) log: LogSettings,
    /// The audit log, if enabled.
    pub(crate) audit: Option<AuditSettings>,
    /// The listener for operators, if enabled.
    pub(crate) admin: Option<ListenSettings>,
    /// The CPU that the process is pinned to.
    pub(crate) pin: Option<usize>,
    pub(crate) settings: Settings,
}

impl ServerOptions {
    /// The inverse of [`settings`](Self::settings), [`listen`](Self::listen), [`tls`](Self::tls),
    /// [`log`](Self::log), [`audit`](Self::audit) and [`pin`](Self::pin).
    pub(in crate::config) fn new(config: &ServerConfig) -> Self {
        let ServerConfig { listen, admin, tls, log, audit, pin, settings } = config;
        let file = |path: &PathBuf| FileName(path.clone());
        ServerOptions {
            listen: listen.iter().map(Listen::from).collect(),
            admin: OrOff(admin.as_ref().map(|listen| Address(listen.address))),
            reuse_port: listen.iter().any(|listen| listen.reuse_port),
            log: log.filter.clone(),
            log_format: log.format,
            log_access: settings.log_access,
            trace: settings.trace,
            audit: OrOff(audit.as_ref().map(|audit| file(&audit.file))),
            audit_key: OrOff(audit.as_ref().and_then(|audit| audit.key.as_ref()).map(file)),
            connections_max: Count(settings.connections_max),
            outbound_max: Count(settings.outbound_max),
            connections_per_address: OrAuto(settings.connections_per_address.map(Count)),
            exempt: settings.exempt.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            client_address_from: settings.client_address_from.into(),
            rate_per_address: OrOff(settings.rate_per_address),
            rate: OrOff(settings.rate),
            limits_dry_run: settings.limits_dry_run.clone(),
            head_max: Size(settings.head_bytes_max),
            key_reuse_window: OrOff(settings.key_reuse_window.map(Span)),
            buffered_max: Size(settings.buffered_bytes_max),
            levels: settings.levels,
            delay_elevated: Span(settings.delay_elevated),
            delay_critical: Span(settings.delay_critical),
            memory_max: settings.memory_max.into(),
            memory_elevated: Percent(settings.memory_elevated_percent),
            memory_critical: Percent(settings.memory_critical_percent),
            reserve: Percent(settings.reserve_percent),
            shed_max: Percent(settings.shed_max_percent),
            topics_max: Count(settings.topics_max),
            topics_per_connection_max: Count(settings.topics_per_connection_max),
            deflate_level: Count(settings.deflate_level),
            deflate_mem_level: Count(settings.deflate_mem_level),
            deflate_windows_max: Size(settings.deflate_windows_bytes_max),
            handshake_timeout: Span(settings.handshake_timeout),
            close_timeout: Span(settings.close_timeout),
            drain_timeout: Span(settings.drain_timeout),
            heartbeat: settings.heartbeat.into(),
            pin: OrOff(pin.map(Count)),
            turn_stats: settings.turn_stats,
            tls: TlsOptions::new(tls.as_ref()),
        }
    }

    /// The settings of these options.
    pub(in crate::config) fn settings(&self) -> Settings {
        Settings::default()
            .connections_max(self.connections_max.0)
            .outbound_max(self.outbound_max.0)
            .connections_per_address(self.connections_per_address.0.map(|count| count.0))
            .exempt(self.exempt.clone())
            .trusted_proxies(self.trusted_proxies.clone())
            .client_address_from(self.client_address_from.into())
            .rate_per_address(self.rate_per_address.0)
            .rate(self.rate.0)
            .limits_dry_run(self.limits_dry_run.clone())
            .head_bytes_max(self.head_max.0)
            .buffered_bytes_max(self.buffered_max.0)
            .key_reuse_window(self.key_reuse_window.duration())
            .handshake_timeout(self.handshake_timeout.0)
            .close_timeout(self.close_timeout.0)
            .drain_timeout(self.drain_timeout.0)
            .heartbeat(self.heartbeat.heartbeat())
            .topics_max(self.topics_max.0)
            .topics_per_connection_max(self.topics_per_connection_max.0)
            .levels(self.levels)
            .delay_elevated(self.delay_elevated.0)
            .delay_critical(self.delay_critical.0)
            .memory_max(memory_max(self.memory_max))
            .memory_elevated_percent(self.memory_elevated.0)
            .memory_critical_percent(self.memory_critical.0)
            .reserve_percent(self.reserve.0)
            .shed_max_percent(self.shed_max.0)
            .deflate_level(self.deflate_level.0)
            .deflate_mem_level(self.deflate_mem_level.0)
            .deflate_windows_bytes_max(self.deflate_windows_max.0)
            .log_access(self.log_access)
            .trace(self.trace)
            .turn_stats(self.turn_stats)
    }

    pub(in crate::config) fn listen(&self) -> Vec<ListenSettings> {
        let reuse_port = self.reuse_port;
        let listen = |&Listen { address, secure, proxy_header }: &Listen| {
            let settings = ListenSettings::new(address).reuse_port(reuse_port);
            settings.secure(secure).proxy_header(proxy_header)
        };
        self.listen.iter().map(listen).collect()
    }

    pub(in crate::config) fn tls(&self) -> Result<Option<TlsSettings>, TlsMistake> {
        self.tls.settings(&self.listen)
    }

    pub(in crate::config) fn admin(&self) -> Option<ListenSettings> {
        self.admin.0.map(|Address(address)| {
            ListenSettings::new(address).listener_group(ADMIN_GROUP).for_operators(true)
        })
    }

    pub(in crate::config) fn log(&self) -> LogSettings {
        LogSettings { filter: self.log.clone(), format: self.log_format }
    }

    pub(in crate::config) fn audit(&self) -> Result<Option<AuditSettings>, &'static str> {
        let path = |name: &FileName| name.0.clone();
        let key = self.audit_key.0.as_ref().map(path);
        match &self.audit.0 {
            Some(file) => Ok(Some(AuditSettings { file: path(file), key })),
            None if key.is_some() => Err("audit_key is set, but audit is off"),
            None => Ok(None),
        }
    }

    pub(in crate::config) fn pin(&self) -> Option<usize> {
        self.pin.0.map(|cpu| cpu.0)
    }
}
