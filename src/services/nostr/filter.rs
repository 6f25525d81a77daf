//! A filter of REQ, COUNT and NEG-OPEN (NIP-01): parsing with limits, and matching.
//!
//! Lists are sorted and free of duplicates, so matching is by binary search. The live index and the
//! scans read the same lists.

use std::cmp::Ordering;

use super::event::Fields;
use super::tags::{PublicKey, hex_32};

/// Range of a filter that counts as narrow, in seconds.
const NARROW_RANGE_SECONDS: u64 = 2 * 60 * 60;
/// `limit` of a filter that counts as narrow.
const NARROW_LIMIT: usize = 100;

/// Limits on filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterLimits {
    /// Values of all lists of a REQ.
    pub values_max: usize,
    /// A larger `limit` is lowered to this.
    pub limit_max: usize,
    /// What happens to members that NIP-01 does not name.
    pub unknown_members: UnknownMembers,
    /// Whether `search` (NIP-50) is accepted.
    pub search: bool,
}

impl Default for FilterLimits {
    fn default() -> FilterLimits {
        FilterLimits {
            values_max: 5_000,
            limit_max: 1_000,
            unknown_members: UnknownMembers::Refuse,
            search: false,
        }
    }
}

/// What happens to members of a filter that are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownMembers {
    /// `unsupported:`
    #[default]
    Refuse,
    /// The filter is read without them.
    Ignore,
}

/// What happens to filters that most events match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BroadFilters {
    /// They are accepted.
    #[default]
    Allow,
    /// They need a small `limit` or a short range.
    Limited,
    /// They are refused.
    Refuse,
}

/// Value of a tag that filters ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagValue {
    /// 64 lower-case hex digits: half the size, and most values are of this form.
    Hex([u8; 32]),
    /// Any other text.
    Text(Box<str>),
}

impl TagValue {
    /// The form of this text.
    pub fn of(text: &str) -> TagValue {
        TagValueRef::of(text).into_owned()
    }

    /// The same value, borrowed.
    pub fn borrow(&self) -> TagValueRef<'_> {
        match self {
            TagValue::Hex(bytes) => TagValueRef::Hex(*bytes),
            TagValue::Text(text) => TagValueRef::Text(text),
        }
    }
}

/// A [`TagValue`] that borrows its text: for lookups without an allocation. Ordered like the owned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagValueRef<'a> {
    /// 64 lower-case hex digits.
    Hex([u8; 32]),
    /// Any other text.
    Text(&'a str),
}

impl<'a> TagValueRef<'a> {
    /// The form of this text.
    pub fn of(text: &'a str) -> TagValueRef<'a> {
        hex_32(text).map_or(TagValueRef::Text(text), TagValueRef::Hex)
    }

    /// With a text of its own.
    pub fn into_owned(self) -> TagValue {
        match self {
            TagValueRef::Hex(bytes) => TagValue::Hex(bytes),
            TagValueRef::Text(text) => TagValue::Text(text.into()),
        }
    }
}

/// A filter. Absent members match everything, empty lists match nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub(super) ids: Option<Box<[[u8; 32]]>>,
    pub(super) authors: Option<Box<[PublicKey]>>,
    pub(super) kinds: Option<Box<[u16]>>,
    /// By letter, ascending.
    pub(super) tags: Box<[TagFilter]>,
    pub(super) since: Option<u64>,
    pub(super) until: Option<u64>,
    pub(super) limit: Option<usize>,
    pub(super) search: Option<Box<str>>,
}

/// A member `#x`: the letter and its values, sorted, free of duplicates.
pub type TagFilter = (u8, Box<[TagValue]>);

impl Filter {
    /// Ids, sorted.
    pub fn ids(&self) -> Option<&[[u8; 32]]> {
        self.ids.as_deref()
    }

    /// Authors, sorted.
    pub fn authors(&self) -> Option<&[PublicKey]> {
        self.authors.as_deref()
    }

    /// Kinds, sorted.
    pub fn kinds(&self) -> Option<&[u16]> {
        self.kinds.as_deref()
    }

    /// Members `#x`, by letter.
    pub fn tags(&self) -> &[TagFilter] {
        &self.tags
    }

    /// First second that matches.
    pub fn since(&self) -> Option<u64> {
        self.since
    }

    /// Last second that matches.
    pub fn until(&self) -> Option<u64> {
        self.until
    }

