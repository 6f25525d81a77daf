//! [`Relay`]: its state, and what all its parts use.
//!
//! It frames, routes, matches and sends. Threads verify (`jobs`), write (`writer`) and search (`scans`);
//! their results arrive as mail, one batch at a time. The events of the loop are in `service`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::client::{Client, Waiting};
use super::event::Event;
use super::health::DiskRoom;
use super::info::Documents;
use super::jobs::Submitted;
use super::live_sample::LiveSample;
use super::managed::ManagedLists;
use super::message::{BadMessage, MessageLimits};
use super::metrics::{RelayCounts, Reply, add};
use super::negentropy::Sessions;
use super::plugin::Plugin;
use super::policy::{Policy, SharedPolicy};
use super::rates::{RateLimits, Rates};
use super::recent::RecentIds;
use super::refusal::Refusal;
use super::relay_names::RelayNames;
use super::reload::RelayReload;
use super::reply::write_notice;
use super::running::Running;
use super::settings::RelaySettings;
use super::store::{self, DiskFree, OpenError, Store, Writer};
use super::subscription::Subscriptions;
use super::vanished::Vanished;
use super::write_policy::WritePolicy;
use crate::protocol::CloseCode;
use crate::reactor::settings::RouteSettings;
use crate::reactor::{ConnId, ConnMap, Context, MailReceiver, SendOutcome, Throttle, Time};

/// Bytes of the events of one connection without an OK; then reading from it pauses.
const IN_FLIGHT_BYTES_MAX: usize = 1024 * 1024;

/// A relay on the loop.
pub struct Relay {
    pub(super) settings: Arc<RelaySettings>,
    pub(super) documents: Documents,
    /// Whether pages of every origin may read the documents: the route lists none.
    pub(super) is_open_to_pages: bool,
    pub(super) limits: MessageLimits,
    /// Names of the relay, for AUTHs and requests to vanish. Set before the loop runs.
    pub(super) names: Rc<RefCell<RelayNames>>,
    /// Kinds that are served to their authors and recipients only.
    pub(super) guarded: Arc<[u16]>,
    /// The lists of authors, kinds and ids.
    pub(super) lists: SharedPolicy,
    /// Whether there were administrators at the start (NIP-86).
    pub(super) is_managed: bool,
    /// New lists of the configuration.
    pub(super) reloads: Option<MailReceiver<RelayReload>>,
    /// Connections whose management calls are not answered, those included that have closed since.
    pub(super) calls: Vec<ConnId>,
    /// Until the threads are started; `None` without a plugin.
    pub(super) policy: Option<Box<dyn WritePolicy>>,
    pub(super) rates: Rates,
    pub(super) rate_limits: RateLimits,
    pub(super) clients: ConnMap<Client>,
    pub(super) subscriptions: Subscriptions<ConnId>,
    /// When subscriptions of ended connections were last removed.
    pub(super) released: Option<Time>,
    /// Negentropy sessions.
    pub(super) sessions: Sessions<ConnId>,
    /// Whether a timer for sessions without a message is set.
    pub(super) has_sessions_timer: bool,
    pub(super) store: Store,
    /// Until the threads are started.
    pub(super) writer: Option<Writer>,
    /// For the thread that writes.
    pub(super) room: Option<DiskRoom>,
    pub(super) running: Option<Running>,
    pub(super) events: Intake,
    /// Scans that wait for their connection.
    pub(super) waiting: Waiting,
    /// Connections whose scans found the queue of the threads full.
    pub(super) stalled: VecDeque<ConnId>,
    pub(super) counts: Rc<RelayCounts>,
    /// The commit whose live events are measured.
    pub(super) live_sample: LiveSample,
    /// The message that is written.
    pub(super) out: Vec<u8>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.join();
        }
    }
}

