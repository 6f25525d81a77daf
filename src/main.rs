//! The `weir` binary: parses the command line, loads the configuration, runs the command, returns
//! an exit code.

mod allocator;
mod audit;
mod cli;
mod config;
mod connect;
mod descriptors;
mod gates;
mod help;
mod logging;
mod nearest;
mod node;
mod observe;
mod relay;
mod reload;
mod serve;
mod version;

use std::env;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use cli::{Command, Task};
use config::{Config, Dates, Sources};
use node::NodeOptions;
use relay::{CommandError, RelayArguments};

/// Exit code for a failure at run time.
const FAILED: u8 = 1;
/// Exit code for invalid usage or configuration; clap uses it for usage errors.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let cli = match Task::parse(env::args_os()).unwrap_or_else(|error| error.exit()) {
        Task::Configured(cli) => cli,
        Task::Node(options) => return exit_code(start_node(&options)),
        Task::Relay(arguments) => return start_relay(*arguments),
        Task::Audit(arguments) => return exit_code(arguments.run()),
        Task::Help(page) => return print(page),
    };
    let variables = env::vars_os().collect();
    let sources = Sources { file: cli.file, variables, flags: cli.flags, relay: None };
    if matches!(cli.command, Command::Serve) {
        return start_server(sources);
    }
    let config = match load(&sources, Dates::Checked) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if cli.connect { check_connections(&config) } else { check(&config) }
}

fn start_server(sources: Sources) -> ExitCode {
    if let Err(error) = serve::catch_early_signals() {
        report(format_args!("error: signals: {error}"));
        return ExitCode::from(FAILED);
    }
    match load(&sources, Dates::Ignored) {
        Ok(config) => exit_code(serve::serve(&config, sources)),
        Err(code) => code,
    }
}

fn start_relay(arguments: RelayArguments) -> ExitCode {
    let RelayArguments { command, file, defaults, flags } = arguments;
    let variables = env::vars_os().collect();
    if let Some(command) = command {
        return command_code(command.run(variables, serve::disk_free));
    }
    start_server(Sources { file, variables, flags, relay: Some(defaults) })
}

fn command_code(outcome: Result<(), CommandError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Failed(error)) => exit_code(Err(error)),
        Err(CommandError::Refused(error)) => {
            report(format_args!("error: {error}"));
            ExitCode::from(REFUSED)
        }
    }
}

/// Loads the configuration; reports an invalid one.
fn load(sources: &Sources, dates: Dates) -> Result<Config, ExitCode> {
    sources.load(dates).map_err(|error| {
        report(format_args!("error: {error}"));
        ExitCode::from(REFUSED)
    })
}

fn start_node(options: &NodeOptions) -> Result<(), Box<dyn Error>> {
    serve::catch_early_signals()?;
    node::node(options)
}

fn check(config: &Config) -> ExitCode {
    for warning in config.warnings() {
        report(format_args!("warning: {warning}"));
    }
    for note in config.notes() {
        report(format_args!("note: {note}"));
    }
    let code = print(config);
    if code == ExitCode::SUCCESS {
        report_differences(config);
    }
    code
}

/// `weir check --connect`: a line for each upstream, on standard error.
fn check_connections(config: &Config) -> ExitCode {
    let code = check(config);
    let outcomes = match connect::connect(config) {
        Ok(outcomes) => outcomes,
        Err(error) => return exit_code(Err(error)),
    };
    for outcome in &outcomes {
        report(format_args!("connect: {outcome}"));
    }
    let unreachable = connect::unreachable(config, &outcomes);
    for pool in &unreachable {
        report(format_args!("error: pool {pool}: no upstream can be reached"));
    }
    if unreachable.is_empty() { code } else { ExitCode::from(FAILED) }
}

/// Prints a text on standard output. A closed pipe, as in `weir help limits | head`, does not
/// panic.
fn print(text: impl fmt::Display) -> ExitCode {
    match write!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("error: stdout: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// The end of `weir check`, on standard error: standard output must remain a valid file.
fn report_differences(config: &Config) {
    let lines = config.differences();
    match lines.len() {
        0 => report(format_args!("ok: all settings have their defaults")),
        1 => report(format_args!("ok: 1 setting differs from its default:")),
        count => report(format_args!("ok: {count} settings differ from their defaults:")),
    }
    for line in lines {
        report(format_args!("  {line}"));
    }
}

/// Writes a line to standard error. If that fails, for example on a full disk, only the exit code remains.
fn report(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn exit_code(outcome: Result<(), Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(format_args!("error: {error}"));
            ExitCode::from(FAILED)
        }
    }
}
