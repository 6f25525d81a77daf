//! Profiles a server: CPU time, system calls, instructions, allocations and turns per message of
//! each scenario, and a flame graph.
//!
//! CPU time is measured on an undisturbed server. Tools that disturb it (strace, callgrind, perf)
//! run separate servers, each with two runs of different length. The difference of the two is
//! reported, so that starting, connecting and stopping cancel out. All processes are ended on every
//! exit path.

mod callgrind;
mod flame;
mod load;
mod report;
mod scale;
mod scenario;
mod server;
mod syscalls;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fmt, fs, io};

use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use callgrind::Profile;
use load::{Load, pause};
use report::{Cpu, Report, Turns, Work};
use scale::{Growth, SERIES, Series};
use scenario::Scenario;
use server::{Server, word};

/// The two runs whose difference is reported.
const RUNS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// Warm-up of each of these runs.
const WARMUP: Duration = Duration::from_millis(200);
/// How long strace may take to write its table after the server has ended.
const WRITTEN: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// A part of the report, or why it is missing.
type Found<T> = std::result::Result<T, String>;

/// Profiles a weir server: where its time goes per message
#[derive(Debug, Parser)]
#[command(name = "weir-profile", version)]
struct Options {
    /// Letters of the scenarios to run
    #[arg(long, value_name = "LETTERS", default_value = "ABCDEFG")]
    scenarios: String,
    /// Instead of scenarios: run the same load on more connections, and with idle ones, in this
    /// many interleaved rounds
    #[arg(long, value_name = "ROUNDS", conflicts_with = "scenarios")]
    scale: Option<u32>,
    /// Seconds to measure and to sample the undisturbed server
    #[arg(long, value_name = "N", default_value_t = 4)]
    seconds: u32,
    /// CPU of the server
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the load client
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    client_cpu: usize,
    /// Directory for report.txt, report.json and the flame graphs [default: profile in the target
    /// directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Build weir and weir-load in release mode first
    #[arg(long)]
    build: bool,
    /// Server binary [default: release/weir in the target directory]
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
    /// Load client binary [default: release/weir-load in the target directory]
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// Further arguments of the server, after --
    #[arg(last = true, value_name = "ARGUMENTS")]
    server_arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let scenarios = Scenario::chosen(&options.scenarios)?;
    // .../target/release/weir-profile
    let exe = env::current_exe()?;
    let target = exe.ancestors().nth(2).ok_or("the binary is not in a target directory")?;
    let release = target.join("release");
    if options.build {
        build()?;
    }
    let weir = options.weir.unwrap_or_else(|| release.join("weir"));
    let load = options.load.unwrap_or_else(|| release.join("weir-load"));
    [&weir, &load].into_iter().try_for_each(|binary| exists(binary))?;
    let output = options.output.unwrap_or_else(|| target.join("profile"));
    fs::create_dir_all(&output)?;
    let bench = Bench {
        weir,
        load,
        server_arguments: options.server_arguments,
        cpus: (options.server_cpu, options.client_cpu),
        time: Duration::from_secs(options.seconds.max(1).into()),
        output: &output,
        interrupted: &interrupted,
    };
    match options.scale {
        None => write(&output, "report", scenarios.into_iter().map(|each| bench.report(each))),
        Some(rounds) => write(&output, "scale", SERIES.iter().map(|each| bench.grow(each, rounds))),
    }
}

/// Prints each report when it is ready, and writes all of them to two files with this name.
fn write<T: fmt::Display + Serialize>(
    output: &Path,
    name: &str,
    reports: impl Iterator<Item = Result<T>>,
) -> Result<()> {
    let mut text = String::new();
    let mut all = Vec::new();
    for report in reports {
        let report = report?;
        text += &format!("{report}\n");
        writeln!(io::stdout(), "{report}")?;
        all.push(report);
    }
    fs::write(output.join(name).with_extension("txt"), text)?;
    let json = serde_json::to_string_pretty(&all)?;
    fs::write(output.join(name).with_extension("json"), json)?;
    writeln!(io::stdout(), "{}", output.display())?;
    Ok(())
}

/// # Errors
/// The binary is missing; the error contains the command that builds it.
fn exists(binary: &Path) -> Result<()> {
    if binary.is_file() {
        return Ok(());
    }
    let how = "pass --build, or run cargo build --release --workspace";
    Err(format!("no binary at {}: {how}", binary.display()).into())
}

/// Builds the measured binaries.
fn build() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "-p", "weir", "-p", "weir-load", "--manifest-path"]);
    if command.arg(manifest).status()?.success() { Ok(()) } else { Err("the build failed".into()) }
}

