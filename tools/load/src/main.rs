//! The `weir-load` binary: read the command line, run what it asks for, print what was measured,
//! answer with an exit code.

mod assertion;
mod cli;
mod common;
mod compare;
mod crowd;
mod impolite;
mod mix;
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

/// A demand was not met, or the run failed.
const FAILED: u8 = 1;
/// The run says nothing about the server.
const INVALID: u8 = 3;

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Passed,
    /// A demand was not met.
    Unmet,
    /// The server answered wrongly, or was gone.
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
