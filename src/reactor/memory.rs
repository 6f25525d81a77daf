//! How much all connections together may hold in queues and unfinished messages.
//!
//! One half is for whoever comes first; the other is shared out evenly over as many connections as
//! there may be. So the total is bounded, and a few greedy ones cannot starve the rest: who holds no
//! more than its share is never turned away.

use super::settings::Settings;

#[derive(Debug)]
pub(super) struct Memory {
    common: usize,
    share: usize,
}

impl Memory {
    pub(super) fn new(settings: &Settings) -> Memory {
        let common = settings.buffered_bytes_max / 2;
        let connections = settings.connections_max.saturating_add(settings.outbound_max);
        Memory { common, share: common / connections.max(1) }
    }

    /// Whether anybody may hold `more` bytes, where `total` are held by all.
    #[inline]
    pub(super) fn is_plenty(&self, total: u64, more: usize) -> bool {
        total as usize + more <= self.common
    }

    /// Whether a connection that holds `held` bytes may hold `more`, where `total` are held by all.
    pub(super) fn allows(&self, total: u64, held: usize, more: usize) -> bool {
        self.is_plenty(total, more) || held + more <= self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_leave_the_others_their_share() {
        let settings = Settings {
            buffered_bytes_max: 2000,
            connections_max: 8,
            outbound_max: 2,
            ..Settings::default()
        };
        let memory = Memory::new(&settings);
        assert!(memory.allows(0, 0, 1000));
        assert!(memory.allows(900, 900, 100));
        assert!(!memory.allows(900, 900, 101));
        assert!(memory.allows(1900, 0, 100));
        assert!(memory.allows(1900, 60, 40));
        assert!(!memory.allows(1900, 60, 41));
    }
}
