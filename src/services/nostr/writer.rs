//! The thread that writes: one per relay. It commits all events that wait as one batch, and sends the
//! outcomes to the loop in one mail.
//!
//! Between batches it removes what has expired. If it panics, the process ends with exit code 1: an
//! acknowledged event is on disk, and the next process reads it there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::event::Event;
use super::health::{DiskRoom, Health};
use super::manage::{Change, Removals};
use super::policy::SharedPolicy;
use super::store::{Committed, Outcome, Table, Writer, batch_weight};
use super::ticket::unix_seconds;
use super::written::{Accepted, Fate, WriterJob, WriterMail, Written};
use crate::reactor::MailSender;

/// Events of one batch; a deletion request counts by its tags.
const BATCH_EVENTS_MAX: usize = 1024;
/// Bytes of the messages of one batch.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often the thread looks for what it has to remove.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How often a store with `sync = "interval"` is written to disk.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// The first wait before a store that failed is opened again; it doubles up to the last.
const REOPEN_AFTER_MIN: Duration = Duration::from_secs(10);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(300);
/// The exit code after a panic.
const PANICKED: i32 = 1;

/// The loop's end of the thread.
#[derive(Debug)]
pub(super) struct WriterThread {
    /// `None` once the thread is to end.
    sender: Option<Sender<WriterJob>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterThread {
    /// Starts the thread. It ends when all senders are dropped, after it has stored what waits.
    pub(super) fn start(
        writer: Writer,
        syncs: bool,
        lists: SharedPolicy,
        room: Option<DiskRoom>,
        mail: MailSender<WriterMail>,
    ) -> WriterThread {
        let (sender, receiver) = channel();
        let run = move || {
            let removals = Removals::load(writer.store()).unwrap_or_else(|error| {
                log::error!("the store cannot be read: {error}");
                Removals::default()
            });
            let health = Health::new(room, Instant::now());
            let writing = Writing {
                writer,
                syncs,
                lists,
                removals,
                mail,
                receiver,
                health,
                outage: None,
                table_bytes: [0; Table::ALL.len()],
            };
            // Unwind-safe: the process ends.
            if catch_unwind(AssertUnwindSafe(|| writing.run())).is_err() {
                log::error!("the thread that writes the relay's store has panicked");
                process::exit(PANICKED);
            }
        };
        let thread = thread::Builder::new().name("relay writer".to_owned()).spawn(run);
        let thread = thread.inspect_err(|error| log::error!("cannot start the writer: {error}"));
        WriterThread { sender: Some(sender), thread: thread.ok() }
    }

    /// For the threads that verify. What it carries is bounded by the events in flight.
    pub(super) fn sender(&self) -> Option<Sender<WriterJob>> {
        self.sender.clone()
    }

    /// Waits until the thread has stored what waits. All other senders must have been dropped.
    pub(super) fn join(mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What accepted events count for in a batch, and the bytes of their messages.
fn size(accepted: &[Accepted]) -> (usize, usize) {
    accepted.iter().fold((0, 0), |(weight, bytes), accepted| {
        (weight + batch_weight(&accepted.event), bytes + accepted.ticket.bytes)
    })
}

/// A store that cannot be written.
#[derive(Debug)]
struct Outage {
    /// When it is opened again.
    retry: Instant,
    wait: Duration,
}

/// The state of the thread.
struct Writing {
    writer: Writer,
    /// Whether commits are on disk only after `Writer::sync`.
    syncs: bool,
    /// The lists that administrators change.
    lists: SharedPolicy,
    /// Events of bans.
    removals: Removals,
    mail: MailSender<WriterMail>,
    receiver: Receiver<WriterJob>,
    health: Health,
    outage: Option<Outage>,
    /// Bytes on disk by table, as reported last.
    table_bytes: [u64; Table::ALL.len()],
}

impl Writing {
    fn run(mut self) {
        let now = Instant::now();
        let (mut sweep_at, mut sync_at) = (now, now + SYNC_INTERVAL);
        let mut is_dirty = false;
        loop {
            let now = Instant::now();
            let mut until = sweep_at;
            if self.syncs && is_dirty {
                until = until.min(sync_at);
            }
            if let Some(outage) = &self.outage {
                until = until.min(outage.retry);
            }
            match self.receiver.recv_timeout(until.saturating_duration_since(now)) {
                Ok(WriterJob::Events(first)) => {
                    if let Some(change) = self.write(first) {
                        self.change(change);
                        sweep_at = now;
                    }
                    is_dirty = true;
                }
                Ok(WriterJob::Change(change)) => {
                    self.change(change);
                    sweep_at = now;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if self.outage.as_ref().is_some_and(|outage| outage.retry <= now) {
                self.reopen();
            }
            if self.syncs && is_dirty && sync_at <= now {
                self.sync();
                is_dirty = false;
                sync_at = now + SYNC_INTERVAL;
            }
            if sweep_at <= now {
                let more = self.outage.is_none() && self.sweep();
                self.report_health(now);
                self.report_table_bytes();
                sweep_at = if more { now } else { now + SWEEP_INTERVAL };
            }
        }
        if self.syncs && is_dirty {
            self.sync();
        }
    }

    /// Commits `first` and what waits behind it, up to the limits of a batch or to a change of the
    /// lists, which is returned.
    fn write(&mut self, first: Vec<Accepted>) -> Option<Box<Change>> {
        let mut batch = first;
        let (mut weight, mut bytes) = size(&batch);
        let mut change = None;
        while weight < BATCH_EVENTS_MAX
            && bytes < BATCH_BYTES_MAX
            && change.is_none()
            && let Ok(next) = self.receiver.try_recv()
        {
            match next {
                WriterJob::Events(next) => {
                    let (more_weight, more_bytes) = size(&next);
                    (weight, bytes) = (weight + more_weight, bytes + more_bytes);
                    batch.extend(next);
                }
                WriterJob::Change(next) => change = Some(next),
            }
        }
        let start = Instant::now();
        let written = self.store(batch);
        let (took, totals) = (start.elapsed(), self.writer.totals());
        let batch = WriterMail::Batch { written, committed: start + took, took, totals };
        // An error means that the loop has ended.
        let _ = self.mail.send(batch);
        change
    }

    /// Commits what the present lists do not refuse.
    fn store(&mut self, batch: Vec<Accepted>) -> Vec<Written> {
        let lists = self.lists.load();
        let (mut written, mut events) =
            (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for accepted in batch {
            let refusal = accepted.refusal(&lists);
            let Accepted { ticket, event, .. } = accepted;
            let (id, is_refused) = (*event.id(), refusal.is_some());
            let fate = refusal.map_or(Fate::Failed, Fate::Refused);
            written.push(Written { ticket, id, fate });
            if !is_refused {
                events.push(event);
            }
        }
        let outcomes = self.commit(events).unwrap_or_default();
        let stored = written.iter_mut().filter(|written| matches!(written.fate, Fate::Failed));
        for (written, outcome) in stored.zip(outcomes) {
            written.fate = Fate::Committed(outcome);
        }
        written
    }

    /// Changes the lists.
    fn change(&mut self, change: Box<Change>) {
        let answer = match self.outage {
            Some(_) => Change::failed(),
            None => match change.apply(&mut self.writer, &self.lists, &mut self.removals) {
                Ok(answer) => answer,
                Err(error) => {
                    self.fail(format!("the store cannot be written: {error}"));
                    Change::failed()
                }
            },
        };
        let _ = self.mail.send(WriterMail::Changed(change, answer));
    }

    /// `None` if the store failed.
    fn commit(&mut self, events: Vec<Event>) -> Option<Vec<Outcome>> {
        if self.outage.is_some() {
            return None;
        }
        match self.writer.commit(events, unix_seconds()) {
            Ok(Committed { outcomes, .. }) => Some(outcomes),
            Err(error) => {
                self.fail(format!("the store cannot be written: {error}"));
                None
            }
        }
    }

    fn fail(&mut self, reason: String) {
        log::error!("{reason}");
        let retry = Instant::now() + REOPEN_AFTER_MIN;
        self.outage = Some(Outage { retry, wait: REOPEN_AFTER_MIN });
        let _ = self.mail.send(WriterMail::State(Err(reason)));
    }

    fn reopen(&mut self) {
        let Some(outage) = &mut self.outage else {
            return;
        };
        match self.writer.reopen() {
            Ok(found) => {
                log::info!("the store can be written again");
                self.outage = None;
                self.health.forget();
                let _ = self.mail.send(WriterMail::State(Ok(())));
                let _ = self.mail.send(WriterMail::Found(found));
            }
            Err(error) => {
                log::warn!("the store cannot be opened again: {error}");
                outage.wait = (outage.wait * 2).min(REOPEN_AFTER_MAX);
                outage.retry = Instant::now() + outage.wait;
            }
        }
    }

    fn sync(&mut self) {
        if self.outage.is_none()
            && let Err(error) = self.writer.sync()
        {
            self.fail(format!("the store cannot be written to disk: {error}"));
        }
    }

    /// Reports whether the store can take events, if that has changed. During an outage the report of
    /// its start stands.
    fn report_health(&mut self, now: Instant) {
        if self.outage.is_some() {
            return;
        }
        if let Some(state) = self.health.changed(&self.writer, now) {
            if let Err(reason) = &state {
                log::warn!("the relay is not ready: {reason}");
            }
            let _ = self.mail.send(WriterMail::State(state));
        }
    }

    /// Reports the sizes of the tables, if they have changed.
    fn report_table_bytes(&mut self) {
        // A store that cannot be read is reported elsewhere.
        if let Ok(bytes) = self.writer.store().table_bytes()
            && bytes != self.table_bytes
        {
            self.table_bytes = bytes;
            let _ = self.mail.send(WriterMail::TableBytes(bytes));
        }
    }

    /// Removes what is due; returns whether there is more.
    fn sweep(&mut self) -> bool {
        let before = self.writer.totals();
        let more = self.remove();
        let totals = self.writer.totals();
        if totals != before {
            let _ = self.mail.send(WriterMail::Totals(totals));
        }
        more
    }

    fn remove(&mut self) -> bool {
        let swept = self.writer.sweep(unix_seconds());
        let removals = &mut self.removals;
        match swept.and_then(|swept| Ok(swept.more | removals.step(&mut self.writer)?)) {
            Ok(more) => more,
            Err(error) => {
                self.fail(format!("the store cannot remove events: {error}"));
                false
            }
        }
    }
}
