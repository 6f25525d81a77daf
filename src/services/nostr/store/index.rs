//! The index entries of an event: one function for writing, removing and checking them.

use std::borrow::Cow;

use super::key::{
    Order, author_kind_prefix, expires_key, index_value, newest_key, push_tag_prefix,
};
use super::record::Record;
use super::tables::Table;
use crate::services::nostr::event::{Class, Event, Fields as _, PublicKey};
use crate::services::nostr::filter::TagValue;
use crate::services::nostr::tags::{Tags, hex_32};

/// Pairs of letter and value that are indexed per event.
pub const INDEXED_TAGS_MAX: usize = 5_000;

/// Calls `each` with table, key and value of each entry whose key has the event's serial: all but those of
/// `event`, `id` and `newest`. No key occurs twice.
pub(super) fn for_each_entry(record: &Record, mut each: impl FnMut(Table, &[u8], &[u8])) {
    let head = record.head();
    let order = record.order();
    let short = index_value(head.kind, record.flags());
    let mut with_id = [0; 35];
    with_id[..32].copy_from_slice(&head.id);
    with_id[32..].copy_from_slice(&short);
    each(Table::Time, order.bytes(), &with_id);
    each(Table::Author, &keyed(&head.pubkey, order), &short);
    let prefix = author_kind_prefix(&head.pubkey, head.kind);
    each(Table::AuthorKind, &keyed(&prefix, order), &short);
    each(Table::Kind, &keyed(&head.kind.to_be_bytes(), order), &short);
    for prefix in tag_prefixes(record) {
        each(Table::Tag, &keyed(&prefix, order), &short);
    }
    if let Some(expiration) = record.expiration() {
        each(Table::Expires, &expires_key(expiration, record.serial()), &[]);
    }
}

fn keyed(prefix: &[u8], order: Order) -> Vec<u8> {
    [prefix, &order.bytes()[..]].concat()
}

/// Prefixes of the event's tags in the index, each once.
fn tag_prefixes(record: &Record) -> Vec<Vec<u8>> {
    let mut prefixes: Vec<Vec<u8>> = record
        .tags()
        .letters()
        .take(INDEXED_TAGS_MAX)
        .map(|(letter, value)| {
            // The largest prefix, and the order behind it.
            let mut prefix = Vec::with_capacity(2 + 64 + Order::BYTES);
            push_tag_prefix(&mut prefix, letter, &TagValue::of(&value));
            prefix
        })
        .collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// Bytes that the record and its entries take before compression: what `store_max` counts.
pub(super) fn live_bytes(record: &Record) -> u64 {
    let mut bytes = record.stored_bytes() + 6 + 32 + 14;
    for_each_entry(record, |_, key, value| bytes += key.len() + value.len());
    bytes as u64
}

/// The event's key in `newest`, if its kind has one.
pub(super) fn newest_key_of(record: &Record) -> Option<Vec<u8>> {
    let head = record.head();
    match Class::of(head.kind) {
        Class::Replaceable => Some(newest_key(&head.pubkey, head.kind, None)),
        Class::Addressable => {
            Some(newest_key(&head.pubkey, head.kind, Some(&identifier(record.tags()))))
        }
        Class::Regular | Class::Ephemeral => None,
    }
}

/// The event's key in `newest`, if its kind has one.
pub(super) fn newest_key_of_event(event: &Event) -> Option<Vec<u8>> {
    match event.class() {
        Class::Replaceable => Some(newest_key(event.pubkey(), event.kind(), None)),
        Class::Addressable => {
            Some(newest_key(event.pubkey(), event.kind(), Some(&event.identifier())))
        }
        Class::Regular | Class::Ephemeral => None,
    }
}

/// Value of the first `d` tag; empty if there is none.
pub(super) fn identifier(tags: Tags<'_>) -> Cow<'_, str> {
    tags.find("d").and_then(|tag| tag.value()).unwrap_or_default()
}

/// The public keys in `p` tags.
pub(super) fn recipients(tags: Tags<'_>) -> impl Iterator<Item = PublicKey> {
    tags.letters().filter(|(letter, _)| *letter == b'p').filter_map(|(_, value)| hex_32(&value))
}
