//! Shedding: how many connections may be closed because the load is critical, and when that stops.
//!
//! At most 1 % of the connections per second are closed, and a part of all that were open at the start.
//! If the resource has not fallen by 5 % of its value within five seconds, the closed connections were
//! not the cause: nothing more is closed until the load has been below critical. It chooses no
//! connection: `effects/shed.rs` does.

use std::time::Duration;

use crate::reactor::api::id::ConnId;
use crate::reactor::api::level::Resource;
use crate::reactor::api::time::Time;

/// The part of the open connections that may be closed each second, and the least number.
const PART_PER_SECOND: f64 = 0.01;
const LEAST_PER_SECOND: f64 = 1.0;
/// After this time, the resource must have fallen below this part of its value.
const ROUND: Duration = Duration::from_secs(5);
const FALLEN: f64 = 0.95;

/// What a connection had sent when it was last looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) id: ConnId,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

const _: () = assert!(size_of::<Candidate>() <= 32);

/// What to do after a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the load is not critical, or shedding has stopped.
    Nothing,
    /// The load has become critical by this resource.
    Begin(Resource),
    /// Close up to this many connections.
    Close(Resource, usize),
    /// Shedding stops now, since it does not help.
    Stop(Resource),
}

/// The time since the load became critical.
#[derive(Debug)]
struct Episode {
    resource: Resource,
    /// Connections that were open at its start, and those closed since.
    open: usize,
    closed: usize,
    /// When the round began, and the value of the resource then.
    began: Time,
    value: f64,
    /// Connections that may be closed now.
    allowed: f64,
    sampled: Time,
    has_stopped: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Shedding {
    episode: Option<Episode>,
    /// Connections seen at the last sample.
    pub(crate) candidates: Vec<Candidate>,
    /// The slot from which the next candidates are taken.
    pub(crate) cursor: usize,
}

impl Shedding {
    /// The step after a sample. `critical` is the resource by which the load is critical, and its
    /// value; `open` is the number of clients.
    pub(crate) fn step(
        &mut self,
        critical: Option<(Resource, f64)>,
        open: usize,
        max_percent: u8,
        now: Time,
    ) -> Step {
        let Some((resource, value)) = critical.filter(|_| max_percent > 0) else {
            self.episode = None;
            self.candidates = Vec::new();
            return Step::Nothing;
        };
        let Some(episode) = &mut self.episode else {
            self.episode = Some(Episode {
                resource,
                open,
                closed: 0,
                began: now,
                value,
                allowed: 0.0,
                sampled: now,
                has_stopped: false,
            });
            return Step::Begin(resource);
        };
        let is_over = now.since(episode.began) >= ROUND;
        if is_over && episode.resource == resource && value > episode.value * FALLEN {
            let is_new = !std::mem::replace(&mut episode.has_stopped, true);
            return if is_new { Step::Stop(resource) } else { Step::Nothing };
        }
        if episode.has_stopped {
            return Step::Nothing;
        }
        if is_over || episode.resource != resource {
            (episode.resource, episode.began, episode.value) = (resource, now, value);
        }
        let per_second = (open as f64 * PART_PER_SECOND).max(LEAST_PER_SECOND);
        let passed = now.since(episode.sampled).as_secs_f64();
        episode.sampled = now;
        episode.allowed = (episode.allowed + passed * per_second).min(per_second);
        let most = (episode.open * usize::from(max_percent) / 100).max(1);
        let left = most.saturating_sub(episode.closed);
        Step::Close(resource, (episode.allowed as usize).min(left))
    }

    /// Counts connections that were closed.
    pub(crate) fn note_closed(&mut self, count: usize) {
        if let Some(episode) = &mut self.episode {
            episode.closed += count;
            episode.allowed = (episode.allowed - count as f64).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Resource = Resource::Memory;

    /// Shedding with a clock, which closes all that it may.
    struct Run {
        shedding: Shedding,
        now: Time,
        closed: usize,
    }

    impl Run {
        fn new() -> Run {
            Run { shedding: Shedding::default(), now: Time::from_nanos(0), closed: 0 }
        }

        fn step(&mut self, critical: Option<(Resource, f64)>, open: usize) -> Step {
            self.now = self.now + Duration::from_millis(250);
            let step = self.shedding.step(critical, open, 20, self.now);
            if let Step::Close(_, count) = step {
                self.shedding.note_closed(count);
                self.closed += count;
            }
            step
        }
    }

    #[test]
    fn one_percent_is_closed_per_second_and_at_least_one() {
        for (open, per_second) in [(3, 1), (100, 1), (5_000, 50)] {
            let mut run = Run::new();
            assert_eq!(run.step(Some((MEMORY, 0.95)), open), Step::Begin(MEMORY));
            // In time, it falls enough.
            for second in 1..=3 {
                for _ in 0..4 {
                    let value = 0.95 - 0.05 * f64::from(second);
                    assert!(matches!(run.step(Some((MEMORY, value)), open), Step::Close(..)));
                }
                let most = (open / 5).max(1);
                assert_eq!(run.closed, (second as usize * per_second).min(most), "of {open}");
            }
        }
    }

    #[test]
    fn shedding_stops_after_a_round_without_effect_until_the_level_was_left() {
        let mut run = Run::new();
        let steps: Vec<Step> = (0..100).map(|_| run.step(Some((MEMORY, 0.95)), 1_000)).collect();
        let stops = steps.iter().filter(|step| **step == Step::Stop(MEMORY)).count();
        assert_eq!((stops, steps[20]), (1, Step::Stop(MEMORY)), "after five seconds");
        assert!(steps[21..].iter().all(|step| *step == Step::Nothing));
        assert!((45..=50).contains(&run.closed), "{} closed", run.closed);
        assert_eq!(run.step(None, 1_000), Step::Nothing);
        assert_eq!(run.step(Some((MEMORY, 0.95)), 1_000), Step::Begin(MEMORY));
    }

    #[test]
    fn rounds_go_on_while_they_help() {
        let mut run = Run::new();
        let mut value = 0.99;
        for _ in 0..19 * 4 {
            // 6 % in each five seconds.
            value *= 0.94_f64.powf(0.05);
            let step = run.step(Some((MEMORY, value)), 10_000);
            assert!(matches!(step, Step::Begin(_) | Step::Close(..)), "{step:?}");
        }
        assert!(run.closed > 1_700);
    }

    #[test]
    fn a_part_of_the_connections_at_the_start_is_the_most() {
        let mut run = Run::new();
        let mut value = 1_000.0;
        for _ in 0..400 {
            value *= 0.98;
            run.step(Some((MEMORY, value)), 100);
        }
        assert_eq!(run.closed, 20);
        let mut off = Shedding::default();
        assert_eq!(off.step(Some((MEMORY, 1.0)), 100, 0, Time::ZERO), Step::Nothing);
    }

    #[test]
    fn another_resource_starts_another_round() {
        let mut run = Run::new();
        for _ in 0..15 {
            run.step(Some((MEMORY, 0.95)), 1_000);
        }
        for _ in 0..15 {
            let step = run.step(Some((Resource::Delay, 0.2)), 1_000);
            assert!(matches!(step, Step::Close(Resource::Delay, _)), "{step:?}");
        }
    }
}
