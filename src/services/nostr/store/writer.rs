//! The writer: the only one that changes the store. Each call is one transaction, or a few small ones.

use std::iter::Peekable;
use std::path::Path;

use super::batch::{Batch, Stored, Written};
use super::deletion::{TARGETS_MAX, is_large};
use super::error::{OpenError, StoreError};
use super::outcome::{Committed, Outcome};
use super::progress::DeletionProgress;
use super::retention::Sweep;
use super::room::Room;
use super::rules::{self, Verdict};
use super::settings::{StoreSettings, Sync};
use super::shared::{Store, Totals};
use super::tables::{Growth, Transaction};
use super::vanish;
use crate::services::nostr::event::{Event, KIND_DELETION, KIND_VANISH};

/// Opens the store in `directory`, or creates it.
pub fn open(directory: &Path, settings: StoreSettings) -> Result<(Store, Writer), OpenError> {
    let store = Store::open(directory)?;
    let failed = |error| OpenError::Database(directory.to_owned(), error);
    let writer = Writer::new(store.clone(), settings).map_err(failed)?;
    Ok((store, writer))
}

/// Opens the store in `directory`, which must be there.
pub fn open_existing(
    directory: &Path,
    settings: StoreSettings,
) -> Result<(Store, Writer), OpenError> {
    if !Store::exists(directory) {
        return Err(OpenError::Missing(directory.to_owned()));
    }
    open(directory, settings)
}

/// The writer of a store.
pub struct Writer {
    pub(super) store: Store,
    pub(super) settings: StoreSettings,
    /// Of the last commit that succeeded.
    pub(super) totals: Totals,
    /// The newest serial of the commits whose outcomes were returned.
    pub(super) reported: u64,
    /// The deletion request that is carried out in steps.
    pub(super) deletion: Option<DeletionProgress>,
    pub(super) growth: Growth,
    pub(super) room: Room,
    pub(super) sweep: Sweep,
}

impl Writer {
    fn new(store: Store, settings: StoreSettings) -> Result<Writer, StoreError> {
        let (totals, vanishing, deletion) = {
            let snapshot = store.snapshot()?;
            (snapshot.totals()?, vanish::load(&snapshot)?, snapshot.deletion()?)
        };
        store.set_vanishing(vanishing);
        let room = Room::new(&settings);
        let (growth, sweep) = (Growth::default(), Sweep::default());
        let reported = totals.last;
        Ok(Writer { store, settings, totals, reported, deletion, growth, room, sweep })
    }

    /// The store, for readers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The numbers after the last commit.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Stores a batch of verified events: in one transaction, unless deletion requests have many targets. With
    /// [`Sync::Commit`] it is on disk when this returns. `now` is the Unix time in seconds.
    ///
    /// After an error none of the events is acknowledged, and [`Writer::reopen`] has to succeed before the
    /// next commit can.
    pub fn commit(&mut self, events: Vec<Event>, now: u64) -> Result<Committed, StoreError> {
        let mut outcomes = Vec::with_capacity(events.len());
        let mut events = events.into_iter().peekable();
        while let Some(first) = events.peek() {
            let is_large = is_large(first);
            if is_large {
                // What a crash has left: one request at a time is carried out.
                self.finish_deletion()?;
            }
            self.commit_some(&mut events, &mut outcomes, now)?;
            if is_large {
                self.finish_deletion()?;
            }
        }
        self.reported = self.totals.last;
        Ok(Committed { outcomes, last: self.totals.last })
    }

    /// Stores the next events in one transaction: up to those whose deletions fill it. A large deletion
    /// request goes alone.
    pub(super) fn commit_some(
        &mut self,
        events: &mut Peekable<impl Iterator<Item = Event>>,
        outcomes: &mut Vec<Outcome>,
        now: u64,
    ) -> Result<(), StoreError> {
        let has_room = self.room.check(self.store.directory(), now);
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut batch = Batch::new(&snapshot);
        let mut verdicts = Vec::new();
        let mut is_full = false;
        while !is_full
            && let Some(event) = events.next_if(|event| verdicts.is_empty() || !is_large(event))
        {
            let is_large = is_large(&event);
            let is_removal = matches!(event.kind(), KIND_DELETION | KIND_VANISH);
            verdicts.push(if has_room.allows(is_removal) {
                rules::apply(&mut batch, event, now)?
            } else {
                Verdict::Done(Outcome::DiskFull)
            });
            is_full = is_large || batch.deletions() >= TARGETS_MAX;
        }
        let mut stored = self.write(batch)?;
        outcomes.extend(verdicts.into_iter().map(|verdict| match verdict {
            Verdict::Done(outcome) => outcome,
            Verdict::Add(slot) => match stored[slot].take() {
                Some((serial, event)) => Outcome::Stored { serial, event },
                None => Outcome::Superseded,
            },
        }));
        Ok(())
    }

    /// Commits a batch.
    pub(super) fn write(&mut self, batch: Batch<'_>) -> Result<Stored, StoreError> {
        let vanished: Vec<_> = batch.vanished().map(|(pubkey, state)| (*pubkey, *state)).collect();
        let tables = batch.snapshot().tables();
        let mut transaction = Transaction::new(tables, self.settings.sync == Sync::Commit);
        let is_empty = batch.is_empty();
        let Written { totals, stored, deletion } = batch.write(self.totals, &mut transaction)?;
        if !is_empty {
            let committed = transaction.commit()?;
            self.totals = totals;
            self.deletion = deletion.unwrap_or(self.deletion);
            self.growth.rotate(&committed, tables);
        }
        if !vanished.is_empty() {
            self.store.set_vanishing(vanish::update(&self.store.vanishing(), &vanished));
        }
        Ok(stored)
    }

    /// With [`Sync::Interval`]: writes earlier commits to the disk.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        Ok(self.store.snapshot()?.tables().sync()?)
    }

    /// Memtables that wait to be flushed. If the number does not fall for long, the database stalls.
    pub fn outstanding_flushes(&self) -> Result<usize, StoreError> {
        Ok(self.store.snapshot()?.tables().outstanding_flushes())
    }
}
