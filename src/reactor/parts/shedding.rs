//! Shedding: how many connections may be closed because the load is critical, and when that stops.
//!
//! At most 1 % of the connections per second are closed, and a part of all that were open at the start.
//! If the resource has not fallen by 5 % of its value within five seconds, the closed connections were
//! not the cause: nothing more is closed by it until it has been below critical, but by another
//! resource that is critical, too. It chooses no connection: `effects/shed.rs` does.

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
    /// Nothing: the load is not critical, or shedding helps against none of its causes.
    Nothing,
    /// The load has become critical by this resource, or it still is after shedding by another one has
    /// stopped.
    Begin(Resource),
    /// Close up to this many connections.
    Close(Resource, usize),
    /// Shedding by this resource stops now, since it does not help.
    Stop(Resource),
}

/// A time of shedding by one resource, after which that must have fallen.
#[derive(Debug)]
struct Round {
    resource: Resource,
    /// When it began, and the value of the resource then.
    began: Time,
    value: f64,
}

/// The time since the load became critical.
#[derive(Debug)]
struct Episode {
    /// Connections that were open at its start, and those closed since.
    open: usize,
    closed: usize,
    round: Option<Round>,
    /// Resources that did not fall in a round, and have been critical since.
    futile: Vec<Resource>,
    /// Connections that may be closed now.
    allowed: f64,
    sampled: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Shedding {
    episode: Option<Episode>,
    /// Connections seen at the last sample.
    pub(crate) candidates: Vec<Candidate>,
    /// The slot from which the next candidates are taken.
    cursor: usize,
}

impl Shedding {
    /// The step after a sample. `critical` are the resources by which the load is critical, the first
    /// one to shed by first, with their values; `open` is the number of clients.
    pub(crate) fn step(
        &mut self,
        critical: &[(Resource, f64)],
        open: usize,
        max_percent: u8,
        now: Time,
    ) -> Step {
        if critical.is_empty() || max_percent == 0 {
            self.episode = None;
            self.candidates = Vec::new();
            return Step::Nothing;
        }
        let episode = self.episode.get_or_insert_with(|| Episode::new(open, now));
        let Some((resource, value)) = episode.next_cause(critical) else {
            episode.round = None;
            return Step::Nothing;
        };
        let Some(round) = &mut episode.round else {
            episode.round = Some(Round { resource, began: now, value });
            episode.sampled = now;
            return Step::Begin(resource);
        };
        let is_same = round.resource == resource;
        let is_over = now.since(round.began) >= ROUND;
        if is_same && is_over && value > round.value * FALLEN {
            episode.round = None;
            episode.futile.push(resource);
            self.candidates = Vec::new();
            return Step::Stop(resource);
        }
        if is_over || !is_same {
            *round = Round { resource, began: now, value };
        }
        let per_second = (open as f64 * PART_PER_SECOND).max(LEAST_PER_SECOND);
        let passed = now.since(episode.sampled).as_secs_f64();
        episode.sampled = now;
        episode.allowed = (episode.allowed + passed * per_second).min(per_second);
        let most = (episode.open * usize::from(max_percent) / 100).max(1);
        let left = most.saturating_sub(episode.closed);
        Step::Close(resource, (episode.allowed as usize).min(left))
    }

    /// The first of the next `count` slots to look at, of a table with `slots`: after its end, those at its
    /// start.
    pub(crate) fn next_slot(&mut self, slots: usize, count: usize) -> usize {
        let first = if self.cursor < slots { self.cursor } else { 0 };
        self.cursor = first + count;
        first
    }

    /// Counts connections that were closed.
    pub(crate) fn note_closed(&mut self, count: usize) {
        if let Some(episode) = &mut self.episode {
            episode.closed += count;
            episode.allowed = (episode.allowed - count as f64).max(0.0);
        }
    }
}

impl Episode {
    fn new(open: usize, now: Time) -> Episode {
        let (round, futile) = (None, Vec::new());
        Episode { open, closed: 0, round, futile, allowed: 0.0, sampled: now }
    }

    /// The first resource that shedding may help against. One that was left is tried again.
    fn next_cause(&mut self, critical: &[(Resource, f64)]) -> Option<(Resource, f64)> {
        self.futile.retain(|futile| critical.iter().any(|(resource, _)| resource == futile));
        critical.iter().find(|(resource, _)| !self.futile.contains(resource)).copied()
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

        fn step(&mut self, critical: &[(Resource, f64)], open: usize) -> Step {
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
            assert_eq!(run.step(&[(MEMORY, 0.95)], open), Step::Begin(MEMORY));
            // In time, it falls enough.
            for second in 1..=3 {
                for _ in 0..4 {
                    let value = 0.95 - 0.05 * f64::from(second);
                    assert!(matches!(run.step(&[(MEMORY, value)], open), Step::Close(..)));
                }
                let most = (open / 5).max(1);
                assert_eq!(run.closed, (second as usize * per_second).min(most), "of {open}");
            }
        }
    }

