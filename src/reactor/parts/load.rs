//! The load of the loop: when it is sampled, and what follows from its level.
//!
//! [`load_level`](super::load_level) has the hysteresis, [`rounds`](super::rounds) and
//! [`usage`](super::usage) measure. It knows no connection: `effects/load.rs` samples and applies.

use std::time::Duration;

use super::load_level::{Change, LoadLevel, Thresholds};
use super::rounds::Rounds;
use super::usage::Usage;
use crate::reactor::api::budget::{
    CRITICAL_READ_BYTES, ELEVATED_READ_BYTES, LOW_MESSAGES, NORMAL_MESSAGES, READ_BYTES,
    TRIM_INTERVAL,
};
use crate::reactor::api::level::{Level, Resource};
use crate::reactor::api::priority::Priority;
use crate::reactor::api::settings::Settings;
use crate::reactor::api::time::Time;

/// The shortest time between two samples: two slots of the timer wheel.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_millis(256);
/// The interval of the samples that read files.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);
/// A poll that returns later than this after its timeout was interrupted: the process was stopped, or
/// the machine was suspended.
pub(crate) const STOP_MIN: Duration = Duration::from_secs(1);
/// The delay falls from a level below this part of its threshold.
const DELAY_FALLS: f64 = 0.8;
/// Memory falls from a level this far below its threshold, as a part of the limit.
const MEMORY_FALLS: f64 = 0.05;

/// What one read of a connection may take at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadLimit {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The load, and what the loop does because of it.
#[derive(Debug)]
pub(crate) struct LoadState {
    pub(crate) levels: LoadLevel,
    usage: Usage,
    /// When the last sample was taken.
    sampled: Time,
    /// When the next sample may be taken.
    pub(crate) due: Time,
    /// When files were last read; the memory that was found.
    usage_read: Option<Time>,
    resident: f64,
    /// When all spares were last freed, and the next slot whose windows are looked at.
    trimmed: Time,
    trim_from: Option<usize>,
    /// Whether the timer is set that causes a turn for the next sample.
    pub(crate) is_timer_set: bool,
    /// The end of the last stop of the process.
    pub(crate) stopped_until: Time,
    /// The level that services know.
    pub(crate) announced: Level,
    /// Whether the last turn was slow: the next read phase takes single messages of low and normal
    /// priority.
    is_slow: bool,
    /// The longest read phase while reads are limited.
    read_time_max: Duration,
    /// Whether reads are limited: the load is above normal, or the last turn was slow. Derived, as the
    /// fields below: a read checks one byte.
    pub(crate) limits_reads: bool,
    /// By how many bits `outbox_grace` is shifted.
    pub(crate) grace_shift: u32,
    /// Whether messages are sent uncompressed.
    pub(crate) is_uncompressed: bool,
}

impl LoadState {
    pub(crate) fn new(settings: &Settings) -> LoadState {
        LoadState {
            levels: LoadLevel::new(thresholds(settings), settings.levels),
            usage: Usage::new(settings.memory_max),
            sampled: Time::ZERO,
            due: Time::ZERO,
            usage_read: None,
            resident: 0.0,
            trimmed: Time::ZERO,
            trim_from: None,
            is_timer_set: false,
            stopped_until: Time::ZERO,
            announced: Level::Normal,
            is_slow: false,
            read_time_max: slow_turn(settings),
            limits_reads: false,
            grace_shift: 0,
            is_uncompressed: false,
        }
    }

    /// Excludes a stop of the process, which ends now, from the next sample.
    pub(crate) fn discount(&mut self, stopped: Duration, now: Time) {
        self.sampled = (self.sampled + stopped).min(now);
        self.stopped_until = now;
    }

    /// Takes a sample. `buffered` and `connections` are parts of their limits.
    pub(crate) fn sample(
        &mut self,
        now: Time,
        rounds: &mut Rounds,
        buffered: f64,
        connections: f64,
    ) -> Option<Change> {
        let since = std::mem::replace(&mut self.sampled, now);
        self.due = now + SAMPLE_INTERVAL;
        let (delay, busy) = rounds.take(now, now.since(since));
        let is_usage_due = self.usage_read.is_none_or(|read| now.since(read) >= USAGE_INTERVAL);
        let mut descriptors = None;
        if is_usage_due {
            self.usage_read = Some(now);
            self.resident = self.usage.memory().unwrap_or(0.0);
            descriptors = self.usage.descriptors();
        }
        let memory = buffered.max(self.resident);
        let values = [Some(delay), Some(memory), Some(connections), descriptors, Some(busy)];
        let change = self.levels.sample(since, now, values);
        self.derive();
        change
    }

