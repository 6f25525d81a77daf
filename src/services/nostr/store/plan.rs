//! Which index entries a filter needs (section 8.5): a list of sources that together have all of its matches.

use std::collections::BTreeMap;

use super::key::{author_kind_prefix, newest_key, push_tag_prefix};
use super::tables::Table;
use super::visibility::Visibility;
use crate::services::nostr::event::{Class, EventId};
use crate::services::nostr::filter::Filter;

/// Pairs of author and kind of a request that are read one by one from `newest`: each is a key in memory.
const NEWEST_TOTAL_MAX: usize = 5_000;
/// Pairs of author and kind that get a cursor each, beside a filter on tags.
const AUTHOR_KIND_WITH_TAGS_MAX: usize = 8;
/// The same, without tags.
const AUTHOR_KIND_MAX: usize = 1_000;
/// Cursors on `author_kind` of one request; beyond it filters fall back to fewer cursors and more entries.
const AUTHOR_KIND_TOTAL_MAX: usize = 5_000;

/// Where entries come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A range of an index.
    Range(Table, Vec<u8>),
    /// Events by id.
    Ids(Vec<EventId>),
    /// Events by their key in `newest`.
    Newest(Vec<Vec<u8>>),
}

/// A source of one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) filter: usize,
    pub(super) source: Source,
    /// The filter is decided by kind and time, without the record.
    pub(super) is_decisive: bool,
}

/// The sources of all filters.
pub(super) fn plan(filters: &[Filter], visibility: &Visibility) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    let mut newest_left = NEWEST_TOTAL_MAX;
    for (index, filter) in filters.iter().enumerate() {
        if filter.matches_nothing() {
            continue;
        }
        let author_kind = AUTHOR_KIND_TOTAL_MAX.saturating_sub(planned.len());
        let room = Room { author_kind, newest: newest_left };
        let (sources, is_decisive) = sources(filter, visibility, &room);
        for source in &sources {
            newest_left -= source.newest_keys();
        }
        let is_decisive = is_decisive && filter.search().is_none();
        planned.extend(sources.into_iter().map(|source| Planned {
            filter: index,
            source,
            is_decisive,
        }));
    }
    planned
}

/// The plan of a request in words, for the log: tables, letters of tags and numbers of cursors. It has none
/// of the values of the filters.
pub(super) fn describe(filters: &[Filter], visibility: &Visibility) -> String {
    let mut cursors: BTreeMap<String, usize> = BTreeMap::new();
    for planned in plan(filters, visibility) {
        let (name, number) = match planned.source {
            Source::Range(Table::Tag, prefix) => {
                let letter = prefix.first().map_or('?', |letter| char::from(*letter));
                (format!("{} {letter}", Table::Tag.name()), 1)
            }
            Source::Range(table, _) => (table.name().to_owned(), 1),
            Source::Ids(ids) => ("ids".to_owned(), ids.len()),
            Source::Newest(keys) => (Table::Newest.name().to_owned(), keys.len()),
        };
        *cursors.entry(name).or_default() += number;
    }
    let cursors: Vec<String> =
        cursors.iter().map(|(name, number)| format!("{name} x{number}")).collect();
    format!("{} filters: {}", filters.len(), cursors.join(", "))
}

/// Pairs of author and kind that the request may still have.
struct Room {
    author_kind: usize,
    newest: usize,
}

impl Source {
    fn newest_keys(&self) -> usize {
        match self {
            Source::Newest(keys) => keys.len(),
            Source::Range(..) | Source::Ids(_) => 0,
        }
    }
}

