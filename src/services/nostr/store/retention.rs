//! Retention: events that a rule's age ends, and the oldest regular events above `store_max`.

use std::ops::RangeInclusive;

use super::batch::{Batch, Place};
use super::error::StoreError;
use super::index::live_bytes;
use super::key::{Order, read_index_value};
use super::settings::{RetentionRule, StoreSettings};
use super::shared::{Snapshot, Totals};
use super::tables::Table;
use crate::services::nostr::event::{Class, KIND_DELETION};

/// A round removes one twentieth of the events by `store_max` at most: disk space returns only by compaction,
/// and a round that waits for it must not empty the store.
const STORE_MAX_SHARE: u64 = 20;
/// Steps that a seek counts as.
const SEEK_STEPS: usize = 4;

/// State between two sweeps.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Events that expire before this time are removed: sweeps start here, not among removed entries.
    pub(super) expired_until: u64,
    pub(super) round: Option<Round>,
    /// Unix time in seconds before which no round starts.
    pub(super) next_round: u64,
}

/// One round over all rules, in steps.
#[derive(Debug)]
pub(super) struct Round {
    now: u64,
    /// The rule that is applied; behind the last one: `store_max`.
    rule: usize,
    /// The rule's author; 0 if it has none.
    author: usize,
    /// The index key to go on at; `None`: at the start.
    position: Option<Vec<u8>>,
    /// Bytes and events that may still go by `store_max`.
    excess_bytes: u64,
    excess_events: u64,
}

impl Round {
    pub(super) fn start(settings: &StoreSettings, totals: Totals, now: u64) -> Round {
        let excess_bytes =
            settings.store_max.map_or(0, |max| totals.live_bytes.saturating_sub(max));
        let excess_events = (totals.events / STORE_MAX_SHARE).max(1);
        Round { now, rule: 0, author: 0, position: None, excess_bytes, excess_events }
    }

    /// Removes events; looks at about `steps`. Returns whether the round goes on.
    pub(super) fn step(
        &mut self,
        settings: &StoreSettings,
        batch: &mut Batch<'_>,
        mut steps: usize,
    ) -> Result<bool, StoreError> {
        while steps > 0 {
            let Some(rule) = settings.retention.get(self.rule) else {
                return self.remove_oldest(batch, steps);
            };
            let walk = Walk::new(rule, self.author, self.now);
            let position = self.position.take();
            match walk.visit(batch.snapshot(), position, &mut steps, &mut |serial| {
                batch_remove(batch, serial)
            })? {
                Some(position) => self.position = Some(position),
                None if self.author + 1 < rule.authors.len() => self.author += 1,
                None => (self.rule, self.author) = (self.rule + 1, 0),
            }
        }
        Ok(true)
    }

    /// Removes regular events, the oldest first, while there is an excess.
    fn remove_oldest(&mut self, batch: &mut Batch<'_>, steps: usize) -> Result<bool, StoreError> {
        let end = self.position.take().unwrap_or_else(|| Order::END.bytes().to_vec());
        let entries = batch.snapshot().range(Table::Time, &[], &end).rev();
        for (step, entry) in entries.enumerate() {
            if self.excess_bytes == 0 || self.excess_events == 0 {
                return Ok(false);
            }
            let (key, value) = entry.into_inner()?;
            if step == steps {
                self.position = Some(key.to_vec());
                return Ok(true);
            }
            let (kind, _) = read_index_value(&value)?;
            if Class::of(kind) != Class::Regular || kind == KIND_DELETION {
                continue;
            }
            if let Some(record) = batch.snapshot().record(Order::of_key(&key)?.serial())? {
                self.excess_bytes = self.excess_bytes.saturating_sub(live_bytes(&record));
                self.excess_events -= 1;
                batch.remove_record(&record)?;
            }
        }
        Ok(false)
    }
}

fn batch_remove(batch: &mut Batch<'_>, serial: u64) -> Result<(), StoreError> {
    batch.remove(Place::Stored(serial))
}

/// The part of an index with the events of a rule, or of one of its authors.
struct Walk<'a> {
    table: Table,
    prefix: &'a [u8],
    /// Kinds that stand between prefix and order in the keys; `None`: there are none.
    kinds: Option<&'a [RangeInclusive<u16>]>,
    /// Events behind this order are old enough.
    cutoff: Order,
}

impl<'a> Walk<'a> {
    fn new(rule: &'a RetentionRule, author: usize, now: u64) -> Walk<'a> {
        let cutoff = Order::first_at(now.saturating_sub(rule.age));
        let prefix = rule.authors.get(author).map_or(&[][..], |pubkey| &pubkey[..]);
        let (table, kinds) = match (prefix.is_empty(), rule.kinds.is_empty()) {
            (true, true) => (Table::Time, None),
            (true, false) => (Table::Kind, Some(&rule.kinds[..])),
            (false, true) => (Table::Author, None),
            (false, false) => (Table::AuthorKind, Some(&rule.kinds[..])),
        };
        Walk { table, prefix, kinds, cutoff }
    }

    /// The first key of events of the lowest kind of the rule from `kind` on.
    fn start_of(&self, kind: u32) -> Option<Vec<u8>> {
        let Some(kinds) = self.kinds else {
            return (kind == 0).then(|| [self.prefix, self.cutoff.bytes()].concat());
        };
        let lowest = kinds
            .iter()
            .filter(|range| u32::from(*range.end()) >= kind)
            .map(|range| u32::from(*range.start()).max(kind))
            .min()?;
        let lowest = u16::try_from(lowest).ok()?.to_be_bytes();
        Some([self.prefix, &lowest, self.cutoff.bytes()].concat())
    }

    /// Calls `each` with the serials of old events. Returns the key to go on at, if steps ran out.
    fn visit(
        &self,
        snapshot: &Snapshot<'_>,
        position: Option<Vec<u8>>,
        steps: &mut usize,
        each: &mut impl FnMut(u64) -> Result<(), StoreError>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let end = [self.prefix, &[0xff; 2 + Order::BYTES]].concat();
        let mut next = position.or_else(|| self.start_of(0));
        while let Some(start) = next.take() {
            if *steps == 0 {
                return Ok(Some(start));
            }
            *steps = steps.saturating_sub(SEEK_STEPS);
            for entry in snapshot.range(self.table, &start, &end) {
                let (key, value) = entry.into_inner()?;
                if *steps == 0 {
                    return Ok(Some(key.to_vec()));
                }
                *steps -= 1;
                let (kind, _) = read_index_value(&value)?;
                let order = Order::of_key(&key)?;
                if let Some(kinds) = self.kinds {
                    // The first key behind a kind's events leads to the next kind of the rule.
                    let is_ours = kinds.iter().any(|range| range.contains(&kind));
                    if !is_ours || order < self.cutoff {
                        next = self.start_of(u32::from(kind));
                        break;
                    }
                }
                if kind != KIND_DELETION {
                    each(order.serial())?;
                }
            }
        }
        Ok(None)
    }
}
