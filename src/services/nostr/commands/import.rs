//! `weir relay import`: reads events, one JSON object per line, verifies them on all cores, and stores them.
//!
//! One thread reads blocks of lines and gives them to the verifying threads in turn. The calling thread takes
//! the results in the same turn, and writes them: events are stored in the order of their lines, and what
//! waits is bounded by a few blocks per thread.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::lines::{Block, Line, read_blocks};
use super::offline::OfflineStore;
use crate::services::nostr::event::Event;
use crate::services::nostr::known::{NoLists, Stored};
use crate::services::nostr::refusal::{Prefix, Refusal};
use crate::services::nostr::relay_names::RelayNames;
use crate::services::nostr::settings::RelaySettings;
use crate::services::nostr::signature::KeyCache;
use crate::services::nostr::store::{Outcome, Store, StoreError, batch_weight};
use crate::services::nostr::ticket::unix_seconds;
use crate::services::nostr::verify::{Verdict, Verifier, VerifySettings};

/// Blocks that wait for each thread, and results of each that wait for the writer.
const QUEUE_BLOCKS: usize = 1;
/// Weight of one transaction, see [`batch_weight`].
const BATCH_WEIGHT_MAX: usize = 1024;
/// Refused lines that a report describes; the others are only counted.
const DESCRIBED_MAX: usize = 10;
/// Bytes of a line beside those of its event. A letter may take three times its bytes, as in `\u00e9`.
const LINE_MORE_BYTES: usize = 4096;

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Lines that are not blank.
    pub lines: u64,
    /// New events, and requests to vanish.
    pub stored: u64,
    /// Events that were stored before.
    pub duplicates: u64,
    /// Events of which the store, or the input, has a newer version.
    pub superseded: u64,
    /// Events that a deletion request names.
    pub deleted: u64,
    /// Lines that are not events, or whose events are refused.
    pub refused: u64,
    /// The first of them, by line number.
    pub described: BTreeMap<u64, String>,
}

impl ImportReport {
    fn refuse(&mut self, line: u64, why: String) {
        self.refused += 1;
        self.described.insert(line, why);
        if self.described.len() > DESCRIBED_MAX {
            self.described.pop_last();
        }
    }
}

impl OfflineStore {
    /// Stores the events of `input`, a JSON object per line. Blank lines have no effect. `past_max` and
    /// `pow_min` do not apply, other limits on events do. `progress` is called often, with the report so far.
    ///
    /// # Errors
    /// The input cannot be read, or the store cannot be written. What the report counts as stored is stored.
    pub fn import(
        &mut self,
        input: impl Read + Send + 'static,
        report: &mut ImportReport,
        progress: &mut dyn FnMut(&ImportReport),
    ) -> Result<(), ImportError> {
        let threads = Threads::start(input, &self.settings, &self.store)?;
        let imported = self.write(threads, report, progress);
        let synced = self.writer.sync();
        imported.and(synced.map_err(ImportError::Store))
    }

    fn write(
        &mut self,
        threads: Threads,
        report: &mut ImportReport,
        progress: &mut dyn FnMut(&ImportReport),
    ) -> Result<(), ImportError> {
        let Threads { reader, mut verifiers } = threads;
        let mut turn = 0;
        while let Ok(checked) = verifiers[turn].results.recv() {
            self.write_block(checked?, report)?;
            progress(report);
            turn = (turn + 1) % verifiers.len();
        }
        // This thread has ended: at the end of the input, or by a panic. In the second case the others may
        // wait for the input, and are left to the end of the process.
        let panicked = |_| ImportError::Panicked;
        verifiers.swap_remove(turn).thread.join().map_err(panicked)?;
        reader.join().map_err(panicked)?.map_err(ImportError::Input)
    }

    fn write_block(
        &mut self,
        lines: Vec<CheckedLine>,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let (mut batch, mut weight) = (Vec::with_capacity(lines.len()), 0);
        for CheckedLine { number, checked } in lines {
            report.lines += 1;
            match checked {
                Ok(event) => {
                    weight += batch_weight(&event);
                    batch.push((number, event));
                }
                Err(Settled::Duplicate) => report.duplicates += 1,
                Err(Settled::Refused(refusal)) => report.refuse(number, refusal.to_string()),
            }
            if weight >= BATCH_WEIGHT_MAX {
                self.commit(std::mem::take(&mut batch), report)?;
                weight = 0;
            }
        }
        self.commit(batch, report)
    }

    fn commit(
        &mut self,
        batch: Vec<(u64, Event)>,
        report: &mut ImportReport,
    ) -> Result<(), ImportError> {
        let (numbers, events): (Vec<u64>, Vec<Event>) = batch.into_iter().unzip();
        let committed = self.writer.commit(events, unix_seconds())?;
        let mut is_full = false;
        for (number, outcome) in numbers.into_iter().zip(committed.outcomes) {
            match outcome {
                Outcome::Stored { .. } | Outcome::Vanishing { .. } => report.stored += 1,
                Outcome::Duplicate => report.duplicates += 1,
                Outcome::Newer | Outcome::Superseded => report.superseded += 1,
                Outcome::Deleted => report.deleted += 1,
                Outcome::Vanished => {
                    let refusal = Prefix::Blocked.text("the author has requested to vanish");
                    report.refuse(number, refusal.to_string());
                }
                Outcome::Invalid(text) => {
                    report.refuse(number, Prefix::Invalid.text(text).to_string());
                }
                Outcome::DiskFull => is_full = true,
            }
        }
        if is_full { Err(ImportError::DiskFull) } else { Ok(()) }
    }
}

