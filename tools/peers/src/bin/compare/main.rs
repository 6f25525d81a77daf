//! Starts weir and its peers on one CPU, loads them in turn from another, and writes the table.
//!
//! `weir-load` measures: rounds of each scenario, interleaved over all servers, medians, and ratios
//! to the baseline per round. This program selects what runs, in which order, and formats the
//! results. All servers that it starts are ended by their process, however the run ends.
//!
//! With `--proxy` the servers are reverse proxies in front of weir's echo.

mod noise;
mod proxy;
mod scenario;
mod server;
mod table;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use clap::Parser;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use noise::Noise;
use proxy::{Backend, PROXIES};
use scenario::{PROXY_SCENARIOS, SCENARIOS, Scenario};
use server::{Also, PEERS, Server};
use table::FLOOR;

/// Interval of checks whether a run has ended.
const LOOK: Duration = Duration::from_millis(50);

/// The load client's exit code if a run is INVALID.
const INVALID: i32 = 3;

/// Compares weir with other servers: server CPU time per message, and ratios
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Options {
    /// Compare reverse proxies in front of weir's echo, which runs on the load client's CPU
    #[arg(long)]
    proxy: bool,
    /// Rounds of each scenario
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Duration of each measurement
    #[arg(long, value_name = "TIME", default_value = "5s")]
    duration: String,
    /// Duration of the warm-up before it
    #[arg(long, value_name = "TIME", default_value = "1s")]
    warmup: String,
    /// Letters of the scenarios to run [default: HABCDEFG, with --proxy HSACDE]
    #[arg(long, value_name = "LETTERS")]
    scenarios: Option<String>,
    /// Servers or proxies to start [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// A running server with its process id, as uws=ws://127.0.0.1:9203/=4242
    #[arg(long, value_name = "NAME=URL=PID")]
    also: Vec<Also>,
    /// The server that ratios refer to; may be one of --also [default: weir, with --proxy bytes]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// CPU of the servers
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the load client
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    client_cpu: usize,
    /// Path without extension for the table (.md) and all results (.json)
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Server binary
    #[arg(long, value_name = "FILE")]
    weir: PathBuf,
    /// Load client binary
    #[arg(long, value_name = "FILE")]
    load: PathBuf,
    /// Script of the server with the npm package ws
    #[arg(long, value_name = "FILE")]
    ws: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every server worked without errors in every round.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let all: &[Scenario] = if options.proxy { &PROXY_SCENARIOS } else { &SCENARIOS };
    let every: String = all.iter().map(|scenario| scenario.letter).collect();
    let scenarios = Scenario::chosen(all, options.scenarios.as_ref().unwrap_or(&every))?;
    let backend = if options.proxy { Some(Backend::start(options)?) } else { None };
    let (names, baseline) = match options.proxy {
        true => (&PROXIES[..], "bytes"),
        false => (&PEERS[..], "weir"),
    };
    let names = options.peers.clone().unwrap_or_else(|| names.iter().map(|&n| n.into()).collect());
    let baseline = options.baseline.as_deref().unwrap_or(baseline);
    let mut servers = Vec::new();
    for name in &names {
        servers.push(match &backend {
            Some(backend) => backend.proxy(name, options)?,
            None => Server::start(name, options)?,
        });
    }
    servers.extend(options.also.iter().map(Server::from));
    let first = servers.iter().position(|server| server.name == baseline);
    let first = first.ok_or_else(|| format!("no server is named {baseline}"))?;
    servers[..=first].rotate_right(1);
    let noise = Noise::start();

    let mut results = Vec::new();
    for scenario in scenarios {
        eprintln!("{}: {}", scenario.letter, scenario.title);
        let child = load(options, scenario, &servers)?;
        results.push((scenario, wait(child, &interrupted)?));
    }
    let mut table = format!(
        "Server CPU in ns per message, and the ratio to {baseline} in brackets: medians of {} interleaved rounds\n\
         of {}. {}. {}.\n\n{}",
        options.rounds,
        options.duration,
        table::machine(),
        noise.end(),
        table::markdown(&servers, &results)
    );
    if options.proxy {
        table += &table::relative(&servers, &results, "weir");
    }
    io::stdout().write_all(table.as_bytes())?;
    if let Some(path) = &options.output {
        let all: serde_json::Map<String, Value> =
            results.iter().map(|(s, result)| (s.letter.to_string(), result.clone())).collect();
        fs::write(path.with_extension("md"), &table)?;
        let names: Vec<&str> = servers.iter().map(|server| &*server.name).collect();
        let all = json!({ "servers": names, "scenarios": all });
        fs::write(path.with_extension("json"), serde_json::to_string_pretty(&all)?)?;
    }
    let errors = table::errors(&servers, &results);
    errors.iter().for_each(|error| eprintln!("{error}"));
    Ok(errors.is_empty())
}

/// Starts the load client on one scenario.
fn load(options: &Options, scenario: &Scenario, servers: &[Server]) -> io::Result<Child> {
    let rounds = if scenario.is_once { 1 } else { options.rounds };
    let mut command = Command::new(&options.load);
    command.arg("compare").args(scenario.arguments).args(servers.iter().map(Server::target));
    command.args(["--rounds", &rounds.to_string(), "--json"]);
    // Its echoes are still masked with the client's key.
    for server in servers.iter().filter(|server| server.name == FLOOR) {
        command.args(["--tolerate", &server.url]);
    }
    command.args(["--pin", &options.client_cpu.to_string()]);
    if !scenario.has_duration() {
        command.args(["--duration", &options.duration, "--warmup", &options.warmup]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// The JSON that the load client prints. The client is ended if this process is interrupted.
fn wait(mut child: Child, interrupted: &AtomicBool) -> Result<Value, Box<dyn Error>> {
    let output = child
        .stdout
        .take()
        .map(|mut stdout| thread::spawn(move || io::read_to_string(&mut stdout)));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupted.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            return Err("interrupted".into());
        }
        thread::sleep(LOOK);
    };
    let text = output.and_then(|thread| thread.join().ok()).transpose()?.unwrap_or_default();
    // The JSON names the INVALID runs of one server, and has the figures of the others.
    if !status.success() && status.code() != Some(INVALID) {
        return Err(format!("the load client failed: {status}").into());
    }
    Ok(serde_json::from_str(&text)?)
}
