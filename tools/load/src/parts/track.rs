//! Whether what one publisher said has reached one subscriber: each message once, in order.
//!
//! Sixteen bytes for each pair of the two. A message that comes up to 64 behind the newest is told
//! from one that comes twice; an older one counts as a duplicate.

/// How far back a late message is known from a duplicate.
const WINDOW: u64 = u64::BITS as u64;

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    InOrder,
    /// The next one, but so many before it have not come yet.
    Gap(u64),
    /// One that was missing.
    Late,
    Duplicate,
}

/// The messages of one publisher at one subscriber.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Track {
    /// The number of the next message, if none is lost.
    next: u64,
    /// Bit `i`: message `next - 1 - i` has come.
    seen: u64,
}

impl Track {
    /// Notes that the message with this number, counted from 0, has come.
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

    /// How many of the first `published` messages lie behind the newest that has come.
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
    fn in_order_is_in_order() {
        assert_eq!(arrivals(&[0, 1, 2, 3]), [Arrival::InOrder; 4]);
    }

    #[test]
    fn loss_shows_as_a_gap_or_at_the_end() {
        use Arrival::{Gap, InOrder};
        assert_eq!(arrivals(&[0, 3, 4]), [InOrder, Gap(2), InOrder]);
        assert_eq!(arrivals(&[2]), [Gap(2)]);
        let mut track = Track::default();
        track.note(0);
        assert_eq!((track.missing_at_end(1), track.missing_at_end(5)), (0, 4));
    }

    #[test]
    fn twice_is_a_duplicate_and_late_is_out_of_order() {
        use Arrival::{Duplicate, Gap, InOrder, Late};
        assert_eq!(arrivals(&[0, 0]), [InOrder, Duplicate]);
        assert_eq!(arrivals(&[0, 2, 1, 1, 2]), [InOrder, Gap(1), Late, Duplicate, Duplicate]);
        assert_eq!(arrivals(&[0, 64, 1, 1]), [InOrder, Gap(63), Late, Duplicate]);
        assert_eq!(arrivals(&[0, 63, 0]), [InOrder, Gap(62), Duplicate]);
        assert_eq!(arrivals(&[0, 65, 1]), [InOrder, Gap(64), Duplicate]);
        assert_eq!(arrivals(&[1000, 999, 999]), [Gap(1000), Late, Duplicate]);
    }
}
