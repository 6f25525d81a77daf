//! How far removals in steps have come: of a vanished author's events, the value of `vanished`; and of what a
//! large deletion request names, in `meta`.

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

/// The deletion request that is carried out in steps. There is one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeletionProgress {
    /// The serial of the request.
    pub(super) serial: u64,
    /// Its next target, by number.
    pub(super) position: usize,
}

impl DeletionProgress {
    /// The key in `meta`.
    pub(super) const KEY: &[u8] = b"deletion";

    pub(super) fn write(&self) -> [u8; 16] {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&self.serial.to_be_bytes());
        value[8..].copy_from_slice(&(self.position as u64).to_be_bytes());
        value
    }

    pub(super) fn read(value: &[u8]) -> Result<DeletionProgress, StoreError> {
        let value: &[u8; 16] =
            value.try_into().map_err(|_| StoreError::Corrupt("progress of a deletion"))?;
        let (serial, position) = (read_integer(&value[..8]), read_integer(&value[8..]) as usize);
        Ok(DeletionProgress { serial, position })
    }
}
