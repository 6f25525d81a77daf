//! What a service may do from within a handler.
//!
//! A thin face of the core for one service: it checks nothing that the core does not check, and calls
//! no handler. Everything takes a [`ConnId`]; one that is stale changes nothing and says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::close_reason::CloseReason;
use super::id::{ConnId, ServiceId};
use super::record::{Metadata, MetadataFull, Record};
use super::service::{Decision, SendOutcome};
use super::settings::Settings;
use super::time::Time;
use crate::protocol::handshake::ClientRequest;
use crate::protocol::{CloseCode, Masked, Message, Piece, SharedFrame};
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::core::Core;
use crate::reactor::effects::publish::{Payload, PublishOptions, Published, Target};
use crate::reactor::parts::admission::Occupancy;
use crate::reactor::parts::mailbox::{MailReceiver, MailSender};
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::router::RouteId;
use crate::reactor::parts::schedule::ServiceTimer;
#[cfg(feature = "tls")]
use crate::reactor::parts::tls::TlsConnector;
use crate::reactor::parts::topics::{JoinError, Joined, Left};

/// A service's view of the loop, lent for one call of a handler.
#[derive(Debug)]
pub struct Context<'a> {
    core: &'a mut Core,
    service: ServiceId,
}

impl<'a> Context<'a> {
    pub(in crate::reactor) fn new(core: &'a mut Core, service: ServiceId) -> Context<'a> {
        Context { core, service }
    }

    /// Whether a connection is the service's and has not ended.
    pub(crate) fn has(&self, conn: ConnId) -> bool {
        let conn = self.core.conns.get(conn);
        conn.is_some_and(|conn| conn.service == self.service && !conn.has_ended())
    }

    /// The time at which this turn began, or at which [`Reactor::context`](crate::reactor::Reactor::context)
    /// was called.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// What the loop has counted; gauges (`.._now`) are brought up to date by this call.
    pub fn metrics(&mut self) -> &Metrics {
        self.core.metrics()
    }

    /// The limits in force.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// How many connections there are, how many there may be, and whether the loop is shutting down.
    pub fn occupancy(&self) -> Occupancy {
        self.core.admission.occupancy()
    }

    /// Services that are not called for mail for now, or have not handled any since: their
    /// [`on_mail`](crate::reactor::Service::on_mail) panicked. Each with the name of its type.
    pub fn recovering(&self) -> impl Iterator<Item = (ServiceId, &'static str)> {
        let services = self.core.recovery.services();
        services.map(|service| (service, self.core.service_name(service)))
    }

    /// Whether a log line that a peer can provoke may be logged now: ten a second for each `reason`, all
    /// services together. A line that may not is counted, and the loop logs the count at the same level
    /// a second later.
    pub fn may_log(&mut self, level: log::Level, reason: &'static str) -> bool {
        self.core.may_log(level, "service", reason)
    }

    // Sending.

    /// Queues a message. It is on its way at the end of the turn, with all else for this connection.
    pub fn send<'m>(&mut self, conn: ConnId, message: impl Into<Message<'m>>) -> SendOutcome {
        self.core.send(conn, message.into())
    }

    /// Queues a message that the service has masked, on a connection that it has made itself; on any
    /// other it is [`SendOutcome::Refused`], since a server must not mask (RFC 6455, 5.1).
    pub fn send_masked(&mut self, conn: ConnId, message: Masked<'_>) -> SendOutcome {
        self.core.send_masked(conn, message)
    }

    /// A fresh key for [`Context::send_masked`], as unpredictable as the system's entropy.
    pub fn masking_key(&mut self) -> [u8; 4] {
        self.core.masks.key()
    }

    /// Queues a frame that was encoded before.
    pub fn send_shared(&mut self, conn: ConnId, frame: &SharedFrame) -> SendOutcome {
        self.core.send_shared(conn, frame)
    }

    /// Queues one text message that is put together from pieces, which must be UTF-8 as a whole (RFC 6455,
    /// 5.6). Large shared pieces are queued without a copy, and uncompressed.
    pub fn send_pieces(&mut self, conn: ConnId, pieces: &[Piece]) -> SendOutcome {
        self.core.send_pieces(conn, pieces)
    }

    /// Whether there is memory for a message of so many bytes to this connection, whatever the limits of its
    /// own queue say.
    pub fn has_memory(&self, conn: ConnId, payload_len: usize) -> bool {
        self.core.has_memory(conn, payload_len)
    }

    /// Queues a ping of the service's own; what exceeds 125 bytes is cut. The heartbeat needs none.
    pub fn ping(&mut self, conn: ConnId, payload: &[u8]) -> SendOutcome {
        self.core.send_ping(conn, payload)
    }

