//! Removal between batches: what a crash has left of a deletion request, expired events, vanished authors,
//! retention. Each call looks at 500 events at most, in one transaction, and goes on where the last one stopped.

use super::batch::{Batch, Place};
use super::error::StoreError;
use super::key::{SERIAL_END, expires_key, read_integer};
use super::retention::Round;
use super::room::Allowed;
use super::tables::Table;
use super::vanish;
use super::writer::Writer;

/// Events that one call looks at.
pub const SWEEP_STEPS: usize = 500;
/// Seconds between two rounds of retention.
const RETENTION_INTERVAL_SECONDS: u64 = 60;

/// What a call has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events that it removed.
    pub removed: usize,
    /// There is more to do: call again after the next batch.
    pub more: bool,
}

impl Writer {
    /// Removes what has expired or vanished, and what retention ends. To be called every few seconds, and
    /// between batches while there is more. `now` is the Unix time in seconds.
    pub fn sweep(&mut self, now: u64) -> Result<Swept, StoreError> {
        if self.room.check(self.store.directory(), now) == Allowed::Nothing {
            return Ok(Swept::default());
        }
        let deleted = self.step_deletion()?;
        if deleted.more {
            return Ok(deleted);
        }
        let expired = self.sweep_expired(now)?;
        if expired.more {
            return Ok(expired);
        }
        let vanished = self.sweep_vanished()?;
        let retained = if vanished.more { Swept::default() } else { self.sweep_retention(now)? };
        Ok(Swept {
            removed: deleted.removed + expired.removed + vanished.removed + retained.removed,
            more: vanished.more || retained.more,
        })
    }

    fn sweep_expired(&mut self, now: u64) -> Result<Swept, StoreError> {
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut batch = Batch::new(&snapshot);
        // A clock that was set back may have let in events that the last sweep took for removed.
        let start = self.sweep.expired_until.min(now);
        let (start, end) = (expires_key(start, 0), expires_key(now, SERIAL_END - 1));
        let mut more = false;
        for entry in snapshot.range(Table::Expires, &start, &end) {
            if batch.removals() == SWEEP_STEPS {
                more = true;
                break;
            }
            let key = entry.key()?;
            let serial = read_integer(key.get(8..).unwrap_or_default());
            batch.remove(Place::Stored(serial))?;
        }
        let removed = batch.removals();
        self.write(batch)?;
        if !more {
            self.sweep.expired_until = now;
        }
        Ok(Swept { removed, more })
    }

    fn sweep_vanished(&mut self) -> Result<Swept, StoreError> {
        let vanishing = self.store.vanishing();
        let Some(pubkey) = vanishing.keys().next() else {
            return Ok(Swept::default());
        };
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut batch = Batch::new(&snapshot);
        vanish::step(&mut batch, pubkey, SWEEP_STEPS)?;
        let removed = batch.removals();
        self.write(batch)?;
        Ok(Swept { removed, more: !self.store.vanishing().is_empty() })
    }

    fn sweep_retention(&mut self, now: u64) -> Result<Swept, StoreError> {
        if self.sweep.round.is_none() {
            // A clock that was set back must not stop retention.
            self.sweep.next_round = self.sweep.next_round.min(now + RETENTION_INTERVAL_SECONDS);
            if now < self.sweep.next_round || !self.has_retention() {
                return Ok(Swept::default());
            }
            self.sweep.round = Some(Round::start(&self.settings, self.totals, now));
        }
        let Some(mut round) = self.sweep.round.take() else {
            return Ok(Swept::default());
        };
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut batch = Batch::new(&snapshot);
        let more = round.step(&self.settings, &mut batch, SWEEP_STEPS)?;
        let removed = batch.removals();
        self.write(batch)?;
        if more {
            self.sweep.round = Some(round);
        } else {
            self.sweep.next_round = now + RETENTION_INTERVAL_SECONDS;
        }
        Ok(Swept { removed, more })
    }

    fn has_retention(&self) -> bool {
        let is_too_large = self.settings.store_max.is_some_and(|max| self.totals.live_bytes > max);
        is_too_large || !self.settings.retention.is_empty()
    }
}
