//! An event that is compared with many filters.
//!
//! A filter that asks for tags walks the tags of the event, of which there may be 10,000. For the third such
//! filter the tags are sorted, and further filters search them: the cost of a filter then depends on its own values.

use std::cell::{Cell, OnceCell};

use super::event::Fields;
use super::filter::{Filter, TagFilter, TagValue};

/// Filters that walk the tags. Sorting costs about as much as two walks.
const WALKS_MAX: u8 = 2;

/// An event that is compared with many filters.
pub(super) struct Compared<'a, E> {
    event: &'a E,
    walks: Cell<u8>,
    /// What filters can ask for, sorted, each once.
    tags: OnceCell<Box<[(u8, TagValue)]>>,
}

impl<'a, E: Fields> Compared<'a, E> {
    /// Nothing is compared or sorted yet.
    pub(super) fn new(event: &'a E) -> Compared<'a, E> {
        Compared { event, walks: Cell::new(0), tags: OnceCell::new() }
    }

    /// Whether the filter matches, as [`Filter::matches`].
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        filter.matches_fixed(self.event) && self.matches_tags(filter)
    }

    fn matches_tags(&self, filter: &Filter) -> bool {
        if filter.tags().is_empty() {
            return true;
        }
        if self.walks.get() < WALKS_MAX {
            self.walks.set(self.walks.get() + 1);
            return filter.matches_tags(self.event);
        }
        let tags = self.tags.get_or_init(|| sorted(self.event));
        filter.tags().iter().all(|member| has_one_of(tags, member))
    }
}

fn sorted(event: &impl Fields) -> Box<[(u8, TagValue)]> {
    let tags = event.tags().letters().map(|(letter, value)| (letter, TagValue::of(&value)));
    let mut tags: Vec<(u8, TagValue)> = tags.collect();
    tags.sort_unstable();
    tags.dedup();
    tags.into()
}

/// Whether one of the tags is of this letter and has one of these values. Walks the shorter list and
/// searches the other one.
fn has_one_of(tags: &[(u8, TagValue)], (letter, values): &TagFilter) -> bool {
    let start = tags.partition_point(|(other, _)| other < letter);
    let tags = &tags[start..];
    let tags = &tags[..tags.partition_point(|(other, _)| other == letter)];
    if tags.len() < values.len() {
        return tags.iter().any(|(_, value)| values.binary_search(value).is_ok());
    }
    values.iter().any(|value| tags.binary_search_by(|(_, other)| other.cmp(value)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::nostr::testing::{Random, event, filter, random_event, random_filter};

    #[test]
    fn a_sorted_event_matches_what_a_walk_matches() {
        let mut random = Random(3);
        let mut matches = 0;
        for id in 0..300 {
            let event = random_event(&mut random, id);
            let compared = Compared::new(&event);
            for _ in 0..100 {
                let filter = random_filter(&mut random, 300);
                assert_eq!(
                    compared.matches(&filter),
                    filter.matches(&event),
                    "{filter:?}: {event:?}"
                );
                matches += usize::from(!filter.tags().is_empty() && filter.matches(&event));
            }
            assert!(compared.tags.get().is_some(), "100 filters have sorted the tags");
        }
        assert!(matches > 50, "the filters match too few events: {matches}");
    }

    #[test]
    fn tags_are_sorted_for_the_third_filter() {
        let event = event(1, 1, 1, 0, r#"[["t","a"],["r","b"]]"#);
        let compared = Compared::new(&event);
        let filter = filter(r##"{"#t":["x","a"],"#r":["b"]}"##);
        for is_sorted in [false, false, true] {
            assert!(compared.matches(&filter));
            assert_eq!(compared.tags.get().is_some(), is_sorted);
        }
    }
}
