//! The timer wheel with 1,000 timers and with 100,000, spread over a minute: the cost of an
//! operation and of a turn must not depend on the number of timers.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion};
use weir::reactor::Time;
use weir::reactor::budget::TIMERS;
use weir::reactor::internals::timer::{SLOT, Wheel};

const COUNTS: [u32; 2] = [1_000, 100_000];
const SPREAD: Duration = Duration::from_secs(60);

/// The due time of the timer with this key: spread over the range, in no order.
fn due(now: Time, key: u32) -> Time {
    let millis = key.wrapping_mul(2_654_435_761) % SPREAD.as_millis() as u32;
    now + Duration::from_millis(u64::from(millis))
}

fn full(count: u32) -> Wheel<u32> {
    let mut wheel = Wheel::new();
    for key in 0..count {
        wheel.insert(due(Time::ZERO, key), key);
    }
    wheel
}

pub(crate) fn all(criterion: &mut Criterion) {
    insert_and_cancel(criterion);
    idle_turn(criterion);
    firing_turn(criterion);
    drain(criterion);
}

/// A deadline that is moved: one timer is cancelled, another one set.
fn insert_and_cancel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer insert and cancel");
    for count in COUNTS {
        let mut wheel = full(count);
        let mut key = count;
        group.bench_function(BenchmarkId::new("weir", count), |bencher| {
            bencher.iter(|| {
                key = key.wrapping_add(1);
                let id = wheel.insert(due(Time::ZERO, key), key);
                black_box(wheel.cancel(black_box(id)))
            });
        });
    }
}

/// A turn in which no timer is due: the cost of waiting timers for each turn.
fn idle_turn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer idle turn");
    for count in COUNTS {
        let mut wheel = Wheel::new();
        for key in 0..count {
            wheel.insert(due(Time::ZERO + SLOT, key), key);
        }
        group.bench_function(BenchmarkId::new("weir", count), |bencher| {
            bencher.iter(|| {
                let mut budget = TIMERS;
                black_box((wheel.next(), wheel.pop(black_box(Time::ZERO), &mut budget)))
            });
        });
    }
}

/// Turns one slot apart in which each timer that fires is set again, as a connection's timer is.
/// With 100,000 timers, 213 fire per turn.
fn firing_turn(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer firing turn");
    for count in COUNTS {
        let mut wheel = full(count);
        let mut now = Time::ZERO;
        group.bench_function(BenchmarkId::new("weir", count), |bencher| {
            bencher.iter(|| {
                now = now + SLOT;
                let mut budget = TIMERS;
                while let Some(key) = wheel.pop(now, &mut budget) {
                    wheel.insert(now + SPREAD, black_box(key));
                }
            });
        });
    }
}

/// All timers fire at once: the cost of a stall of one minute, per wheel of this size.
fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timer drain");
    for count in COUNTS {
        group.bench_function(BenchmarkId::new("weir", count), |bencher| {
            bencher.iter_batched_ref(
                || full(count),
                |wheel| {
                    let mut budget = usize::MAX;
                    while let Some(key) = wheel.pop(Time::ZERO + 2 * SPREAD, &mut budget) {
                        black_box(key);
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
}
