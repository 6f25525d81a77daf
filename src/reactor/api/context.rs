//! The [`Context`] that a service gets in each handler: everything that it can do.
//!
//! A thin layer over the core for one service. It calls no handler, and reaches only connections of
//! its service. Its table says what each function answers for the [`ConnId`] of another one.

use std::hash::Hash;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::close_reason::CloseReason;
use super::connect::Connect;
use super::id::{ConnId, GateId, RouteId, ServiceId};
use super::identity::{Identity, IdentityError};
use super::level::{Level, Load};
use super::metadata::MetadataError;
use super::outcome::{Decision, SendOutcome, Verdict};
use super::priority::Priority;
use super::publish::{Payload, PublishOptions, Published, Target};
use super::record::Record;
use super::route::RouteError;
use super::settings::{ClientAddressFrom, Prefix, RouteSettings, Settings};
use super::time::Time;
use super::token_request::PresentError;
#[cfg(feature = "proxy")]
use super::upstream::UpstreamRequest;
use crate::protocol::handshake::{Accept, ClientRequest, Refusal, Response};
use crate::protocol::http::TraceParent;
use crate::protocol::{
    CloseCode, DeflateTerms, FrameBatch, Masked, Message, Piece, SharedFrame, SharedTail,
};
use crate::reactor::conn::connection::Labels;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Occupancy;
use crate::reactor::parts::mailbox::{MailReceiver, MailSender};
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::schedule::ServiceTimer;
use crate::reactor::parts::topics::{JoinError, Joined, Left};
use crate::reactor::parts::workers::{Step, WorkerSettings, Workers};

/// A service's access to the loop, for one call of a handler.
///
/// # Ids of connections that have ended, and of other services
///
/// An id is *stale* once [`on_close`](crate::reactor::Service::on_close) has returned. A service may
/// keep one: it never names another connection, and a function that gets it changes nothing. An id is
/// *foreign* if its connection belongs to another service of the reactor. It gets the same answer as
/// a stale one, everywhere:
///
/// | function | stale or foreign id |
/// |---|---|
/// | [`send`](Context::send), [`send_masked`](Context::send_masked), [`send_shared`](Context::send_shared), [`send_pieces`](Context::send_pieces), [`send_batch`](Context::send_batch), [`send_joined`](Context::send_joined), [`send_part`](Context::send_part), [`ping`](Context::ping) | [`SendOutcome::Gone`] |
/// | [`pause`](Context::pause), [`resume`](Context::resume), [`charge`](Context::charge), [`close`](Context::close), [`abort`](Context::abort), [`accept`](Context::accept), [`respond`](Context::respond), [`refuse`](Context::refuse), [`end_response`](Context::end_response), [`verdict`](Context::verdict) | no effect |
/// | `send_request`, `is_body_unread`, `keeps_alive`, `keep_idle` of the feature `proxy` | `false`, no effect |
/// | [`has_memory`](Context::has_memory), [`hold`](Context::hold), [`begin_response`](Context::begin_response), [`redact`](Context::redact) | `false` |
/// | [`queued_bytes`](Context::queued_bytes) | 0 |
/// | [`record`](Context::record), [`peer`](Context::peer), [`trace`](Context::trace), [`deflate_terms`](Context::deflate_terms) | `None` |
/// | [`identity`](Context::identity) | `None`; a gate sees those that it has determined |
/// | [`set_identity`](Context::set_identity) | [`IdentityError::Gone`]; likewise |
/// | [`present`](Context::present) | [`PresentError::Gone`] |
/// | [`set_metadata`](Context::set_metadata) | [`MetadataError::Gone`] |
/// | [`remove_metadata`](Context::remove_metadata) | no effect |
/// | [`subscribe`](Context::subscribe) | [`JoinError::NotOpen`] |
/// | [`unsubscribe`](Context::unsubscribe) | [`Left::NotMember`] |
/// | [`publish`](Context::publish) to a list | [`skipped`](Published::skipped) |
/// | [`ConnMap`](crate::reactor::ConnMap) and [`Throttle`](crate::reactor::Throttle) | no value, `false` |
///
/// So services cannot affect each other's connections. A service that must close connections of
/// others, or send to them, does that with a [`Handle`](crate::reactor::Handle), which belongs to the
/// whole reactor. An id of another reactor cannot be recognized: it may name a connection of this
/// one.
#[derive(Debug)]
pub struct Context<'a> {
    core: &'a mut Core,
}

