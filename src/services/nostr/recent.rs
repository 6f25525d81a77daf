//! The ids of ephemeral events that were seen: nothing else remembers them.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::event::EventId;
use crate::reactor::Time;

/// Ids that are remembered.
const IDS_MAX: usize = 65_536;
/// How long they are remembered: older ephemeral events are refused by their time.
const AGE_MAX: Duration = Duration::from_secs(600);

/// The ids of the ephemeral events of the last 10 minutes, up to 65,536.
#[derive(Debug, Default)]
pub(super) struct RecentIds {
    /// In the order in which they were seen.
    ids: VecDeque<(Time, EventId)>,
    /// Invariant: the same ids.
    known: HashSet<EventId>,
}

impl RecentIds {
    /// Remembers an id; false if it is remembered already.
    pub(super) fn insert(&mut self, id: EventId, now: Time) -> bool {
        while let Some((seen, oldest)) = self.ids.front()
            && (self.ids.len() >= IDS_MAX || now.since(*seen) > AGE_MAX)
        {
            self.known.remove(oldest);
            self.ids.pop_front();
        }
        let is_new = self.known.insert(id);
        if is_new {
            self.ids.push_back((now, id));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> EventId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn ids_are_forgotten_with_age_and_number() {
        let mut recent = RecentIds::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        assert!(recent.insert(id(1), at(0)));
        assert!(!recent.insert(id(1), at(600)));
        assert!(recent.insert(id(1), at(601)), "older than 10 minutes");
        for number in 2..2 + IDS_MAX as u32 {
            assert!(recent.insert(id(number), at(602)));
        }
        assert!(recent.insert(id(1), at(602)), "65,536 others came after it");
        assert_eq!(recent.ids.len(), recent.known.len());
    }
}
