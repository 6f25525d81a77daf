//! Work: the budget of a phase in units of about 100 ns.
//!
//! It reads no clock: each kind of work has a weight in the [budget](crate::reactor::budget).
//! Costly work (a publication, a compressed message, a frame that completes no message) is charged
//! where it is done. Messages and bytes are counted anyway, and weighed once for several
//! connections, so that an ordinary message pays nothing for it.

use super::load::ReadLimit;
use super::metrics::Metrics;
#[cfg(feature = "deflate")]
use crate::reactor::api::budget::{DEFLATED_BYTES, LARGE_BYTES};
use crate::reactor::api::budget::{
    DELIVERY_WORK, MESSAGE_WORK, MESSAGES_PER_READ, READ_BYTES, READ_SHARE_MAX, READ_SHARE_MIN,
    READ_WORK, SHORT_READ_BYTES, WORK_BYTES,
};

/// The rest of the budgets: of the phase, and of the connection or service that is being served.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Of the connection or service. Negative if the last item cost more than was left.
    left: isize,
    /// Of the phase.
    phase_left: isize,
    /// Whether a large message was compressed in this phase.
    had_large: bool,
    /// Deliveries by batches so far; `spend_batch` has weighed them already.
    batched: u64,
}

impl Work {
    /// Starts a phase with this budget.
    pub(crate) fn begin(&mut self, units: usize) {
        self.left = units as isize;
        self.phase_left = units as isize;
        self.had_large = false;
    }

    /// Starts the share of the next connection or service, within the phase's budget.
    #[inline(always)]
    pub(crate) fn serve(&mut self, share: usize) {
        self.left = share as isize;
    }

    /// Ends the share of the present connection: its tokens may be used up.
    pub(crate) fn end_share(&mut self) {
        self.left = 0;
    }

    /// Ends the phase: what is queued waits for the next turn.
    pub(crate) fn end_phase(&mut self) {
        (self.left, self.phase_left) = (0, 0);
    }

    /// Limits the share of the present connection, for the frames of a tunnel with few tokens.
    #[cfg(feature = "proxy")]
    pub(crate) fn limit_share(&mut self, units: usize) {
        self.left = self.left.min(isize::try_from(units).unwrap_or(isize::MAX));
    }

    pub(crate) fn spend(&mut self, units: usize) {
        self.left -= units as isize;
        self.phase_left -= units as isize;
    }

    /// What is left of the share of the present connection or service, at least 1.
    #[cfg(feature = "proxy")]
    pub(crate) fn left(&self) -> usize {
        usize::try_from(self.left).unwrap_or(0).max(1)
    }

    /// Whether the share of the present connection or service is spent.
    #[inline(always)]
    pub(crate) fn is_spent(&self) -> bool {
        self.left <= 0
    }

    /// Whether the budget of the phase is spent.
    #[inline(always)]
    pub(crate) fn is_phase_spent(&self) -> bool {
        self.phase_left <= 0
    }

    /// Charges the compression of a message. The first large message of a phase is charged only to
    /// the share of its connection or service, not to the phase, so that others are still served.
    #[cfg(feature = "deflate")]
    pub(crate) fn spend_deflate(&mut self, bytes: usize) {
        let units = bytes / DEFLATED_BYTES;
        if bytes < LARGE_BYTES || self.had_large {
            return self.spend(units);
        }
        self.had_large = true;
        self.left -= units as isize;
    }

    pub(crate) fn had_large(&self) -> bool {
        self.had_large
    }

    /// Charges the delivery of one message to the members of a batch.
    pub(crate) fn spend_batch(&mut self, members: usize) {
        self.spend(members / BATCHED_PER_DELIVERY * DELIVERY_WORK);
        self.batched += members as u64;
    }
}

/// Deliveries by a batch that cost as much as one individual delivery.
const BATCHED_PER_DELIVERY: usize = 16;

/// The share of each connection in one read phase: the phase's budget, divided evenly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// The number of connections that share the budget.
    connections: usize,
    /// The number of connections that it is right for: `connections`, or
    /// [`NO_OTHER`](Share::NO_OTHER) if it was limited for one of them.
    pub(crate) is_for: usize,
    /// Units of work.
    pub(crate) units: usize,
    /// Messages and other frames.
    pub(crate) frames: usize,
    /// Frames besides these, as long as they complete no message: for a read with few tokens.
    pub(crate) fragments: usize,
    /// Bytes of one read, beside those that complete a large frame.
    pub(crate) bytes: usize,
    /// Bytes of one read that complete a large frame, or bytes of a read in all if there are no frames.
    pub(crate) bytes_max: usize,
}

impl Default for Share {
    fn default() -> Share {
        Share::of(1)
    }
}

impl Share {
    /// Equals no number of queued connections.
    const NO_OTHER: usize = usize::MAX;

    pub(crate) fn of(connections: usize) -> Share {
        let units = (READ_WORK / connections.max(1)).clamp(READ_SHARE_MIN, READ_SHARE_MAX);
        Share {
            connections,
            is_for: connections,
            units,
            frames: (units / MESSAGE_WORK).min(MESSAGES_PER_READ),
            fragments: 0,
            bytes: (units * WORK_BYTES).min(READ_BYTES),
            bytes_max: usize::MAX,
        }
    }