    #[test]
    fn shedding_stops_after_a_round_without_effect_until_the_level_was_left() {
        let mut run = Run::new();
        let steps: Vec<Step> = (0..100).map(|_| run.step(&[(MEMORY, 0.95)], 1_000)).collect();
        let stops = steps.iter().filter(|step| **step == Step::Stop(MEMORY)).count();
        assert_eq!((stops, steps[20]), (1, Step::Stop(MEMORY)), "after five seconds");
        assert!(steps[21..].iter().all(|step| *step == Step::Nothing));
        assert!((45..=50).contains(&run.closed), "{} closed", run.closed);
        assert_eq!(run.step(&[], 1_000), Step::Nothing);
        assert_eq!(run.step(&[(MEMORY, 0.95)], 1_000), Step::Begin(MEMORY));
    }

    #[test]
    fn rounds_go_on_while_they_help() {
        let mut run = Run::new();
        let mut value = 0.99;
        for _ in 0..19 * 4 {
            // 6 % in each five seconds.
            value *= 0.94_f64.powf(0.05);
            let step = run.step(&[(MEMORY, value)], 10_000);
            assert!(matches!(step, Step::Begin(_) | Step::Close(..)), "{step:?}");
        }
        assert!(run.closed > 1_700);
    }

    #[test]
    fn parts_of_the_table_follow_each_other_and_start_again_behind_its_end() {
        let mut shedding = Shedding::default();
        let firsts: Vec<usize> = (0..4).map(|_| shedding.next_slot(10_000, 4096)).collect();
        assert_eq!(firsts, [0, 4096, 8192, 0]);
        assert_eq!(shedding.next_slot(4096, 4096), 0, "a table that fits into one part");
    }

    #[test]
    fn a_part_of_the_connections_at_the_start_is_the_most() {
        let mut run = Run::new();
        let mut value = 1_000.0;
        for _ in 0..400 {
            value *= 0.98;
            run.step(&[(MEMORY, value)], 100);
        }
        assert_eq!(run.closed, 20);
        let mut off = Shedding::default();
        assert_eq!(off.step(&[(MEMORY, 1.0)], 100, 0, Time::ZERO), Step::Nothing);
    }

    #[test]
    fn another_resource_starts_another_round() {
        let mut run = Run::new();
        for _ in 0..15 {
            run.step(&[(MEMORY, 0.95)], 1_000);
        }
        for _ in 0..15 {
            let step = run.step(&[(Resource::Delay, 0.2)], 1_000);
            assert!(matches!(step, Step::Close(Resource::Delay, _)), "{step:?}");
        }
    }

    #[test]
    fn a_delay_is_shed_by_although_shedding_by_memory_was_futile() {
        const DELAY: Resource = Resource::Delay;
        let both = [(MEMORY, 0.95), (DELAY, 0.2)];
        let mut run = Run::new();
        let steps: Vec<Step> = (0..21).map(|_| run.step(&both, 1_000)).collect();
        assert_eq!((steps[0], steps[20]), (Step::Begin(MEMORY), Step::Stop(MEMORY)));
        let by_memory = run.closed;
        let steps: Vec<Step> = (0..21).map(|_| run.step(&both, 1_000)).collect();
        assert_eq!(steps[0], Step::Begin(DELAY));
        assert!(steps[1..20].iter().all(|step| matches!(step, Step::Close(DELAY, _))));
        assert!((45..=50).contains(&(run.closed - by_memory)), "{} closed", run.closed);
        assert_eq!(steps[20], Step::Stop(DELAY), "it did not fall either");
        assert!((0..20).all(|_| run.step(&both, 1_000) == Step::Nothing));
        // Each is tried again only after its own level was left.
        assert_eq!(run.step(&both[..1], 1_000), Step::Nothing);
        assert_eq!(run.step(&both, 1_000), Step::Begin(DELAY));
        assert!(matches!(run.step(&both[1..], 1_000), Step::Close(DELAY, _)));
        assert!(matches!(run.step(&both, 1_000), Step::Close(MEMORY, _)));
    }

    #[test]
    fn both_causes_together_close_no_more_than_a_part_of_the_connections() {
        let mut run = Run::new();
        let mut delay = 1_000.0;
        for _ in 0..400 {
            delay *= 0.98;
            run.step(&[(MEMORY, 0.95), (Resource::Delay, delay)], 100);
        }
        assert_eq!(run.closed, 20);
    }
}
