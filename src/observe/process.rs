//! Metrics of the process, under the names that Prometheus client libraries use, and of its log.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir::reactor::Context;
use weir::services::admin::{Samples, Source};

use crate::logging::lines_lost;
use crate::version::{COMMIT, VERSION};

/// Metrics of the process and of its log.
#[derive(Debug)]
pub(crate) struct ProcessSource {
    /// Start time of the process, in seconds since 1970.
    started: Option<f64>,
}

impl ProcessSource {
    pub(crate) fn new() -> ProcessSource {
        ProcessSource { started: system::start_time() }
    }
}

impl Source for ProcessSource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        let build = [("version", VERSION), ("commit", COMMIT)];
        samples.gauge("build_info", "Version and git commit of this build; always 1", &build, 1.0);
        let help = "Log lines lost because standard error could not be written to";
        samples.counter("log_lines_lost", help, &[], lines_lost());
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let spent = Duration::try_from(spent).unwrap_or_default();
        let help = "Total user and system CPU time spent in seconds";
        samples.seconds("process_cpu_seconds", help, &[], spent);
        let figures = [
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds",
                self.started,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
                system::resident_bytes(),
            ),
            ("process_open_fds", "Number of open file descriptors", system::open_fds()),
            ("process_max_fds", "Maximum number of open file descriptors", max_fds()),
        ];
        for (name, help, figure) in figures {
            if let Some(figure) = figure {
                samples.gauge(name, help, &[], figure);
            }
        }
    }
}

fn max_fds() -> Option<f64> {
    rlimit::Resource::NOFILE.get_soft().ok().map(|limit| limit as f64)
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;

    use procfs::process::Process;

    pub(super) fn start_time() -> Option<f64> {
        let ticks = Process::myself().and_then(|process| process.stat()).ok()?.starttime;
        let boot = procfs::boot_time_secs().ok()?;
        Some(boot as f64 + ticks as f64 / procfs::ticks_per_second() as f64)
    }

    pub(super) fn resident_bytes() -> Option<f64> {
        let memory = Process::myself().and_then(|process| process.statm()).ok()?;
        Some((memory.resident * procfs::page_size()) as f64)
    }

    /// Linux 6.2 and later return the number as the size of the directory. Listing it would cost
    /// the loop milliseconds at 10,000 descriptors.
    pub(super) fn open_fds() -> Option<f64> {
        const DESCRIPTORS: &str = "/proc/self/fd";
        match fs::metadata(DESCRIPTORS).ok()?.len() {
            0 => Some(fs::read_dir(DESCRIPTORS).ok()?.count() as f64),
            count => Some(count as f64),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn start_time() -> Option<f64> {
        None
    }

    pub(super) fn resident_bytes() -> Option<f64> {
        None
    }

    pub(super) fn open_fds() -> Option<f64> {
        None
    }
}
