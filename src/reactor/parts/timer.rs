//! The timer wheel: 512 slots of 128 ms, a bitmap of occupied slots, entries in one slab.
//!
//! It owns timers and their keys. It reads no clock and calls no handler. A timer never fires
//! early, and at most one slot late: precise enough for pings, deadlines and idle cleanup only.
//!
//! Insert and cancel touch one entry and its neighbours, however many timers there are; a heap
//! would cost `log n` and keep cancelled entries. Messages cost no timer work, because owners
//! re-arm lazily: a connection keeps one timer (32 bytes with its id) and lets it fire although its
//! deadline has moved on. Then it inserts the deadline that follows from its state. Only a deadline
//! that moves closer cancels the timer. Next: `schedule.rs` owns the wheel.

use std::num::NonZeroU32;
use std::time::Duration;

use slab::Slab;

use crate::reactor::api::time::Time;

/// How late a timer may fire: the width of one slot.
pub const SLOT: Duration = Duration::from_millis(128);

/// Slots on the wheel.
const SLOTS: usize = 512;
const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = SLOTS / WORD_BITS;
const SLOT_NANOS: u64 = SLOT.as_nanos() as u64;
/// How far ahead a timer may lie, in slots: eight years.
const TICKS_MAX: u64 = i32::MAX as u64;
/// The end of a list.
const NIL: u32 = u32::MAX;

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS.is_multiple_of(WORD_BITS));
/// The longest default deadline (60 s, for all fragments of a message) fits into one revolution: an
/// entry due in a later revolution is visited, and kept, once per revolution.
const _: () = assert!(SLOTS as u64 * SLOT_NANOS > 60_000_000_000);

/// Identifies one timer from its insertion until it fires or is cancelled.
///
/// The serial differs from those of the last 2^32 - 2 timers. The id of a past timer therefore does
/// not match a newer timer at the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId {
    index: u32,
    serial: NonZeroU32,
}

const _: () = assert!(size_of::<Option<TimerId>>() == 8);

/// Timers, each with a key that [`pop`](Wheel::pop) returns when it is due.
#[derive(Debug)]
pub struct Wheel<K: Copy> {
    /// Grows to the largest number of timers ever live at once: 24 bytes each for a key of 8.
    entries: Slab<Entry<K>>,
    /// First entry of each slot's list; `NIL` if the list is empty.
    heads: [u32; SLOTS],
    /// One bit per slot. Invariant: set exactly while the slot's list is not empty.
    occupied: [u64; WORDS],
    /// The first tick that `pop` has not started. Invariant: all entries lie at or after it, except
    /// the rest of the slot started last and entries passed over in a stall of a revolution or
    /// more.
    tick: u64,
    /// The next entry to visit in the slot that `pop` started last; `NIL` if none is left.
    cursor: u32,
    serial: NonZeroU32,
}

#[derive(Debug)]
struct Entry<K> {
    /// When it fires, in slots since the epoch: the due time rounded up, or the first slot not yet
    /// started. Only the low half is stored. That is unambiguous, because no entry lies further
    /// than [`TICKS_MAX`] from the wheel's tick.
    tick: u32,
    key: K,
    prev: u32,
    next: u32,
    serial: NonZeroU32,
}

/// The slab wraps each entry in an enum like this one; its tag fits into the niche of the serial.
const _: () = assert!(size_of::<Result<Entry<u64>, usize>>() == 24);

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Wheel<K> {
        Wheel::new()
    }
}

impl<K: Copy> Wheel<K> {
    /// A wheel without timers; allocates at the first insert.
    pub fn new() -> Wheel<K> {
        Wheel::with_capacity(0)
    }

    /// A wheel without timers that holds `count` of them without growing.
    pub fn with_capacity(count: usize) -> Wheel<K> {
        Wheel {
            entries: Slab::with_capacity(count),
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

    /// Sets a timer: [`pop`](Wheel::pop) returns `key` at `due` or up to one [`SLOT`] later. A
    /// timer that is due already fires within one slot from now. A timer more than eight years
    /// ahead fires after eight years. The caller bounds the number of timers.
    pub fn insert(&mut self, due: Time, key: K) -> TimerId {
        let tick = due.as_nanos().div_ceil(SLOT_NANOS);
        let tick = tick.clamp(self.tick, self.tick + TICKS_MAX) as u32;
        let serial = self.serial;
        self.serial = serial.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let slot = slot_of(tick.into());
        let next = self.heads[slot];
        // The cast is safe: `NIL` entries would take 128 GiB.
        let index = self.entries.insert(Entry { tick, key, prev: NIL, next, serial }) as u32;
        if next != NIL {
            self.entries[next as usize].prev = index;
        }
        self.heads[slot] = index;
        self.occupied[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
        TimerId { index, serial }
    }

    /// Cancels a timer and returns its key; `None` if it has fired or was cancelled before.
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

    /// When to call [`pop`](Wheel::pop) next: no later than the first timer may fire. It can be
    /// earlier, once per revolution, for a timer due in a later revolution. It lies in the past
    /// while `pop` has not visited all entries that are due.
    pub fn next(&self) -> Option<Time> {
        let tick = if self.cursor == NIL { self.occupied_from(self.tick)? } else { self.tick - 1 };
        Some(Time::from_nanos(tick.saturating_mul(SLOT_NANOS)))
    }

    /// The next key that is due. `None` if no key is left or `budget` is spent; in the latter case
    /// the next call resumes. Each visited entry takes one from `budget`, whether it fires or
    /// stays, so that the work of a turn is bounded however the timers are distributed.
    ///
    /// `now` must not decrease from call to call. The caller may insert and cancel between calls; a
    /// timer inserted as due already waits for a later slot. Keys of one slot come in no order.
    pub fn pop(&mut self, now: Time, budget: &mut usize) -> Option<K> {
        let now = now.as_nanos() / SLOT_NANOS;
        // After a stall of a revolution or more, one visit per slot is enough: every entry is due.
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

    /// An entry's full tick, restored from its low half.
    fn tick_of(&self, entry: &Entry<K>) -> u64 {
        let ahead = entry.tick.wrapping_sub(self.tick as u32).cast_signed();
        self.tick.saturating_add_signed(ahead.into())
    }

    /// Moves the cursor to the next entry to visit, in a slot up to `now`; false if none is left.
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

    /// The first of the `SLOTS` ticks from `tick` on whose slot is occupied.
    fn occupied_from(&self, tick: u64) -> Option<u64> {
        let start = slot_of(tick);
        let mut mask = u64::MAX << (start % WORD_BITS);
        // The first word is read twice: first from `start` on, last for the bits before `start`.
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
