//! `weir relay`: a Nostr relay, served without a configuration file, and the commands on its store.
//!
//! Only parses arguments. Serving is `weir serve` with a relay, a route to it and a listener as
//! defaults.

pub(crate) mod sync;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::config::{Layer, Options, RelayDefaults, given};
use crate::version::VERSION_AND_COMMIT;

const AFTER_HELP: &str = "\
Without a configuration file, weir relay serves ws://127.0.0.1:7777/ and keeps its events in ./relay.
A file may have several relays, each with a route (weir help relay):
  [[relay]]
  name = \"main\"
  data_dir = \"/var/lib/weir\"
  urls = [\"wss://relay.example.org\"]      # the addresses that clients use, for AUTH

  [[route]]
  path = \"/\"
  service = \"nostr\"
  relay = \"main\"

weir relay sync URL copies the events that this side or a remote relay lacks (weir relay sync --help).

Exit codes: 0 success, 1 failure at run time, 2 invalid usage or configuration.
stdout has one line per listener; everything else is on stderr.";

/// A Nostr relay.
#[derive(Debug, Parser)]
#[command(name = "weir relay", bin_name = "weir relay", version = VERSION_AND_COMMIT)]
#[command(after_help = AFTER_HELP)]
struct Arguments {
    /// TOML file with settings, relays and routes; also WEIR_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of the events; only one process may use it at a time [default: relay]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

/// The parsed command line of `weir relay`.
#[derive(Debug)]
pub(crate) struct RelayArguments {
    /// The value of `--config`.
    pub(crate) file: Option<PathBuf>,
    pub(crate) defaults: RelayDefaults,
    /// The settings from flags.
    pub(crate) flags: Layer,
}

impl RelayArguments {
    /// Parses `arguments`; the first one is the program's name.
    pub(crate) fn parse(arguments: Vec<OsString>) -> Result<RelayArguments, clap::Error> {
        // The general help has another default.
        let command = Arguments::command()
            .mut_arg("listen", |arg| arg.default_value(crate::config::RELAY_LISTEN));
        let matches = command.try_get_matches_from(arguments)?;
        let Arguments { config, data_dir, .. } = Arguments::from_arg_matches(&matches)?;
        let flags = given::<Options>(&matches);
        Ok(RelayArguments { file: config, defaults: RelayDefaults { data_dir }, flags })
    }
}