fn sources(filter: &Filter, visibility: &Visibility, room: &Room) -> (Vec<Source>, bool) {
    let has_tags = !filter.tags().is_empty();
    if let Some(ids) = filter.ids() {
        return (vec![Source::Ids(ids.to_vec())], filter.authors().is_none() && !has_tags);
    }
    if let Some(sources) = own_messages(filter, visibility) {
        return (sources, false);
    }
    let pairs_max =
        if has_tags { AUTHOR_KIND_WITH_TAGS_MAX } else { AUTHOR_KIND_MAX.min(room.author_kind) };
    match (filter.authors(), filter.kinds()) {
        (Some(authors), Some(kinds))
            if kinds.iter().all(|kind| Class::of(*kind) == Class::Replaceable)
                && authors.len() * kinds.len() <= room.newest =>
        {
            let keys = authors
                .iter()
                .flat_map(|author| kinds.iter().map(|kind| newest_key(author, *kind, None)));
            (vec![Source::Newest(keys.collect())], !has_tags)
        }
        (Some(authors), Some(kinds)) if authors.len() * kinds.len() <= pairs_max => {
            let prefixes = authors
                .iter()
                .flat_map(|author| kinds.iter().map(|kind| author_kind_prefix(author, *kind)));
            (ranges(Table::AuthorKind, prefixes), !has_tags)
        }
        _ if has_tags => by_tag(filter),
        (Some(authors), _) => {
            (ranges(Table::Author, authors.iter().map(|author| author.to_vec())), true)
        }
        (None, Some(kinds)) => {
            (ranges(Table::Kind, kinds.iter().map(|kind| kind.to_be_bytes().to_vec())), true)
        }
        (None, None) => (vec![Source::Range(Table::Time, Vec::new())], true),
    }
}

fn ranges(table: Table, prefixes: impl Iterator<Item = Vec<u8>>) -> Vec<Source> {
    prefixes.map(|prefix| Source::Range(table, prefix)).collect()
}

/// By the tag with the fewest values.
fn by_tag(filter: &Filter) -> (Vec<Source>, bool) {
    let Some((letter, values)) = filter.tags().iter().min_by_key(|(_, values)| values.len()) else {
        return (Vec::new(), false);
    };
    let prefixes = values.iter().map(|value| {
        let mut prefix = Vec::new();
        push_tag_prefix(&mut prefix, *letter, value);
        prefix
    });
    let is_decisive = filter.tags().len() == 1 && filter.authors().is_none();
    (ranges(Table::Tag, prefixes), is_decisive)
}

/// A filter for restricted kinds and nothing else gets the connection's own events: those it wrote, and
/// those that name it. Everybody's messages would be read otherwise.
fn own_messages(filter: &Filter, visibility: &Visibility) -> Option<Vec<Source>> {
    let kinds = filter.kinds()?;
    let is_only_kinds = filter.authors().is_none() && filter.tags().is_empty();
    if !is_only_kinds || !kinds.iter().all(|kind| visibility.is_restricted(*kind)) {
        return None;
    }
    let written = visibility
        .keys
        .iter()
        .flat_map(|key| kinds.iter().map(|kind| author_kind_prefix(key, *kind)));
    let received = visibility.keys.iter().map(|key| {
        let mut prefix = Vec::new();
        let value = crate::services::nostr::filter::TagValue::Hex(*key);
        push_tag_prefix(&mut prefix, b'p', &value);
        prefix
    });
    let mut sources = ranges(Table::AuthorKind, written);
    sources.extend(ranges(Table::Tag, received));
    Some(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::nostr::testing::{filter, quoted_key};

    #[test]
    fn a_plan_in_words_has_no_value_of_a_filter() {
        let authors = format!("{},{}", quoted_key(1), quoted_key(2));
        let filters = [
            filter(&format!(r#"{{"authors":[{authors}],"kinds":[1,7]}}"#)),
            filter(r##"{"#t":["secret","words"]}"##),
            filter(&format!(r#"{{"authors":[{authors}],"kinds":[0]}}"#)),
            filter(&format!(r#"{{"ids":[{authors}]}}"#)),
            filter("{}"),
        ];
        assert_eq!(
            describe(&filters, &Visibility::all()),
            "5 filters: author_kind x4, ids x2, newest x2, tag t x2, time x1"
        );
    }

    #[test]
    fn keys_of_newest_are_limited_for_all_filters_together() {
        let authors = (0..100).map(quoted_key).collect::<Vec<_>>().join(",");
        let kinds = (10_000..10_030).map(|kind| kind.to_string()).collect::<Vec<_>>().join(",");
        let profiles = filter(&format!(r#"{{"authors":[{authors}],"kinds":[{kinds}]}}"#));
        let planned = plan(&[profiles.clone(), profiles], &Visibility::all());
        let keys: Vec<usize> = planned.iter().map(|planned| planned.source.newest_keys()).collect();
        assert_eq!(keys[0], 3_000);
        assert!(keys[1..].iter().all(|keys| *keys == 0));
        // Too many pairs for a cursor each.
        assert!(matches!(&planned[1].source, Source::Range(Table::Author, _)));
    }
}