impl<'a> Context<'a> {
    pub(in crate::reactor) fn new(core: &'a mut Core, service: ServiceId) -> Context<'a> {
        core.served = service;
        Context { core }
    }

    /// Whether a connection is the service's, and is in the table.
    fn owns(&self, conn: ConnId) -> bool {
        self.core.conns.owned(self.core.served, conn).is_some()
    }

    /// Whether a connection is the service's and has not ended.
    pub(super) fn has(&self, conn: ConnId) -> bool {
        let conn = self.core.conns.owned(self.core.served, conn);
        conn.is_some_and(|conn| !conn.has_ended())
    }

    /// Whether a connection has ended and [`on_close`](crate::reactor::Service::on_close) has
    /// returned.
    pub(super) fn is_stale(&self, conn: ConnId) -> bool {
        self.core.conns.get(conn).is_none()
    }

    /// The time at which this turn started, or at which
    /// [`Reactor::context`](crate::reactor::Reactor::context) was called.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// The counts of the loop. This call updates the gauges (`.._now`).
    pub fn metrics(&mut self) -> &Metrics {
        self.core.metrics()
    }

    /// The settings of the loop.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// The numbers of connections, their limits, and whether the loop is shutting down.
    pub fn occupancy(&self) -> Occupancy {
        self.core.admission.occupancy()
    }

    /// The number of clients of each priority, in the order of [`Priority::ALL`].
    pub fn clients_by_priority(&self) -> [usize; Priority::ALL.len()] {
        self.core.conns.by_priority()
    }

    /// The load of the loop, as of the last sample: its level, and the measurements by resource.
    pub fn load(&self) -> Load {
        self.core.load.levels.report()
    }

    /// The load level that services should act on, as in
    /// [`on_load_level`](crate::reactor::Service::on_load_level).
    pub fn load_level(&self) -> Level {
        self.core.load.work_level()
    }

    /// Services whose [`on_mail`](crate::reactor::Service::on_mail) panicked and has not returned
    /// normally since, each with its type name.
    pub fn recovering(&self) -> impl Iterator<Item = (ServiceId, &'static str)> {
        let services = self.core.recovery.services();
        services.map(|service| (service, self.core.service_name(service)))
    }

    /// Whether a log line that a peer can provoke may be logged now: ten per second for each
    /// `reason`, for all services together. Suppressed lines are counted, and the loop logs the
    /// count at the same level one second later.
    pub fn may_log(&mut self, level: log::Level, reason: &'static str) -> bool {
        self.core.may_log(level, "service", reason)
    }

    // Sending.

    /// Queues a message. It is written at the end of the turn, together with other output of the
    /// connection; a large one at once, if nothing is queued.
    pub fn send<'m>(&mut self, conn: ConnId, message: impl Into<Message<'m>>) -> SendOutcome {
        self.core.send(conn, message.into())
    }

    /// Queues a message that the service has masked. Only outbound connections accept it; others
    /// return [`SendOutcome::WrongRole`], since a server must not mask (RFC 6455, 5.1).
    pub fn send_masked(&mut self, conn: ConnId, message: Masked<'_>) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_masked(conn, message)
    }

    /// A new masking key for [`Context::send_masked`], from a generator seeded by the system.
    pub fn masking_key(&mut self) -> [u8; 4] {
        self.core.masks.key()
    }

