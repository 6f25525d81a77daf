//! The state of the loop that handlers can change: connections, queues, topics, timers.
//!
//! This file has the fields and the queues. The methods of [`Core`] that change them are in
//! `effects/`: they edit state and put ids on queues. None of them calls a service, and only the
//! reap phase in `turn.rs` frees slots.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::Registry;

use super::api::budget::{
    DECISION_WORK, HEAD_WORK, RATE_ADDRESSES_MAX, RATE_SHARED_MAX, TABLE_SLOTS_RESERVED_MAX,
};
use super::api::handle::Commands;
use super::api::id::{ConnId, GateId, ServiceId};
use super::api::outcome::Decision;
use super::api::settings::Settings;
use super::api::time::Time;
use super::conn::connection::Connection;
use super::conn::outboxes::Outboxes;
use super::conn::table::Conns;
use super::parts::admission::Admission;
use super::parts::date::DateCache;
use super::parts::deflate::Deflate;
use super::parts::entropy::MaskKeys;
use super::parts::keys::RecentKeys;
use super::parts::ledger::Ledger;
use super::parts::lines::LineLimits;
use super::parts::load::LoadState;
use super::parts::mailbox::Notifiers;
use super::parts::metrics::Metrics;
use super::parts::observed::Observed;
use super::parts::presented::PresentedTokens;
use super::parts::recovery::Recovery;
use super::parts::redaction::Redaction;
use super::parts::router::Router;
use super::parts::schedule::Schedule;
use super::parts::shared_rates::SharedRates;
use super::parts::shedding::Shedding;
use super::parts::sign_outs::SignOuts;
use super::parts::socket::send_buffer_max;
use super::parts::subjects::Subjects;
use super::parts::tls::Tls;
use super::parts::topics::{TopicLimits, Topics};
use super::parts::traces::Traces;
use super::parts::wall_clock::WallClock;
use super::parts::work::Work;
use crate::protocol::{CloseCode, Spares};

/// What services and gates have decided, for the mail phase.
#[derive(Debug)]
pub(super) enum Decided {
    /// A service's decision on a deferred request.
    Request(ConnId, Decision),
    /// The verdict of a gate on a request that waits for it.
    Verdict(ConnId),
    /// The sign-out of a subject.
    SignOut(Box<SignOut>),
    /// A token that a service has presented, or the verdict on it.
    Presented(ConnId),
    /// The identity of a connection was replaced.
    Identity(ConnId),
}

impl Decided {
    /// The work of carrying it out: of a request it sends a response, of a token it calls the gate.
    pub(super) fn work(&self) -> usize {
        match self {
            Decided::Request(..) | Decided::Verdict(_) | Decided::Presented(_) => DECISION_WORK,
            Decided::SignOut(_) | Decided::Identity(_) => HEAD_WORK,
        }
    }
}

/// A subject that is being signed out.
#[derive(Debug)]
pub(super) struct SignOut {
    pub(super) gate: GateId,
    pub(super) subject: Arc<str>,
    pub(super) code: CloseCode,
    /// Its connections that are not closed yet.
    pub(super) left: Vec<ConnId>,
    /// Whether the gate has been informed.
    pub(super) is_announced: bool,
}

/// The queues by which phases pass work to each other.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// The read queue: connections to read from.
    pub(super) read: VecDeque<ConnId>,
    /// Connections postponed by the read phase. They are the first of the next one.
    pub(super) postponed: Vec<ConnId>,
    /// The flush queue: connections with output to write or interest to update.
    pub(super) flush: VecDeque<ConnId>,
    /// Connections that get `on_drain`.
    pub(super) drained: VecDeque<ConnId>,
    /// Connections that have ended.
    pub(super) reap: VecDeque<ConnId>,
    /// Services whose `on_mail` is called in the next mail phase, each once.
    pub(super) mail: Vec<ServiceId>,
    /// What the mail phase carries out after the mail.
    pub(super) decisions: VecDeque<Decided>,
}

