//! The audit log: events of the loop as JSON lines, written by a thread of its own.
//!
//! The loop never waits for the disk: an event that finds the channel full is lost, and the next line
//! reports how many were. With a key each line has an HMAC of itself and the line before it, so that
//! [`verify`] finds changed, removed and inserted lines.

mod chain;
mod command;
mod entry;
mod log_file;
mod shared;
mod verify;
mod writer;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use log::{info, warn};
use weir::protocol::Message;
use weir::reactor::{ConnId, Context, Event, EventKind, Observer, Reactor, Service, ServiceId};
use weir::services::admin::{HEALTH, METRICS, READY, Samples, Source};

use self::chain::load_key;
use self::entry::Entry;
use self::shared::{Mail, Shared};
use self::writer::Writer;

pub(crate) use self::command::AuditArguments;

/// Events that wait for the thread.
const QUEUE_MAX: usize = 4096;
/// How long the end of the process waits for the thread.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// The files of an audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditSettings {
    /// The log. Lines are appended to it.
    pub(crate) file: PathBuf,
    /// The key of the chain; `None`: lines have no HMAC.
    pub(crate) key: Option<PathBuf>,
}

impl AuditSettings {
    /// Checks that the key can be used.
    ///
    /// # Errors
    /// The file cannot be read, or the key is too short.
    pub(crate) fn check(&self) -> Result<(), Box<dyn Error>> {
        self.key.as_deref().map_or(Ok(()), |key| load_key(key).map(drop))
    }
}

/// Puts events into the log. Clones belong to the same log.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog {
    mail: SyncSender<Mail>,
    shared: Arc<Shared>,
}

/// The thread that writes the log.
#[derive(Debug)]
pub(crate) struct AuditThread {
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    end: Receiver<()>,
}

/// Opens the log, and starts its thread.
///
/// # Errors
/// A file cannot be used, or there is no thread.
pub(crate) fn open(settings: &AuditSettings) -> Result<(AuditLog, AuditThread), Box<dyn Error>> {
    let shared = Arc::<Shared>::default();
    let key = settings.key.as_deref().map(load_key).transpose()?;
    let mut writer = Writer::open(&settings.file, key, Arc::clone(&shared))
        .map_err(|error| format!("audit: {}: {error}", settings.file.display()))?;
    let (mail, received) = sync_channel(QUEUE_MAX);
    let (ended, end) = sync_channel(0);
    let work = move || {
        writer.run(&received);
        drop(ended);
    };
    thread::Builder::new().name("audit".to_owned()).spawn(work)?;
    let thread = AuditThread { shared: Arc::clone(&shared), end };
    Ok((AuditLog { mail, shared }, thread))
}

impl AuditLog {
    /// Reports what became of the configuration.
    pub(crate) fn config(&self, outcome: &'static str) {
        self.put(Entry::config(outcome));
    }

    fn put(&self, entry: Entry) {
        if self.mail.try_send(Mail::Entry(Box::new(entry))).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file again, after it was renamed.
    fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Relaxed);
        // If the channel is full, the next event in it wakes the thread.
        let _ = self.mail.try_send(Mail::Wake);
    }

    /// The metrics of the log.
    pub(crate) fn source(&self) -> AuditSource {
        AuditSource(Arc::clone(&self.shared))
    }
}

impl Observer for AuditLog {
    fn on_event(&mut self, event: &Event<'_>) {
        if !is_scrape(&event.kind) {
            self.put(Entry::of(event));
        }
    }
}

/// Whether a request of operators changes and reveals nothing: monitoring sends it all the time.
fn is_scrape(kind: &EventKind<'_>) -> bool {
    match kind {
        EventKind::Admin { method, target } => {
            matches!(*method, "GET" | "HEAD") && [METRICS, HEALTH, READY].contains(target)
        }
        _ => false,
    }
}

impl AuditThread {
    /// Waits until the last event is written, for a short time. There must be no [`AuditLog`] left.
    pub(crate) fn finish(self) {
        if self.end.recv_timeout(FINISH_MAX) == Err(RecvTimeoutError::Timeout) {
            warn!("audit: not all events were written: the file takes none");
        }
        let Shared { sequence, lost, .. } = &*self.shared;
        let (sequence, lost) = (sequence.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
        info!(sequence = sequence, lost = lost; "audit log ended");
    }
}

/// The service that opens the file again on SIGHUP.
struct Reopen(AuditLog);

impl Service for Reopen {
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_signal(&mut self, _: &mut Context<'_>, _: i32) {
        self.0.reopen();
    }
}

/// Adds the service that opens the log again, to be called on SIGHUP.
///
/// # Errors
/// There are too many services.
pub(crate) fn add_reopen(reactor: &mut Reactor, log: AuditLog) -> std::io::Result<ServiceId> {
    reactor.add_service(Reopen(log))
}

/// The metrics of an audit log.
#[derive(Debug)]
pub(crate) struct AuditSource(Arc<Shared>);

impl Source for AuditSource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        let Shared { written, lost, sequence, .. } = &*self.0;
        let help = "Lines of the audit log written since the start";
        samples.counter("audit", help, &[], written.load(Ordering::Relaxed));
        let help = "Events that are not in the audit log, because it was not written fast enough or \
                    its disk was full";
        samples.counter("audit_dropped", help, &[], lost.load(Ordering::Relaxed));
        let help = "Sequence of the last line of the audit log, counted over restarts";
        samples.gauge("audit_sequence", help, &[], sequence.load(Ordering::Relaxed) as f64);
    }
}
