//! Runs one command: its runs in sequence, and their output.
//!
//! Handles everything that belongs to the process rather than to a run: CPU pinning, descriptor
//! limit, signals, standard output.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Scenario;
use crate::common::Common;
use crate::compare::Comparison;
use crate::plot;
use crate::process::Watched;
use crate::progress::Progress;
use crate::report::{Report, Window};
use crate::run::{Plan, Run};
use crate::scenario;
use crate::speed::Speed;
use crate::target::Target;
use crate::{Verdict, validity};

/// Default number of rounds of a comparison.
const ROUNDS: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs a scenario for all targets and rounds.
///
/// # Errors
/// A run could not be started or failed.
pub(crate) fn run(scenario: &Scenario) -> Result<Verdict> {
    let common = scenario.common();
    if let Some(cpu) = common.pin {
        pin(cpu)?;
    }
    raise_descriptor_limit()?;
    if let Some(path) = &common.plot {
        plot::create(path)?;
    }
    let interrupted = watch_signals()?;
    let targets = targets(common);
    let rounds = common.rounds.unwrap_or(if targets.len() > 1 { ROUNDS } else { 1 });
    let session = Session { scenario, interrupted };
    if let ([target], 1) = (&targets[..], rounds) {
        session.once(target)
    } else {
        session.compare(&targets, rounds)
    }
}

/// The targets with their process ids.
fn targets(common: &Common) -> Vec<Target> {
    let mut targets = common.urls.clone();
    for (target, pid) in targets.iter_mut().zip(&common.pid) {
        target.pid = Some(*pid);
    }
    targets
}

struct Session<'a> {
    scenario: &'a Scenario,
    interrupted: Arc<AtomicBool>,
}

impl Session<'_> {
    fn once(&self, target: &Target) -> Result<Verdict> {
        let common = self.scenario.common();
        let report = self.measure(target, self.scenario.name())?;
        self.print(&report)?;
        if let Some(path) = &common.plot {
            plot::draw(&[&report], path)?;
        }
        Ok(self.judge(&report))
    }

    fn compare(&self, targets: &[Target], rounds: usize) -> Result<Verdict> {
        let mut reports = vec![Vec::new(); targets.len()];
        let mut verdict = Verdict::Passed;
        for round in 0..rounds {
            let mut measured = Vec::new();
            for step in 0..targets.len() {
                let index = if round % 2 == 0 { step } else { targets.len() - 1 - step };
                let title = format!("round {} of {rounds}", round + 1);
                measured.push((index, self.measure(&targets[index], &title)?));
                if self.is_interrupted() {
                    break;
                }
            }
            // An interrupted round is dropped, unless it is the only one.
            if self.is_interrupted() && round > 0 {
                break;
            }
            for (index, report) in measured {
                verdict = verdict.max(self.judge(&report));
                reports[index].push(report);
            }
        }
        let mut comparison = Comparison::new(self.scenario.name(), reports);
        comparison.interrupted = self.is_interrupted();
        self.print(&comparison)?;
        if let Some(path) = &self.scenario.common().plot {
            let first: Vec<&Report> =
                comparison.reports.iter().filter_map(|rounds| rounds.first()).collect();
            plot::draw(&first, path)?;
        }
        Ok(verdict)
    }

    /// One run against one server; if its rate is a percentage, a closed loop first.
    fn measure(&self, target: &Target, title: &str) -> Result<Report> {
        let Scenario::Rate(args) = self.scenario else {
            return self.run(self.scenario, target, title);
        };
        let Speed::OfCapacity(share) = args.rate else {
            return self.run(self.scenario, target, title);
        };
        let closed_loop = self.run(&args.closed_loop(), target, "capacity")?;
        let Some(capacity) = closed_loop.total.rate else {
            return Ok(closed_loop);
        };
        let mut report = self.run(&args.at(share * capacity), target, title)?;
        let percent = 100.0 * share;
        let note = format!("{percent} % of the {capacity:.0} echoes/s of a closed loop");
        report.total.notes.push(note);
        Ok(report)
    }

    fn run(&self, scenario: &Scenario, target: &Target, title: &str) -> Result<Report> {
        let common = scenario.common();
        let server = target
            .pid
            .map(|pid| Watched::new(pid).map_err(|error| format!("process {pid}: {error}")))
            .transpose()?;
        let plan = Plan {
            warmup: common.warmup,
            duration: common.duration,
            connect_timeout: common.connect_timeout,
            interrupted: Arc::clone(&self.interrupted),
        };
        let parts = scenario::parts(scenario, target)?;
        let progress = Progress::new(&format!("{title} {}", target.url));
        let mut run = Run::new(&parts, &plan, server.as_ref(), progress)?;
        let marks = run.measure()?;
        let window = Window::of(&parts);
        run.wind_up()?;
        let pid = server.as_ref().map(Watched::pid);
        let mut report = Report::new(scenario.name(), &target.url, pid, &parts, &marks, &window);
        report.interrupted = self.is_interrupted();
        let is_tolerated = common.tolerate.iter().any(|tolerated| tolerated.url == target.url);
        if let Some(objection) = validity::objection(&parts, run.gone(), is_tolerated) {
            report.invalidate(objection);
        }
        Ok(report)
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn print(&self, result: &(impl std::fmt::Display + Serialize)) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.scenario.common().json {
            serde_json::to_writer(&mut out, result)?;
            writeln!(out)?;
        } else {
            write!(out, "{result}")?;
        }
        Ok(())
    }

    /// Prints to standard error which assertions do not hold, or why the run is INVALID.
    fn judge(&self, report: &Report) -> Verdict {
        if let Some(why) = &report.invalid {
            eprintln!("{}: INVALID: {why}", report.url);
            return Verdict::Invalid;
        }
        let common = self.scenario.common();
        let failures = report.failures(&common.assertions, common.max_errors);
        for failure in &failures {
            eprintln!("{}: {failure}", report.url);
        }
        if failures.is_empty() { Verdict::Passed } else { Verdict::Unmet }
    }
}

/// Pins this thread to one CPU.
fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    let this_thread = Pid::from_raw(0);
    let pinned = cpus.set(cpu).and_then(|()| sched_setaffinity(this_thread, &cpus));
    pinned.map_err(|error| format!("CPU {cpu}: {error}").into())
}

/// Raises the descriptor limit to its maximum: each connection needs a descriptor.
fn raise_descriptor_limit() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}

/// The first SIGINT or SIGTERM ends the measurement, the second one the process.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag set by the first.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            crate::FAILED.into(),
            Arc::clone(&interrupted),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}
