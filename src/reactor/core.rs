//! Everything of the loop that a service's handler may change: connections, queues, topics, timers.
//!
//! Each effect has its one place: [`Core::queue`] appends to an outbox, [`Core::begin_close`] ends a
//! connection, [`arm`](Core::arm) moves its timer. They edit state and put ids on queues; none of them calls
//! a service, reads a socket, or frees a slot: that is the turn's.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use log::debug;
use mio::{Registry, Token};

use super::api::budget::{RATE_ADDRESSES_MAX, SHARE_BYTES_MIN, WRITE_AT_ONCE_BYTES_MIN};
use super::api::close_reason::CloseReason;
use super::api::handle::Commands;
use super::api::id::{ConnId, ServiceId, Source};
use super::api::outcome::{Decision, SendOutcome};
use super::api::settings::{Settings, SlowPolicy};
use super::api::time::Time;
use super::conn::connection::Connection;
use super::conn::outbox::Outbox;
use super::conn::outbox::pressure::Pressure;
use super::conn::outbox::spares::SpareQueues;
use super::conn::outboxes::Outboxes;
use super::conn::table::Conns;
use super::parts::admission::Admission;
use super::parts::date::DateCache;
use super::parts::deflate::Deflate;
use super::parts::entropy::MaskKeys;
use super::parts::keys::RecentKeys;
use super::parts::ledger::Ledger;
use super::parts::lines::LineLimits;
use super::parts::mailbox::Notifiers;
use super::parts::metrics::Metrics;
use super::parts::recovery::Recovery;
use super::parts::router::Router;
use super::parts::schedule::Schedule;
use super::parts::shared::{Bytes, Shared};
use super::parts::socket::send_buffer_max;
use super::parts::tls::Tls;
use super::parts::topics::{TopicLimits, Topics};
use super::parts::work::Work;
use crate::protocol::encoder::frame_bytes;
use crate::protocol::{Masked, Message, Role, SharedFrame, Spares};

/// The queues by which one phase of the turn, or one turn, tells another what to look at.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Connections to read from.
    pub(super) run: VecDeque<ConnId>,
    /// Connections that the read phase puts off, to be the first of the next one.
    pub(super) postponed: Vec<ConnId>,
    /// Connections whose outbox or wishes have changed.
    pub(super) dirty: VecDeque<ConnId>,
    /// Connections that `on_drain` is owed.
    pub(super) drained: VecDeque<ConnId>,
    /// Connections that are gone.
    pub(super) reap: VecDeque<ConnId>,
    /// Services whose `on_mail` is called in the next mail phase, each once.
    pub(super) mail: Vec<ServiceId>,
    /// Late decisions on deferred requests.
    pub(super) answers: VecDeque<(ConnId, Decision)>,
}

impl Queues {
    /// Puts back what the read phase has put off.
    #[cold]
    pub(super) fn requeue_postponed(&mut self) {
        for id in self.postponed.drain(..).rev() {
            self.run.push_front(id);
        }
    }

    /// See [`Core::wake`].
    pub(super) fn wake(&mut self, service: ServiceId, recovery: &Recovery) {
        if !self.mail.contains(&service) && !recovery.is_paused(service) {
            self.mail.push(service);
        }
    }

    /// Queues a connection for the flush phase.
    #[inline(always)]
    fn note_output(&mut self, id: ConnId, conn: &mut Connection) {
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push_back(id);
        }
    }

    /// Whether there is work that does not wait for the poll.
    pub(super) fn is_idle(&self) -> bool {
        self.run.is_empty()
            && self.dirty.is_empty()
            && self.drained.is_empty()
            && self.reap.is_empty()
            && self.mail.is_empty()
            && self.answers.is_empty()
    }
}