    /// The same filter, without events after this second.
    pub fn up_to(mut self, second: u64) -> Filter {
        self.until = Some(self.until.map_or(second, |until| until.min(second)));
        self
    }

    /// Stored events that are asked for, at most `limit_max`.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Words that must occur (NIP-50).
    pub fn search(&self) -> Option<&str> {
        self.search.as_deref()
    }

    /// Number of values in all lists.
    pub fn values(&self) -> usize {
        let keys = self.ids().map_or(0, <[_]>::len) + self.authors().map_or(0, <[_]>::len);
        let tags: usize = self.tags.iter().map(|(_, values)| values.len()).sum();
        keys + self.kinds().map_or(0, <[_]>::len) + tags
    }

    /// Whether no event can match: a list is empty, or `since` is after `until`.
    pub fn matches_nothing(&self) -> bool {
        self.ids().is_some_and(<[_]>::is_empty)
            || self.authors().is_some_and(<[_]>::is_empty)
            || self.kinds().is_some_and(<[_]>::is_empty)
            || self.tags.iter().any(|(_, values)| values.is_empty())
            || matches!((self.since, self.until), (Some(since), Some(until)) if since > until)
    }

    /// Whether the filter matches an event. `limit` and `search` are not regarded.
    pub fn matches(&self, event: &impl Fields) -> bool {
        self.matches_fixed(event) && self.matches_tags(event)
    }

    /// Whether everything but tags matches.
    pub(super) fn matches_fixed(&self, event: &impl Fields) -> bool {
        self.matches_time(event.created_at())
            && self.kinds().is_none_or(|kinds| kinds.binary_search(&event.kind()).is_ok())
            && self.authors().is_none_or(|authors| authors.binary_search(event.pubkey()).is_ok())
            && self.ids().is_none_or(|ids| ids.binary_search(event.id()).is_ok())
    }

    /// Whether a time is within `since` and `until`.
    pub fn matches_time(&self, created_at: u64) -> bool {
        self.since.is_none_or(|since| since <= created_at)
            && self.until.is_none_or(|until| created_at <= until)
    }

    /// Whether each member `#x` has a value that a tag of the event has. Walks all tags if not: see
    /// [`Compared`](super::compared::Compared) for many filters.
    pub fn matches_tags(&self, event: &impl Fields) -> bool {
        // One bit for each member that no tag has matched: there are 52 letters.
        let mut missing: u64 = (1 << self.tags.len()) - 1;
        if missing == 0 {
            return true;
        }
        for tag in event.tags().iter() {
            let Some(letter) = tag.letter() else { continue };
            let Ok(member) = self.tags.binary_search_by_key(&letter, |(letter, _)| *letter) else {
                continue;
            };
            if missing & 1 << member == 0 {
                continue;
            }
            let Some(value) = tag.value() else { continue };
            if contains(&self.tags[member].1, TagValueRef::of(&value)) {
                missing &= !(1 << member);
                if missing == 0 {
                    return true;
                }
            }
        }
        false
    }

    /// Whether the filter names ids, authors or tags.
    pub fn has_keys(&self) -> bool {
        self.ids.is_some() || self.authors.is_some() || !self.tags.is_empty()
    }

    /// Whether the filter has no ids, authors and tags, and neither a `limit` of at most 100 nor a range
    /// of at most 2 hours.
    pub fn is_broad(&self, now: u64) -> bool {
        let range = self.until.unwrap_or(now).saturating_sub(self.since.unwrap_or(0));
        let is_narrow =
            self.limit.is_some_and(|limit| limit <= NARROW_LIMIT) || range <= NARROW_RANGE_SECONDS;
        !self.has_keys() && !is_narrow
    }
}

impl BroadFilters {
    /// Whether the setting refuses this filter.
    pub fn refuses(self, filter: &Filter, now: u64) -> bool {
        match self {
            BroadFilters::Allow => false,
            BroadFilters::Limited => filter.is_broad(now),
            BroadFilters::Refuse => !filter.has_keys(),
        }
    }
}

/// Whether the sorted values contain this one.
pub fn contains(values: &[TagValue], value: TagValueRef<'_>) -> bool {
    values.binary_search_by(|candidate| compare(candidate, &value)).is_ok()
}

fn compare(left: &TagValue, right: &TagValueRef<'_>) -> Ordering {
    left.borrow().cmp(right)
}
