//! The timer wheel: 512 slots of 128 ms, a bitmap of those in use, entries in one slab.
//!
//! It owns what is due when, and nothing else: no clock is read, no handler called. A timer never
//! fires early and at most one slot late, which is fine for pings, deadlines and idle collection
//! and for nothing finer.
//!
//! Insert and cancel touch one entry and its neighbours, however many there are; a heap would pay
//! `log n` and keep what was cancelled. A message should not pay even that, so owners re-arm lazily:
//! a connection keeps one timer (32 bytes with its id), lets it fire although its deadline has moved
//! on, and then inserts the deadline that its state gives. Only a deadline that comes nearer cancels.

use std::num::NonZeroU32;
use std::time::Duration;

use slab::Slab;

use super::time::Time;

/// How late a timer may fire: the width of one slot.
pub const SLOT: Duration = Duration::from_millis(128);

/// Slots on the wheel.
const SLOTS: usize = 512;
const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = SLOTS / WORD_BITS;
const SLOT_NANOS: u64 = SLOT.as_nanos() as u64;
/// The furthest that a timer may lie ahead, in slots: eight years.
const TICKS_MAX: u64 = i32::MAX as u64;
/// The end of a list.
const NIL: u32 = u32::MAX;

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS.is_multiple_of(WORD_BITS));
/// The longest default deadline (60 s, a message's fragments) is met in its first revolution: an
/// entry of a later one is looked at, and kept, once a revolution.
const _: () = assert!(SLOTS as u64 * SLOT_NANOS > 60_000_000_000);

/// Names one timer from its insertion until it fires or is cancelled, and nothing afterwards.
///
/// The serial differs from those of the last 2^32 - 2 timers, so an id that outlived its timer does
/// not match the one that has its place now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId {
    index: u32,
    serial: NonZeroU32,
}

const _: () = assert!(size_of::<Option<TimerId>>() == 8);

/// Timers, each with a key of the caller's that comes back when it is due.
#[derive(Debug)]
pub struct Wheel<K: Copy> {
    /// Grows to the most timers ever live at once, 24 bytes each for a key of 8.
    entries: Slab<Entry<K>>,
    /// First entry of each slot's list.
    heads: [u32; SLOTS],
    /// One bit per slot: its list is not empty.
    occupied: [u64; WORDS],
    /// The first tick that `pop` has not begun. All entries lie at or after it, except the
    /// rest of the slot begun last and those that a stall of a revolution or more left behind.
    tick: u64,
    /// What `pop` has yet to look at in the slot that it began last.
    cursor: u32,
    serial: NonZeroU32,
}

#[derive(Debug)]
struct Entry<K> {
    /// When it fires, in slots since the epoch: the due time rounded up, or the first slot not begun.
    /// Its low half, which tells all of it: none lies further from the wheel's tick than [`TICKS_MAX`].
    tick: u32,
    key: K,
    prev: u32,
    next: u32,
    serial: NonZeroU32,
}

/// The slab's entry is an enum like this one, whose tag hides in the serial.
const _: () = assert!(size_of::<Result<Entry<u64>, usize>>() == 24);

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Wheel<K> {
        Wheel::new()
    }
}

impl<K: Copy> Wheel<K> {
    /// A wheel without timers; allocates with the first.
    pub fn new() -> Wheel<K> {
        Wheel {
            entries: Slab::new(),
            heads: [NIL; SLOTS],
            occupied: [0; WORDS],
            tick: 0,
            cursor: NIL,
            serial: NonZeroU32::MIN,
        }
    }

    /// Live timers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no timer is live.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets a timer: `key` comes out of [`pop`](Wheel::pop) at `due` or up to one [`SLOT`] later.
    /// One that is due already fires within a slot from now, one that is due in more than eight years
    /// after these. How many there are is for the caller to bound.
    pub fn insert(&mut self, due: Time, key: K) -> TimerId {
        let tick = due.as_nanos().div_ceil(SLOT_NANOS);
        let tick = tick.clamp(self.tick, self.tick + TICKS_MAX) as u32;
        let serial = self.serial;
        self.serial = serial.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let slot = slot_of(tick.into());
        let next = self.heads[slot];
        // The cast holds: `NIL` entries would be 128 GiB.
        let index = self.entries.insert(Entry { tick, key, prev: NIL, next, serial }) as u32;
        if next != NIL {
            self.entries[next as usize].prev = index;
        }
        self.heads[slot] = index;
        self.occupied[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
        TimerId { index, serial }
    }

    /// Takes a timer back and returns its key; `None` if it has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.serial == id.serial).then(|| self.remove(id.index))
    }

