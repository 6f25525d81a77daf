//! The timer wheel alone: when timers fire, what a turn costs, and cancelled timers.

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
fn timers_fire_never_early_and_at_most_a_slot_late() {
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
fn following_next_reaches_every_timer_with_one_wakeup_per_revolution() {
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
fn a_cancelled_timer_never_fires_and_its_id_matches_no_later_timer() {
    let mut wheel = Wheel::new();
    let old = wheel.insert(at(500), 1);
    assert_eq!(wheel.cancel(old), Some(1));
    assert_eq!(wheel.next(), None);
    let new = wheel.insert(at(500), 2);
    assert_eq!(new.index, old.index, "the index is reused");
    assert_eq!(wheel.cancel(old), None);
    assert_eq!(fire(&mut wheel, at(700)), [2]);
    assert_eq!(wheel.cancel(new), None);
}

#[test]
fn cancel_unlinks_first_middle_and_last_entry_of_a_slot() {
    for gone in 0..3 {
        let mut wheel = Wheel::new();
        let ids = [0, 1, 2].map(|key| wheel.insert(at(100), key));
        assert_eq!(wheel.cancel(ids[gone as usize]), Some(gone));
        let rest: Vec<u32> = (0..3).filter(|&key| key != gone).collect();
        assert_eq!(fire(&mut wheel, at(200)), rest);
    }
}

#[test]
fn after_a_stall_of_many_revolutions_all_due_timers_fire_in_one_pass() {
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
    assert_eq!((fired, budget), (2_000, 0), "each entry is visited once");
    assert!(wheel.next() > Some(now));
    assert_eq!(fire(&mut wheel, at(10_000_000)), [5_000]);
}

#[test]
fn a_stall_in_the_middle_of_a_slot_loses_no_timer() {
    let mut wheel = Wheel::new();
    // The last insertion is the head of the slot's list.
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
        assert!(wheel.next() <= Some(now), "the loop must call again at once");
        turns += 1;
    }
    assert_eq!(turns, 11);
    assert_eq!(fire(&mut wheel, now + REVOLUTION).len(), 1_000);
}

#[test]
fn timers_may_be_cancelled_and_inserted_between_pops() {
    let mut wheel = Wheel::new();
    let ids: Vec<TimerId> = (0..4).map(|key| wheel.insert(at(100), key)).collect();
    let (now, mut budget) = (at(200), 100);
    assert_eq!(wheel.pop(now, &mut budget), Some(3));
    // At the cursor, and after it.
    assert_eq!(wheel.cancel(ids[2]), Some(2));
    assert_eq!(wheel.cancel(ids[0]), Some(0));
    let again = wheel.insert(now, 4);
    assert_eq!(wheel.pop(now, &mut budget), Some(1));
    assert_eq!(wheel.pop(now, &mut budget), None);
    assert_eq!(wheel.next(), Some(at(256)), "a timer that is due already waits for the next slot");
    assert_eq!(fire(&mut wheel, at(256)), [4]);
    assert_eq!(wheel.cancel(again), None);
}

#[test]
fn a_timer_that_rearms_itself_as_due_does_not_block_the_turn() {
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
fn an_overdue_timer_fires_within_a_slot() {
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
fn a_timer_may_lie_in_the_farthest_future() {
    let mut wheel = Wheel::new();
    let id = wheel.insert(Time::MAX, 1);
    assert_eq!(fire(&mut wheel, at(1_000_000_000)), Vec::<u32>::new());
    assert!(wheel.next() > Some(at(1_000_000_000)));
    assert_eq!(wheel.cancel(id), Some(1));
}

#[test]
fn ticks_of_32_bits_are_unambiguous_after_decades() {
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
    // The cost is the number of visited entries; a turn without due timers visits none.
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
    assert_eq!(usize::MAX - budget, fired, "no entry is visited twice");
}
