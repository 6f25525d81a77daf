//! The `weir-load` binary: parses the command line, runs the command, prints the results, returns
//! an exit code.

mod assertion;
mod cli;
mod common;
mod compare;
mod crowd;
mod impolite;
mod latency;
mod mix;
mod nostr;
mod pace;
mod parts;
mod payload;
mod plot;
mod process;
mod progress;
mod quantity;
mod report;
mod run;
mod scenario;
mod session;
mod size;
mod source;
mod speed;
mod table;
mod tally;
mod target;
mod validity;
mod values;
mod weighted;

use std::env;
use std::process::ExitCode;

use cli::{Cli, Command};

/// Exit code if an assertion does not hold, or the run failed.
const FAILED: u8 = 1;
/// Exit code if the run is not a valid measurement of the server.
const INVALID: u8 = 3;

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Passed,
    /// An assertion does not hold.
    Unmet,
    /// The server answered wrongly, or its process ended.
    Invalid,
}

fn main() -> ExitCode {
    let cli = Cli::parse_from_args(env::args_os()).unwrap_or_else(|error| error.exit());
    let verdict = match (&cli.command, cli.scenario()) {
        (Command::Impolite(impolite), _) => impolite.run(),
        (_, Some(scenario)) => session::run(&scenario),
        (_, None) => Ok(Verdict::Passed),
    };
    match verdict {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Unmet) => ExitCode::from(FAILED),
        Ok(Verdict::Invalid) => ExitCode::from(INVALID),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(FAILED)
        }
    }
}
