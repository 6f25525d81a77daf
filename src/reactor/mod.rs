//! The loop: one `mio` poll, one table of connections, and the turn that works on them.
//!
//! A [`Reactor`] owns sockets, queues and timers; [`Service`]s handle the messages.
//! [`Reactor::run`] repeats one turn of eight phases, in this order and each within its [budget]:
//!
//! | phase     | what it does |
//! |-----------|--------------|
//! | readiness | records readiness that the poll reports and queues connections; no I/O |
//! | read      | one read from each queued connection; decodes frames, calls handlers |
//! | mail      | calls services with mail from other threads; decisions on deferred requests |
//! | timers    | pings, deadlines, services' timers |
//! | accept    | new connections, after all work for existing ones |
//! | flush     | one vectored write for each connection with output |
//! | drain     | calls `on_drain` for congested connections whose queue has drained |
//! | reap      | calls `on_close` for ended connections, and frees their slots |
//!
//! Handlers run inside these phases and change only state and queues. What `send` queues in *read*
//! is written in *flush*, all output of one connection in one system call; a large message that
//! finds nothing queued is written at once. Work beyond a budget
//! stays queued, and the next poll does not wait.
//!
//! There are no globals: several reactors can run in one process, each on its own thread, and share
//! a port by `SO_REUSEPORT`.

mod api;
mod conn;
mod core;
mod effects;
mod parts;
mod turn;
#[cfg(all(test, not(feature = "tls"), not(feature = "deflate")))]
#[path = "without/tests.rs"]
mod without;

use std::any::Any;
use std::hash::Hash;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mio::{Events, Poll};

use self::api::budget::{EVENTS_PER_POLL, READ_BYTES};
use self::api::settings::{GateSettings, ListenSettings, RouteSettings, Settings};
use self::core::Core;
use self::parts::listener::{Listener, Reserve};
use self::parts::load::slow_turn;
use self::parts::mailbox::Notifiers;
use self::parts::observed::Observed;
use self::parts::rounds::Rounds;
use self::parts::shutdown::Shutdown;
use self::parts::signals::SignalHandler;
use self::parts::stats::TurnStats;
use self::parts::work::Share;
use crate::protocol::secret::Secret;

pub use self::api::close_reason::{CloseReason, Excess, ProxyFault};
pub use self::api::conn_map::ConnMap;
pub use self::api::connect::Connect;
pub use self::api::context::Context;
#[cfg(feature = "proxy")]
pub use self::api::exchange::{ExchangeEnd, ExchangeOutcome, ForwardResponse, HeadDecision};
pub use self::api::gate::Gate;
pub use self::api::handle::Handle;
pub use self::api::id::{ConnId, GateId, RouteId, ServiceId};
pub use self::api::identity::{Identity, IdentityError, Requirement, RequirementError};
pub use self::api::level::{Level, Load, Resource, ResourceLoad};
pub use self::api::metadata::{Metadata, MetadataError};
pub use self::api::observer::{Event, EventConn, EventKind, Observer};
pub use self::api::outcome::{Decision, More, SendOutcome, Verdict};
pub use self::api::priority::{Priority, PriorityError};
pub use self::api::publish::{Filter, Payload, PublishOptions, Published, Target};
pub use self::api::record::{Record, Traffic};
#[cfg(feature = "proxy")]
pub use self::api::request::RequestHead;
pub use self::api::request::{GateRequest, HttpRequest, Params, UpgradeRequest};
pub use self::api::route::{Page, PatternError, RouteError};
pub use self::api::service::Service;
pub use self::api::throttle::{Outstanding, Throttle};
pub use self::api::time::Time;
pub use self::api::tls_info::TlsInfo;
pub use self::api::token_request::{PresentError, TokenRequest};
#[cfg(feature = "proxy")]
pub use self::api::upstream::{
    ClientLost, PipeEnd, PipeTraffic, TunnelSettings, UpstreamDecision, UpstreamRequest,
};
pub use self::api::{budget, settings};
pub use self::parts::admission::Occupancy;
pub use self::parts::histograms::{Amounts, Durations, Sizes};
pub use self::parts::mailbox::{MailReceiver, MailSender};
pub use self::parts::metrics::{Metric, Metrics};
pub use self::parts::router::RoutePattern;
pub use self::parts::schedule::ServiceTimer;
#[cfg(feature = "signals")]
pub use self::parts::signals::SignalAction;
pub use self::parts::stats::TurnReport;
#[cfg(feature = "tls")]
pub use self::parts::tls::{PEM_BYTES_MAX, TlsConnector, TlsError};
pub use self::parts::topics::{JoinError, Joined, Left};
pub use self::parts::workers::{
    Finished, Step, Task, WorkQueue, WorkerLoad, WorkerSettings, Workers,
};