/// Why a relay did not open.
#[derive(Debug)]
#[non_exhaustive]
pub enum RelayError {
    /// The store did not open.
    Store(OpenError),
    /// The plugin cannot be started.
    Plugin(io::Error),
    /// A file of keys cannot be read: one line, with the setting.
    Keys(String),
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelayError::Store(error) => error.fmt(f),
            RelayError::Plugin(error) => write!(f, "plugin: {error}"),
            RelayError::Keys(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RelayError {}

/// Events on their way through the relay.
#[derive(Debug)]
pub(super) struct Intake {
    /// Events of this turn, to be verified.
    pub(super) incoming: Vec<Submitted>,
    /// The number of the next batch.
    pub(super) batch: u64,
    /// Events without an OK, of all connections.
    pub(super) load: Load,
    /// Events without an OK, by connection.
    pub(super) throttle: Throttle,
    /// Connections that are paused because too many events wait.
    pub(super) paused: Vec<ConnId>,
    /// Stored events that subscribers have not got.
    pub(super) announcing: VecDeque<Announcement>,
    /// Ephemeral events that were seen.
    pub(super) recent: RecentIds,
    /// Authors whose events are withheld.
    pub(super) vanished: Vanished,
}

impl Relay {
    /// Opens the directory of the relay, and creates the store if it is empty. `route` has the
    /// limits of its route, `disk_free` reads the free bytes of a disk.
    ///
    /// # Errors
    /// Another process uses the directory, a newer version has written it, or it cannot be read or
    /// written; or the plugin cannot be started; or a file of keys cannot be read.
    pub fn open(
        name: &str,
        settings: RelaySettings,
        route: &RouteSettings,
        disk_free: Option<DiskFree>,
    ) -> Result<Relay, RelayError> {
        let lists = settings.lists().map_err(RelayError::Keys)?;
        let rate_limits = settings.rates().map_err(RelayError::Keys)?;
        let (store, writer) = store::open(&settings.data_dir, settings.store(disk_free))
            .map_err(RelayError::Store)?;
        let managed = store.snapshot().and_then(|snapshot| ManagedLists::load(&snapshot));
        let managed = managed.map_err(|error| {
            RelayError::Store(OpenError::Database(settings.data_dir.clone(), error))
        })?;
        let plugin = settings.plugin_settings().map(Plugin::start).transpose();
        let plugin = plugin.map_err(RelayError::Plugin)?;
        let room = disk_free.filter(|_| settings.disk_free_min > 0).map(|disk_free| DiskRoom {
            directory: settings.data_dir.clone(),
            bytes_min: settings.disk_free_min,
            disk_free,
        });
        let urls = settings.urls.iter().map(String::as_str);
        let names = RelayNames::of_urls(urls).unwrap_or_default();
        let documents = Documents::render(&settings, route.message_bytes_max);
        let counts = RelayCounts {
            relay: name.to_owned(),
            plugin: plugin.as_ref().map(Plugin::watch),
            ..RelayCounts::default()
        };
        let events = Intake {
            incoming: Vec::new(),
            batch: 0,
            load: Load::default(),
            throttle: Throttle::new(settings.events_in_flight_max, IN_FLIGHT_BYTES_MAX),
            paused: Vec::new(),
            announcing: VecDeque::new(),
            recent: RecentIds::default(),
            vanished: Vanished::default(),
        };
        let mut relay = Relay {
            is_managed: !settings.administrators.is_empty(),
            reloads: None,
            calls: Vec::new(),
            documents,
            is_open_to_pages: route.origins.is_empty(),
            limits: settings.messages(),
            names: Rc::new(RefCell::new(names)),
            guarded: settings.guarded_kinds(),
            lists: SharedPolicy::new(Policy::new(lists, managed)),
            policy: plugin.map(|plugin| Box::new(plugin) as Box<dyn WritePolicy>),
            rates: Rates::new(rate_limits.clone()),
            rate_limits,
            clients: ConnMap::new(),
            subscriptions: Subscriptions::new(settings.subscriptions()),
            released: None,
            sessions: Sessions::new(settings.negentropy()),
            has_sessions_timer: false,
            store,
            writer: Some(writer),
            room,
            running: None,
            events,
            waiting: Waiting::default(),
            stalled: VecDeque::new(),
            counts: Rc::new(counts),
            live_sample: LiveSample::None,
            out: Vec::new(),
            settings: Arc::new(settings),
        };
        relay.render_documents();
        Ok(relay)
    }

    /// The same relay with this write policy, instead of the plugin of its settings.
    pub fn write_policy(mut self, policy: impl WritePolicy + 'static) -> Relay {
        self.policy = Some(Box::new(policy));
        self
    }

    /// The same relay with a mailbox for new lists, made by
    /// [`Reactor::mailbox`](crate::reactor::Reactor::mailbox).
    pub fn mailbox(mut self, reloads: MailReceiver<RelayReload>) -> Relay {
        self.reloads = Some(reloads);
        self
    }

    /// The counts of the relay, shared with the source of metrics.
    pub fn counts(&self) -> Rc<RelayCounts> {
        Rc::clone(&self.counts)
    }

    /// The names that an AUTH may give the relay. Without `urls` they are to be set to those of the
    /// listeners, before the loop runs.
    pub fn names(&self) -> Rc<RefCell<RelayNames>> {
        Rc::clone(&self.names)
    }

    /// Sends a message that `write` appends to an empty buffer.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        conn: ConnId,
        reply: Reply,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> SendOutcome {
        self.out.clear();
        write(&mut self.out);
        self.counts.sent(reply);
        match std::str::from_utf8(&self.out) {
            Ok(text) => cx.send(conn, text),
            Err(_) => SendOutcome::Gone,
        }
    }

    pub(super) fn notice(&mut self, cx: &mut Context<'_>, conn: ConnId, refusal: &Refusal) {
        self.counts.refuse(refusal.prefix);
        let _ = self.send(cx, conn, Reply::Notice, |out| write_notice(out, refusal));
    }

    /// Answers a malformed message, and ends a connection that sends no other.
    pub(super) fn answer_bad(&mut self, cx: &mut Context<'_>, conn: ConnId, bad: &BadMessage) {
        self.refuse(cx, conn, bad);
        if matches!(bad, BadMessage::Notice(_)) {
            self.count_bad(cx, conn);
        }
    }

    /// Answers a message that is not handled.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, conn: ConnId, bad: &BadMessage) {
        let refusal = bad.refusal();
        self.counts.refuse(refusal.prefix);
        let reply = match bad {
            BadMessage::Notice(_) => Reply::Notice,
            BadMessage::Ok(..) => Reply::Ok,
            BadMessage::Closed(..) => {
                add(&self.counts.closed[refusal.prefix as usize], 1);
                Reply::Closed
            }
            BadMessage::NegErr(..) => Reply::NegErr,
        };
        let _ = self.send(cx, conn, reply, |out| bad.write(out));
    }

    /// Counts a message that did not parse.
    pub(super) fn count_bad(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        client.bad_messages += 1;
        if client.bad_messages as usize >= self.settings.bad_messages_max {
            cx.close(conn, CloseCode::POLICY, "too many malformed messages");
        }
    }

    pub(super) fn count_good(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.bad_messages = 0;
        }
    }
}

/// Events without an OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Load {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

impl Load {
    pub(super) fn is_above(self, limit: Load) -> bool {
        self.events > limit.events || self.bytes > limit.bytes
    }

    pub(super) const fn half(self) -> Load {
        Load { events: self.events / 2, bytes: self.bytes / 2 }
    }
}

/// A stored event that its subscribers have not got.
#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) event: Arc<Event>,
    pub(super) serial: u64,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("name", &self.counts.relay).finish_non_exhaustive()
    }
}