/// The setup of all runs.
struct Bench<'a> {
    weir: PathBuf,
    load: PathBuf,
    server_arguments: Vec<OsString>,
    /// CPUs of the server and of the client.
    cpus: (usize, usize),
    time: Duration,
    output: &'a Path,
    interrupted: &'a AtomicBool,
}

impl Bench<'_> {
    fn report(&self, scenario: &Scenario) -> Result<Report> {
        let (cpu, turns, doubts) = self.undisturbed(scenario)?;
        let syscalls = self.optional(|| self.syscalls(scenario))?;
        let (work, calls) = match self.optional(|| self.work(scenario))? {
            Ok((work, calls)) => (Ok(work), Some(calls)),
            Err(why) => (Err(why), None),
        };
        let flame_graph = self.optional(|| self.flame_graph(scenario, calls.as_ref()))?;
        Ok(Report {
            letter: scenario.letter,
            title: scenario.title,
            cpu: cpu.into(),
            syscalls: syscalls.into(),
            work: work.into(),
            turns: turns.into(),
            flame_graph: flame_graph.into(),
            doubts,
        })
    }

    /// The outer error is an interrupt, which ends the program. The inner one goes into the report.
    fn optional<T>(&self, part: impl Fn() -> Result<T>) -> Result<Found<T>> {
        match part() {
            Err(error) if self.interrupted.load(Ordering::Relaxed) => Err(error),
            result => Ok(result.map_err(|error| error.to_string())),
        }
    }

    fn start(&self, tool: &[OsString]) -> Result<Server> {
        Server::start(&self.weir, &self.server_arguments, self.cpus.0, tool)
    }

    fn load(
        &self,
        scenario: &Scenario,
        server: &Server,
        times: (Duration, Duration),
    ) -> Result<Load> {
        Load::start(&self.load, self.cpus.1, scenario, server, times)
    }

    /// Runs the cases of a series on one server, in this many rounds.
    fn grow(&self, series: &Series, rounds: u32) -> Result<Growth> {
        let server = self.start(&[])?;
        let mut doubts = Vec::new();
        let mut cpu = Vec::new();
        for _ in 0..rounds.max(1) {
            let mut round = Vec::new();
            for case in series.cases {
                let load = self.load(case, &server, (self.time / 4, self.time))?;
                let measured = load.finish(self.interrupted)?;
                let each = measured["server"]["cpu_nanos_each"].as_f64();
                round.push(each.ok_or("the load client reported no CPU time")?);
                let own = self::doubts(&measured);
                doubts.extend(own.into_iter().map(|doubt| format!("{}: {doubt}", case.title)));
            }
            cpu.push(round);
        }
        server.stop()?;
        Ok(Growth::new(series, &cpu, doubts))
    }

    /// Measures CPU time, the turns in the middle of the run, and reasons to doubt them.
    fn undisturbed(&self, scenario: &Scenario) -> Result<(Found<Cpu>, Found<Turns>, Vec<String>)> {
        let server = self.start(&[])?;
        let quarter = self.time / 4;
        let load = self.load(scenario, &server, (quarter, self.time))?;
        pause(quarter * 2, self.interrupted)?;
        server.turns()?;
        pause(quarter * 2, self.interrupted)?;
        let turns = Turns::parse(&server.turns()?).ok_or("the server reported no turns".to_owned());
        let measured = load.finish(self.interrupted)?;
        server.stop()?;
        let each = |name: &str| measured["server"][name].as_f64();
        let cpu = match (each("user_nanos_each"), each("system_nanos_each")) {
            (Some(user_ns), Some(system_ns)) => Ok(Cpu { user_ns, system_ns }),
            _ => Err("the load client reported no CPU time".to_owned()),
        };
        Ok((cpu, turns, doubts(&measured)))
    }

    /// Runs the server under a tool, twice. Returns the number of messages and the tool's file as
    /// parsed by `read`, for the shorter and the longer run.
    fn twice<T>(
        &self,
        scenario: &Scenario,
        tool: &[OsString],
        read: impl Fn() -> Result<T>,
    ) -> Result<[(f64, T); 2]> {
        let run = |duration| {
            let server = self.start(tool)?;
            self.load(scenario, &server, (WARMUP, duration))?.finish(self.interrupted)?;
            let counts = server.stop()?;
            let messages = word(&counts, scenario.count).ok_or("no messages")?;
            Ok::<_, Box<dyn Error>>((messages, read()?))
        };
        Ok([run(RUNS[0])?, run(RUNS[1])?])
    }

    fn syscalls(&self, scenario: &Scenario) -> Result<BTreeMap<String, f64>> {
        require("strace", "strace")?;
        let file = self.output.join("strace.txt");
        // As a grandchild (-D), so that the started process is the server itself.
        let tool = ["strace", "-D", "-c", "-f", "-o"].map(OsString::from);
        let tool = [&tool[..], &[file.clone().into()]].concat();
        let runs = self.twice(scenario, &tool, || Ok(syscalls::parse(&written(&file)?)));
        let _ = fs::remove_file(&file);
        let [(fewer, short), (more, long)] = runs?;
        let each = |(name, calls): (String, u64)| {
            let before = short.get(&name).copied().unwrap_or(0);
            (name, calls.saturating_sub(before) as f64 / (more - fewer))
        };
        Ok(long.into_iter().map(each).collect())
    }

    fn work(&self, scenario: &Scenario) -> Result<(Work, Profile)> {
        require("valgrind", "valgrind")?;
        let file = self.output.join("callgrind.out");
        let out = format!("--callgrind-out-file={}", file.display());
        let tool = ["valgrind", "--quiet", "--tool=callgrind", &out].map(OsString::from);
        let runs = self.twice(scenario, &tool, || Ok(Profile::parse(&fs::read_to_string(&file)?)));
        let _ = fs::remove_file(&file);
        let [(fewer, short), (more, long)] = runs?;
        // A count that does not grow with the messages may even shrink slightly.
        let each = |long: u64, short: u64| long.saturating_sub(short) as f64 / (more - fewer);
        let work = Work {
            instructions: each(long.instructions(), short.instructions()),
            allocations: each(long.allocations(), short.allocations()),
        };
        Ok((work, long))
    }

    fn flame_graph(&self, scenario: &Scenario, calls: Option<&Profile>) -> Result<String> {
        let file = format!("{}.svg", scenario.letter);
        let title = format!("{}: {}", scenario.letter, scenario.title);
        let path = self.output.join(&file);
        match (self.sample(scenario), calls) {
            (Ok(folded), _) => {
                flame::draw(&folded, &title, "samples", &path)?;
                Ok(format!("{file}, from perf"))
            }
            (Err(error), Some(calls)) if !self.interrupted.load(Ordering::Relaxed) => {
                flame::draw(&calls.stacks().join("\n"), &title, "instructions", &path)?;
                Ok(format!("{file}, from callgrind (perf: {error})"))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn sample(&self, scenario: &Scenario) -> Result<String> {
        require("perf", "linux-perf")?;
        let server = self.start(&[])?;
        let load = self.load(scenario, &server, (WARMUP, self.time))?;
        pause(WARMUP * 2, self.interrupted)?;
        let data = self.output.join("perf.data");
        let folded = flame::sample(server.pid(), self.time / 2, &data, self.interrupted);
        let _ = fs::remove_file(&data);
        load.finish(self.interrupted)?;
        server.stop()?;
        folded
    }
}

/// The load client's reasons to doubt its results.
fn doubts(measured: &Value) -> Vec<String> {
    let errors = measured["total"]["errors"].as_object();
    let errors = errors.into_iter().flatten().map(|(what, count)| format!("{count} x {what}"));
    errors.chain(measured["client"]["bottleneck"].as_str().map(str::to_owned)).collect()
}

/// # Errors
/// The tool is missing; the error names the package to install.
fn require(tool: &str, package: &str) -> Result<()> {
    let mut command = Command::new(tool);
    let status = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if status.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(format!("no {tool}: apt-get install {package}").into())
    }
}

/// Reads a file that a process is about to write, and removes it, so that the next one is new.
fn written(file: &Path) -> Result<String> {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.trim_end().ends_with("total") {
            fs::remove_file(file)?;
            return Ok(text);
        }
        if start.elapsed() > WRITTEN {
            return Err(format!("nothing in {}", file.display()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_tool_is_reported_with_its_package() {
        let error = require("no-such-tool", "some-package").unwrap_err().to_string();
        assert_eq!(error, "no no-such-tool: apt-get install some-package");
    }

    #[test]
    fn a_missing_binary_is_reported_with_its_build_command() {
        let error = exists(Path::new("no/such/weir")).unwrap_err().to_string();
        assert!(error.contains("no/such/weir") && error.contains("--build"), "{error}");
    }

    #[test]
    fn errors_and_a_busy_client_are_doubts() {
        let measured = json!({
            "total": { "errors": { "unanswered": 2 } },
            "client": { "bottleneck": "the client was busy" },
        });
        assert_eq!(doubts(&measured), ["2 x unanswered", "the client was busy"]);
        assert!(doubts(&json!({})).is_empty());
    }
}
