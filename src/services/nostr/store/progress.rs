//! How far the removal of a vanished author's events has come: the value of `vanished`.

use super::error::StoreError;
use super::key::{Order, read_integer, time_value};

/// What a removal looks at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The author's events, behind this order.
    Events(Order),
    /// Gift wraps to the author, behind this order.
    Wraps(Order),
    /// Nothing: all are removed.
    Done,
}

/// How far the removal of an author's events has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Events up to this time go.
    pub(super) until: u64,
    pub(super) phase: Phase,
}

impl Progress {
    pub(super) fn start(until: u64) -> Progress {
        Progress { until, phase: Phase::Events(Order::first_at(until)) }
    }

    pub(super) fn write(&self) -> [u8; 5 + 1 + Order::BYTES] {
        let mut value = [0; 5 + 1 + Order::BYTES];
        value[..5].copy_from_slice(&time_value(self.until));
        let (phase, order) = match self.phase {
            Phase::Events(order) => (0, order),
            Phase::Wraps(order) => (1, order),
            Phase::Done => (2, Order::END),
        };
        value[5] = phase;
        value[6..].copy_from_slice(order.bytes());
        value
    }

    pub(super) fn read(value: &[u8]) -> Result<Progress, StoreError> {
        let phase = value.get(5).ok_or(StoreError::Corrupt("progress of a removal"))?;
        let order = Order::of_key(value)?;
        let phase = match phase {
            0 => Phase::Events(order),
            1 => Phase::Wraps(order),
            _ => Phase::Done,
        };
        Ok(Progress { until: read_integer(&value[..5]), phase })
    }
}
