//! The commands of `weir relay`: on the store of a relay that does not run, and `sync`. Parses their
//! arguments, and prints the results.
//!
//! Standard output has the result, standard error everything else. The work is done by
//! [`OfflineStore`](weir::services::nostr::commands::OfflineStore).

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use weir::services::nostr::commands::{ExportError, StoreStat, parse_filter};
use weir::services::nostr::filter::Filter;
use weir::services::nostr::store::{CheckReport, DiskFree};

use super::import::import;
use super::opening::{CommandError, Place, StoreArguments, failed, print, quiet, report};
use super::sync::SyncArguments;
use crate::config::Span;

/// A command of `weir relay`.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayCommand {
    /// Store the events of standard input, one JSON object per line
    Import(StoreArguments),
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
            RelayCommand::Import(arguments) => import(&arguments, &place),
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
        return print(format_args!("matching events: {count}\n"));
    }
    let count = store.delete(filter).map_err(failed)?;
    print(format_args!("removed events: {count}\n"))
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