    /// Notes whether the turn that has ended was slow.
    #[cold]
    #[inline(never)]
    pub(crate) fn end_turn(&mut self, is_slow: bool) {
        if is_slow != self.is_slow {
            self.is_slow = is_slow;
            self.derive();
        }
    }

    /// Whether a read phase has lasted long enough, if reads are limited: the rest waits for the next turn.
    pub(crate) fn is_read_time_over(&self, lasted: Duration) -> bool {
        lasted >= self.read_time_max
    }

    fn derive(&mut self) {
        let work = self.levels.of_work();
        self.limits_reads = work > Level::Normal || self.is_slow;
        self.grace_shift = work as u32;
        self.is_uncompressed = self.levels.of(Resource::Delay) == Level::Critical;
    }

    /// Whether a second has passed since the last trimming.
    pub(crate) fn trims_again(&self, now: Time) -> bool {
        now.since(self.trimmed) >= TRIM_INTERVAL
    }

    /// Starts to look at the windows of all connections.
    pub(crate) fn begin_trim(&mut self, now: Time) {
        self.trimmed = now;
        self.trim_from = Some(0);
    }

    /// The next slot to look at, out of `slots`; the following call continues `count` slots later.
    pub(crate) fn next_to_trim(&mut self, slots: usize, count: usize) -> Option<usize> {
        let first = self.trim_from.take().filter(|first| *first < slots)?;
        self.trim_from = Some(first + count);
        Some(first)
    }

    /// The level that everything but accepts and the admission of new connections follows.
    pub(crate) fn work_level(&self) -> Level {
        self.levels.of_work()
    }

    /// Whether a connection of this priority is admitted.
    pub(crate) fn admits(&self, priority: Priority) -> bool {
        match self.levels.level() {
            Level::Normal => true,
            Level::Elevated => priority > Priority::Low,
            Level::Critical => priority.is_exempt(),
        }
    }

    /// What a read of a connection of this priority is limited to, if it is.
    pub(crate) fn read_limit(&self, priority: Priority) -> Option<ReadLimit> {
        let (messages, bytes) = match (self.work_level(), priority) {
            (_, Priority::High | Priority::Critical) => return None,
            (Level::Normal, _) if !self.is_slow => return None,
            (Level::Normal, _) => (1, READ_BYTES),
            (Level::Elevated, Priority::Low) => (LOW_MESSAGES[0], ELEVATED_READ_BYTES),
            (Level::Elevated, Priority::Normal) => (NORMAL_MESSAGES[0], ELEVATED_READ_BYTES),
            (Level::Critical, Priority::Low) => (LOW_MESSAGES[1], CRITICAL_READ_BYTES),
            (Level::Critical, Priority::Normal) => (NORMAL_MESSAGES[1], CRITICAL_READ_BYTES),
        };
        let messages = if self.is_slow { 1 } else { messages };
        Some(ReadLimit { messages, bytes })
    }
}

/// Turns from this length on are slow: a single one delays events as much as a critical load does.
pub(crate) fn slow_turn(settings: &Settings) -> Duration {
    if settings.levels { settings.delay_critical } else { Duration::MAX }
}

/// The thresholds in the order of [`Resource::ALL`].
fn thresholds(settings: &Settings) -> [Thresholds; Resource::ALL.len()] {
    let delays =
        [settings.delay_elevated, settings.delay_critical].map(|delay| delay.as_secs_f64());
    let parts = [settings.memory_elevated_percent, settings.memory_critical_percent];
    let parts = parts.map(|percent| f64::from(percent) / 100.0);
    let elevated_only =
        |rises, falls| Thresholds { rises: [rises, f64::INFINITY], falls: [falls, f64::INFINITY] };
    [
        Thresholds { rises: delays, falls: delays.map(|delay| delay * DELAY_FALLS) },
        Thresholds { rises: parts, falls: parts.map(|part| part - MEMORY_FALLS) },
        elevated_only(0.80, 0.70),
        elevated_only(0.90, 0.85),
        Thresholds::NONE,
    ]
}

#[cfg(test)]
mod tests;
