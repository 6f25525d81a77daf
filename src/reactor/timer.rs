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
mod tests {
    use super::*;

    const REVOLUTION: Duration = Duration::from_millis(128 * SLOTS as u64);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// Everything due at `now`, in order of keys.
    fn fire(wheel: &mut Wheel<u32>, now: Time) -> Vec<u32> {
        let mut budget = usize::MAX;
        let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.pop(now, &mut budget)).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn never_early_and_at_most_a_slot_late() {
        for due in [0, 1, 127, 128, 129, 1_000, 10_000, 65_535, 65_536, 65_537, 300_000] {
            let mut wheel = Wheel::new();
            wheel.insert(at(due), 1);
            let mut now = 0;
            while fire(&mut wheel, at(now)).is_empty() {
                now += 1;
                assert!(now <= due + 128, "due at {due} ms, late at {now} ms");
            }
            assert!(now >= due, "due at {due} ms, fired at {now} ms");
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn next_leads_to_every_timer_in_few_steps() {
        for due in [1, 128, 5_000, 65_536, 200_000, 3_600_000] {
            let mut wheel = Wheel::new();
            wheel.insert(at(due), 7);
            let mut wakes = 0;
            loop {
                let now = wheel.next().expect("a timer is live");
                wakes += 1;
                if fire(&mut wheel, now) == [7] {
                    assert!(now >= at(due) && now <= at(due) + SLOT);
                    break;
                }
            }
            assert!(wakes <= due / REVOLUTION.as_millis() as u64 + 1, "{wakes} wakes for {due} ms");
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn a_cancelled_timer_is_gone_and_its_id_void() {
        let mut wheel = Wheel::new();
        let old = wheel.insert(at(500), 1);
        assert_eq!(wheel.cancel(old), Some(1));
        assert_eq!(wheel.next(), None);
        let new = wheel.insert(at(500), 2);
        assert_eq!(new.index, old.index, "the place is used again");
        assert_eq!(wheel.cancel(old), None);
        assert_eq!(fire(&mut wheel, at(700)), [2]);
        assert_eq!(wheel.cancel(new), None);
    }

    #[test]
    fn cancel_unlinks_first_middle_and_last_of_a_slot() {
        for gone in 0..3 {
            let mut wheel = Wheel::new();
            let ids = [0, 1, 2].map(|key| wheel.insert(at(100), key));
            assert_eq!(wheel.cancel(ids[gone as usize]), Some(gone));
            let rest: Vec<u32> = (0..3).filter(|&key| key != gone).collect();
            assert_eq!(fire(&mut wheel, at(200)), rest);
        }
    }

    #[test]
    fn a_stall_of_many_revolutions_fires_all_in_one_pass() {
        let mut wheel = Wheel::new();
        for key in 0..2_000 {
            wheel.insert(at(u64::from(key) * 300), key);
        }
        wheel.insert(at(10_000_000), 5_000);
        let now = at(9_000_000);
        let mut budget = 2_001;
        let mut fired = 0;
        while wheel.pop(now, &mut budget).is_some() {
            fired += 1;
        }
        assert_eq!((fired, budget), (2_000, 0), "each entry was looked at once");
        assert!(wheel.next() > Some(now));
        assert_eq!(fire(&mut wheel, at(10_000_000)), [5_000]);
    }

    #[test]
    fn a_stall_in_the_middle_of_a_slot_loses_nothing() {
        let mut wheel = Wheel::new();
        // The later one is inserted last, so the slot's list begins with it.
        wheel.insert(at(128), 1);
        wheel.insert(at(128), 2);
        wheel.insert(at(128) + REVOLUTION, 3);
        let mut budget = 2;
        assert_eq!(wheel.pop(at(130), &mut budget), Some(2));
        assert_eq!(wheel.pop(at(130), &mut budget), None);
        assert_eq!(wheel.next(), Some(at(128)));
        assert_eq!(fire(&mut wheel, at(130) + REVOLUTION), [1, 3]);
    }

    #[test]
    fn the_budget_counts_kept_entries_and_the_next_call_resumes() {
        let mut wheel = Wheel::new();
        wheel.insert(at(128), 0);
        for key in 1..=1_000 {
            wheel.insert(at(128) + REVOLUTION, key);
        }
        let mut turns = 1;
        let now = at(128);
        loop {
            let mut budget = 100;
            if let Some(key) = wheel.pop(now, &mut budget) {
                assert_eq!(key, 0);
                break;
            }
            assert!(wheel.next() <= Some(now), "the loop must come back at once");
            turns += 1;
        }
        assert_eq!(turns, 11);
        assert_eq!(fire(&mut wheel, now + REVOLUTION).len(), 1_000);
    }

    #[test]
    fn handlers_may_cancel_and_insert() {
        let mut wheel = Wheel::new();
        let ids: Vec<TimerId> = (0..4).map(|key| wheel.insert(at(100), key)).collect();
        let (now, mut budget) = (at(200), 100);
        assert_eq!(wheel.pop(now, &mut budget), Some(3));
        // Where the cursor stands, and behind it.
        assert_eq!(wheel.cancel(ids[2]), Some(2));
        assert_eq!(wheel.cancel(ids[0]), Some(0));
        let again = wheel.insert(now, 4);
        assert_eq!(wheel.pop(now, &mut budget), Some(1));
        assert_eq!(wheel.pop(now, &mut budget), None);
        assert_eq!(wheel.next(), Some(at(256)), "what was due already waits for the next slot");
        assert_eq!(fire(&mut wheel, at(256)), [4]);
        assert_eq!(wheel.cancel(again), None);
    }

    #[test]
    fn a_timer_that_rearms_itself_as_due_does_not_hold_the_turn() {
        let mut wheel = Wheel::new();
        wheel.insert(Time::ZERO, 1);
        let (now, mut budget) = (at(1_000_000), 10_000);
        let mut fired = 0;
        while let Some(key) = wheel.pop(now, &mut budget) {
            fired += 1;
            wheel.insert(now, key);
        }
        assert!(fired <= SLOTS, "{fired} times in one turn");
    }

    #[test]
    fn what_is_long_due_fires_within_a_slot() {
        let mut wheel = Wheel::new();
        let now = at(60_000);
        assert_eq!(fire(&mut wheel, now), Vec::<u32>::new());
        wheel.insert(at(1_000), 1);
        assert!(wheel.next().is_some_and(|next| next <= now + SLOT));
        assert_eq!(fire(&mut wheel, now + SLOT), [1]);
    }

    #[test]
    fn within_a_revolution_the_loop_wakes_once() {
        let mut wheel = Wheel::new();
        assert_eq!(fire(&mut wheel, at(60_000)), Vec::<u32>::new());
        wheel.insert(at(128 * 900), 1);
        assert_eq!(wheel.next(), Some(at(128 * 900)));
    }

    #[test]
    fn never_is_a_time() {
        let mut wheel = Wheel::new();
        let id = wheel.insert(Time::MAX, 1);
        assert_eq!(fire(&mut wheel, at(1_000_000_000)), Vec::<u32>::new());
        assert!(wheel.next() > Some(at(1_000_000_000)));
        assert_eq!(wheel.cancel(id), Some(1));
    }

    #[test]
    fn half_a_tick_is_enough_after_decades() {
        let slots = |slots: u64| Time::from_nanos(slots * SLOT_NANOS);
        let wrap = 1 << 32;
        for began in [wrap - 300, wrap, 3 * wrap + 7] {
            let mut wheel = Wheel::new();
            assert_eq!(fire(&mut wheel, slots(began)), Vec::<u32>::new());
            let id = wheel.insert(slots(began + 600), 1);
            assert_eq!(wheel.due(id), Some(slots(began + 600)));
            wheel.insert(slots(began + TICKS_MAX), 2);
            assert_eq!(fire(&mut wheel, slots(began + 599)), Vec::<u32>::new());
            assert_eq!(fire(&mut wheel, slots(began + 600)), [1]);
            assert_eq!(fire(&mut wheel, slots(began + TICKS_MAX - 1)), Vec::<u32>::new());
            assert_eq!(fire(&mut wheel, slots(began + TICKS_MAX)), [2]);
        }
    }

    #[test]
    fn a_turn_costs_the_same_with_100_000_timers() {
        const TIMERS: u32 = 100_000;
        let mut wheel = Wheel::new();
        let ids: Vec<TimerId> =
            (0..TIMERS).map(|key| wheel.insert(at(1_000 + u64::from(key) % 60_000), key)).collect();
        // Entries looked at are the cost; a turn that has nothing due looks at none.
        let mut budget = usize::MAX;
        assert_eq!(wheel.pop(at(999), &mut budget), None);
        assert_eq!(budget, usize::MAX);
        for id in ids.iter().step_by(2) {
            assert!(wheel.cancel(*id).is_some());
        }
        let mut fired = 0;
        for slot in 0..=61_000_u64.div_ceil(128) {
            while wheel.pop(at(slot * 128), &mut budget).is_some() {
                fired += 1;
            }
        }
        assert_eq!(fired, TIMERS as usize / 2);
        assert_eq!(usize::MAX - budget, fired, "no entry was looked at twice");
    }
}