    /// The share of a connection whose reads are limited, in the same phase. With `has_frames`, a read
    /// takes few bytes, since few messages of them would be handled.
    pub(crate) fn at_level(&self, limit: Option<ReadLimit>, has_frames: bool) -> Share {
        let whole = Share::of(self.connections);
        let Some(limit) = limit else {
            return Share { is_for: Share::NO_OTHER, ..whole };
        };
        let bytes = if has_frames { SHORT_READ_BYTES } else { limit.bytes };
        Share {
            is_for: Share::NO_OTHER,
            frames: whole.frames.min(limit.messages),
            bytes: whole.bytes.min(bytes),
            bytes_max: limit.bytes,
            ..whole
        }
    }

    /// The most bytes of one read from a TLS connection; its plaintext has at most as many.
    #[cfg(feature = "tls")]
    pub(crate) fn sealed_bytes_max(&self) -> usize {
        if self.bytes_max == usize::MAX { usize::MAX } else { self.bytes }
    }
}

impl Share {
    /// This share for a read that may take so many tokens and bytes.
    pub(crate) fn limited(self, tokens: usize, bytes: usize) -> Share {
        let frames = self.frames.min(tokens);
        let fragments = self.frames - frames;
        Share { frames, fragments, bytes: self.bytes.min(bytes), ..self }
    }
}

/// The loop's counts at one time, to weigh the work since then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighed {
    messages_in: u64,
    deliveries: u64,
    bytes: u64,
}

impl Weighed {
    pub(crate) fn of(metrics: &Metrics, work: &Work) -> Weighed {
        Weighed {
            messages_in: metrics.messages_in,
            deliveries: metrics.messages_out + metrics.messages_refused - work.batched,
            bytes: metrics.bytes_read + metrics.bytes_written,
        }
    }

    pub(crate) fn units_since(&self, earlier: Weighed) -> usize {
        (self.messages_in - earlier.messages_in) as usize * MESSAGE_WORK
            + (self.deliveries - earlier.deliveries) as usize * DELIVERY_WORK
            + (self.bytes - earlier.bytes) as usize / WORK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_get_large_shares_and_many_get_small_ones() {
        let (one, few, many) = (Share::of(1), Share::of(64), Share::of(10_000));
        assert_eq!((one.units, one.frames), (READ_SHARE_MAX, MESSAGES_PER_READ));
        assert_eq!((few.frames, few.bytes), (MESSAGES_PER_READ, READ_BYTES));
        assert_eq!((many.units, many.bytes), (READ_SHARE_MIN, 64 * 1024));
        assert!(many.frames >= 64);
    }

    #[test]
    fn a_limited_share_is_for_one_connection_of_the_phase() {
        let limit = Some(ReadLimit { messages: 8, bytes: 16 * 1024 });
        let frames = Share::of(3).at_level(limit, true);
        assert_eq!((frames.frames, frames.bytes, frames.bytes_max), (8, 4096, 16 * 1024));
        let others = frames.at_level(limit, false);
        assert_eq!((others.bytes, others.bytes_max), (16 * 1024, 16 * 1024));
        let whole = others.at_level(None, true);
        assert_eq!((whole.frames, whole.bytes, whole.units), (256, READ_BYTES, Share::of(3).units));
        assert_eq!(whole.bytes_max, usize::MAX);
        assert!([frames, others, whole].iter().all(|share| share.is_for != 3));
        assert_eq!(Share::of(3).is_for, 3);
    }

    #[test]
    fn messages_deliveries_and_bytes_are_weighed() {
        let mut work = Work::default();
        let mut metrics = Metrics::default();
        let before = Weighed::of(&metrics, &work);
        metrics.messages_in += 3;
        metrics.messages_out += 100;
        metrics.messages_refused += 1;
        metrics.bytes_written += 10 * WORK_BYTES as u64;
        work.begin(1_000_000);
        // 80 of those deliveries were made by a batch, and weighed then.
        work.spend_batch(80);
        let units = Weighed::of(&metrics, &work).units_since(before);
        assert_eq!(units, 3 * MESSAGE_WORK + 21 * DELIVERY_WORK + 10);
        assert_eq!(work.left, 1_000_000 - 5 * DELIVERY_WORK as isize);
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn the_first_large_message_to_compress_is_charged_to_its_share_alone() {
        let mut work = Work::default();
        work.begin(100);
        work.spend_deflate(1 << 20);
        assert!(work.is_spent() && !work.is_phase_spent() && work.had_large());
        work.serve(100);
        work.spend_deflate(1 << 20);
        assert!(work.is_phase_spent());
        work.begin(100);
        assert!(!work.had_large());
    }

    #[test]
    fn a_share_is_spent_before_its_phase_is() {
        let mut work = Work::default();
        work.begin(100);
        work.serve(10);
        work.spend(10);
        assert!(work.is_spent() && !work.is_phase_spent());
        work.serve(10);
        assert!(!work.is_spent());
        work.spend(1000);
        assert!(work.is_spent() && work.is_phase_spent());
    }
}
