//! The commands of `weir relay`: on the store of a relay that does not run, and `sync`. Parses their arguments, finds
//! the store, and prints the results.
//!
//! Standard output has the result, standard error everything else. The work is done by
//! [`OfflineStore`](weir::services::nostr::commands::OfflineStore).

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use weir::services::nostr::RelaySettings;
use weir::services::nostr::commands::{ExportError, OfflineStore, StoreStat, parse_filter};
use weir::services::nostr::filter::Filter;
use weir::services::nostr::store::{CheckReport, DiskFree, OpenError};

use super::sync::SyncArguments;
use crate::config::{ConfigError, Dates, Layer, RelayDefaults, Sources, Span};

/// What works beside a running relay.
const WHILE_RUNNING: &str = ". Stop the relay first; while it runs, it accepts and returns events by \
                             WebSocket, and removes them by `retention` and by deletion requests";

/// A command of `weir relay`.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayCommand {
    /// Write stored events to standard output, one JSON object per line
    Export(ExportArguments),
    /// Remove stored events
    Delete(DeleteArguments),
    /// Compare each stored event with the indexes; exit code 1 if they differ
    Check(CheckArguments),
    /// Print numbers about the store
    Stat(StoreArguments),
    /// Copy the events that this side or a remote relay lacks
    Sync(SyncArguments),
}

/// Which store a command opens.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    /// TOML file with the relay; also WEIR_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of the events [default: relay]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Name of the [[relay]], if the file has several
    #[arg(long, value_name = "NAME")]
    relay: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    store: StoreArguments,

    /// Only events that match this NIP-01 filter
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    filter: Option<Filter>,

    /// Newest first
    #[arg(long)]
    reverse: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    #[command(flatten)]
    store: StoreArguments,

    /// Events that match this NIP-01 filter
    #[arg(long, value_name = "JSON", value_parser = parse_deletion, required_unless_present = "age")]
    filter: Option<Filter>,

    /// Events that were created before this long ago, as in 90d
    #[arg(long, value_name = "TIME")]
    age: Option<Span>,

    /// Only count the events
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    store: StoreArguments,

    /// Also compare each id and signature with its event
    #[arg(long)]
    verify: bool,
}

/// A deletion removes all that matches, so a `limit` is a mistake.
fn parse_deletion(json: &str) -> Result<Filter, String> {
    let filter = parse_filter(json).map_err(|refusal| refusal.to_string())?;
    match filter.limit() {
        Some(_) => Err("a deletion has no limit: it removes all events that match".to_owned()),
        None => Ok(filter),
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// Usage or configuration.
    Refused(Box<dyn Error>),
    /// At run time.
    Failed(Box<dyn Error>),
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> CommandError {
        CommandError::Refused(Box::new(error))
    }
}

fn refused(error: impl Into<Box<dyn Error>>) -> CommandError {
    CommandError::Refused(error.into())
}

fn failed(error: impl Into<Box<dyn Error>>) -> CommandError {
    CommandError::Failed(error.into())
}

impl RelayCommand {
    /// Runs the command. `variables` are those of the environment, `disk_free` reads the free bytes of a
    /// disk.
    pub(crate) fn run(
        self,
        variables: Vec<(OsString, OsString)>,
        disk_free: DiskFree,
    ) -> Result<(), CommandError> {
        let place = Place { variables, disk_free };
        match self {
            RelayCommand::Export(arguments) => export(arguments, &place),
            RelayCommand::Delete(arguments) => delete(arguments, &place),
            RelayCommand::Check(arguments) => check(&arguments, &place),
            RelayCommand::Sync(arguments) => print(arguments.run(&mut report).map_err(failed)?),
            RelayCommand::Stat(arguments) => {
                let stat = arguments.open(&place)?.stat().map_err(failed)?;
                print(StatLines(stat))
            }
        }
    }
}

/// Where a command runs.
struct Place {
    variables: Vec<(OsString, OsString)>,
    disk_free: DiskFree,
}

impl StoreArguments {
    /// The settings of the relay that the arguments name.
    fn settings(&self, place: &Place) -> Result<RelaySettings, CommandError> {
        let sources = Sources {
            file: self.config.clone(),
            variables: place.variables.clone(),
            flags: Layer::default(),
            relay: Some(RelayDefaults { data_dir: self.data_dir.clone() }),
        };
        let relays = sources.load(Dates::Ignored)?.relays;
        let names: Vec<&str> = relays.iter().map(|relay| relay.name.as_str()).collect();
        let names = names.join(", ");
        let mut named = relays
            .into_iter()
            .filter(|relay| self.relay.as_ref().is_none_or(|name| *name == relay.name));
        match (named.next(), named.next()) {
            (Some(relay), None) => Ok(relay.settings),
            (None, _) => Err(refused(format!("--relay names none of the relays: {names}"))),
            (Some(_), Some(_)) => Err(refused(format!("--relay is needed, one of: {names}"))),
        }
    }

    fn open(&self, place: &Place) -> Result<OfflineStore, CommandError> {
        let settings = self.settings(place)?;
        OfflineStore::open(settings, Some(place.disk_free)).map_err(unopened)
    }
}

/// The error of a store that did not open.
fn unopened(error: OpenError) -> CommandError {
    match error {
        OpenError::Locked(_) => failed(format!("{error}{WHILE_RUNNING}")),
        error => failed(error),
    }
}

/// Writes a line to standard error.
fn report(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a text to standard output.
fn print(text: impl fmt::Display) -> Result<(), CommandError> {
    write!(io::stdout(), "{text}").or_else(quiet)
}

/// A closed pipe, as in `weir relay export | head`, is no error.
fn quiet(error: io::Error) -> Result<(), CommandError> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(failed(format!("stdout: {error}"))),
    }
}