impl Queues {
    /// Puts postponed connections back, at the front of the read queue; returns their number.
    #[cold]
    pub(super) fn requeue_postponed(&mut self) -> usize {
        let postponed = self.postponed.len();
        for id in self.postponed.drain(..).rev() {
            self.read.push_front(id);
        }
        postponed
    }

    /// See [`Core::wake`].
    pub(super) fn wake(&mut self, service: ServiceId, recovery: &Recovery) {
        if !self.mail.contains(&service) && !recovery.is_paused(service) {
            self.mail.push(service);
        }
    }

    /// Queues a connection for the flush phase.
    #[inline(always)]
    pub(super) fn enqueue_flush(&mut self, id: ConnId, conn: &mut Connection) {
        if !conn.in_flush_queue {
            conn.in_flush_queue = true;
            self.flush.push_back(id);
        }
    }

    /// Whether no queue has work, so that the poll may wait.
    pub(super) fn is_idle(&self) -> bool {
        self.read.is_empty()
            && self.flush.is_empty()
            && self.drained.is_empty()
            && self.reap.is_empty()
            && self.mail.is_empty()
            && self.decisions.is_empty()
    }
}

/// The state of the loop, except its services and the poll.
#[derive(Debug)]
pub(super) struct Core {
    /// The instant of [`Time::ZERO`].
    pub(super) epoch: Instant,
    pub(super) now: Time,
    /// The service that a [`Context`](super::Context) acts for: the one whose handler runs. Not a
    /// field of the context, so that a message that it sends needs no register for it (4
    /// to 7 instructions per message).
    pub(super) served: ServiceId,
    pub(super) settings: Settings,
    /// Whether `trusted_proxies` have changed: connections may have been accepted before.
    pub(super) has_trust_changed: bool,
    pub(super) conns: Conns,
    pub(super) queues: Queues,
    pub(super) router: Router,
    pub(super) schedule: Schedule,
    /// The connections of each subject.
    pub(super) subjects: Subjects,
    pub(super) sign_outs: SignOuts,
    pub(super) presented: PresentedTokens,
    pub(super) wall_clock: WallClock,
    /// Where the check of expiries after a jump of the wall clock continues.
    pub(super) wall_walk: Option<usize>,
    /// Whether the timer that checks the wall clock is set.
    pub(super) is_wall_due: bool,
    /// What a gate has marked in the head that it looks at.
    pub(super) redaction: Option<Redaction>,
    pub(super) topics: Topics<ConnId>,
    pub(super) outboxes: Outboxes,
    pub(super) admission: Admission,
    /// Buckets that open connections share.
    pub(super) shared_rates: SharedRates,
    /// Connections that a rate pauses.
    pub(super) throttled: usize,
    /// The serial of the connection with rates that is being read; 0 without one.
    pub(super) rated_serial: u32,
    /// The Sec-WebSocket-Keys of recent upgrades, if `key_reuse_window` is set.
    pub(super) handshake_keys: RecentKeys,
    /// How many log lines about peers are allowed.
    pub(super) log_limits: LineLimits,
    pub(super) observed: Option<Observed>,
    /// Empty unless `trace` is set.
    pub(super) traces: Traces,
    /// Which services panicked in `on_mail` and pause.
    pub(super) recovery: Recovery,
    /// The type name of each service.
    pub(super) service_names: Vec<&'static str>,
    pub(super) metrics: Metrics,
    /// The load, and what follows from its level.
    pub(super) load: LoadState,
    pub(super) shedding: Shedding,
    /// Connections in the reserve, the oldest first; some may have left it.
    pub(super) provisional: VecDeque<ConnId>,
    pub(super) registry: Registry,
    pub(super) notifiers: Notifiers,
    /// Commands put by other threads with a handle.
    pub(super) commands: Commands,
    pub(super) dates: DateCache,
    pub(super) spares: Spares,
    /// Whether the timer that frees unused memory is set.
    pub(super) is_trim_due: bool,
    pub(super) work: Work,
    pub(super) masks: MaskKeys,
    pub(super) tls: Tls,
    /// The largest send buffer that the system allows.
    pub(super) send_buffer_max: usize,
    /// Receivers of a publication; kept to reuse its allocation.
    pub(super) targets: Vec<ConnId>,
    /// The header of a frame that is written at once; kept to reuse its allocation.
    pub(super) frame_head: Vec<u8>,
    pub(super) deflate: Deflate,
    /// The path of connections before their first request.
    pub(super) no_path: Rc<str>,
}

