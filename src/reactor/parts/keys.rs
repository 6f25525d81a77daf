//! Remembers recent handshake keys, if the operator forbids their reuse.
//!
//! RFC 6455 does not require this: a key is not a secret. It is bounded in time and in number.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::reactor::api::budget::REMEMBERED_KEYS_MAX;
use crate::reactor::api::time::Time;

/// The 24 characters of a `Sec-WebSocket-Key`.
type Key = [u8; 24];

#[derive(Debug, Default)]
pub(crate) struct RecentKeys {
    known: HashSet<Key>,
    by_age: VecDeque<(Time, Key)>,
}

impl RecentKeys {
    /// Whether `key` was not seen within `window`; records it.
    pub(crate) fn is_new(&mut self, key: &str, window: Duration, now: Time) -> bool {
        let Ok(key) = Key::try_from(key.as_bytes()) else {
            return false;
        };
        while self.by_age.front().is_some_and(|(seen, _)| now.since(*seen) >= window) {
            self.forget_oldest();
        }
        let is_new = self.known.insert(key);
        if is_new {
            // Only a new key is stored: repeating a known key must not push out keys of other
            // clients.
            if self.by_age.len() == REMEMBERED_KEYS_MAX {
                self.forget_oldest();
            }
            self.by_age.push_back((now, key));
        }
        is_new
    }

    fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.by_age.pop_front() {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_the_window_and_up_to_a_limit() {
        let mut keys = RecentKeys::default();
        let window = Duration::from_secs(300);
        let after = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        assert!(keys.is_new(key, window, after(0)));
        assert!(!keys.is_new(key, window, after(299)));
        assert!(keys.is_new(key, window, after(300)));
        for i in 0..2 * REMEMBERED_KEYS_MAX {
            assert!(keys.is_new(&format!("{i:024}"), window, after(301)));
        }
        assert!(keys.by_age.len() <= REMEMBERED_KEYS_MAX);
        assert_eq!(keys.by_age.len(), keys.known.len());
    }
}