/// Rates and address ranges, for services with limits of their own.
#[cfg(any(feature = "auth", feature = "nostr"))]
pub(crate) mod limits {
    pub(crate) use super::parts::addresses::counted_address;
    #[cfg(feature = "nostr")]
    pub(crate) use super::parts::addresses::is_in;
    pub(crate) use super::parts::bucket::Bucket;
    pub(crate) use super::parts::rates::Buckets;
}

/// Parts that weir's binary, upstream clients, benches, fuzz targets and tests use. They are exempt from
/// semantic versioning: not for embedders.
#[doc(hidden)]
pub mod internals {
    pub use super::parts::file::read_regular_file;
    pub use super::parts::{timer, topics};
}

/// A service as the gate that it was added as.
type AsGate = fn(&mut dyn Any) -> Option<&mut dyn Gate>;

fn as_gate<G: Gate + 'static>(service: &mut dyn Any) -> Option<&mut dyn Gate> {
    service.downcast_mut::<G>().map(|gate| gate as &mut dyn Gate)
}

/// One loop with its services. The [module](self) describes a turn.
///
/// A `Reactor` is not `Send`, because its services need not be: create it on the thread that runs
/// it. Other threads control it by a [`Handle`], which is `Send`.
///
/// ```
/// use std::time::Duration;
/// use weir::prelude::*;
///
/// struct Echo;
///
/// impl Service for Echo {
///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, message: Message<'_>) {
///         if cx.send(conn, message) == SendOutcome::Congested {
///             cx.pause(conn);
///         }
///     }
///     fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
///         cx.resume(conn);
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reactor = Reactor::new(Settings::default())?;
/// let echo = reactor.add_service(Echo)?;
/// reactor.add_route("/", echo, RouteSettings::default())?;
/// let address = reactor.listen(&ListenSettings::new("127.0.0.1:0".parse()?))?;
/// println!("listening ws://{address}/");
/// # reactor.handle().shutdown();
/// reactor.run()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    /// The read buffer of all connections.
    scratch: Secret<Box<[u8]>>,
    services: Vec<Box<dyn Service>>,
    gates: Vec<(GateId, AsGate)>,
    /// By the index in their token; `None` after a shutdown has closed the listener.
    listeners: Vec<Option<Listener>>,
    reserve: Reserve,
    core: Core,
    /// The share of each connection in this read phase.
    share: Share,
    /// The rounds since the last sample of the load.
    rounds: Rounds,
    shutdown: Option<Shutdown>,
    signal_handler: Option<SignalHandler>,
    /// Only if `turn_stats` is set, because it reads the clock in each phase.
    stats: Option<TurnStats>,
    /// When the previous turn started, and when it ended.
    previous: Time,
    ended: Time,
    /// No timer fires before this time.
    timers_held_until: Time,
}