    /// When a timer is due, rounded up to a slot; `None` if it has fired or was cancelled.
    pub fn due(&self, id: TimerId) -> Option<Time> {
        let entry = self.entries.get(id.index as usize)?;
        let due = Time::from_nanos(self.tick_of(entry).saturating_mul(SLOT_NANOS));
        (entry.serial == id.serial).then_some(due)
    }

    /// When to call [`pop`](Wheel::pop) next: not later than the first timer may fire. It can be
    /// earlier, once a revolution, for a timer of a later one; it lies in the past while `pop` has
    /// not seen all that is due.
    pub fn next(&self) -> Option<Time> {
        let tick = if self.cursor == NIL { self.occupied_from(self.tick)? } else { self.tick - 1 };
        Some(Time::from_nanos(tick.saturating_mul(SLOT_NANOS)))
    }

    /// The next key that is due. `None`: no more of them, or `budget` is spent, and then the next
    /// call resumes. Each entry looked at takes one from `budget`, fired or kept, so that a turn's
    /// work is bounded however the timers lie.
    ///
    /// `now` must not go back from call to call. The caller may insert and cancel in between; what
    /// it inserts as due already waits for a slot not begun. Keys of one slot come in no order.
    pub fn pop(&mut self, now: Time, budget: &mut usize) -> Option<K> {
        let now = now.as_nanos() / SLOT_NANOS;
        // After a stall of a revolution or more, each slot once is enough: all of it is due.
        self.tick = self.tick.max((now + 1).saturating_sub(SLOTS as u64));
        while *budget > 0 && self.seek(now) {
            *budget -= 1;
            let index = self.cursor;
            let entry = &self.entries[index as usize];
            self.cursor = entry.next;
            if self.tick_of(entry) <= now {
                return Some(self.remove(index));
            }
        }
        None
    }

    /// All of an entry's tick.
    fn tick_of(&self, entry: &Entry<K>) -> u64 {
        let ahead = entry.tick.wrapping_sub(self.tick as u32).cast_signed();
        self.tick.saturating_add_signed(ahead.into())
    }

    /// Puts the cursor on the next entry to look at, in a slot up to `now`; false if none is left.
    fn seek(&mut self, now: u64) -> bool {
        if self.cursor != NIL {
            return true;
        }
        match self.occupied_from(self.tick) {
            Some(tick) if tick <= now => {
                self.cursor = self.heads[slot_of(tick)];
                self.tick = tick + 1;
                true
            }
            _ => {
                self.tick = self.tick.max(now + 1);
                false
            }
        }
    }

    /// The first of the `SLOTS` ticks from `tick` on whose slot is in use.
    fn occupied_from(&self, tick: u64) -> Option<u64> {
        let start = slot_of(tick);
        let mut mask = u64::MAX << (start % WORD_BITS);
        // The first word comes twice: from the start on, and at the end for what lies before it.
        for step in 0..=WORDS {
            let word = (start / WORD_BITS + step) % WORDS;
            let bits = self.occupied[word] & mask;
            if bits != 0 {
                let found = word * WORD_BITS + bits.trailing_zeros() as usize;
                return Some(tick + ((found + SLOTS - start) % SLOTS) as u64);
            }
            mask = u64::MAX;
        }
        None
    }

    fn remove(&mut self, index: u32) -> K {
        let Entry { tick, key, prev, next, .. } = self.entries.remove(index as usize);
        if self.cursor == index {
            self.cursor = next;
        }
        if next != NIL {
            self.entries[next as usize].prev = prev;
        }
        if prev != NIL {
            self.entries[prev as usize].next = next;
        } else {
            let slot = slot_of(tick.into());
            self.heads[slot] = next;
            if next == NIL {
                self.occupied[slot / WORD_BITS] &= !(1 << (slot % WORD_BITS));
            }
        }
        key
    }
}

fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests;
