//! Recorded and random series of samples.

use super::*;

/// The interval of the samples.
const INTERVAL: Duration = Duration::from_millis(256);

const DELAY: Thresholds = Thresholds { rises: [0.010, 0.050], falls: [0.008, 0.040] };
const MEMORY: Thresholds = Thresholds { rises: [0.85, 0.93], falls: [0.80, 0.88] };
const CONNECTIONS: Thresholds =
    Thresholds { rises: [0.80, f64::INFINITY], falls: [0.70, f64::INFINITY] };
const DESCRIPTORS: Thresholds =
    Thresholds { rises: [0.90, f64::INFINITY], falls: [0.85, f64::INFINITY] };

fn levels() -> LoadLevel {
    LoadLevel::new([DELAY, MEMORY, CONNECTIONS, DESCRIPTORS, Thresholds::NONE], true)
}

/// A level with a clock that samples advance.
struct Run {
    levels: LoadLevel,
    now: Time,
    /// Times and new levels.
    changes: Vec<(Time, Level)>,
}

impl Run {
    fn new() -> Run {
        Run { levels: levels(), now: Time::from_nanos(1_000_000_000), changes: Vec::new() }
    }

    fn sample(&mut self, values: [Option<f64>; 5]) {
        let since = self.now;
        self.now = self.now + INTERVAL;
        if let Some(change) = self.levels.sample(since, self.now, values) {
            assert_eq!(change.to, self.levels.level());
            self.changes.push((self.now, change.to));
        }
    }

    /// Samples of the delay in milliseconds, the others at rest; returns the level after each.
    fn delays(&mut self, millis: impl IntoIterator<Item = f64>) -> Vec<Level> {
        let mut seen = Vec::new();
        for delay in millis {
            self.sample([Some(delay / 1000.0), Some(0.1), Some(0.1), Some(0.1), Some(0.5)]);
            seen.push(self.levels.level());
        }
        seen
    }
}

use Level::{Critical as C, Elevated as E, Normal as N};

#[test]
fn a_level_rises_one_step_after_two_samples() {
    let mut run = Run::new();
    assert_eq!(run.delays([12.0, 9.0, 12.0, 12.0]), [N, N, N, E]);
    // Far above both thresholds: still one step at a time.
    let mut run = Run::new();
    assert_eq!(run.delays([900.0; 5]), [N, E, E, C, C]);
    assert_eq!(run.levels.of(Resource::Delay), C);
    assert_eq!(run.levels.of(Resource::Memory), N);
}

#[test]
fn one_long_round_changes_nothing() {
    let mut run = Run::new();
    // 50 ms in 250 ms, then a stop of 30 s inside a turn.
    let mut quiet = vec![0.1; 40];
    quiet[7] = 10.0;
    quiet[20] = 30_000.0;
    assert!(run.delays(quiet).iter().all(|level| *level == N));
}

#[test]
fn a_level_falls_one_step_after_five_seconds_below_the_lower_threshold() {
    let mut run = Run::new();
    run.delays([60.0; 4]);
    let ended = run.now;
    let after = run.delays([0.1; 60]);
    let falls: Vec<Duration> = run.changes[2..].iter().map(|(at, _)| at.since(ended)).collect();
    assert_eq!(run.changes.iter().map(|(_, level)| *level).collect::<Vec<_>>(), [E, C, E, N]);
    let seconds = |range: std::ops::Range<f64>, fall: Duration| range.contains(&fall.as_secs_f64());
    assert!(seconds(5.0..5.3, falls[0]) && seconds(10.0..10.7, falls[1]), "{falls:?}");
    assert_eq!(after.last(), Some(&N));
    assert!(run.levels.is_calm());
}

#[test]
fn samples_between_the_thresholds_keep_the_level() {
    let mut run = Run::new();
    run.delays([12.0; 2]);
    assert!(run.delays([9.0; 100]).iter().all(|level| *level == E));
    // A sample above the lower threshold restarts the five seconds.
    let mut spiky = vec![1.0; 19];
    spiky.push(9.0);
    for _ in 0..10 {
        assert!(run.delays(spiky.iter().copied()).iter().all(|level| *level == E));
    }
    assert_eq!(run.delays([1.0; 21]).last(), Some(&N));
}

/// The delay of an echo under bursts, as measured: two spikes, a minute of overload, decay.
#[test]
fn a_recorded_series_gives_the_recorded_levels() {
    let mut run = Run::new();
    let recorded = [0.02, 0.03, 14.1, 0.4, 0.02, 21.7, 3.2, 0.02]
        .into_iter()
        .chain([11.2, 13.8, 15.1, 37.0, 58.3, 61.0, 64.9, 60.2])
        .chain([61.5, 48.0, 43.7, 55.2, 39.0, 41.0].into_iter().cycle().take(60))
        .chain([22.0, 18.0, 12.0, 9.0].into_iter().cycle().take(24))
        .chain([0.3; 24]);
    run.delays(recorded);
    let changes: Vec<Level> = run.changes.iter().map(|(_, level)| *level).collect();
    assert_eq!(changes, [E, C, E, N]);
}

/// Others are closer to their thresholds when it falls.
#[test]
fn a_fall_names_the_resource_that_held_the_level() {
    let mut run = Run::new();
    let mut changes = Vec::new();
    let mut sample = |delay: f64, memory: f64| {
        let since = run.now;
        run.now = run.now + INTERVAL;
        let values = [Some(delay), Some(memory), Some(0.5), Some(0.5), Some(0.1)];
        if let Some(Change { from, to, resource, .. }) = run.levels.sample(since, run.now, values) {
            changes.push((from, to, resource));
        }
    };
    for (samples, delay, memory) in
        [(6, 0.0, 0.95), (60, 0.007, 0.1), (6, 0.02, 0.1), (60, 0.0, 0.7)]
    {
        (0..samples).for_each(|_| sample(delay, memory));
    }
    let (memory, delay) = (Resource::Memory, Resource::Delay);
    let expected = [
        (N, E, memory),
        (E, C, memory),
        (C, E, memory),
        (E, N, memory),
        (N, E, delay),
        (E, N, delay),
    ];
    assert_eq!(changes, expected);
}

