//! Samples and hysteresis of the load: measured numbers in, level out.
//!
//! Each resource has a [`Gauge`]: it rises one step after two samples at or above a threshold, and falls
//! one step after five seconds below a lower one. The level of the loop follows the highest of its
//! gauges, and after a change it takes as long until it changes again. So it changes at most 22 times a minute. It
//! reads no clock, and knows neither what is measured nor what a level causes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::reactor::api::level::{Level, Load, Resource, ResourceLoad};
use crate::reactor::api::time::Time;

/// Samples at or above a threshold after which a level rises. One long round is one sample.
const RISING_SAMPLES: u32 = 2;
/// How long samples must stay below the lower threshold until a level falls.
const FALL_AFTER: Duration = Duration::from_secs(5);
/// Samples that an operator sees.
const SAMPLES_SHOWN: usize = 10;

/// The thresholds of one resource; infinite where a level has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Thresholds {
    /// Where the level rises to elevated, and to critical.
    pub(crate) rises: [f64; 2],
    /// Below which it falls from elevated, and from critical.
    pub(crate) falls: [f64; 2],
}

impl Thresholds {
    /// Thresholds for no level at all.
    pub(crate) const NONE: Thresholds = Thresholds { rises: [f64::INFINITY; 2], falls: [0.0; 2] };

    /// The threshold to rise above this level.
    fn above(&self, level: Level) -> f64 {
        self.rises.get(level as usize).copied().unwrap_or(f64::INFINITY)
    }

    /// The threshold to fall from this level.
    fn below(&self, level: Level) -> f64 {
        match level {
            Level::Normal => f64::NEG_INFINITY,
            Level::Elevated => self.falls[0],
            Level::Critical => self.falls[1],
        }
    }
}

/// The samples and the level of one resource.
#[derive(Debug)]
struct Gauge {
    thresholds: Thresholds,
    level: Level,
    /// Consecutive samples above the next threshold.
    rising: u32,
    /// Since when samples are below the lower threshold.
    falling_since: Option<Time>,
    /// Latest first.
    samples: VecDeque<f64>,
    peak: f64,
}

impl Gauge {
    fn new(thresholds: Thresholds) -> Gauge {
        Gauge {
            thresholds,
            level: Level::Normal,
            rising: 0,
            falling_since: None,
            samples: VecDeque::new(),
            peak: 0.0,
        }
    }

    fn record(&mut self, value: f64) {
        self.samples.truncate(SAMPLES_SHOWN - 1);
        self.samples.push_front(value);
        self.peak = self.peak.max(value);
    }

    /// Moves the level by at most one step. The sample covers the time from `since` to `now`.
    fn step(&mut self, value: f64, since: Time, now: Time) {
        let is_above = value >= self.thresholds.above(self.level);
        self.rising = if is_above { self.rising + 1 } else { 0 };
        if self.rising >= RISING_SAMPLES {
            return self.enter(self.level.raised());
        }
        if value >= self.thresholds.below(self.level) {
            self.falling_since = None;
            return;
        }
        let falling_since = *self.falling_since.get_or_insert(since);
        if now.since(falling_since) >= FALL_AFTER {
            self.enter(self.level.lowered());
        }
    }

    fn enter(&mut self, level: Level) {
        self.level = level;
        self.rising = 0;
        self.falling_since = None;
    }
}

/// A change of the loop's level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    pub(crate) from: Level,
    pub(crate) to: Level,
    /// The resource that determines the higher of the two levels; after a fall, the last that did.
    pub(crate) resource: Resource,
    /// Its sample.
    pub(crate) value: f64,
}

/// The level of the loop, and the gauges that it follows from.
#[derive(Debug)]
pub(crate) struct LoadLevel {
    gauges: [Gauge; Resource::ALL.len()],
    level: Level,
    /// The resource that determines the level, or the last that did.
    holder: Resource,
    /// Samples since the level changed.
    settled: u32,
    /// When the level changed. It falls no earlier than [`FALL_AFTER`] later, even if the gauge that
    /// raised it was ahead of it.
    changed: Time,
    changes: [u64; Level::ALL.len()],
    /// Whether levels change at all, or samples are only kept.
    is_enforced: bool,
}

