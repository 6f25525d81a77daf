//! How long live events take: samples of the time from a commit until the turn that queued its events has
//! written them.

use std::time::{Duration, Instant};

use crate::reactor::Time;

/// One commit in so many is measured: each measurement needs a turn of its own.
const EVERY: u64 = 16;

/// The commit that is measured.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum LiveSample {
    #[default]
    None,
    /// Its events are being announced. There were so many deliveries before.
    Announcing { committed: Instant, deliveries: u64 },
    /// Its events were queued in this turn, which writes them.
    Queued { committed: Instant, turn: Time },
}

/// What follows from a look at the measurement.
pub(super) enum Sampled {
    Nothing,
    /// The events are queued: the next turn ends the measurement.
    Queued,
    Took(Duration),
}

impl LiveSample {
    /// Starts a measurement, if this commit, the one of this number, is to be measured.
    pub(super) fn start(&mut self, number: u64, committed: Instant, deliveries: u64) {
        if number % EVERY == 1 && matches!(self, LiveSample::None) {
            *self = LiveSample::Announcing { committed, deliveries };
        }
    }

    /// Continues a measurement. Events that were sent to nobody are not measured.
    pub(super) fn look(&mut self, is_announced: bool, deliveries: u64, now: Time) -> Sampled {
        match *self {
            LiveSample::Announcing { deliveries: before, .. }
                if is_announced && deliveries == before =>
            {
                *self = LiveSample::None;
                Sampled::Nothing
            }
            LiveSample::Announcing { committed, .. } if is_announced => {
                *self = LiveSample::Queued { committed, turn: now };
                Sampled::Queued
            }
            LiveSample::Queued { committed, turn } if now > turn => {
                *self = LiveSample::None;
                Sampled::Took(committed.elapsed())
            }
            _ => Sampled::Nothing,
        }
    }
}