/// A line whose event was verified.
struct CheckedLine {
    number: u64,
    checked: Result<Event, Settled>,
}

/// What becomes of a line without an event to store.
enum Settled {
    Duplicate,
    Refused(Refusal),
}

/// The threads of an import.
struct Threads {
    reader: JoinHandle<io::Result<()>>,
    /// At least one.
    verifiers: Vec<VerifyThread>,
}

struct VerifyThread {
    results: Receiver<Result<Vec<CheckedLine>, StoreError>>,
    thread: JoinHandle<()>,
}

impl Threads {
    fn start(
        input: impl Read + Send + 'static,
        settings: &RelaySettings,
        store: &Store,
    ) -> Result<Threads, ImportError> {
        let urls = settings.urls.iter().map(String::as_str);
        let names = RelayNames::of_urls(urls).unwrap_or_default();
        let mut verify = settings.verify(names);
        // They are for what clients publish now.
        (verify.past_max_seconds, verify.pow_min_bits) = (None, 0);
        let verify = Arc::new(verify);
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (mut blocks, mut verifiers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (sender, receiver) = sync_channel(QUEUE_BLOCKS);
            blocks.push(sender);
            verifiers.push(VerifyThread::start(receiver, store.clone(), Arc::clone(&verify))?);
        }
        let line_bytes_max =
            settings.event_bytes_max.saturating_mul(3).saturating_add(LINE_MORE_BYTES);
        let read = move || read_blocks(input, line_bytes_max, &blocks);
        let reader = thread::Builder::new().name("import reader".to_owned()).spawn(read);
        Ok(Threads { reader: reader.map_err(ImportError::Thread)?, verifiers })
    }
}

impl VerifyThread {
    fn start(
        blocks: Receiver<Block>,
        store: Store,
        settings: Arc<VerifySettings>,
    ) -> Result<VerifyThread, ImportError> {
        let (sender, results) = sync_channel(QUEUE_BLOCKS);
        let run = move || check_blocks(&blocks, &store, &settings, &sender);
        let thread = thread::Builder::new().name("import verify".to_owned()).spawn(run);
        Ok(VerifyThread { results, thread: thread.map_err(ImportError::Thread)? })
    }
}

/// Ends with the input, or with an import that has failed.
fn check_blocks(
    blocks: &Receiver<Block>,
    store: &Store,
    settings: &VerifySettings,
    results: &SyncSender<Result<Vec<CheckedLine>, StoreError>>,
) {
    let mut keys = KeyCache::default();
    for block in blocks {
        let checked = check_block(block, store, settings, &mut keys);
        if results.send(checked).is_err() {
            return;
        }
    }
}

fn check_block(
    block: Block,
    store: &Store,
    settings: &VerifySettings,
    keys: &mut KeyCache,
) -> Result<Vec<CheckedLine>, StoreError> {
    let snapshot = store.snapshot()?;
    let known = Stored(&snapshot);
    let now = unix_seconds();
    let mut verifier = Verifier { settings, known: &known, lists: &NoLists, keys, now };
    let lines = block
        .into_iter()
        .map(|line| CheckedLine { number: line.number, checked: check_line(&line, &mut verifier) });
    Ok(lines.collect())
}

fn check_line(line: &Line, verifier: &mut Verifier<'_>) -> Result<Event, Settled> {
    let invalid = |text: &'static str| Err(Settled::Refused(Prefix::Invalid.text(text)));
    if line.is_cut {
        return invalid("the line is too long");
    }
    let Ok(text) = std::str::from_utf8(&line.bytes) else {
        return invalid("the line is not UTF-8");
    };
    match verifier.check(text.trim()) {
        Verdict::Accept(event) => Ok(event),
        Verdict::Duplicate(_) => Err(Settled::Duplicate),
        Verdict::Ephemeral(_) => invalid("ephemeral events are not stored"),
        Verdict::Refuse { refusal, .. } => Err(Settled::Refused(refusal)),
    }
}

/// Why an import ended early.
#[derive(Debug)]
pub enum ImportError {
    /// The input cannot be read.
    Input(io::Error),
    /// The store cannot be read or written.
    Store(StoreError),
    /// The disk has less room than `disk_free_min`.
    DiskFull,
    /// A thread could not be started.
    Thread(io::Error),
    /// A thread has panicked.
    Panicked,
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> ImportError {
        ImportError::Store(error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Input(error) => write!(f, "the input cannot be read: {error}"),
            ImportError::Store(error) => write!(f, "the store failed: {error}"),
            ImportError::DiskFull => f.write_str("the disk has less room than disk_free_min"),
            ImportError::Thread(error) => write!(f, "a thread cannot be started: {error}"),
            ImportError::Panicked => f.write_str("a thread has panicked"),
        }
    }
}

impl std::error::Error for ImportError {}
