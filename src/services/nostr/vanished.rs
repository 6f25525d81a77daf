//! Authors that have vanished (NIP-62): their events on the way to subscribers are withheld.
//!
//! The store refuses and removes what it holds. An event that was stored before the request may still
//! wait for its announcement, or be in the ring for subscriptions whose scan runs.

use std::collections::{HashMap, VecDeque};

use super::event::{Event, KIND_GIFT_WRAP, PublicKey};
use super::guard::recipients;

/// Authors that are remembered: as many as the ring holds events.
const AUTHORS_MAX: usize = 4_096;

/// The authors that have vanished last, since the process started.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    /// Up to which time their events are withheld.
    until: HashMap<PublicKey, u64>,
    /// Invariant: the same authors, the oldest request first.
    authors: VecDeque<PublicKey>,
}

impl Vanished {
    /// Remembers a request of this author.
    pub(super) fn insert(&mut self, author: PublicKey, until: u64) {
        if let Some(before) = self.until.get_mut(&author) {
            *before = until.max(*before);
            return;
        }
        if self.authors.len() >= AUTHORS_MAX
            && let Some(oldest) = self.authors.pop_front()
        {
            self.until.remove(&oldest);
        }
        self.authors.push_back(author);
        self.until.insert(author, until);
    }

    /// Whether the event is of such an author, or a gift wrap to one.
    pub(super) fn withholds(&self, event: &Event) -> bool {
        if self.until.is_empty() {
            return false;
        }
        let names =
            |key: &PublicKey| self.until.get(key).is_some_and(|until| event.created_at() <= *until);
        names(event.pubkey())
            || event.kind() == KIND_GIFT_WRAP && recipients(event).any(|key| names(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::nostr::testing::{event, key, quoted_key};

    #[test]
    fn events_of_a_vanished_author_and_gift_wraps_to_it_are_withheld() {
        let mut vanished = Vanished::default();
        let tags = format!(r#"[["p",{}],["p",{}]]"#, quoted_key(3), quoted_key(1));
        let (note, later) = (event(1, 1, 1, 100, "[]"), event(2, 1, 1, 101, "[]"));
        let (wrap, mention) = (event(3, 2, KIND_GIFT_WRAP, 100, &tags), event(4, 2, 1, 100, &tags));
        let withheld = |vanished: &Vanished| {
            [&note, &later, &wrap, &mention].map(|event| vanished.withholds(event))
        };
        assert_eq!(withheld(&vanished), [false; 4]);
        vanished.insert(key(1), 100);
        assert_eq!(withheld(&vanished), [true, false, true, false]);
        vanished.insert(key(1), 101);
        vanished.insert(key(1), 50);
        assert_eq!(withheld(&vanished), [true, true, true, false]);
        for author in 10..10 + AUTHORS_MAX {
            vanished.insert(key(author), 1);
        }
        assert_eq!(withheld(&vanished), [false; 4]);
        assert_eq!((vanished.until.len(), vanished.authors.len()), (AUTHORS_MAX, AUTHORS_MAX));
    }
}