impl LoadLevel {
    /// Gauges with these thresholds, in the order of [`Resource::ALL`].
    pub(crate) fn new(
        thresholds: [Thresholds; Resource::ALL.len()],
        is_enforced: bool,
    ) -> LoadLevel {
        LoadLevel {
            gauges: thresholds.map(Gauge::new),
            level: Level::Normal,
            holder: Resource::Delay,
            settled: RISING_SAMPLES,
            changed: Time::ZERO,
            changes: [0; Level::ALL.len()],
            is_enforced,
        }
    }

    /// The level of the loop.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// The level that one resource causes.
    pub(crate) fn of(&self, resource: Resource) -> Level {
        self.gauges[resource as usize].level.min(self.level)
    }

    /// The level without the number of connections, which says nothing about the work of the loop.
    pub(crate) fn of_work(&self) -> Level {
        let others =
            Resource::ALL.into_iter().filter(|resource| *resource != Resource::Connections);
        others.map(|resource| self.of(resource)).max().unwrap_or_default()
    }

    /// The last sample of a resource.
    pub(crate) fn value(&self, resource: Resource) -> f64 {
        self.gauges[resource as usize].samples.front().copied().unwrap_or(0.0)
    }

    /// Whether all gauges are at their lowest level, and no sample was above a threshold.
    pub(crate) fn is_calm(&self) -> bool {
        self.level == Level::Normal
            && self.gauges.iter().all(|gauge| gauge.level == Level::Normal && gauge.rising == 0)
    }

    /// Takes the samples of the time from `since` to `now`; `None` for what was not measured. Returns
    /// the change of the level, if it has changed.
    pub(crate) fn sample(
        &mut self,
        since: Time,
        now: Time,
        values: [Option<f64>; Resource::ALL.len()],
    ) -> Option<Change> {
        for (gauge, value) in self.gauges.iter_mut().zip(values) {
            if let Some(value) = value {
                gauge.record(value);
                if self.is_enforced {
                    gauge.step(value, since, now);
                }
            }
        }
        self.settled = self.settled.saturating_add(1);
        let wanted = self.gauges.iter().map(|gauge| gauge.level).max().unwrap_or_default();
        if wanted >= self.level {
            self.holder = self.highest_at(self.level);
        }
        let (from, to) = match self.level {
            level if wanted < level && now.since(self.changed) >= FALL_AFTER => {
                (level, level.lowered())
            }
            level if wanted > level && self.settled >= RISING_SAMPLES => {
                self.holder = self.highest_at(level.raised());
                (level, level.raised())
            }
            _ => return None,
        };
        let resource = self.holder;
        self.level = to;
        self.settled = 0;
        self.changed = now;
        self.changes[to as usize] += 1;
        Some(Change { from, to, resource, value: self.value(resource) })
    }

    /// Of the resources at this level or above, the one with the highest sample, as a multiple of its
    /// threshold.
    fn highest_at(&self, level: Level) -> Resource {
        let gauge = |resource: &Resource| &self.gauges[*resource as usize];
        let pressure = |resource: &Resource| {
            self.value(*resource) / gauge(resource).thresholds.above(level.lowered())
        };
        let highest = |a: &Resource, b: &Resource| pressure(a).total_cmp(&pressure(b));
        let at_level = Resource::ALL.into_iter().filter(|resource| gauge(resource).level >= level);
        at_level.max_by(highest).unwrap_or(self.holder)
    }

    /// What operators and services see.
    pub(crate) fn report(&self) -> Load {
        let resources = Resource::ALL.into_iter().zip(&self.gauges).map(|(resource, gauge)| {
            let (value, elevated) = (self.value(resource), gauge.thresholds.rises[0]);
            ResourceLoad {
                resource,
                level: self.of(resource),
                value,
                pressure: elevated.is_finite().then_some(value / elevated),
                peak: gauge.peak,
                samples: gauge.samples.iter().copied().collect(),
            }
        });
        Load { level: self.level, resources: resources.collect(), changes: self.changes }
    }
}

#[cfg(test)]
mod tests;
