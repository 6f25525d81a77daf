//! Tracks whether one publisher's messages reach one subscriber: each message once, in order.
//!
//! 16 bytes per pair. A message up to 64 behind the newest is recognized as late or duplicate; an
//! older one counts as a duplicate.

/// How far back a late message is distinguished from a duplicate.
const WINDOW: u64 = u64::BITS as u64;

/// The classification of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    InOrder,
    /// A later message; this many before it have not arrived yet.
    Gap(u64),
    /// A message that was missing.
    Late,
    Duplicate,
}

/// The messages of one publisher at one subscriber.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Track {
    /// The number of the next message if none is lost.
    next: u64,
    /// Bit `i`: message `next - 1 - i` has arrived.
    seen: u64,
}

impl Track {
    /// Records the arrival of the message with this number, counted from 0.
    pub(crate) fn note(&mut self, number: u64) -> Arrival {
        if let Some(skipped) = number.checked_sub(self.next) {
            let shift = skipped + 1;
            self.seen = if shift >= WINDOW { 0 } else { self.seen << shift };
            self.seen |= 1;
            self.next = number + 1;
            return if skipped == 0 { Arrival::InOrder } else { Arrival::Gap(skipped) };
        }
        let back = self.next - 1 - number;
        let bit = if back < WINDOW { 1 << back } else { return Arrival::Duplicate };
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::Late
    }

    /// The number of the first `published` messages after the newest that arrived.
    pub(crate) fn missing_at_end(&self, published: u64) -> u64 {
        published.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(numbers: &[u64]) -> Vec<Arrival> {
        let mut track = Track::default();
        numbers.iter().map(|number| track.note(*number)).collect()
    }

    #[test]
    fn consecutive_messages_are_in_order() {
        assert_eq!(arrivals(&[0, 1, 2, 3]), [Arrival::InOrder; 4]);
    }

    #[test]
    fn lost_messages_are_a_gap_or_missing_at_the_end() {
        use Arrival::{Gap, InOrder};
        assert_eq!(arrivals(&[0, 3, 4]), [InOrder, Gap(2), InOrder]);
        assert_eq!(arrivals(&[2]), [Gap(2)]);
        let mut track = Track::default();
        track.note(0);
        assert_eq!((track.missing_at_end(1), track.missing_at_end(5)), (0, 4));
    }

    #[test]
    fn repeated_messages_are_duplicates_and_older_ones_are_late() {
        use Arrival::{Duplicate, Gap, InOrder, Late};
        assert_eq!(arrivals(&[0, 0]), [InOrder, Duplicate]);
        assert_eq!(arrivals(&[0, 2, 1, 1, 2]), [InOrder, Gap(1), Late, Duplicate, Duplicate]);
        assert_eq!(arrivals(&[0, 64, 1, 1]), [InOrder, Gap(63), Late, Duplicate]);
        assert_eq!(arrivals(&[0, 63, 0]), [InOrder, Gap(62), Duplicate]);
        assert_eq!(arrivals(&[0, 65, 1]), [InOrder, Gap(64), Duplicate]);
        assert_eq!(arrivals(&[1000, 999, 999]), [Gap(1000), Late, Duplicate]);
    }
}
