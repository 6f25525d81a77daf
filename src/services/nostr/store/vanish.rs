//! Requests to vanish (NIP-62, kind 62): what is recorded, and the removal in steps.

use super::batch::Batch;
use super::error::StoreError;
use super::index::recipients;
use super::key::{Order, push_tag_prefix, read_index_value};
use super::outcome::Outcome;
use super::progress::{Phase, Progress};
use super::shared::{Snapshot, Vanishing};
use super::tables::Table;
use crate::services::nostr::event::{Event, Fields as _, KIND_GIFT_WRAP, PublicKey};
use crate::services::nostr::filter::TagValue;

/// Records a request. The removal follows in steps; a later request starts it again.
pub(super) fn record(batch: &mut Batch<'_>, event: Event) -> Result<Outcome, StoreError> {
    let (author, until) = (*event.pubkey(), event.created_at());
    if batch.vanished_until(event.pubkey())?.is_none_or(|before| before < until) {
        batch.set_progress(event.pubkey(), Progress::start(until));
    }
    batch.add_request(event);
    Ok(Outcome::Vanishing { author, until })
}

/// Authors whose removal is not complete.
pub(super) fn load(snapshot: &Snapshot<'_>) -> Result<Vanishing, StoreError> {
    let mut vanishing = Vanishing::new();
    for entry in snapshot.prefix(Table::Vanished, &[]) {
        let (key, value) = entry.into_inner()?;
        let progress = Progress::read(&value)?;
        if progress.phase != Phase::Done {
            let pubkey = key[..].try_into().map_err(|_| StoreError::Corrupt("vanished author"))?;
            vanishing.insert(pubkey, progress.until);
        }
    }
    Ok(vanishing)
}

/// Removes events of a vanishing author from the store, looking at no more than `steps` index entries.
pub(super) fn step(
    batch: &mut Batch<'_>,
    pubkey: &PublicKey,
    steps: usize,
) -> Result<(), StoreError> {
    let Some(value) = batch.snapshot().get(Table::Vanished, pubkey)? else {
        return Ok(());
    };
    let progress = Progress::read(&value)?;
    let phase = match progress.phase {
        Phase::Events(order) => match remove_events(batch, pubkey, order, steps)? {
            Some(order) => Phase::Events(order),
            None => Phase::Wraps(Order::first_at(progress.until)),
        },
        Phase::Wraps(order) => match remove_wraps(batch, pubkey, order, steps)? {
            Some(order) => Phase::Wraps(order),
            None => Phase::Done,
        },
        Phase::Done => Phase::Done,
    };
    batch.set_progress(pubkey, Progress { phase, ..progress });
    Ok(())
}

/// Returns where to go on, or `None` at the end.
fn remove_events(
    batch: &mut Batch<'_>,
    pubkey: &PublicKey,
    from: Order,
    steps: usize,
) -> Result<Option<Order>, StoreError> {
    for_each(batch, Table::Author, pubkey, from, steps, |batch, order, _| {
        match batch.snapshot().record(order.serial())? {
            Some(record) => batch.remove_record(&record),
            None => Ok(()),
        }
    })
}

/// Each removed gift wrap leaves a tombstone, so that it does not come back.
fn remove_wraps(
    batch: &mut Batch<'_>,
    pubkey: &PublicKey,
    from: Order,
    steps: usize,
) -> Result<Option<Order>, StoreError> {
    let mut prefix = Vec::new();
    push_tag_prefix(&mut prefix, b'p', &TagValue::Hex(*pubkey));
    for_each(batch, Table::Tag, &prefix, from, steps, |batch, order, kind| {
        if kind != KIND_GIFT_WRAP {
            return Ok(());
        }
        let Some(record) = batch.snapshot().record(order.serial())? else {
            return Ok(());
        };
        debug_assert!(recipients(record.tags()).any(|recipient| recipient == *pubkey));
        batch.bury(record.id(), pubkey, record.created_at());
        batch.remove_record(&record)
    })
}

/// Calls `each` for the entries from `from` on, at most `steps`. Returns where to go on.
fn for_each<'a>(
    batch: &mut Batch<'a>,
    table: Table,
    prefix: &[u8],
    from: Order,
    steps: usize,
    mut each: impl FnMut(&mut Batch<'a>, Order, u16) -> Result<(), StoreError>,
) -> Result<Option<Order>, StoreError> {
    let start = [prefix, from.bytes()].concat();
    let end = [prefix, Order::END.bytes()].concat();
    for (seen, entry) in batch.snapshot().range(table, &start, &end).enumerate() {
        let (key, value) = entry.into_inner()?;
        let order = Order::of_key(&key)?;
        if seen == steps {
            return Ok(Some(order));
        }
        each(batch, order, read_index_value(&value)?.0)?;
    }
    Ok(None)
}

/// The authors whose removal is not complete, after these changes.
pub(super) fn update(before: &Vanishing, changes: &[(PublicKey, Progress)]) -> Vanishing {
    let mut vanishing = before.clone();
    for (pubkey, progress) in changes {
        match progress.phase {
            Phase::Done => vanishing.remove(pubkey),
            Phase::Events(_) | Phase::Wraps(_) => vanishing.insert(*pubkey, progress.until),
        };
    }
    vanishing
}
