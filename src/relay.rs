//! `weir relay`: a Nostr relay, served without a configuration file, and the commands on its store.
//!
//! Serving only parses arguments here: it is `weir serve` with a relay, a route to it and a listener as
//! defaults.

mod commands;
mod import;
mod opening;
mod sync;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

pub(crate) use self::commands::RelayCommand;
pub(crate) use self::opening::CommandError;
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

Exit codes: 0 success, 1 failure at run time, 2 invalid usage or configuration.
stdout has one line per listener; everything else is on stderr.";

/// A Nostr relay.
#[derive(Debug, Parser)]
#[command(name = "weir relay", bin_name = "weir relay", version = VERSION_AND_COMMIT)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<RelayCommand>,

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
    /// `None`: serve.
    pub(crate) command: Option<RelayCommand>,
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
        let parser = Arguments::command()
            .mut_arg("listen", |arg| arg.default_value(crate::config::RELAY_LISTEN));
        let matches = parser.try_get_matches_from(command_first(arguments))?;
        let Arguments { command, config, data_dir, .. } = Arguments::from_arg_matches(&matches)?;
        let flags = given::<Options>(&matches);
        let defaults = RelayDefaults { data_dir };
        Ok(RelayArguments { command, file: config, defaults, flags })
    }
}

/// Options that commands have, too: they may stand before the command.
const SHARED: [&str; 2] = ["--config", "--data-dir"];

/// Moves a command before the options that it shares with `weir relay`, as in
/// `weir relay --data-dir DIR export`.
fn command_first(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(option) = arguments.get(at).and_then(|word| word.to_str()) {
        let (name, has_value) = match option.split_once('=') {
            Some((name, _)) => (name, true),
            None => (option, false),
        };
        if !SHARED.contains(&name) {
            break;
        }
        at += if has_value { 1 } else { 2 };
    }
    let parser = Arguments::command();
    let is_command = |word: &OsString| parser.get_subcommands().any(|it| word == it.get_name());
    if arguments.get(at).is_some_and(is_command) {
        let command = arguments.remove(at);
        arguments.insert(1, command);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<RelayArguments, clap::Error> {
        RelayArguments::parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn the_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn directory_and_file_may_stand_before_the_command() {
        for line in [
            "weir export --data-dir a --config b --reverse",
            "weir --data-dir a export --config b --reverse",
            "weir --data-dir=a --config b export --reverse",
            "weir --config=b --data-dir a export --reverse",
        ] {
            let command = format!("{:?}", parse(line).unwrap().command.unwrap());
            let has = |text: &str| command.contains(text);
            assert!(has(r#"data_dir: Some("a")"#) && has(r#"config: Some("b")"#), "{command}");
        }
        let serve = parse("weir --data-dir export --config b").unwrap();
        assert!(serve.command.is_none() && serve.defaults.data_dir == Some("export".into()));
    }

    #[test]
    fn a_command_has_its_own_flags() {
        assert!(parse("weir --listen 127.0.0.1:1").unwrap().command.is_none());
        let export = parse("weir export --data-dir a --reverse").unwrap().command;
        assert!(matches!(export, Some(RelayCommand::Export(_))), "{export:?}");
        for line in [
            "weir --listen 127.0.0.1:1 export",
            "weir --data-dir a --config b exprot",
            "weir export --listen 127.0.0.1:1",
            "weir export --filter {}}",
            r#"weir export --filter {"search":"x"}"#,
            "weir delete",
            r#"weir delete --filter {"limit":1}"#,
            "weir delete --age 90",
            "weir exprot",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