/// The state of the loop, but for its services and the poll.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) now: Time,
    pub(super) settings: Settings,
    pub(super) conns: Conns,
    pub(super) queues: Queues,
    pub(super) router: Router,
    pub(super) schedule: Schedule,
    pub(super) topics: Topics<ConnId>,
    pub(super) outboxes: Outboxes,
    pub(super) admission: Admission,
    pub(super) keys: RecentKeys,
    pub(super) lines: LineLimits,
    pub(super) recovery: Recovery,
    /// The type of each service.
    pub(super) service_names: Vec<&'static str>,
    pub(super) metrics: Metrics,
    pub(super) registry: Registry,
    pub(super) notifiers: Notifiers,
    /// What other threads have asked for.
    pub(super) commands: Commands,
    pub(super) dates: DateCache,
    pub(super) spares: Spares,
    /// Whether the timer that frees unused memory is set.
    pub(super) is_trim_due: bool,
    pub(super) work: Work,
    pub(super) masks: MaskKeys,
    pub(super) tls: Tls,
    /// What the system lets a socket's send buffer be set to.
    pub(super) send_buffer_max: usize,
    /// Receivers of the broadcast under way; kept for its memory.
    pub(super) targets: Vec<ConnId>,
    /// The header of the frame that is written at once; kept for its memory, too.
    pub(super) frame_head: Vec<u8>,
    pub(super) deflate: Deflate,
    /// The path of all that have not sent a request yet.
    pub(super) no_path: Rc<str>,
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        registry: Registry,
        mut notifiers: Notifiers,
    ) -> io::Result<Core> {
        let limits = TopicLimits {
            topics_max: settings.topics_max,
            topics_per_connection_max: settings.topics_per_connection_max,
        };
        Ok(Core {
            now: Time::ZERO,
            conns: Conns::default(),
            queues: Queues::default(),
            router: Router::default(),
            schedule: Schedule::default(),
            topics: Topics::new(limits),
            outboxes: Outboxes::new(Ledger::new(&settings)),
            admission: Admission::new(&settings, RATE_ADDRESSES_MAX),
            keys: RecentKeys::default(),
            lines: LineLimits::default(),
            recovery: Recovery::default(),
            service_names: Vec::new(),
            metrics: Metrics::default(),
            registry,
            commands: Commands::new(notifiers.notifier(ServiceId::LOOP)),
            notifiers,
            dates: DateCache::default(),
            spares: Spares::default(),
            is_trim_due: false,
            work: Work::default(),
            masks: MaskKeys::new()?,
            tls: Tls::default(),
            send_buffer_max: send_buffer_max()?,
            targets: Vec::new(),
            frame_head: Vec::new(),
            deflate: Deflate::new(),
            no_path: "-".into(),
            settings,
        })
    }

    /// Gives a connection its place in the table: the one that its id names already.
    pub(super) fn insert(&mut self, conn: Connection) {
        self.conns.insert(conn);
    }

    // Output.

    /// Queues one message for one connection.
    pub(super) fn send(&mut self, id: ConnId, message: Message<'_>) -> SendOutcome {
        let (opcode, payload) = (message.opcode(), message.as_bytes());
        if payload.len() >= self.deflate.bytes_min().min(WRITE_AT_ONCE_BYTES_MIN)
            && let Some(outcome) = self.send_large(id, message)
        {
            return outcome;
        }
        self.queue(
            id,
            payload.len(),
            false,
            #[inline(always)]
            |outbox, spares, mask| outbox.push_frame(spares, opcode, payload, mask),
        )
    }

    /// Sends a message in a way that is worth it for large ones only, if there is one.
    #[inline(never)]
    fn send_large(&mut self, id: ConnId, message: Message<'_>) -> Option<SendOutcome> {
        if message.len() >= self.deflate.bytes_min()
            && let Some(outcome) = self.send_deflated(id, message)
        {
            return Some(outcome);
        }
        if message.len() >= WRITE_AT_ONCE_BYTES_MIN {
            return self.write_at_once(id, message);
        }
        None
    }

    /// Queues one message for one connection of the client's role, masked by who sends it.
    pub(super) fn send_masked(&mut self, id: ConnId, message: Masked<'_>) -> SendOutcome {
        if self.conns.get(id).is_some_and(|conn| conn.decoder.role() == Role::Server) {
            return SendOutcome::Refused;
        }
        if message.payload.len() >= WRITE_AT_ONCE_BYTES_MIN
            && let Some(outcome) = self.write_masked_at_once(id, message)
        {
            return outcome;
        }
        self.queue(id, message.payload.len(), false, |outbox, spares, _| {
            outbox.push_premasked(spares, message);
        })
    }

    /// Queues a frame that others are sent, too.
    pub(super) fn send_shared(&mut self, id: ConnId, frame: &SharedFrame) -> SendOutcome {
        let shared = self.share(frame);
        self.send_counted(id, frame, shared.as_ref())
    }

    /// Counts a frame that is large enough to be shared rather than copied into each outbox.
    pub(super) fn share(&self, frame: &SharedFrame) -> Option<Rc<Shared>> {
        let bytes = frame.bytes();
        let is_large = bytes.len() >= SHARE_BYTES_MIN;
        is_large.then(|| self.outboxes.ledger.share(Bytes::Frame(Rc::clone(bytes))))
    }

    /// Queues a frame that is counted already, if it is large enough to be shared.
    pub(super) fn send_counted(
        &mut self,
        id: ConnId,
        frame: &SharedFrame,
        shared: Option<&Rc<Shared>>,
    ) -> SendOutcome {
        let payload = frame.payload();
        let is_control = frame.opcode().is_control();
        if payload.len() >= self.deflate.bytes_min()
            && let Some(outcome) = self.send_shared_deflated(id, frame)
        {
            return outcome;
        }
        self.queue(id, payload.len(), is_control, |outbox, spares, mask| match (mask, shared) {
            (None, Some(shared)) => outbox.push_shared(spares, Rc::clone(shared)),
            (None, None) => outbox.push_frames(spares, frame.as_bytes()),
            (Some(_), _) => outbox.push_masked(spares, frame, mask),
        })
    }

    /// Queues a ping of a service's own.
    pub(super) fn send_ping(&mut self, id: ConnId, payload: &[u8]) -> SendOutcome {
        self.queue(id, payload.len(), true, |outbox, spares, mask| {
            outbox.push_ping(spares, payload, mask);
        })
    }

    /// Queues the answer to a ping.
    pub(super) fn send_pong(&mut self, id: ConnId, payload: &[u8]) -> SendOutcome {
        self.queue(id, payload.len(), true, |outbox, spares, mask| {
            outbox.push_pong(spares, payload, mask);
        })
    }

    /// The one way into the outbox of an open connection: limits first, then the bytes. A ping or pong
    /// that finds no room is left out, and nothing else follows from that; nor is it shed.
    #[inline(always)]
    pub(super) fn queue(
        &mut self,
        id: ConnId,
        payload_len: usize,
        is_control: bool,
        push: impl FnOnce(&mut Outbox, &mut SpareQueues, Option<[u8; 4]>),
    ) -> SendOutcome {
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.is_open()) else {
            return SendOutcome::Gone;
        };
        self.outboxes.settle(id, conn);
        let limits = self.router.settings(conn.route);
        let frame = frame_bytes(payload_len);
        let is_easy = conn.outbox.bytes() + frame <= limits.outbox_soft
            && conn.outbox.pressure() == Pressure::Easy
            && self.outboxes.is_surely_plenty(frame)
            && conn.decoder.role() == Role::Server;
        if !is_easy {
            return self.queue_checked(id, payload_len, is_control, push);
        }
        self.outboxes.change_settled(conn, |open| push(open.outbox, open.spares, None));
        debug_assert!(conn.outbox.bytes() <= limits.outbox_soft, "{id}: {payload_len} bytes");
        self.queues.note_output(id, conn);
        count_queued(conn, &mut self.metrics, payload_len, is_control);
        SendOutcome::Queued
    }

    /// Queues a frame that must be masked, or that may exceed a limit. Apart from [`Core::queue`], so
    /// that other frames do not pay for it.
    #[inline(never)]
    fn queue_checked(
        &mut self,
        id: ConnId,
        payload_len: usize,
        is_control: bool,
        push: impl FnOnce(&mut Outbox, &mut SpareQueues, Option<[u8; 4]>),
    ) -> SendOutcome {
        let Some(conn) = self.conns.get_mut(id) else {
            return SendOutcome::Gone;
        };
        let limits = self.router.settings(conn.route);
        if let Some(reason) = self.outboxes.refusal(id, conn, limits, payload_len, is_control) {
            self.metrics.buffered_refused += u64::from(reason == CloseReason::Overloaded);
            self.metrics.messages_refused += u64::from(!is_control);
            // That a message is larger than any queue may be is not for its receiver to answer for.
            if !is_control && frame_bytes(payload_len) <= limits.outbox_hard {
                self.apply_policy(id, reason);
            }
            return SendOutcome::Refused;
        }
        let mask = self.masks.for_frame_of(conn.decoder.role());
        self.outboxes.change_settled(conn, |open| push(open.outbox, open.spares, mask));
        let is_congested = conn.outbox.bytes() > limits.outbox_soft;
        let is_first = is_congested && conn.outbox.above_soft_since().is_none();
        count_queued(conn, &mut self.metrics, payload_len, is_control);
        self.mark_dirty(id);
        if is_first {
            self.metrics.congested += 1;
            self.congest(id, Pressure::Congested);
            self.arm(id);
        }
        if is_congested { SendOutcome::Congested } else { SendOutcome::Queued }
    }

    /// Notes that a connection's outbox went above its soft limit.
    pub(super) fn congest(&mut self, id: ConnId, pressure: Pressure) {
        if let Some(conn) = self.conns.get_mut(id) {
            let now = self.now;
            self.outboxes.change(id, conn, |open| open.outbox.congest(now, pressure));
        }
    }

    /// Output that must not wait for anybody's limits: an HTTP head.
    pub(super) fn queue_head(&mut self, id: ConnId, head: Vec<u8>) {
        if let Some(conn) = self.conns.get_mut(id).filter(|_| !head.is_empty()) {
            self.outboxes.change(id, conn, |open| open.outbox.push_head(open.spares, head));
            self.mark_dirty(id);
        }
    }

    /// There was no room for a message: the route's policy.
    fn apply_policy(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(conn) = self.conns.get_mut(id) {
            match self.router.settings(conn.route).slow_policy {
                SlowPolicy::Close => self.close(id, reason),
                SlowPolicy::Drop => self.congest(id, Pressure::Shedding),
            }
        }
    }

    /// Counts what input holds of memory; ends the connection if that is too much.
    pub(super) fn account_input(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let is_operator = conn.is_operator();
        let is_more = self.outboxes.charge_input(conn);
        let held = self.outboxes.held_by(conn);
        if is_more && !is_operator && !self.outboxes.allows(held, 0) {
            self.metrics.buffered_refused += 1;
            self.close(id, CloseReason::Overloaded);
            // One that was closing already is not listened to any more.
            self.finish_close(id);
        }
    }

    // Queues.

    /// Has the connection looked at in the flush phase.
    pub(super) fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.queues.note_output(id, conn);
        }
    }

    /// Has the connection's input looked at in the next read phase, if there may be any.
    pub(super) fn run(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.should_run()
        {
            conn.queued = true;
            self.queues.run.push_back(id);
        }
    }

    /// Asks the poll for what the connection wants now, if that has changed.
    pub(super) fn sync_interest(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let wanted = conn.wanted_interest();
        if wanted == conn.interest {
            return;
        }
        let token = Token::from(Source::Connection(id));
        let result = match (conn.interest, wanted) {
            (None, Some(interest)) => self.registry.register(&mut conn.socket, token, interest),
            (Some(_), Some(interest)) => {
                self.registry.reregister(&mut conn.socket, token, interest)
            }
            (_, None) => self.registry.deregister(&mut conn.socket),
        };
        match result {
            Ok(()) => conn.interest = wanted,
            Err(error) => {
                debug!("{id}: poll registration failed: {error}");
                self.vanish(id, CloseReason::PeerReset);
            }
        }
    }

    /// Compares the ledger with the connections. Called in debug builds, at the end of a turn: of every turn
    /// while there are few connections, less often the more there are.
    pub(super) fn check_ledger(&self) {
        const CONNECTIONS_PER_TURN: usize = 64;
        let interval = 1 + self.conns.len() / CONNECTIONS_PER_TURN;
        if !self.metrics.turns.is_multiple_of(interval as u64) {
            return;
        }
        let Outboxes { batches, spares, ledger } = &self.outboxes;
        let mut held = 0;
        for (id, conn) in self.conns.iter() {
            let is_member = conn.batch.is_some();
            debug_assert!(!is_member || conn.outbox.is_empty(), "{id}: a batch and an outbox");
            if !conn.queued && !conn.dirty {
                let measured = conn.measure_input();
                debug_assert_eq!(conn.input_bytes as usize, measured, "{id}: input: {conn:?}");
            }
            debug_assert!(conn.outbox.is_measured(), "{id}: {:?}", conn.outbox);
            held += self.outboxes.own_bytes(conn);
        }
        let own = ledger.own() - spares.charged();
        debug_assert_eq!(own, held, "the ledger and the connections: {batches:?}");
        let left = self.outboxes.held();
        debug_assert!(self.conns.len() > 0 || left == 0, "{left} bytes left");
    }
}

/// Counts a queued frame that carries a message.
#[inline(always)]
fn count_queued(
    conn: &mut Connection,
    metrics: &mut Metrics,
    payload_len: usize,
    is_control: bool,
) {
    if !is_control {
        metrics.messages_out += 1;
        conn.traffic.count_out(payload_len);
    }
}