#[test]
fn the_level_is_that_of_the_highest_resource() {
    let mut run = Run::new();
    let idle = [Some(0.0), Some(0.1), Some(0.1), Some(0.1), Some(0.0)];
    let mut crowded = idle;
    crowded[Resource::Connections as usize] = Some(1.0);
    for _ in 0..10 {
        run.sample(crowded);
    }
    assert_eq!((run.levels.level(), run.levels.of_work()), (E, N));
    let mut full = crowded;
    full[Resource::Memory as usize] = Some(0.95);
    for _ in 0..4 {
        run.sample(full);
    }
    assert_eq!((run.levels.level(), run.levels.of_work()), (C, C));
    assert_eq!(run.levels.of(Resource::Connections), E);
    let report = run.levels.report();
    let memory = &report.resources[Resource::Memory as usize];
    assert_eq!((memory.level, memory.value, memory.peak), (C, 0.95, 0.95));
    assert!((memory.pressure.unwrap() - 0.95 / 0.85).abs() < 1e-9);
    assert_eq!(memory.samples, [0.95, 0.95, 0.95, 0.95, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
    assert_eq!(report.resources[Resource::Busy as usize].pressure, None);
    assert_eq!(report.changes, [0, 1, 1]);
}

#[test]
fn a_resource_that_was_not_measured_keeps_its_level() {
    let mut run = Run::new();
    let values = |descriptors| [Some(0.0), Some(0.0), Some(0.0), descriptors, Some(0.0)];
    run.sample(values(Some(0.95)));
    for _ in 0..3 {
        run.sample(values(None));
    }
    assert_eq!(run.levels.level(), N, "one sample");
    run.sample(values(Some(0.95)));
    assert_eq!(run.levels.level(), E);
    for _ in 0..100 {
        run.sample(values(None));
    }
    assert_eq!(run.levels.level(), E);
}

#[test]
fn without_enforcement_samples_are_kept_and_no_level_changes() {
    let mut levels = LoadLevel::new([DELAY; 5], false);
    for second in 1..20 {
        let (since, now) = (second * 1_000_000_000, (second + 1) * 1_000_000_000);
        let changed = levels.sample(Time::from_nanos(since), Time::from_nanos(now), [Some(1.0); 5]);
        assert_eq!(changed, None);
    }
    let report = levels.report();
    assert_eq!((report.level, report.resources[0].value), (N, 1.0));
    assert!(report.resources[0].pressure.unwrap() > 99.0);
}

/// A generator of Lehmer's kind.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ten thousand walks of all resources around their thresholds: one step at a time, at most 22 changes in
/// any minute, no fall within five seconds of a change, and no rise within two samples of one.
#[test]
fn random_walks_do_not_oscillate() {
    const MINUTE: Duration = Duration::from_secs(60);
    let mut most = 0;
    for walk in 0..10_000_u64 {
        let mut random = Random(walk);
        let mut run = Run::new();
        // In parts of the threshold of each resource; larger steps in later walks.
        let size = 0.01 + (walk % 100) as f64 / 100.0;
        let mut pressures = [1.0_f64; 4];
        for _ in 0..400 {
            for pressure in &mut pressures {
                let step = size * (random.next() * 2.0 - 1.0);
                *pressure = (*pressure + step).clamp(0.3, 6.0);
            }
            let [delay, memory, connections, descriptors] = pressures;
            let (memory, connections) = (memory.min(1.17) * 0.85, connections.min(1.25) * 0.8);
            let descriptors = descriptors.min(1.1) * 0.9;
            let delay = delay * 0.010;
            run.sample([Some(delay), Some(memory), Some(connections), Some(descriptors), None]);
        }
        let mut before = (Time::ZERO, N);
        for (index, &(at, level)) in run.changes.iter().enumerate() {
            let apart = at.since(before.0);
            let is_step = level == before.1.raised() || level == before.1.lowered();
            assert!(is_step && level != before.1, "walk {walk}: {:?}", run.changes);
            let least = if level < before.1 { FALL_AFTER } else { INTERVAL * RISING_SAMPLES };
            assert!(index == 0 || apart >= least, "walk {walk}: {apart:?} before {level}");
            let within = |(other, _): &&(Time, Level)| *other <= at && at.since(*other) < MINUTE;
            most = most.max(run.changes.iter().filter(within).count());
            before = (at, level);
        }
    }
    assert!((10..=22).contains(&most), "{most} changes in a minute");
}

/// The fastest series: two samples above, then below for five seconds.
#[test]
fn the_level_changes_at_most_22_times_a_minute() {
    let mut run = Run::new();
    while run.now < Time::from_nanos(600_000_000_000) {
        let delay = if run.levels.level() == N { 20.0 } else { 0.0 };
        run.delays([delay]);
    }
    let times: Vec<Time> = run.changes.iter().map(|(at, _)| *at).collect();
    for (index, at) in times.iter().enumerate() {
        let within =
            times[index..].iter().take_while(|other| other.since(*at) < Duration::from_secs(60));
        let count = within.count();
        assert!(count <= 22, "{count} changes in a minute");
    }
    assert!(times.len() > 190, "{} changes in ten minutes", times.len());
}
