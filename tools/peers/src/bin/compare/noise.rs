//! How busy the machine was with other things during a run.

use std::fs;

/// The state of the machine at the start of a run.
pub(crate) struct Noise {
    load: String,
    times: Times,
}

/// Clock ticks of all CPUs since boot.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    all: u64,
    /// Time in which the hypervisor ran something else.
    stolen: u64,
}

impl Noise {
    pub(crate) fn start() -> Noise {
        Noise { load: load(), times: times(&read("/proc/stat")) }
    }

    /// The load averages and the share of stolen time, in one sentence.
    pub(crate) fn end(&self) -> String {
        let now = times(&read("/proc/stat"));
        let all = now.all.saturating_sub(self.times.all).max(1);
        let stolen = now.stolen.saturating_sub(self.times.stolen);
        let share = 100.0 * stolen as f64 / all as f64;
        format!(
            "Load average {} before, {} after; {share:.1} % of the time stolen",
            self.load,
            load()
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The load average of the last minute.
fn load() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()
}

/// The line `cpu` of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice.
/// The last two are also in user and nice.
fn times(stat: &str) -> Times {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    Times { all: ticks.iter().sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_time_is_not_counted_twice() {
        let stat = "cpu  10 20 30 40 1 2 3 4 5 6\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(times(stat), Times { all: 110, stolen: 4 });
        assert_eq!(times(""), Times { all: 0, stolen: 0 });
    }
}
