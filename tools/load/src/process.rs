//! Resource usage of a process: CPU time, memory, descriptors and context switches, from `/proc`.
//!
//! A sample is taken at the start and at the end of a measurement and costs the process nothing.
//! CPU time is read from the process's own clock, in nanoseconds, for all its threads including
//! ended ones. The split into user and system time is counted in ticks, so the shares are accurate
//! to about one percent after one second.

use std::error::Error;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use procfs::page_size;
use procfs::process::{ProcState, Process};
use serde::Serialize;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A monitored process.
#[derive(Debug)]
pub(crate) struct Watched {
    process: Process,
    cpu_clock: ClockId,
}

/// The usage of a process up to some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    cpu_nanos: u64,
    user_ticks: u64,
    system_ticks: u64,
    switches: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) descriptors: u64,
}

/// The usage between two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    /// The share of `cpu_nanos` that was spent in the kernel.
    pub(crate) system_share: f64,
    pub(crate) context_switches: u64,
}

impl Watched {
    /// # Errors
    /// There is no such process, or we may not inspect it.
    pub(crate) fn new(pid: i32) -> Result<Watched> {
        let process = Process::new(pid)?;
        let cpu_clock = clock_getcpuclockid(Pid::from_raw(pid))?;
        let watched = Watched { process, cpu_clock };
        watched.sample()?;
        Ok(watched)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// # Errors
    /// The process has ended.
    pub(crate) fn sample(&self) -> Result<Sample> {
        let stat = self.process.stat()?;
        if matches!(stat.state()?, ProcState::Zombie | ProcState::Dead) {
            return Err("the process has ended".into());
        }
        let mut sample = Sample {
            cpu_nanos: nanos(clock_gettime(self.cpu_clock)?),
            user_ticks: stat.utime,
            system_ticks: stat.stime,
            rss_bytes: stat.rss * page_size(),
            descriptors: self.process.fd_count()? as u64,
            switches: 0,
        };
        // A thread that ends during the iteration is not counted.
        for status in self.process.tasks()?.flatten().filter_map(|task| task.status().ok()) {
            sample.switches += status.voluntary_ctxt_switches.unwrap_or(0)
                + status.nonvoluntary_ctxt_switches.unwrap_or(0);
        }
        Ok(sample)
    }
}

impl Sample {
    pub(crate) fn since(&self, before: &Sample) -> Usage {
        let user = self.user_ticks.saturating_sub(before.user_ticks) as f64;
        let system = self.system_ticks.saturating_sub(before.system_ticks) as f64;
        let ticks = user + system;
        Usage {
            cpu_nanos: self.cpu_nanos.saturating_sub(before.cpu_nanos),
            system_share: if ticks > 0.0 { system / ticks } else { 0.0 },
            context_switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// CPU time of this thread in nanoseconds.
pub(crate) fn thread_cpu_nanos() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, nanos)
}

fn nanos(time: TimeSpec) -> u64 {
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_appears_in_samples_of_this_process() {
        let watched = Watched::new(std::process::id().cast_signed()).unwrap();
        let (before, thread) = (watched.sample().unwrap(), thread_cpu_nanos());
        while thread_cpu_nanos() < thread + 20_000_000 {
            std::hint::black_box(vec![1; 1000]);
        }
        let after = watched.sample().unwrap();
        let used = after.since(&before);
        assert!(used.cpu_nanos >= 20_000_000, "{used:?}");
        assert!((0.0..=1.0).contains(&used.system_share));
        assert!(after.rss_bytes > 0 && after.descriptors > 2);
    }

    #[test]
    fn process_zero_cannot_be_sampled() {
        assert!(Watched::new(0).is_err());
    }
}
