use super::*;
use crate::reactor::api::settings::MemoryMax;

/// The load without the memory of this process.
fn unread() -> LoadState {
    LoadState::new(&Settings::default().memory_max(MemoryMax::Off))
}

/// The load at a level that memory causes.
fn at(level: Level) -> LoadState {
    let mut load = unread();
    let mut now = Time::ZERO;
    let buffered = [0.1, 0.86, 0.95][level as usize];
    for _ in 0..4 {
        now = now + SAMPLE_INTERVAL;
        load.sample(now, &mut Rounds::default(), buffered, 0.0);
    }
    assert_eq!(load.levels.level(), level);
    load
}

/// Samples below the thresholds of all resources.
fn calm() -> [Option<f64>; Resource::ALL.len()] {
    [Some(0.0), Some(0.4), Some(0.4), Some(0.4), Some(0.5)]
}

/// The level that a resource causes while its samples for ten seconds have this value.
fn after(load: &mut LoadState, now: &mut Time, resource: Resource, value: f64) -> Level {
    for _ in 0..40 {
        let since = *now;
        *now = *now + SAMPLE_INTERVAL;
        let mut values = calm();
        values[resource as usize] = Some(value);
        load.levels.sample(since, *now, values);
    }
    load.levels.level()
}

#[test]
fn each_resource_raises_and_lowers_the_level_at_its_thresholds() {
    use Level::{Critical, Elevated, Normal};
    const LITTLE: f64 = 1e-6;
    // (resource, level, rises at, falls below)
    let rows = [
        (Resource::Delay, Elevated, 0.010, 0.008),
        (Resource::Delay, Critical, 0.050, 0.040),
        (Resource::Memory, Elevated, 0.85, 0.80),
        (Resource::Memory, Critical, 0.93, 0.88),
        (Resource::Connections, Elevated, 0.80, 0.70),
        (Resource::Descriptors, Elevated, 0.90, 0.85),
    ];
    for (resource, level, rises, falls) in rows {
        let (mut load, mut now) = (unread(), Time::ZERO);
        let mut after = |value| after(&mut load, &mut now, resource, value);
        let lower = level.lowered();
        assert_eq!(after(rises - LITTLE), lower, "{resource} below {rises}");
        assert_eq!(after(rises + LITTLE), level, "{resource} at {rises}");
        assert_eq!(after(falls + LITTLE), level, "{resource} at {falls}");
        assert_eq!(after(falls - LITTLE), lower, "{resource} below {falls}");
    }
    for (resource, highest) in [
        (Resource::Connections, Elevated),
        (Resource::Descriptors, Elevated),
        (Resource::Busy, Normal),
    ] {
        assert_eq!(after(&mut unread(), &mut Time::default(), resource, 100.0), highest);
    }
}

#[test]
fn memory_is_the_larger_of_buffered_and_resident() {
    for (buffered, resident, level) in [
        (0.2, 0.86, Level::Elevated),
        (0.86, 0.2, Level::Elevated),
        (0.2, 0.95, Level::Critical),
        (0.5, 0.5, Level::Normal),
    ] {
        let mut load = unread();
        for sample in 1..=4 {
            let now = Time::ZERO + SAMPLE_INTERVAL * sample;
            // What the last read of files has found, less than a second ago.
            (load.usage_read, load.resident) = (Some(now), resident);
            load.sample(now, &mut Rounds::default(), buffered, 0.0);
            assert_eq!(load.levels.value(Resource::Memory), f64::max(buffered, resident));
        }
        assert_eq!(load.levels.level(), level, "{buffered} {resident}");
    }
}

#[test]
fn files_are_read_each_second() {
    let mut load = unread();
    let mut reads = Vec::new();
    for sample in 1..=12 {
        let now = Time::ZERO + SAMPLE_INTERVAL * sample;
        load.sample(now, &mut Rounds::default(), 0.0, 0.0);
        if load.usage_read == Some(now) {
            reads.push(sample);
        }
    }
    assert_eq!(reads, [1, 5, 9], "of samples each 256 ms");
}

#[test]
fn a_level_halves_or_quarters_the_grace_time() {
    assert_eq!(Level::ALL.map(|level| at(level).grace_shift), [0, 1, 2]);
}

#[test]
fn each_level_admits_and_limits_by_priority() {
    let [low, normal, high, critical] = Priority::ALL;
    let limits = |level| {
        let load = at(level);
        let messages = |priority| {
            load.read_limit(priority).map(|ReadLimit { messages, bytes }| (messages, bytes))
        };
        assert_eq!(load.limits_reads, messages(low).is_some());
        [low, normal, high, critical].map(|priority| (load.admits(priority), messages(priority)))
    };
    const KIB: usize = 1024;
    let free = (true, None);
    assert_eq!(limits(Level::Normal), [free; 4]);
    let elevated = [(false, Some((32, 64 * KIB))), (true, Some((50, 64 * KIB))), free, free];
    assert_eq!(limits(Level::Elevated), elevated);
    let critical = [(false, Some((8, 16 * KIB))), (false, Some((20, 16 * KIB))), free, free];
    assert_eq!(limits(Level::Critical), critical);
}

#[test]
fn a_slow_turn_limits_the_reads_of_the_next_one() {
    for level in Level::ALL {
        let mut load = at(level);
        let messages = |load: &LoadState| {
            Priority::ALL.map(|priority| load.read_limit(priority).map(|limit| limit.messages))
        };
        let before = (load.limits_reads, messages(&load));
        load.end_turn(true);
        let slow = [Some(1), Some(1), None, None];
        assert_eq!((load.limits_reads, messages(&load)), (true, slow), "{level}");
        load.end_turn(false);
        assert_eq!((load.limits_reads, messages(&load)), before, "{level}");
    }
    let millis = Duration::from_millis;
    assert!(!unread().is_read_time_over(millis(49)) && unread().is_read_time_over(millis(50)));
}

#[test]
fn many_connections_alone_limit_no_read() {
    let mut load = unread();
    for sample in 1..=4 {
        let now = Time::ZERO + SAMPLE_INTERVAL * sample;
        load.sample(now, &mut Rounds::default(), 0.0, 0.9);
    }
    assert_eq!((load.levels.level(), load.work_level()), (Level::Elevated, Level::Normal));
    assert!(!load.admits(Priority::Low) && load.admits(Priority::Normal));
    assert_eq!((load.read_limit(Priority::Low), load.grace_shift), (None, 0));
}