impl Reactor {
    /// A loop without services and listeners.
    ///
    /// # Errors
    /// The settings contradict each other ([`io::ErrorKind::InvalidInput`]), or the system provides
    /// no poll, waker or entropy.
    pub fn new(settings: Settings) -> io::Result<Reactor> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        settings.check().map_err(invalid)?;
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let notifiers = Notifiers::new(&registry)?;
        let stats = settings.turn_stats.then(|| TurnStats::new(Time::ZERO, &Metrics::default()));
        let rounds = Rounds::new(slow_turn(&settings));
        Ok(Reactor {
            events: Events::with_capacity(EVENTS_PER_POLL),
            scratch: Secret(vec![0; READ_BYTES].into_boxed_slice()),
            services: Vec::new(),
            gates: Vec::new(),
            listeners: Vec::new(),
            reserve: Reserve::new(),
            core: Core::new(settings, registry, notifiers)?,
            share: Share::default(),
            rounds,
            shutdown: None,
            signal_handler: None,
            stats,
            previous: Time::ZERO,
            ended: Time::ZERO,
            timers_held_until: Time::ZERO,
            poll,
        })
    }

    /// Adds a service. Requests reach it by [`Reactor::add_route`].
    ///
    /// # Errors
    /// There are 65,535 services, or the service has more than 255 subprotocols.
    pub fn add_service<S: Service + 'static>(&mut self, service: S) -> io::Result<ServiceId> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let id = self.next_service_id();
        if id == ServiceId::LOOP {
            return Err(invalid("too many services: at most 65,535"));
        }
        if service.protocols().len() > usize::from(u8::MAX) {
            return Err(invalid("too many subprotocols of one service: at most 255"));
        }
        #[cfg(feature = "proxy")]
        let streams_http = service.streams_http();
        #[cfg(not(feature = "proxy"))]
        let streams_http = false;
        let (protocols, methods) = (service.protocols(), service.methods());
        self.core.router.add_service(protocols, methods, streams_http);
        self.core.service_names.push(std::any::type_name::<S>());
        self.services.push(Box::new(service));
        Ok(id)
    }

    /// Adds a gate. It is a service, too: it has mailboxes, threads and timers, and may have routes.
    /// Routes name it in [`RouteSettings::gate`](field@RouteSettings::gate).
    ///
    /// # Errors
    /// As for [`add_service`](Reactor::add_service).
    pub fn add_gate<G: Gate + 'static>(
        &mut self,
        gate: G,
        settings: GateSettings,
    ) -> io::Result<GateId> {
        let id = GateId(self.add_service(gate)?);
        self.gates.push((id, as_gate::<G>));
        self.core.router.add_gate(id, settings);
        Ok(id)
    }

    /// The id that the next [`add_service`](Reactor::add_service) or
    /// [`add_gate`](Reactor::add_gate) will return, for values that the
    /// service is created with: its [mailbox](Reactor::mailbox), or the
    /// [route](Reactor::add_outbound) of its outbound connections.
    ///
    /// ```
    /// use std::thread;
    /// use weir::protocol::Message;
    /// use weir::reactor::settings::{RouteSettings, Settings};
    /// use weir::reactor::{ConnId, Context, MailReceiver, More, Reactor, RouteId, Service};
    ///
    /// struct Relay {
    ///     upstream: RouteId,
    ///     addresses: MailReceiver<std::net::SocketAddr>,
    /// }
    ///
    /// impl Service for Relay {
    ///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// #   fn on_mail(&mut self, _: &mut Context<'_>) -> More {
    /// #       let _ = (self.upstream, self.addresses.try_recv());
    /// #       More::No
    /// #   }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reactor = Reactor::new(Settings::default())?;
    /// let id = reactor.next_service_id();
    /// let upstream = reactor.add_outbound(id, RouteSettings::default())?;
    /// let (sender, addresses) = reactor.mailbox(id, 1);
    /// assert_eq!(reactor.add_service(Relay { upstream, addresses })?, id);
    /// thread::spawn(move || sender.send(([127, 0, 0, 1], 9001).into()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_service_id(&self) -> ServiceId {
        ServiceId(u16::try_from(self.services.len()).unwrap_or(u16::MAX))
    }

    /// Creates a mailbox for a service, like [`Context::mailbox`].
    pub fn mailbox<T>(
        &mut self,
        service: ServiceId,
        capacity: usize,
    ) -> (MailSender<T>, MailReceiver<T>) {
        self.core.notifiers.mailbox(service, capacity)
    }

    /// Creates a pool of threads for a service, like [`Context::workers`].
    pub fn workers<J, D, K>(
        &mut self,
        service: ServiceId,
        settings: WorkerSettings,
        work: impl Fn(J) -> Step<J, D> + Send + Sync + 'static,
    ) -> Workers<J, D, K>
    where
        J: Send + 'static,
        D: Send + 'static,
        K: Clone + Eq + Hash + Send + 'static,
    {
        Workers::new(self.core.notifiers.notifier(service), settings, work)
    }

    /// Routes requests to a service: by an exact path (`/chat`), one with parameters
    /// (`/rooms/{name}`), or a prefix (`/files/*`). Several services may share a path if they
    /// differ in subprotocols.
    ///
    /// # Errors
    /// The path is malformed or taken, the service does not exist, or the settings contradict each
    /// other.
    pub fn add_route(
        &mut self,
        path: &str,
        service: ServiceId,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        if service.index() >= self.services.len() {
            return Err(RouteError::NoService);
        }
        let added = self.core.router.add(path, service, settings);
        self.core.review_reserve();
        added
    }

    /// Adds settings for outbound connections, which a service opens with [`Context::connect`].
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn add_outbound(
        &mut self,
        service: ServiceId,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        self.core.router.add_outbound(service, settings)
    }

    /// Adds a page, which is returned for a GET of `path`. The path may be that of a route, too.
    pub fn add_page(&mut self, path: &str, page: Page) {
        self.core.router.add_page(path, page);
    }

    /// Listens on an address; returns it, with the port that the kernel chose for port 0.
    ///
    /// # Errors
    /// The message of the error names the address, the kind is that of its cause: the address
    /// cannot be bound. With TLS also: no certificate was [set](Reactor::set_tls)
    /// ([`io::ErrorKind::InvalidInput`]), or the feature `tls` is missing
    /// ([`io::ErrorKind::Unsupported`]). With PROXY headers also: there are no trusted proxies
    /// ([`io::ErrorKind::InvalidInput`]).
    pub fn listen(&mut self, settings: &ListenSettings) -> io::Result<SocketAddr> {
        self.add_listener(settings).map_err(|error| {
            io::Error::new(error.kind(), format!("listen on {}: {error}", settings.address))
        })
    }

    fn add_listener(&mut self, settings: &ListenSettings) -> io::Result<SocketAddr> {
        if settings.secure {
            self.core.tls.check_identity()?;
        }
        if settings.proxy_header && self.core.settings.trusted_proxies.is_empty() {
            let what = "a PROXY header needs trusted_proxies: no peer would be accepted";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let index = self.listeners.len();
        let listener = Listener::bind(settings, index, self.poll.registry())?;
        let address = listener.address()?;
        if listener.is_for_operators() {
            self.reserve.keep_for_operators();
        }
        self.listeners.push(Some(listener));
        Ok(address)
    }

    /// Reports events to an observer, for an audit log. It replaces an earlier one.
    pub fn set_observer(&mut self, observer: impl Observer + 'static) {
        self.core.observed = Some(Observed::new(Box::new(observer)));
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Handle {
        let Core { notifiers, commands, conns, .. } = &self.core;
        Handle::new(notifiers.requests(), commands.queue(), conns.counted())
    }

    /// The counts of the loop. This call updates the gauges (`.._now`).
    pub fn metrics(&mut self) -> &Metrics {
        self.core.metrics()
    }

    /// Statistics of the turns since the last report; `None` unless
    /// [`turn_stats`](field@Settings::turn_stats) is set.
    pub fn turn_report(&mut self) -> Option<TurnReport> {
        let now = self.clock();
        self.stats.as_mut().map(|stats| stats.report(now, &self.core.metrics))
    }

    /// Runs turns until [`Handle::shutdown`] was called and the last connection has ended.
    ///
    /// # Errors
    /// A service panicked in [`on_start`](Service::on_start), or the poll failed; connections are
    /// dropped.
    pub fn run(&mut self) -> io::Result<()> {
        self.start()?;
        while !self.is_finished() {
            self.turn(None)?;
        }
        self.core.log_held_back();
        Ok(())
    }

    /// Calls [`on_start`](Service::on_start) of each service. [`Reactor::run`] does this. An
    /// embedder that calls [`Reactor::turn`] must call it once before.
    ///
    /// # Errors
    /// A service panicked. Services after it are not called.
    pub fn start(&mut self) -> io::Result<()> {
        self.core.now = self.clock();
        for index in 0..self.services.len() {
            let service = ServiceId(index as u16);
            if self.call(service, |service, cx| service.on_start(cx)).is_none() {
                let name = self.core.service_name(service);
                let what = format!("service {index} ({name}) panicked in on_start");
                return Err(io::Error::other(what));
            }
        }
        Ok(())
    }

    /// A service's [`Context`] between two turns, for callers of [`Reactor::turn`]. Output that it
    /// queues is written in the next turn, which then does not wait. Its `now` is read from the
    /// clock.
    pub fn context(&mut self, service: ServiceId) -> Context<'_> {
        self.core.now = self.clock();
        Context::new(&mut self.core, service)
    }

    fn clock(&self) -> Time {
        Time::ZERO + self.core.epoch.elapsed()
    }

    /// Calls a service's handler; `None` if it panicked.
    #[inline(always)]
    fn call<T>(
        &mut self,
        id: ServiceId,
        handler: impl FnOnce(&mut dyn Service, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let service = &mut *self.services[id.index()];
        let mut context = Context::new(&mut self.core, id);
        // A panic may leave the service in an inconsistent state. That affects one service;
        // otherwise all connections of the loop would be lost.
        let result = catch_unwind(AssertUnwindSafe(|| handler(service, &mut context)));
        if result.is_err() {
            self.core.note_panic(id);
        }
        result.ok()
    }

    /// Calls a handler for one connection; a panic closes the connection with 1011.
    #[inline(always)]
    fn call_for(
        &mut self,
        conn: ConnId,
        id: ServiceId,
        handler: impl FnOnce(&mut dyn Service, &mut Context<'_>),
    ) {
        let result = self.call(id, handler);
        self.end_after_panic(conn, result);
    }

    /// Closes a connection after a panic in its handler.
    #[inline(always)]
    fn end_after_panic(&mut self, conn: ConnId, result: Option<()>) {
        if result.is_none() {
            self.core.close(conn, CloseReason::ServicePanicked);
        }
    }
}

/// The poll's own descriptor: readable when a turn would find events. A turn's timeout is rounded
/// up to milliseconds; a finer wait is possible on this descriptor, followed by a turn with timeout
/// zero.
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}