    /// Queues a frame that is encoded already.
    pub fn send_shared(&mut self, conn: ConnId, frame: &SharedFrame) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_shared(conn, frame)
    }

    /// Queues one text message built from pieces, which together must be UTF-8 (RFC 6455, 5.6).
    /// Large shared pieces are queued without a copy, and uncompressed.
    pub fn send_pieces(&mut self, conn: ConnId, pieces: &[Piece]) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_pieces(conn, pieces)
    }

    /// Queues a batch of text frames that another thread has made: all of them, or none if they do
    /// not fit. The limits of the connection apply to it as to one message of that size.
    ///
    /// A connection with context takeover frees its outgoing window after a batch with compressed
    /// messages: the next message then refers to nothing before it.
    ///
    /// Returns [`SendOutcome::WrongRole`] for an outbound connection, whose messages must be masked,
    /// and for a batch that was compressed under terms of another connection.
    pub fn send_batch(&mut self, conn: ConnId, batch: FrameBatch) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_batch(conn, batch)
    }

    /// How messages to a connection may be compressed by other threads, for
    /// [`send_batch`](Context::send_batch). `None`: they may not.
    pub fn deflate_terms(&self, conn: ConnId) -> Option<DeflateTerms> {
        if !self.owns(conn) {
            return None;
        }
        self.core.deflate_terms(conn)
    }

    /// Queues one text message made of a head and a tail, which together must be UTF-8 (RFC 6455,
    /// 5.6). The tail is shared with other messages: it is in memory once, and compressed once for
    /// all connections without context takeover. A head of more than 65,535 bytes, or a tail that is
    /// longer than the peer's window, is sent uncompressed there.
    pub fn send_joined(&mut self, conn: ConnId, head: &[u8], tail: &SharedTail) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_joined(conn, head, tail)
    }

    /// Whether a message with a payload of this length fits into the memory limits of the loop. The
    /// limits of the connection's own queue are not considered.
    pub fn has_memory(&self, conn: ConnId, payload_len: usize) -> bool {
        self.owns(conn) && self.core.has_memory(conn, payload_len)
    }

    /// Charges memory that the service holds for a connection, such as a request that waits, to the
    /// memory limit of the loop. From now on it is `bytes`, instead of the number of the last call;
    /// the end of the connection releases it. False if the limit is reached, or above
    /// [`HOLD_BYTES_MAX`](crate::reactor::budget::HOLD_BYTES_MAX): the last number stays.
    ///
    /// ```
    /// use weir::reactor::{ConnId, Context};
    ///
    /// fn keep(cx: &mut Context<'_>, conn: ConnId, kept: &mut Vec<Vec<u8>>, job: Vec<u8>) -> bool {
    ///     let bytes = kept.iter().map(Vec::len).sum::<usize>() + job.len();
    ///     let fits = cx.hold(conn, bytes);
    ///     if fits {
    ///         kept.push(job);
    ///     }
    ///     fits
    /// }
    /// ```
    pub fn hold(&mut self, conn: ConnId, bytes: usize) -> bool {
        self.core.hold(self.core.served, conn, bytes)
    }

    /// Queues a ping with a payload of the service; it is cut at 125 bytes. The heartbeat sends its
    /// own pings.
    pub fn ping(&mut self, conn: ConnId, payload: &[u8]) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_ping(conn, payload)
    }

    /// Queues one message for many connections: it is encoded once and shared.
    ///
    /// ```
    /// # use weir::reactor::{ConnId, Context, PublishOptions, Record, Target};
    /// fn alert_admins(cx: &mut Context<'_>, sender: ConnId) {
    ///     let is_admin = |record: &Record<'_>| record.metadata.get("role") == Some("admin");
    ///     let options = PublishOptions::default().filter(&is_admin);
    ///     let outcome = cx.publish(Target::Topic("ops"), "disk full", options.except(&[sender]));
    ///     println!("{} received it, {} had no room", outcome.sent, outcome.refused);
    /// }
    /// ```
    pub fn publish<'p>(
        &mut self,
        target: Target<'_>,
        payload: impl Into<Payload<'p>>,
        options: PublishOptions<'_>,
    ) -> Published {
        self.core.publish(self.core.served, target, payload.into(), options)
    }

    // Flow control.

    /// Pauses reading from a connection: TCP back-pressure makes its peer wait. A paused connection
    /// is neither pinged nor closed for idleness, and the end of its stream may go unnoticed.
    pub fn pause(&mut self, conn: ConnId) {
        self.pause_by(conn, PauseOwner::Service);
    }

    pub(super) fn pause_by(&mut self, conn: ConnId, owner: PauseOwner) -> bool {
        self.owns(conn) && self.core.pause(conn, owner)
    }

    /// Ends the service's pause. Reading resumes, starting with messages that are buffered already,
    /// unless a [`Throttle`](crate::reactor::Throttle) or a shutdown has paused the connection,
    /// too.
    pub fn resume(&mut self, conn: ConnId) {
        self.resume_by(conn, PauseOwner::Service);
    }

    pub(super) fn resume_by(&mut self, conn: ConnId, owner: PauseOwner) {
        if self.owns(conn) {
            self.core.resume(conn, owner);
        }
    }

    /// Counts a message as so many messages more, for costly work: at once, for the route's rates of
    /// messages ([`messages_rate`](field@RouteSettings::messages_rate), per address too). The
    /// connection may then owe tokens, at most one burst, and is not read until it has one. Without
    /// such a rate it changes nothing.
    pub fn charge(&mut self, conn: ConnId, tokens: usize) {
        if self.owns(conn) {
            self.core.charge(conn, tokens);
        }
    }

    /// Bytes queued for a connection that the kernel has not accepted yet.
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        let conn = self.core.conns.owned(self.core.served, conn);
        conn.map_or(0, |conn| self.core.outboxes.queued_bytes(conn))
    }

    // Topics.

    /// Makes a connection a member of one of the service's topics.
    ///
    /// # Errors
    /// A limit is reached, or the connection is not open.
    pub fn subscribe(&mut self, conn: ConnId, topic: &str) -> Result<Joined, JoinError> {
        self.core.subscribe(self.core.served, conn, topic)
    }

    /// Ends a membership. The end of a connection ends all its memberships.
    pub fn unsubscribe(&mut self, conn: ConnId, topic: &str) -> Left {
        self.core.unsubscribe(self.core.served, conn, topic)
    }

    /// The number of members of a topic.
    pub fn members(&self, topic: &str) -> usize {
        self.core.topics.count(self.core.served.number(), topic)
    }

    // Connections.

    /// The data about a connection.
    pub fn record(&self, conn: ConnId) -> Option<Record<'_>> {
        if !self.owns(conn) {
            return None;
        }
        self.core.record(conn)
    }

    /// The peer's address, as in [`Record::peer`].
    pub fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.core.conns.owned(self.core.served, conn).map(|conn| conn.peer.into())
    }

    /// The trace of the last request on a connection; `None` unless the setting
    /// [`trace`](field@Settings::trace) is on.
    pub fn trace(&self, conn: ConnId) -> Option<TraceParent> {
        if !self.owns(conn) {
            return None;
        }
        self.core.trace(conn)
    }

    /// The service's open connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        let ours = |service| service == self.core.served;
        self.core
            .conns
            .iter()
            .filter(move |(_, conn)| conn.is_open() && ours(conn.service))
            .map(|(id, _)| id)
    }

    /// The records of clients' open WebSockets and tunnels, of any service, whose ids have these
    /// [slots](ConnId::slot); in their order. For lists of operators: all of them are in the slots up to
    /// [`slots`](Context::slots).
    pub fn clients(&self, slots: Range<usize>) -> impl Iterator<Item = Record<'_>> {
        self.core.clients(slots)
    }

    /// One more than the highest [slot](ConnId::slot) that a connection of the loop has had.
    pub fn slots(&self) -> usize {
        self.core.conns.slots()
    }

    /// Sets a metadata entry of a connection, for filters and records.
    ///
    /// # Errors
    /// The connection's metadata is full, or the connection has ended.
    pub fn set_metadata(
        &mut self,
        conn: ConnId,
        key: &str,
        value: &str,
    ) -> Result<(), MetadataError> {
        let Some(conn) = self.core.conns.owned_mut(self.core.served, conn) else {
            return Err(MetadataError::Gone);
        };
        conn.cold().labels.get_or_insert_default().metadata.set(key, value)
    }

    /// Removes a metadata entry.
    pub fn remove_metadata(&mut self, conn: ConnId, key: &str) {
        let conn = self.core.conns.owned_mut(self.core.served, conn);
        let cold = conn.and_then(|conn| conn.cold.as_mut());
        if let Some(cold) = cold {
            if let Some(labels) = &mut cold.labels {
                labels.metadata.remove(key);
            }
            cold.labels.take_if(|labels| **labels == Labels::default());
        }
    }

    /// Closes a connection with a Close frame after all queued output. A later call, or a call for
    /// a connection that is closing already, changes nothing. The reason is cut at 123 bytes. A
    /// connection that is not open yet is dropped without a Close.
    pub fn close(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        if self.owns(conn) {
            self.core.begin_close(conn, CloseReason::Service(code), reason);
        }
    }

    /// Drops a connection at once, without a Close: the peer sees the end of the stream, or a reset
    /// if it had sent bytes that were not read. Queued output is lost.
    pub fn abort(&mut self, conn: ConnId) {
        if self.owns(conn) {
            self.core.drop_connection(conn, CloseReason::Aborted);
        }
    }

    /// Accepts an upgrade request that was deferred: one for which
    /// [`on_request`](crate::reactor::Service::on_request) returned [`Decision::Defer`]. The handshake
    /// is completed in the mail phase, which calls [`on_open`](crate::reactor::Service::on_open).
    ///
    /// The first decision on a request counts; later ones change nothing, and neither does one on a
    /// request whose client has gone. A deferred HTTP request has no upgrade to accept: its client gets
    /// 500.
    pub fn accept(&mut self, conn: ConnId, accept: Accept) {
        self.decide(conn, Decision::Accept(accept));
    }

    /// Responds to a request that was deferred: an HTTP request for which
    /// [`on_http`](crate::reactor::Service::on_http) returned `None`, or an upgrade request, whose
    /// connection is then closed. The first decision counts, as for [`accept`](Context::accept).
    pub fn respond(&mut self, conn: ConnId, response: Response) {
        self.decide(conn, Decision::Respond(response));
    }

    /// Refuses a request that was deferred, of either kind: the refusal is sent, counted and logged by
    /// its reason, and the connection is closed. The first decision counts, as for
    /// [`accept`](Context::accept).
    pub fn refuse(&mut self, conn: ConnId, refusal: Refusal) {
        self.decide(conn, Decision::Refuse(refusal));
    }

    /// Starts a response whose body is sent in parts, to an HTTP request for which
    /// [`on_http`](crate::reactor::Service::on_http) has returned `None`. The body of `response` itself
    /// is not sent. [`send_part`](Context::send_part) follows for each part, then
    /// [`end_response`](Context::end_response), after which the connection is closed. To break the
    /// response off, [abort](Context::abort) the connection: without the last chunk (RFC 9112, 7.1) its
    /// client knows that the body is not complete.
    ///
    /// False: no part is wanted. The client has gone or was answered already, or its response has no
    /// parts: the request was a HEAD, or in HTTP/1.0, whose clients get 505.
    ///
    /// A service that has made the whole body at once uses [`respond`](Context::respond).
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use weir::protocol::Message;
    /// use weir::protocol::handshake::Response;
    /// use weir::reactor::{ConnId, Context, HttpRequest, More, SendOutcome, Service};
    ///
    /// /// Counts to a million, as fast as the client reads.
    /// #[derive(Default)]
    /// struct Numbers {
    ///     started: Vec<ConnId>,
    ///     next: HashMap<ConnId, u32>,
    /// }
    ///
    /// impl Numbers {
    ///     fn send(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         while let Some(next) = self.next.get_mut(&conn) {
    ///             if *next == 1_000_000 {
    ///                 self.next.remove(&conn);
    ///                 return cx.end_response(conn);
    ///             }
    ///             *next += 1;
    ///             if cx.send_part(conn, format!("{next}\n").as_bytes()) != SendOutcome::Queued {
    ///                 return;
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// impl Service for Numbers {
    ///     fn on_http(
    ///         &mut self,
    ///         cx: &mut Context<'_>,
    ///         conn: ConnId,
    ///         _: &HttpRequest<'_>,
    ///     ) -> Option<Response> {
    ///         self.started.push(conn);
    ///         cx.wake();
    ///         None
    ///     }
    ///     fn on_mail(&mut self, cx: &mut Context<'_>) -> More {
    ///         let Some(conn) = self.started.pop() else {
    ///             return More::No;
    ///         };
    ///         if cx.begin_response(conn, Response::text(200, "")) {
    ///             self.next.insert(conn, 0);
    ///             self.send(cx, conn);
    ///         }
    ///         More::Yes
    ///     }
    ///     fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
    ///         self.send(cx, conn);
    ///     }
    ///     fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    /// }
    /// ```
    pub fn begin_response(&mut self, conn: ConnId, response: Response) -> bool {
        self.owns(conn) && self.core.begin_parts(conn, response)
    }

    /// Queues a part of the body of a response that [`begin_response`](Context::begin_response) has
    /// started. After [`SendOutcome::Congested`] and [`SendOutcome::Full`]
    /// [`on_drain`](crate::reactor::Service::on_drain) follows when the client has read. A client that
    /// reads nothing for [`write_timeout`](field@RouteSettings::write_timeout) is dropped, and so is a
    /// connection for which no part comes for
    /// [`HTTP_ANSWER_TIMEOUT`](crate::reactor::budget::HTTP_ANSWER_TIMEOUT); `outbox_grace` does not
    /// apply.
    pub fn send_part(&mut self, conn: ConnId, part: &[u8]) -> SendOutcome {
        if !self.owns(conn) {
            return SendOutcome::Gone;
        }
        self.core.send_part(conn, part)
    }

    /// Ends a response that [`begin_response`](Context::begin_response) has started.
    /// [`on_close`](crate::reactor::Service::on_close) does not follow.
    pub fn end_response(&mut self, conn: ConnId) {
        if self.owns(conn) {
            self.core.end_response(conn);
        }
    }

    fn decide(&mut self, conn: ConnId, decision: Decision) {
        if self.owns(conn) {
            self.core.answer(conn, decision);
        }
    }

    // Gates and identities.

    /// A gate's verdict on a request or a token, after [`on_gate`](crate::reactor::Gate::on_gate) or
    /// [`on_token`](crate::reactor::Gate::on_token) has returned [`Verdict::Later`]. The mail phase carries it out. The first verdict on a request counts; later
    /// ones change nothing, and neither does one on a request that has ended.
    pub fn verdict(&mut self, conn: ConnId, verdict: Verdict) {
        self.core.give_verdict(self.core.served, conn, verdict);
    }

    /// Marks a part of the head that [`on_gate`](crate::reactor::Gate::on_gate) is looking at, such as a
    /// token: when that returns, the loop overwrites it with `*`, whatever the verdict. So neither the
    /// service nor a log sees it. False if it is not a part of
    /// [`head`](crate::reactor::GateRequest::head): nothing is marked.
    pub fn redact(&mut self, conn: ConnId, part: &[u8]) -> bool {
        let redaction = self.core.redaction.as_mut();
        redaction.is_some_and(|redaction| redaction.mark(conn, part))
    }

    /// The identity of a connection: for its service, and for the gate that has determined it.
    pub fn identity(&self, conn: ConnId) -> Option<&Identity> {
        self.core.identity(self.core.served, conn)
    }

    /// The gate that the called service is; `None` if it is not a gate.
    pub fn own_gate(&self) -> Option<GateId> {
        let gate = GateId(self.core.served);
        self.core.router.gate(gate).is_some().then_some(gate)
    }

    /// The connections of a subject that have not ended, with their identities, the newest first.
    pub fn subject(
        &self,
        gate: GateId,
        subject: &str,
    ) -> impl Iterator<Item = (ConnId, &Identity)> {
        self.core.connections_of(gate, subject)
    }

    /// Replaces the identity of an upgraded connection, for its service or for the gate that has
    /// determined its present one. It counts for its new subject from now on, and is closed when the
    /// new identity expires.
    ///
    /// # Errors
    /// See [`IdentityError`]: the present identity stays. After [`IdentityError::Forbidden`] the
    /// connection is closed.
    pub fn set_identity(
        &mut self,
        conn: ConnId,
        identity: Box<Identity>,
    ) -> Result<(), IdentityError> {
        self.core.set_identity(self.core.served, conn, identity)
    }

    /// Asks the gate of an open connection to check a token that came in a message. It is the gate that
    /// has determined the identity of the connection, else that of its route.
    /// [`on_presented`](crate::reactor::Service::on_presented) reports the verdict. A token that passes
    /// replaces the identity as [`set_identity`](Context::set_identity) does.
    ///
    /// # Errors
    /// See [`PresentError`]: nothing follows.
    pub fn present(&mut self, conn: ConnId, token: &str) -> Result<(), PresentError> {
        self.core.present(self.core.served, conn, token)
    }

    /// Signs a subject out: its gate is called, and its connections are closed with this code, some in
    /// each turn. Returns their number.
    pub fn sign_out(&mut self, gate: GateId, subject: &str, code: CloseCode) -> usize {
        self.core.sign_out(gate, subject, code)
    }

    /// The wall time now, since 1970.
    pub fn unix_time(&mut self) -> Duration {
        self.core.read_wall_clock()
    }

    /// The loop's time at a wall time, given since 1970. If the wall clock is set, identities that
    /// expire at such a time follow it.
    pub fn time_at(&self, unix: Duration) -> Time {
        self.core.wall_clock.offset().time_at(unix)
    }

    /// Opens a connection to a WebSocket server, on this loop. Its outcome is reported by
    /// [`on_open`](crate::reactor::Service::on_open) or
    /// [`on_close`](crate::reactor::Service::on_close).
    ///
    /// ```
    /// use std::net::SocketAddr;
    /// use weir::protocol::handshake::ClientRequest;
    /// use weir::reactor::{Connect, Context, RouteId};
    ///
    /// fn dial(cx: &mut Context<'_>, route: RouteId, address: SocketAddr) -> std::io::Result<()> {
    ///     let request = ClientRequest::new("feed.example.org", "/prices").expect("a valid request");
    ///     let conn = cx.connect(Connect::to(address), route, &request)?;
    ///     println!("connecting {conn}");
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The socket could not be created,
    /// [`outbound_max`](field@crate::reactor::settings::Settings::outbound_max) is reached, or the
    /// loop is shutting down. In the last two cases the kind is [`io::ErrorKind::QuotaExceeded`]. With a
    /// [local address](Connect::local_address) also: it is not an address of this machine, or of
    /// another family.
    pub fn connect(
        &mut self,
        to: Connect<'_>,
        route: RouteId,
        request: &ClientRequest,
    ) -> io::Result<ConnId> {
        self.core.connect(self.core.served, to, route, request)
    }

    /// Opens a connection to an HTTP upstream, on this loop. It counts in
    /// [`outbound_max`](crate::reactor::settings::Settings::outbound_max). TCP and TLS together may
    /// take `connect_timeout`. [`on_connect`](crate::reactor::Service::on_connect) reports the
    /// connection, [`on_close`](crate::reactor::Service::on_close) its end:
    ///
    /// | reason | before a response |
    /// |---|---|
    /// | [`ConnectFailed`](CloseReason::ConnectFailed), [`TlsFailed`](CloseReason::TlsFailed) | not established |
    /// | [`HandshakeTimeout`](CloseReason::HandshakeTimeout) | before `on_connect`: `connect_timeout` has passed; after it: `answer_timeout` |
    /// | [`PeerGone`](CloseReason::PeerGone), [`PeerReset`](CloseReason::PeerReset), [`Truncated`](CloseReason::Truncated) | the upstream ended it |
    /// | [`UpgradeFailed`](CloseReason::UpgradeFailed) | the response is malformed or too long |
    /// | [`IdleTimeout`](CloseReason::IdleTimeout) | the time of [`keep_idle`](Context::keep_idle) has passed |
    ///
    /// A service that forwards upgrades defers the client's request, dials, and sends its request with
    /// [`send_request`](Context::send_request). In
    /// [`on_response_head`](crate::reactor::Service::on_response_head) it joins the two connections
    /// ([`UpstreamDecision::Join`](crate::reactor::UpstreamDecision::Join)). From then on frames pass
    /// between them without a call of the service, until
    /// [`on_pipe_end`](crate::reactor::Service::on_pipe_end). [`close`](Context::close) of either side
    /// closes the client with that code, and its upstream with 1001 after the client's own Close;
    /// [`abort`](Context::abort) is like the loss of that side.
    ///
    /// Feature `proxy`.
    ///
    /// # Errors
    /// As for [`connect`](Context::connect).
    #[cfg(feature = "proxy")]
    pub fn dial(
        &mut self,
        to: Connect<'_>,
        route: RouteId,
        connect_timeout: Duration,
    ) -> io::Result<ConnId> {
        self.core.dial(self.core.served, to, route, connect_timeout)
    }

    /// Sends a request on a connection opened by [`dial`](Context::dial): once it is established, or
    /// at once on an idle connection, which is first read once: an end, an error or plaintext ends
    /// it. False if the connection has ended or is in use, if the client no longer waits, or if a part of
    /// its body was sent to another upstream; then nothing is sent. The response is reported by
    /// [`on_response_head`](crate::reactor::Service::on_response_head). Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn send_request(&mut self, upstream: ConnId, request: UpstreamRequest) -> bool {
        self.core.send_upstream_request(self.core.served, upstream, request)
    }

    /// Whether nothing of the body of a client's request has been read, so that the request may be sent
    /// to another upstream. False without a request that was passed to
    /// [`on_request_head`](crate::reactor::Service::on_request_head). Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn is_body_unread(&self, client: ConnId) -> bool {
        self.core.is_body_unread(self.core.served, client)
    }

    /// Whether a client's connection can stay open after the response to its pending request. False
    /// for an upgrade, during a shutdown, after
    /// [`HTTP_REQUESTS_MAX`](crate::reactor::budget::HTTP_REQUESTS_MAX) requests, and if a response
    /// comes before the body of a request with `Expect: 100-continue`. Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn keeps_alive(&self, client: ConnId) -> bool {
        self.core.keeps_alive(self.core.served, client)
    }

    /// Limits how long an idle connection opened by [`dial`](Context::dial) is kept from now on. By
    /// default there is no limit. Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn keep_idle(&mut self, upstream: ConnId, most: Duration) {
        if self.owns(upstream) {
            self.core.keep_idle(upstream, most);
        }
    }

    /// Bytes that connections hold for requests and tunnels of a route, of any service: incomplete
    /// frames, heads, and output that a client or an upstream has not read. Feature `proxy`.
    #[cfg(feature = "proxy")]
    pub fn relayed_bytes(&self, route: RouteId) -> usize {
        self.core.outboxes.relayed(route)
    }

    // Time and threads.

    /// Sets a timer: [`on_timer`](crate::reactor::Service::on_timer) is called with `key` after
    /// `delay`, at most 128 ms late. `None` if all services together have set too many timers.
    pub fn schedule(&mut self, delay: Duration, key: u64) -> Option<ServiceTimer> {
        let timer = self.core.schedule.set(self.core.served, self.core.now + delay, key);
        if timer.is_none() {
            self.core.metrics.timers_refused += 1;
        }
        timer
    }

    /// Sets an interval timer: [`on_timer`](crate::reactor::Service::on_timer) is called with `key`
    /// after each `period`, until the timer is [cancelled](Context::cancel). A period below 128 ms
    /// counts as 128 ms. A late call does not delay the next one, and missed calls are skipped.
    /// `None` as with [`schedule`](Context::schedule).
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
        let timer = self.core.schedule.set_every(self.core.served, self.core.now, period, key);
        if timer.is_none() {
            self.core.metrics.timers_refused += 1;
        }
        timer
    }

    /// Cancels a timer; false if it would not have fired any more.
    pub fn cancel(&mut self, timer: ServiceTimer) -> bool {
        self.core.schedule.unset(timer)
    }

    /// Makes the loop call [`on_mail`](crate::reactor::Service::on_mail): in this turn if its mail
    /// phase has not started, else in the next turn, which then does not wait for events. Several
    /// calls of `wake` cause one call. This lets a service split long work into steps within the budget
    /// of its mail:
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
    ///         let _ = cx.send(conn, &page);
    ///         More::Yes
    ///     }
    /// }
    /// ```
    pub fn wake(&mut self) {
        self.core.wake(self.core.served);
    }

    /// Adds a route to this service, or changes the settings of its route with this pattern, as
    /// [`set_route`](Context::set_route) does.
    ///
    /// # Errors
    /// The path is malformed, the settings contradict each other, or there are too many routes.
    pub fn put_route(
        &mut self,
        path: &str,
        settings: RouteSettings,
    ) -> Result<RouteId, RouteError> {
        self.core.put_route(path, self.core.served, settings)
    }

    /// Removes a route of this service: it gets no further request. Its connections stay, with its
    /// settings.
    ///
    /// # Errors
    /// It is not a route of this service.
    pub fn remove_route(&mut self, route: RouteId) -> Result<(), RouteError> {
        self.core.remove_route(route, self.core.served)
    }

    /// Changes the settings of a route, of any service. Limits and deadlines hold from now on, for
    /// open connections, too. What was agreed in a handshake, such as compression, stays for
    /// connections that are open, and the listener group for the route.
    ///
    /// ```
    /// use weir::reactor::settings::RouteSettings;
    /// use weir::reactor::{Context, RouteId};
    ///
    /// fn admit_larger_messages(cx: &mut Context<'_>, chat: RouteId) {
    ///     let settings = RouteSettings::default().outbox_hard_bytes(8 << 20);
    ///     if let Err(error) = cx.set_route(chat, settings.message_bytes_max(4 << 20)) {
    ///         eprintln!("the old limits stay: {error}");
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The settings contradict each other, or there is no such route. Nothing has changed.
    pub fn set_route(&mut self, route: RouteId, settings: RouteSettings) -> Result<(), RouteError> {
        self.core.set_route(route, settings)
    }

    /// Changes [`trusted_proxies`](field@Settings::trusted_proxies) and
    /// [`client_address_from`](field@Settings::client_address_from), from the next request of each
    /// connection on. A PROXY header is accepted from a peer that was trusted when it connected.
    pub fn set_trusted_proxies(&mut self, proxies: Vec<Prefix>, from: ClientAddressFrom) {
        self.core.set_trusted_proxies(proxies, from);
    }

    /// Creates a mailbox through which other threads reach this service. It holds up to `capacity`
    /// messages; each of them makes the loop call [`on_mail`](crate::reactor::Service::on_mail).
    pub fn mailbox<T>(&mut self, capacity: usize) -> (MailSender<T>, MailReceiver<T>) {
        self.core.notifiers.mailbox(self.core.served, capacity)
    }

    /// Threads that do `work` for this service: see [`Workers`].
    pub fn workers<J, D, K>(
        &mut self,
        settings: WorkerSettings,
        work: impl Fn(J) -> Step<J, D> + Send + Sync + 'static,
    ) -> Workers<J, D, K>
    where
        J: Send + 'static,
        D: Send + 'static,
        K: Clone + Eq + Hash + Send + 'static,
    {
        Workers::new(self.core.notifiers.notifier(self.core.served), settings, work)
    }
}
