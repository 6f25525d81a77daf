//! Flame graphs: from perf's samples if the kernel allows them, else from callgrind's calls.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options};
use rustix::process::{Pid, Signal, kill_process};

use crate::load::pause;

/// Samples per second; an odd number, to avoid synchronizing with periodic work.
const SAMPLES_PER_SECOND: &str = "499";
/// An event that virtual machines support, too.
const EVENT: &str = "cpu-clock";

/// Samples a process for `time`; returns the folded stacks.
///
/// # Errors
/// perf is not permitted, or recorded no sample.
pub(crate) fn sample(
    pid: u32,
    time: Duration,
    data: &Path,
    interrupted: &AtomicBool,
) -> Result<String, Box<dyn Error>> {
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "-e", EVENT, "-F", SAMPLES_PER_SECOND]);
    record.args(["--call-graph", "dwarf", "--pid", &pid.to_string(), "--output"]).arg(data);
    let mut record =
        record.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let paused = pause(time, interrupted);
    // If perf was not permitted, it has already ended.
    let _ = kill_process(Pid::from_child(&record), Signal::INT);
    record.wait()?;
    paused?;
    let script = Command::new("perf").args(["script", "--input"]).arg(data).output()?;
    let mut folded = Vec::new();
    Folder::default().collapse(&script.stdout[..], &mut folded)?;
    let folded = String::from_utf8(folded)?;
    if folded.is_empty() { Err("perf recorded no samples".into()) } else { Ok(folded) }
}

/// Draws folded stacks as a flame graph.
pub(crate) fn draw(
    folded: &str,
    title: &str,
    unit: &str,
    path: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.count_name = unit.to_owned();
    flamegraph::from_lines(&mut options, folded.lines(), File::create(path)?)?;
    Ok(())
}