    /// Queues one message for many: encoded once, shared by all.
    ///
    /// ```
    /// # use weir::reactor::{ConnId, Context, PublishOptions, Target};
    /// fn tell_admins(cx: &mut Context<'_>, sender: ConnId) {
    ///     let told = cx.publish(Target::Topic("ops"), "disk full", PublishOptions {
    ///         except: &[sender],
    ///         filter: Some(&|record| record.metadata.get("role") == Some("admin")),
    ///         ..PublishOptions::default()
    ///     });
    ///     log::info!("{} told, {} had no room", told.sent, told.refused);
    /// }
    /// ```
    pub fn publish<'p>(
        &mut self,
        target: Target<'_>,
        payload: impl Into<Payload<'p>>,
        options: PublishOptions<'_>,
    ) -> Published {
        self.core.publish(self.service, target, payload.into(), options)
    }

    // Slow and fast.

    /// Takes no more messages from the connection: TCP tells its peer to wait. Until it is resumed it is
    /// neither pinged nor collected for its silence, and that its peer has gone may not be noticed.
    pub fn pause(&mut self, conn: ConnId) {
        self.core.pause(conn, PauseOwner::Service);
    }

    /// Ends the service's pause. Messages are read again, first those that have arrived meanwhile, unless
    /// a shutdown has paused the connection, too.
    pub fn resume(&mut self, conn: ConnId) {
        self.core.resume(conn, PauseOwner::Service);
    }

    /// Bytes queued for a connection that the kernel has not taken yet.
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        self.core.conns.get(conn).map_or(0, |conn| self.core.outboxes.queued_bytes(conn))
    }

    // Topics.

    /// Makes a connection a member of one of the service's topics.
    ///
    /// # Errors
    /// A limit stands against it.
    pub fn subscribe(&mut self, conn: ConnId, topic: &str) -> Result<Joined, JoinError> {
        self.core.subscribe(self.service, conn, topic)
    }

    /// Ends a membership. The end of the connection ends them all.
    pub fn unsubscribe(&mut self, conn: ConnId, topic: &str) -> Left {
        self.core.unsubscribe(self.service, conn, topic)
    }

    /// How many members a topic has.
    pub fn members(&self, topic: &str) -> usize {
        self.core.topics.count(self.service.number(), topic)
    }

    // Connections.

    /// What is known of a connection.
    pub fn record(&self, conn: ConnId) -> Option<Record<'_>> {
        self.core.record(conn)
    }

    /// The other end's address.
    pub fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.core.conns.get(conn).map(|conn| conn.peer.into())
    }

    /// The service's open connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        let ours = |service| service == self.service;
        self.core
            .conns
            .iter()
            .filter(move |(_, conn)| conn.is_open() && ours(conn.service))
            .map(|(id, _)| id)
    }

    /// Notes a word beside a connection, where filters and records find it.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn set_metadata(
        &mut self,
        conn: ConnId,
        key: &str,
        value: &str,
    ) -> Result<(), MetadataFull> {
        let Some(conn) = self.core.conns.get_mut(conn) else {
            return Ok(());
        };
        let metadata = &mut conn.rare().metadata;
        metadata.get_or_insert_default().set(key, value)
    }

    /// Forgets a word.
    pub fn remove_metadata(&mut self, conn: ConnId, key: &str) {
        let conn = self.core.conns.get_mut(conn);
        let rare = conn.and_then(|conn| conn.rare.as_mut());
        if let Some(rare) = rare {
            if let Some(metadata) = &mut rare.metadata {
                metadata.remove(key);
            }
            rare.metadata.take_if(|metadata| **metadata == *Metadata::EMPTY);
        }
    }

    /// Ends a connection with a Close behind everything that is queued for it. A later call, or one for
    /// a connection that ends already, changes nothing. The reason is cut at 123 bytes.
    pub fn close(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        self.core.begin_close(conn, CloseReason::Service(code), reason);
    }

    /// Ends a connection at once, without a Close: the peer sees the end of the stream, or a reset if it
    /// had sent what was not read. What is queued is lost.
    pub fn abort(&mut self, conn: ConnId) {
        self.core.vanish(conn, CloseReason::Aborted);
    }

    /// Answers a request for which [`on_request`](crate::reactor::Service::on_request) said
    /// [`Decision::Defer`], or [`on_plain`](crate::reactor::Service::on_plain) `None`: the latter with
    /// [`Decision::Respond`] alone, for there is nothing to accept. Deferring again changes nothing, and
    /// neither does an answer to who has gone.
    pub fn answer(&mut self, conn: ConnId, decision: Decision) {
        self.core.answer(conn, decision);
    }

    /// Connects to a WebSocket server, on this loop. [`on_open`](crate::reactor::Service::on_open) or
    /// [`on_close`](crate::reactor::Service::on_close) tells the outcome.
    ///
    /// # Errors
    /// No socket could be made, [`outbound_max`](crate::reactor::settings::Settings::outbound_max) is reached, or
    /// the loop is shutting down; of the last two the kind is [`io::ErrorKind::QuotaExceeded`].
    pub fn connect(
        &mut self,
        route: RouteId,
        address: SocketAddr,
        request: &ClientRequest,
    ) -> io::Result<ConnId> {
        self.core.connect(self.service, route, None, address, request, None)
    }

    /// The same, from a given address of this machine: one address has some 28,000 ports towards one
    /// server, a loopback network has 16 million addresses.
    ///
    /// # Errors
    /// The same, or `from` is no address of this machine, or of another family.
    pub fn connect_from(
        &mut self,
        from: IpAddr,
        route: RouteId,
        address: SocketAddr,
        request: &ClientRequest,
    ) -> io::Result<ConnId> {
        self.core.connect(self.service, route, Some(from), address, request, None)
    }

    /// The same by TLS; `from` as with [`connect_from`](Context::connect_from), if at all. Feature `tls`.
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "tls")]
    pub fn connect_secure(
        &mut self,
        connector: &TlsConnector,
        from: Option<IpAddr>,
        route: RouteId,
        address: SocketAddr,
        request: &ClientRequest,
    ) -> io::Result<ConnId> {
        self.core.connect(self.service, route, from, address, request, Some(connector))
    }

    // Time and threads.

    /// Has [`on_timer`](crate::reactor::Service::on_timer) called with `key` after `delay`, at most 128 ms
    /// late; `None` if all services together have set too many.
    pub fn schedule(&mut self, delay: Duration, key: u64) -> Option<ServiceTimer> {
        let timer = self.core.schedule.set(self.service, self.core.now + delay, key);
        if timer.is_none() {
            self.core.metrics.timers_refused += 1;
        }
        timer
    }

    /// Has [`on_timer`](crate::reactor::Service::on_timer) called with `key` after each `period`, until the timer
    /// is [cancelled](Context::cancel); a period below 128 ms is taken as 128 ms. A call that is late
    /// does not delay the next one, and calls that were missed are not made up for. `None` as with
    /// [`schedule`](Context::schedule).
    ///
    /// ```
    /// use std::time::Duration;
    /// use weir::protocol::Message;
    /// use weir::reactor::{ConnId, Context, PublishOptions, Service, Target};
    ///
    /// struct Ticker;
    ///
    /// impl Service for Ticker {
    ///     fn on_start(&mut self, cx: &mut Context<'_>) {
    ///         cx.schedule_every(Duration::from_secs(1), 0).expect("a timer for the ticker");
    ///     }
    ///     fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
    ///         let _ = cx.publish(Target::All, "tick", PublishOptions::default());
    ///     }
    ///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// }
    /// ```
    pub fn schedule_every(&mut self, period: Duration, key: u64) -> Option<ServiceTimer> {
        let timer = self.core.schedule.set_every(self.service, self.core.now, period, key);
        if timer.is_none() {
            self.core.metrics.timers_refused += 1;
        }
        timer
    }

    /// Takes a timer back; whether it would still have fired.
    pub fn cancel(&mut self, timer: ServiceTimer) -> bool {
        self.core.schedule.unset(timer)
    }

    /// Has [`on_mail`](crate::reactor::Service::on_mail) called again: in this turn if its mail phase is still to
    /// come, else in the next turn, which then does not wait for events. However often a service asks, it
    /// is called once for it. So it can divide work that would delay the loop, within the budget of
    /// its mail:
    ///
    /// ```
    /// use weir::protocol::Message;
    /// use weir::reactor::{ConnId, Context, More, Service};
    ///
    /// #[derive(Default)]
    /// struct Reports {
    ///     unsent: Vec<(ConnId, String)>,
    /// }
    ///
    /// impl Service for Reports {
    ///     fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
    ///         self.unsent.extend((0..1000).map(|page| (conn, format!("page {page}"))));
    ///         cx.wake();
    ///     }
    ///     fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
    ///         let Some((conn, page)) = self.unsent.pop() else {
    ///             return More::No;
    ///         };
    ///         let _ = cx.send(conn, &*page);
    ///         More::Yes
    ///     }
    /// }
    /// ```
    pub fn wake(&mut self) {
        self.core.wake(self.service);
    }

    /// A mailbox through which other threads reach this service, holding up to `capacity` mails.
    /// Each mail has [`on_mail`](crate::reactor::Service::on_mail) called.
    pub fn mailbox<T>(&mut self, capacity: usize) -> (MailSender<T>, MailReceiver<T>) {
        self.core.bells.mailbox(self.service, capacity)
    }
}
