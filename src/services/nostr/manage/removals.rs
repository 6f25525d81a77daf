//! Events that are removed because they, or their authors, were banned: in steps, between batches.
//!
//! The store lists what is not finished, so that a restart goes on.

use std::collections::VecDeque;

use crate::services::nostr::event::EventId;
use crate::services::nostr::filter::{Filter, FilterLimits};
use crate::services::nostr::store::{Delete, Store, StoreError, Swept, Writer};
use crate::services::nostr::tags::PublicKey;

/// The list of the store.
const LIST: &str = "removals";

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// All events of an author.
    Author(PublicKey),
    /// One event.
    Event(EventId),
}

const AUTHOR: u8 = 0;
const EVENT: u8 = 1;

impl Target {
    /// Its form in the store.
    fn bytes(&self) -> Vec<u8> {
        let (kind, hash) = match self {
            Target::Author(key) => (AUTHOR, key),
            Target::Event(id) => (EVENT, id),
        };
        [&[kind], &hash[..]].concat()
    }

    fn read(bytes: &[u8]) -> Option<Target> {
        let (kind, hash) = bytes.split_first()?;
        let hash = hash.try_into().ok()?;
        match *kind {
            AUTHOR => Some(Target::Author(hash)),
            EVENT => Some(Target::Event(hash)),
            _ => None,
        }
    }

    fn delete(&self) -> Delete {
        let (member, hash) = match self {
            Target::Author(key) => ("authors", key),
            Target::Event(id) => ("ids", id),
        };
        let json = format!(r#"{{"{member}":["{}"]}}"#, hex::encode(hash));
        let filter = Filter::parse(&json, &FilterLimits::default());
        Delete::new(filter.expect("a valid filter"))
    }
}

/// What is to be removed. Bounded, since each target is an entry of a list of bans.
#[derive(Default)]
pub(crate) struct Removals {
    waiting: VecDeque<Target>,
    /// Of the first one, once it has been started.
    running: Option<Delete>,
}

impl Removals {
    /// Those that the last process has not finished.
    pub(crate) fn load(store: &Store) -> Result<Removals, StoreError> {
        let targets = store.snapshot()?.list(LIST)?;
        let waiting = targets.iter().filter_map(|(target, _)| Target::read(target)).collect();
        Ok(Removals { waiting, running: None })
    }

    /// Starts a removal, with one step.
    pub(super) fn start(&mut self, writer: &mut Writer, target: Target) -> Result<(), StoreError> {
        if self.waiting.contains(&target) {
            return Ok(());
        }
        writer.set_list_entry(LIST, &target.bytes(), Some(""))?;
        self.running = None;
        self.waiting.push_front(target);
        self.step(writer).map(drop)
    }

    /// Ends a removal: the ban was lifted.
    pub(super) fn cancel(&mut self, writer: &mut Writer, target: Target) -> Result<(), StoreError> {
        let Some(index) = self.waiting.iter().position(|waiting| *waiting == target) else {
            return Ok(());
        };
        writer.set_list_entry(LIST, &target.bytes(), None)?;
        self.waiting.remove(index);
        self.running = None;
        Ok(())
    }

    /// Removes up to a step of events; returns whether there are more.
    pub(crate) fn step(&mut self, writer: &mut Writer) -> Result<bool, StoreError> {
        let Some(target) = self.waiting.front() else {
            return Ok(false);
        };
        // After an error the deletion starts from the first event again.
        let mut delete = self.running.take().unwrap_or_else(|| target.delete());
        let Swept { more, .. } = writer.delete(&mut delete)?;
        if more {
            self.running = Some(delete);
            return Ok(true);
        }
        writer.set_list_entry(LIST, &target.bytes(), None)?;
        self.waiting.pop_front();
        Ok(!self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use super::*;
    use crate::services::nostr::store::{StoreSettings, open};
    use crate::services::nostr::testing::{event, key};

    const NOW: u64 = 1_700_000_000;

    fn events(store: &Store) -> usize {
        let snapshot = store.snapshot().unwrap();
        (0..1300).filter(|id| snapshot.known(&key(*id)).unwrap().is_some()).count()
    }

    #[test]
    fn a_removal_goes_on_after_a_restart_and_ends_with_the_ban() {
        let directory = env::temp_dir().join(format!("weir-removals-{}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        let settings = || StoreSettings { disk_free: None, ..StoreSettings::default() };
        let (store, mut writer) = open(&directory, settings()).unwrap();
        // 1,200 of author 1, and 100 of author 2.
        let all = (0..1300).map(|id| event(id, 1 + id / 1200, 1, NOW, "[]")).collect();
        writer.commit(all, NOW).unwrap();
        let mut removals = Removals::load(&store).unwrap();
        removals.start(&mut writer, Target::Author(key(1))).unwrap();
        assert_eq!(events(&store), 800);
        drop((store, writer, removals));

        let (store, mut writer) = open(&directory, settings()).unwrap();
        let mut removals = Removals::load(&store).unwrap();
        assert!(removals.step(&mut writer).unwrap());
        assert_eq!(events(&store), 300);
        removals.cancel(&mut writer, Target::Author(key(1))).unwrap();
        assert!(!removals.step(&mut writer).unwrap());
        assert_eq!(events(&store), 300);
        assert!(Removals::load(&store).unwrap().waiting.is_empty());

        removals.start(&mut writer, Target::Author(key(1))).unwrap();
        removals.start(&mut writer, Target::Event(key(1200))).unwrap();
        while removals.step(&mut writer).unwrap() {}
        assert_eq!(events(&store), 99);
        assert!(Removals::load(&store).unwrap().waiting.is_empty());
        drop((store, writer));
        fs::remove_dir_all(&directory).unwrap();
    }
}
