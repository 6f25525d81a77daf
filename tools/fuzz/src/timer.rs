//! The timer wheel, compared with a map of due times.

use std::collections::BTreeMap;
use std::time::Duration;

use weir::reactor::Time;
use weir::reactor::internals::timer::{SLOT, TimerId, Wheel};

use crate::bytes::Bytes;

/// Units of deadlines and clock steps, in several orders of magnitude: below a slot, some slots,
/// about a revolution (65.536 s), many revolutions.
const UNITS: [Duration; 5] = [
    Duration::from_nanos(1),
    Duration::from_micros(500),
    Duration::from_millis(128),
    Duration::from_millis(1_024),
    Duration::from_millis(65_536),
];
/// Maximum number of entries that a turn with a small budget may look at.
const SMALL_BUDGET: usize = 8;

/// Timers are set, cancelled and fired in virtual time, between turns and within one. No timer
/// fires early, twice, after its end or more than one slot late, and `next` is never too late.
pub fn timer(data: &[u8]) {
    let mut run = Run::default();
    let mut input = Bytes(data);
    while run.step(&mut input).is_some() {}
    run.finish();
}

#[derive(Default)]
struct Run {
    wheel: Wheel<u32>,
    now: Time,
    /// By key: the id, and the earliest time at which the timer may fire.
    live: BTreeMap<u32, (TimerId, Time)>,
    /// Ids of timers that ended.
    stale: Vec<TimerId>,
    keys: u32,
}

impl Run {
    fn step(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        match input.below(8)? {
            0..=2 => self.insert(input)?,
            3 => self.cancel(input)?,
            4 => {
                let budget = input.below(SMALL_BUDGET)?;
                self.turn(budget, input)?;
            }
            _ => {
                self.now = self.now + span(input)?;
                self.turn(usize::MAX, input)?;
                self.check_drained();
            }
        }
        self.check_next();
        Some(())
    }

    fn insert(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let span = span(input)?;
        let due = if input.below(8)? == 0 { self.now - span } else { self.now + span };
        let key = self.keys;
        self.keys += 1;
        let id = self.wheel.insert(due, key);
        let clash = self.live.insert(key, (id, due.max(self.now)));
        assert!(clash.is_none());
        Some(())
    }

    /// Cancels a live timer, or tries a stale id.
    fn cancel(&mut self, input: &mut Bytes<'_>) -> Option<()> {
        let pick = usize::from(input.u8()?);
        if pick % 4 == 0 && !self.stale.is_empty() {
            let id = self.stale[pick % self.stale.len()];
            assert_eq!(self.wheel.cancel(id), None, "a stale id hit a timer");
        } else if !self.live.is_empty() {
            let (&key, &(id, _)) = self.live.iter().nth(pick % self.live.len())?;
            assert_eq!(self.wheel.cancel(id), Some(key));
            self.end(key);
        }
        Some(())
    }

    /// Fires due timers within `budget`; every few keys the handler sets or cancels a timer.
    fn turn(&mut self, mut budget: usize, input: &mut Bytes<'_>) -> Option<()> {
        while let Some(key) = self.wheel.pop(self.now, &mut budget) {
            let due = self.end(key);
            assert!(due <= self.now, "fired at {:?}, due at {due:?}", self.now);
            match input.below(8)? {
                0 => self.insert(input)?,
                1 => self.cancel(input)?,
                _ => {}
            }
        }
        Some(())
    }

    fn end(&mut self, key: u32) -> Time {
        let (id, due) = self.live.remove(&key).expect("no live timer has this key");
        self.stale.push(id);
        due
    }

    /// Checks after a turn whose budget sufficed.
    fn check_drained(&self) {
        for (key, (_, due)) in &self.live {
            assert!(*due + SLOT > self.now, "timer {key} is late: {due:?} at {:?}", self.now);
        }
        assert!(self.wheel.next().is_none_or(|next| next > self.now), "the loop would spin");
    }

    fn check_next(&self) {
        assert_eq!(self.wheel.len(), self.live.len());
        match (self.wheel.next(), self.live.values().map(|&(_, due)| due).min()) {
            (Some(next), Some(due)) => assert!(next <= due + SLOT, "would wake late: {next:?}"),
            (next, due) => assert_eq!((next, due), (None, None)),
        }
    }

    /// Follows `next` until all timers have fired; handlers do nothing, since the input has ended.
    fn finish(mut self) {
        while let Some(next) = self.wheel.next() {
            self.now = self.now.max(next);
            let mut budget = usize::MAX;
            while let Some(key) = self.wheel.pop(self.now, &mut budget) {
                assert!(self.end(key) <= self.now);
            }
            self.check_drained();
        }
        assert!(self.live.is_empty());
    }
}

fn span(input: &mut Bytes<'_>) -> Option<Duration> {
    let unit = UNITS[input.below(UNITS.len())?];
    Some(unit * u32::from(input.u8()?))
}
