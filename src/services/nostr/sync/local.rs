//! The local side as a store that this process has opened alone.

use std::path::Path;

use super::side::{Fetched, ITEMS_MAX, Side, SyncError};
use crate::services::nostr::event::{Event, EventId};
use crate::services::nostr::filter::{Filter, FilterLimits};
use crate::services::nostr::known::{NoLists, Stored};
use crate::services::nostr::signature::KeyCache;
use crate::services::nostr::store::{
    Budget, Collect, CollectLimits, Collected, OpenError, Outcome, Store, StoreError,
    StoreSettings, Visibility, Writer, open, open_existing,
};
use crate::services::nostr::ticket::unix_seconds;
use crate::services::nostr::verify::{Verdict, Verifier, VerifySettings};

/// A store with its lock.
pub(super) struct LocalStore {
    store: Store,
    writer: Writer,
    keys: KeyCache,
    settings: VerifySettings,
}

impl LocalStore {
    /// Whether a directory has a store.
    pub(super) fn exists(directory: &Path) -> bool {
        Store::exists(directory)
    }

    /// Opens the store in a directory, which must have one.
    pub(super) fn open(directory: &Path) -> Result<LocalStore, SyncError> {
        LocalStore::of(open_existing(directory, StoreSettings::default()))
    }

    pub(super) fn create(directory: &Path) -> Result<LocalStore, SyncError> {
        LocalStore::of(open(directory, StoreSettings::default()))
    }

    fn of(opened: Result<(Store, Writer), OpenError>) -> Result<LocalStore, SyncError> {
        let (store, writer) = opened.map_err(|error| SyncError::new(error.to_string()))?;
        let settings = VerifySettings::default();
        Ok(LocalStore { store, writer, keys: KeyCache::default(), settings })
    }

    /// The events that are valid and may be new.
    fn verified(&mut self, events: &[Fetched]) -> Result<(Vec<Event>, usize), SyncError> {
        let snapshot = self.store.snapshot().map_err(failed)?;
        let mut verifier = Verifier {
            settings: &self.settings,
            known: &Stored(&snapshot),
            lists: &NoLists,
            keys: &mut self.keys,
            now: unix_seconds(),
        };
        let (mut valid, mut known) = (Vec::with_capacity(events.len()), 0);
        for (id, json) in events {
            match verifier.check(json) {
                Verdict::Accept(event) => valid.push(event),
                Verdict::Duplicate(_) => known += 1,
                Verdict::Ephemeral(_) => {}
                Verdict::Refuse { refusal, .. } => {
                    log::info!("{} is not stored: {refusal}", hex::encode(id));
                }
            }
        }
        Ok((valid, known))
    }
}

impl Side for LocalStore {
    fn items(&mut self, filter: &str) -> Result<Vec<(u64, EventId)>, SyncError> {
        let parsed = Filter::parse(filter, &FilterLimits::default());
        let filter = parsed.map_err(|refusal| SyncError::new(refusal.to_string()))?;
        let limits = CollectLimits::items(ITEMS_MAX);
        let mut collect = Collect::new(filter, limits, Visibility::all());
        loop {
            match collect.slice(&self.store, Budget::default(), unix_seconds()).map_err(failed)? {
                Collected::OutOfBudget => {}
                Collected::Items(items) => return Ok(items),
                Collected::TooMany | Collected::TooLong => {
                    let text = format!("the store has more than {ITEMS_MAX} of these events");
                    return Err(SyncError::new(text));
                }
            }
        }
    }

    fn fetch(&mut self, ids: &[EventId]) -> Result<Vec<Fetched>, SyncError> {
        let snapshot = self.store.snapshot().map_err(failed)?;
        let mut events = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(record) = snapshot.by_id(id).map_err(failed)? {
                let mut json = Vec::new();
                record.write_json(&mut json);
                let json =
                    String::from_utf8(json).map_err(|error| SyncError::new(error.to_string()))?;
                events.push((*id, json));
            }
        }
        Ok(events)
    }

    fn put(&mut self, events: Vec<Fetched>) -> Result<usize, SyncError> {
        let (valid, known) = self.verified(&events)?;
        if valid.is_empty() {
            return Ok(known);
        }
        let committed = self.writer.commit(valid, unix_seconds()).map_err(failed)?;
        let is_stored = |outcome: &&Outcome| {
            matches!(
                outcome,
                Outcome::Stored { .. }
                    | Outcome::Duplicate
                    | Outcome::Superseded
                    | Outcome::Vanishing { .. }
            )
        };
        Ok(known + committed.outcomes.iter().filter(is_stored).count())
    }
}

fn failed(error: StoreError) -> SyncError {
    SyncError::new(format!("the store failed: {error}"))
}
