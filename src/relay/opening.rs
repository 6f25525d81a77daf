//! Opens the store that a command of `weir relay` names, prints results, and classifies failures.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;

use clap::Args;
use weir::services::nostr::RelaySettings;
use weir::services::nostr::commands::OfflineStore;
use weir::services::nostr::store::{DiskFree, OpenError};

use crate::config::{ConfigError, Dates, Layer, RelayDefaults, Sources};

/// What works beside a running relay.
const WHILE_RUNNING: &str = ". Stop the relay, or use what works while it runs: requests and events by \
                             WebSocket, weir relay sync --local, deletion requests, retention rules";

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

pub(super) fn failed(error: impl Into<Box<dyn Error>>) -> CommandError {
    CommandError::Failed(error.into())
}

/// Where a command runs.
pub(super) struct Place {
    pub(super) variables: Vec<(OsString, OsString)>,
    pub(super) disk_free: DiskFree,
}

impl StoreArguments {
    /// The settings of the relay that the arguments name.
    pub(super) fn settings(&self, place: &Place) -> Result<RelaySettings, CommandError> {
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

    pub(super) fn open(&self, place: &Place) -> Result<OfflineStore, CommandError> {
        let settings = self.settings(place)?;
        OfflineStore::open(settings, Some(place.disk_free)).map_err(unopened)
    }
}

/// The error of a store that did not open.
pub(super) fn unopened(error: OpenError) -> CommandError {
    match error {
        OpenError::Locked(_) => failed(format!("{error}{WHILE_RUNNING}")),
        error => failed(error),
    }
}

/// Writes a line to standard error.
pub(super) fn report(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a text to standard output.
pub(super) fn print(text: impl fmt::Display) -> Result<(), CommandError> {
    write!(io::stdout(), "{text}").or_else(quiet)
}

/// A closed pipe, as in `weir relay export | head`, is no error.
pub(super) fn quiet(error: io::Error) -> Result<(), CommandError> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(()),
        _ => Err(failed(format!("stdout: {error}"))),
    }
}
