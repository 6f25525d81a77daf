//! Runs `weir-load` against one server.

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scenario::Scenario;
use crate::server::Server;

/// Interval of checks whether a run has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How much longer than planned a run may take: a server under callgrind is slow to close.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running load client; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Load {
    process: Child,
    output: Option<JoinHandle<io::Result<String>>>,
    deadline: Instant,
}

impl Load {
    pub(crate) fn start(
        binary: &Path,
        cpu: usize,
        scenario: &Scenario,
        server: &Server,
        (warmup, duration): (Duration, Duration),
    ) -> Result<Load, Box<dyn Error>> {
        let millis = |time: Duration| format!("{}ms", time.as_millis());
        let mut command = Command::new(binary);
        command.args(scenario.arguments).arg(format!("{}={}", server.url, server.pid()));
        command.args(["--warmup", &millis(warmup), "--duration", &millis(duration), "--json"]);
        command.args(["--pin", &cpu.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("{binary:?}: {error}"))?;
        let mut stdout = process.stdout.take().ok_or("no standard output")?;
        let output = Some(thread::spawn(move || io::read_to_string(&mut stdout)));
        Ok(Load { process, output, deadline: Instant::now() + warmup + duration + PATIENCE })
    }

    /// Waits for the end; returns the results.
    ///
    /// # Errors
    /// The run was interrupted, has no output, or is INVALID.
    pub(crate) fn finish(mut self, interrupted: &AtomicBool) -> Result<Value, Box<dyn Error>> {
        while self.process.try_wait()?.is_none() {
            if interrupted.load(Ordering::Relaxed) || Instant::now() > self.deadline {
                return Err("the load client was interrupted or timed out".into());
            }
            thread::sleep(LOOK);
        }
        let text = self.output.take().and_then(|output| output.join().ok());
        valid(serde_json::from_str(&text.ok_or("the load client's output could not be read")??)?)
    }
}

/// The report, if the run is valid.
fn valid(report: Value) -> Result<Value, Box<dyn Error>> {
    match report["invalid"].as_str() {
        Some(why) => Err(format!("the load run is INVALID: {why}").into()),
        None => Ok(report),
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // If all went well, it has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for `time`, or fails on an interrupt.
pub(crate) fn pause(time: Duration, interrupted: &AtomicBool) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    while start.elapsed() < time {
        if interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        thread::sleep(LOOK.min(time));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_invalid_run_is_an_error() {
        let error = valid(json!({ "invalid": "no connection opened" })).unwrap_err();
        assert_eq!(error.to_string(), "the load run is INVALID: no connection opened");
        for report in [json!({ "invalid": null }), json!({})] {
            assert_eq!(valid(report.clone()).unwrap(), report);
        }
    }
}
