//! `weir relay sync`: copies the events that this side or a remote relay lacks.
//!
//! Only arguments and output; [`weir::services::nostr::sync`] does the work.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use weir::services::nostr::sync::{
    Copied, Direction, Local, Progress, SyncError, SyncReport, SyncSettings, check_filter,
    relay_url, sync,
};
use weir::upstream::UpstreamUrl;

use crate::logging::{LogFormat, LogSettings};

const AFTER_HELP: &str = "\
The ids that differ are found by negentropy (NIP-77), which the remote relay must support. Then events are
fetched and sent in batches of 500. Events that were copied before an error stay: a second run continues.

The local side is the store in --data-dir, which no relay may use meanwhile, or a running relay (--local).
A store has all events, private messages included: choose what is sent by --filter.

Example:
  weir relay sync wss://relay.example.org --filter '{\"kinds\":[0,3,10002]}' --dir down

Exit codes: 0 success, 1 failure at run time, 2 invalid usage.
stdout has the result; everything else is on stderr.";

/// Events that are refused, and nothing about the connections.
const LOG: &str = "warn,weir::services::nostr::sync=info";

/// The arguments of `weir relay sync`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SyncArguments {
    /// The remote relay
    #[arg(value_name = "URL", value_parser = relay_url)]
    remote: UpstreamUrl,

    /// A running relay instead of a directory
    #[arg(long, value_name = "URL", value_parser = relay_url, conflicts_with = "data_dir")]
    local: Option<UpstreamUrl>,

    /// Directory of the local events
    #[arg(long, value_name = "DIR", default_value = "relay")]
    data_dir: PathBuf,

    /// Which events, as a filter (NIP-01)
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = filter)]
    filter: String,

    /// Which way events are copied
    #[arg(long, value_name = "DIRECTION", value_enum, default_value_t = Way::Both)]
    dir: Way,
}

/// The names of [`Direction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// To the side that lacks them
    Both,
    /// To the remote relay only
    Up,
    /// From the remote relay only
    Down,
}

fn filter(text: &str) -> Result<String, String> {
    check_filter(text).map(|()| text.to_owned())
}

impl SyncArguments {
    /// Copies; `report` gets a line for each step. Returns the lines of the result.
    pub(crate) fn run(
        self,
        report: &mut dyn FnMut(fmt::Arguments<'_>),
    ) -> Result<String, SyncError> {
        let directory = self.data_dir.display().to_string();
        let filter = LOG.parse().unwrap_or_default();
        LogSettings { filter, format: LogFormat::default() }.install();
        let settings = SyncSettings {
            remote: self.remote,
            local: self.local.map_or(Local::Store(self.data_dir), Local::Relay),
            filter: self.filter,
            direction: match self.dir {
                Way::Both => Direction::Both,
                Way::Up => Direction::Up,
                Way::Down => Direction::Down,
            },
        };
        let report = sync(&settings, &mut |step| match step {
            Progress::Created => report(format_args!("{directory}: a new store was created")),
            Progress::Collected(events) => report(format_args!("{events} local events match")),
            Progress::Found { local, remote } => report(format_args!(
                "{remote} events are on the remote side only, {local} on the local side only"
            )),
        })?;
        let SyncReport { down, up, is_partial } = report;
        let mut lines = format!("received: {}\nsent: {}\n", Counts(down), Counts(up));
        if is_partial {
            lines += "more events differ: run it again\n";
        }
        Ok(lines)
    }
}

struct Counts(Copied);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { accepted, refused, missing } = self.0;
        write!(f, "{accepted} accepted, {refused} refused, {missing} missing")
    }
}
