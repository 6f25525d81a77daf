//! Load levels: how loaded the loop is, and by which resource.
//!
//! Plain data for services and operators. `parts/load_level.rs` decides on the
//! level, `effects/load.rs` applies it.

use std::fmt;

/// How loaded the loop is. It rises and falls by one step at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Nothing is restricted.
    #[default]
    Normal,
    /// New connections of low priority are refused, and reads of low and normal priority are smaller.
    Elevated,
    /// Only high priorities are admitted, and connections of lower ones may be closed.
    Critical,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Level; 3] = [Level::Normal, Level::Elevated, Level::Critical];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::Elevated => "elevated",
            Level::Critical => "critical",
        }
    }

    /// The next higher level, if there is one.
    pub(in crate::reactor) fn raised(self) -> Level {
        match self {
            Level::Normal => Level::Elevated,
            Level::Elevated | Level::Critical => Level::Critical,
        }
    }

    /// The next lower level, if there is one.
    pub(in crate::reactor) fn lowered(self) -> Level {
        match self {
            Level::Critical => Level::Elevated,
            Level::Elevated | Level::Normal => Level::Normal,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the load is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// How long a random event waits for the loop, in seconds.
    Delay,
    /// Memory: the larger part of the limit on buffered bytes and of
    /// [`memory_max`](field@super::settings::Settings::memory_max).
    Memory,
    /// Clients, as a part of [`connections_max`](field@super::settings::Settings::connections_max).
    Connections,
    /// Open file descriptors, as a part of the process's limit.
    Descriptors,
    /// The part of the time in which the loop works. It raises no level.
    Busy,
}

impl Resource {
    /// All resources.
    pub const ALL: [Resource; 5] = [
        Resource::Delay,
        Resource::Memory,
        Resource::Connections,
        Resource::Descriptors,
        Resource::Busy,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Resource::Delay => "delay",
            Resource::Memory => "memory",
            Resource::Connections => "connections",
            Resource::Descriptors => "descriptors",
            Resource::Busy => "busy",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The load of the loop, as of the last sample.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Load {
    /// The level of the loop: the highest of its resources.
    pub level: Level,
    /// Each resource, in the order of [`Resource::ALL`].
    pub resources: Vec<ResourceLoad>,
    /// How often each level was reached, in the order of [`Level::ALL`].
    pub changes: [u64; Level::ALL.len()],
}

impl Load {
    /// As a JSON object (RFC 8259): the level, and each resource with its level, its last sample, its
    /// pressure, its peak and its last samples.
    pub fn to_json(&self) -> String {
        let resource = |load: &ResourceLoad| {
            let ResourceLoad { resource, level, value, pressure, peak, samples } = load;
            let pressure = pressure.map_or("null".to_owned(), |pressure| pressure.to_string());
            let samples: Vec<String> = samples.iter().map(f64::to_string).collect();
            format!(
                "\"{resource}\":{{\"level\":\"{level}\",\"value\":{value},\
                 \"pressure\":{pressure},\"peak\":{peak},\"samples\":[{}]}}",
                samples.join(",")
            )
        };
        let resources: Vec<String> = self.resources.iter().map(resource).collect();
        format!("{{\"level\":\"{}\",\"resources\":{{{}}}}}", self.level, resources.join(","))
    }
}

/// One resource of the [`Load`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResourceLoad {
    /// Which resource.
    pub resource: Resource,
    /// The level that it causes.
    pub level: Level,
    /// The last sample: seconds for [`Resource::Delay`], else a part of 1.
    pub value: f64,
    /// The last sample, as a multiple of the threshold of [`Level::Elevated`]; `None` without one.
    pub pressure: Option<f64>,
    /// The largest sample so far.
    pub peak: f64,
    /// The last samples, up to 10, the latest first.
    pub samples: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_written_as_json() {
        let delay = ResourceLoad {
            resource: Resource::Delay,
            level: Level::Elevated,
            value: 0.0125,
            pressure: Some(1.25),
            peak: 0.5,
            samples: vec![0.0125, 0.5],
        };
        let busy = ResourceLoad {
            resource: Resource::Busy,
            level: Level::Normal,
            value: 1.0,
            pressure: None,
            peak: 1.0,
            samples: Vec::new(),
        };
        let load =
            Load { level: Level::Elevated, resources: vec![delay, busy], changes: [0, 1, 0] };
        let expected = r#"{"level":"elevated","resources":{"delay":{"level":"elevated","value":0.0125,"pressure":1.25,"peak":0.5,"samples":[0.0125,0.5]},"busy":{"level":"normal","value":1,"pressure":null,"peak":1,"samples":[]}}}"#;
        assert_eq!(load.to_json(), expected);
    }

    #[test]
    fn levels_move_by_one_step() {
        assert_eq!(
            Level::ALL.map(Level::raised),
            [Level::Elevated, Level::Critical, Level::Critical]
        );
        assert_eq!(Level::ALL.map(Level::lowered), [Level::Normal, Level::Normal, Level::Elevated]);
    }
}
