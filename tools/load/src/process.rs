//! What a process costs: CPU time, memory, descriptors and context switches, from `/proc`.
//!
//! A sample is taken at the beginning and at the end of a measurement and costs the process nothing.
//! CPU time is the scheduler's own, in nanoseconds; how it divides into user and system is counted in
//! ticks, so that the shares are exact to a percent or so after a second.

use procfs::process::Process;
use procfs::{ProcResult, page_size};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// A process that is watched.
#[derive(Debug)]
pub(crate) struct Watched(Process);

/// What a process had used at some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    cpu_nanos: u64,
    user_ticks: u64,
    system_ticks: u64,
    switches: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) descriptors: u64,
}

/// What it used between two samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    /// The part of `cpu_nanos` that was spent in the kernel.
    pub(crate) system_share: f64,
    pub(crate) context_switches: u64,
}

impl Watched {
    /// # Errors
    /// There is no such process, or it is not ours to look at.
    pub(crate) fn new(pid: i32) -> ProcResult<Watched> {
        let watched = Watched(Process::new(pid)?);
        watched.sample()?;
        Ok(watched)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.pid
    }

    /// # Errors
    /// The process has ended.
    pub(crate) fn sample(&self) -> ProcResult<Sample> {
        let stat = self.0.stat()?;
        let mut sample = Sample {
            user_ticks: stat.utime,
            system_ticks: stat.stime,
            rss_bytes: stat.rss * page_size(),
            descriptors: self.0.fd_count()? as u64,
            ..Sample::default()
        };
        // Threads that end while we look are not counted; servers keep theirs.
        for task in self.0.tasks()?.flatten() {
            let status = task.status()?;
            sample.cpu_nanos += task.schedstat()?.sum_exec_runtime;
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

/// CPU nanoseconds that this thread has used.
pub(crate) fn thread_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_our_own_samples() {
        let watched = Watched::new(std::process::id().cast_signed()).unwrap();
        let (before, thread) = (watched.sample().unwrap(), thread_cpu_nanos());
        while thread_cpu_nanos() < thread + 20_000_000 {
            std::hint::black_box(vec![1; 1000]);
        }
        let after = watched.sample().unwrap();
        let used = after.since(&before);
        assert!(used.cpu_nanos >= 10_000_000, "{used:?}");
        assert!((0.0..=1.0).contains(&used.system_share));
        assert!(after.rss_bytes > 0 && after.descriptors > 2);
    }

    #[test]
    fn nobody_has_process_zero() {
        assert!(Watched::new(0).is_err());
    }
}