/// The wall time since 1970; zero before that.
pub(super) fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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
        let slots = settings.connections_max.saturating_add(settings.outbound_max);
        let slots = slots.min(TABLE_SLOTS_RESERVED_MAX);
        Ok(Core {
            epoch: Instant::now(),
            now: Time::ZERO,
            served: ServiceId::LOOP,
            has_trust_changed: false,
            conns: Conns::with_capacity(slots),
            queues: Queues::default(),
            router: Router::default(),
            schedule: Schedule::with_capacity(slots),
            subjects: Subjects::default(),
            sign_outs: SignOuts::default(),
            presented: PresentedTokens::default(),
            wall_clock: WallClock::new(Time::ZERO, unix_time()),
            wall_walk: None,
            is_wall_due: false,
            redaction: None,
            topics: Topics::new(limits),
            outboxes: Outboxes::new(Ledger::new(&settings)),
            admission: Admission::new(&settings, RATE_ADDRESSES_MAX),
            shared_rates: SharedRates::new(RATE_SHARED_MAX),
            throttled: 0,
            rated_serial: 0,
            handshake_keys: RecentKeys::default(),
            log_limits: LineLimits::default(),
            observed: None,
            traces: Traces::default(),
            recovery: Recovery::default(),
            service_names: Vec::new(),
            metrics: Metrics::default(),
            load: LoadState::new(&settings),
            shedding: Shedding::default(),
            provisional: VecDeque::new(),
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

    /// Inserts a connection into the table, at the slot that its id has reserved.
    pub(super) fn insert(&mut self, conn: Connection) {
        self.conns.insert(conn);
    }

    /// Puts a connection on the flush queue.
    pub(super) fn enqueue_flush(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.queues.enqueue_flush(id, conn);
        }
    }

    /// Puts a connection on the read queue, if there may be input that may be handled.
    pub(super) fn enqueue_read(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.should_read()
        {
            conn.reading.enter_queue();
            self.queues.read.push_back(id);
        }
    }

    /// Compares the ledger with all connections. For debug builds, at the end of a turn: each turn
    /// while there are few connections, less often with more.
    pub(super) fn check_ledger(&self) {
        const CONNECTIONS_PER_TURN: usize = 64;
        let interval = 1 + self.conns.len() / CONNECTIONS_PER_TURN;
        if !self.metrics.turns.is_multiple_of(interval as u64) {
            return;
        }
        let Outboxes { batches, spares, ledger, .. } = &self.outboxes;
        let mut held = 0;
        for (id, conn) in self.conns.iter() {
            let is_member = conn.batch.is_some();
            debug_assert!(!is_member || conn.outbox.is_empty(), "{id}: a batch and an outbox");
            if !conn.reading.is_queued() && !conn.in_flush_queue {
                let measured = conn.measure_input();
                debug_assert_eq!(conn.input_bytes as usize, measured, "{id}: input: {conn:?}");
                #[cfg(feature = "proxy")]
                debug_assert!(self.outboxes.is_relayed_counted(conn), "{id}: relayed: {conn:?}");
            }
            debug_assert!(conn.outbox.is_measured(), "{id}: {:?}", conn.outbox);
            held += self.outboxes.own_bytes(conn);
        }
        let own = ledger.own() - spares.charged();
        debug_assert_eq!(own, held, "the ledger and the connections: {batches:?}");
        #[cfg(feature = "proxy")]
        debug_assert!(self.outboxes.are_relayed_sums(self.conns.iter().map(|(_, conn)| conn)));
        let left = self.outboxes.held();
        debug_assert!(self.conns.len() > 0 || left == 0, "{left} bytes left");
    }
}
