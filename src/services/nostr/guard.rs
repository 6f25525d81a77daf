//! Events for their author and recipients only (NIP-17, NIP-59): which connections get them.

use super::event::{Event, PublicKey};
use super::filter::{Filter, TagValue};
use super::refusal::{Prefix, Refusal};
use super::settings::{AuthPolicy, RelaySettings};
use super::tags::hex_32;

/// Whether an event may be sent to a connection.
#[derive(Debug)]
pub(super) enum Guard {
    /// To every connection.
    Open,
    /// To connections with one of these keys, sorted: an event may name 10,000 recipients, and thousands
    /// of connections may ask for it.
    Restricted(Vec<PublicKey>),
}

impl Guard {
    pub(super) fn of(settings: &RelaySettings, event: &Event) -> Guard {
        if !settings.guards() || !settings.is_restricted(event.kind()) {
            return Guard::Open;
        }
        let mut keys: Vec<PublicKey> = recipients(event).chain([*event.pubkey()]).collect();
        keys.sort_unstable();
        Guard::Restricted(keys)
    }

    /// Whether every connection gets the event.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Guard::Open)
    }

    /// Whether a connection with these keys gets the event.
    pub(super) fn admits(&self, keys: &[PublicKey]) -> bool {
        match self {
            Guard::Open => true,
            Guard::Restricted(owners) => keys.iter().any(|key| owners.binary_search(key).is_ok()),
        }
    }
}

/// The keys in the `p` tags of an event.
pub(super) fn recipients(event: &Event) -> impl Iterator<Item = PublicKey> {
    let of_p = |(letter, value): (u8, std::borrow::Cow<'_, str>)| match letter {
        b'p' => hex_32(&value),
        _ => None,
    };
    event.tags().letters().filter_map(of_p)
}

impl RelaySettings {
    /// Whether restricted kinds are withheld at all.
    pub(super) fn guards(&self) -> bool {
        self.auth != AuthPolicy::Off && !self.restricted_kinds.is_empty()
    }

    /// Why a request gets no events: all its filters are for restricted kinds only, and the connection
    /// has no key, or they name other keys only.
    pub(super) fn check_restricted(
        &self,
        filters: &[Filter],
        keys: &[PublicKey],
    ) -> Result<(), Refusal> {
        if !self.guards() || !filters.iter().all(|filter| self.is_restricted_only(filter)) {
            return Ok(());
        }
        if keys.is_empty() {
            return Err(Prefix::AuthRequired.text("events of these kinds need authentication"));
        }
        if filters.iter().all(|filter| names_others(filter, keys)) {
            let text = "events of these kinds are for their author and recipients";
            return Err(Prefix::Restricted.text(text));
        }
        Ok(())
    }

    fn is_restricted_only(&self, filter: &Filter) -> bool {
        let kinds = filter.kinds().unwrap_or_default();
        !kinds.is_empty() && kinds.iter().all(|kind| self.is_restricted(*kind))
    }
}

/// Whether `authors` and `#p` of a filter name keys, and none of these.
fn names_others(filter: &Filter, keys: &[PublicKey]) -> bool {
    let authors = filter.authors().unwrap_or_default();
    let mut recipients = filter.tags().iter().filter(|(letter, _)| *letter == b'p');
    let recipients = recipients.next().map_or(&[][..], |(_, values)| values);
    let is_own = |value: &TagValue| matches!(value, TagValue::Hex(key) if keys.contains(key));
    let names_own = authors.iter().any(|key| keys.contains(key)) || recipients.iter().any(is_own);
    !(names_own || authors.is_empty() && recipients.is_empty())
}