fn export(arguments: ExportArguments, place: &Place) -> Result<(), CommandError> {
    let store = arguments.store.open(place)?;
    let filter = arguments.filter.unwrap_or_default();
    match store.export(filter, arguments.reverse, &mut io::stdout().lock()) {
        Ok(_) => Ok(()),
        Err(ExportError::Output(error)) => quiet(error),
        Err(error) => Err(failed(error)),
    }
}

fn delete(arguments: DeleteArguments, place: &Place) -> Result<(), CommandError> {
    let mut filter = arguments.filter.unwrap_or_default();
    if let Some(Span(age)) = arguments.age {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(failed)?;
        filter = filter.up_to(now.saturating_sub(age).as_secs());
    }
    let mut store = arguments.store.open(place)?;
    if arguments.dry_run {
        let count = store.count_deletion(filter).map_err(failed)?;
        return print(format_args!("{count} events match\n"));
    }
    let count = store.delete(filter).map_err(failed)?;
    print(format_args!("{count} events removed\n"))
}

fn check(arguments: &CheckArguments, place: &Place) -> Result<(), CommandError> {
    let report = arguments.store.open(place)?.check(arguments.verify).map_err(failed)?;
    let CheckReport { records, entries, problems, described } = report;
    print(format_args!("{records} events, {entries} index entries\n"))?;
    for problem in &described {
        print(format_args!("{problem}\n"))?;
    }
    match problems {
        0 => Ok(()),
        1 => Err(failed("the store has 1 problem")),
        _ if problems as usize == described.len() => {
            Err(failed(format!("the store has {problems} problems")))
        }
        _ => Err(failed(format!(
            "the store has {problems} problems; the first {} are shown",
            described.len()
        ))),
    }
}

/// Prints a [`StoreStat`].
struct StatLines(StoreStat);

impl fmt::Display for StatLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoreStat { stat, kinds } = &self.0;
        let mut line = |name: &str, value: u64| writeln!(f, "{name:<24} {value}");
        line("events", stat.totals.events)?;
        line("newest_serial", stat.totals.last)?;
        line("live_bytes", stat.totals.live_bytes)?;
        line("disk_bytes", stat.disk_bytes)?;
        line("memtable_bytes", stat.memtable_bytes)?;
        for (table, bytes) in &stat.table_bytes {
            line(&format!("table_bytes {}", table.name()), *bytes)?;
        }
        for (kind, events) in kinds {
            line(&format!("events_of_kind {kind}"), *events)?;
        }
        Ok(())
    }
}
