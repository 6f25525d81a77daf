//! The command line: the command, the configuration file, and a flag for every setting.
//!
//! Only parses arguments. Invalid ones are clap's error, with message and exit code 2; `--help` and
//! `--version` are errors with exit code 0. Combinations of values are checked elsewhere.

mod advice;

use std::ffi::OsString;
use std::path::PathBuf;

use self::advice::{advise, advise_on_node};
use crate::audit::AuditArguments;
use crate::config::{Layer, Options, given, redacted};
use crate::help;
use crate::nearest::nearest;
use crate::node::NodeOptions;
use crate::relay::RelayArguments;
use crate::version::VERSION_AND_COMMIT;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};

const USAGE: &str = "weir [serve] [OPTIONS]
       weir check [OPTIONS]
       weir node [OPTIONS]   (see weir node --help)
       weir relay [OPTIONS]  (see weir relay --help)
       weir audit --key FILE LOG...  (see weir audit --help)
       weir help [TOPIC]";

const AFTER_HELP: &str = "\
Every setting has one name: as a flag (--message-max), an environment variable (WEIR_MESSAGE_MAX) and
a key in the file (message_max). Flags override variables, variables override the file, and the file
overrides the defaults. Relative paths in the file start at its directory. A TIME or RATE whose
default is off can be set to off.

SIZE   bytes, or with a unit: 65536, \"64 KiB\", 1MB
TIME   with a unit: 250ms, 10s, \"1m 30s\"
RATE   \"10/s\", \"100/min\", \"10/s burst 50\"
CIDR   10.0.0.0/8, 2001:db8::/32, or a single address
PERCENT 85%
Lists (ADDR, CIDR, ORIGIN): repeat the flag, or separate the values by commas.

Routes are set in the file. The default is an echo at / and rooms at /rooms/{name}:
  [[route]]
  path = \"/chat/{name}\"
  service = \"rooms\"          # or \"echo\", \"proxy\", \"nostr\"
  page = false               # whether GET returns the demo page
  message_max = \"16 KiB\"     # any setting of routes or, here, of rooms

Networks are also set in the file, each a gateway at /{project}/evm/{chain_id}. With a network and no
route, there is no other path:
  [[network]]
  project = \"main\"
  chain_id = 1
  upstreams = [\"ws://10.0.0.1:8546\", \"https://node.example/key\"]   # tried in this order

A route with service = \"proxy\" forwards to the upstreams of a pool (weir help proxy):
  [[pool]]
  name = \"nodes\"
  upstreams = [\"http://10.0.0.1:9944\", \"http://10.0.0.2:9944\"]   # tried in this order

Examples:
  weir                                           serve on 127.0.0.1:9001
  weir --listen 0.0.0.0:80 --listen '[::]:80'    serve on two addresses
  weir check --config weir.toml                  validate, and print the effective configuration
  weir check --config weir.toml --connect        also connect to the upstreams of pools
  WEIR_LOG=weir=debug weir --config weir.toml

Exit codes: 0 success, 1 failure at run time, 2 invalid usage or configuration.
stdout has one line per listener; everything else is on stderr.";

/// A WebSocket server for one core.
#[derive(Debug, Parser)]
#[command(name = "weir", version = VERSION_AND_COMMIT, override_usage = USAGE)]
#[command(after_help = format!("{AFTER_HELP}\n\n{}", help::topic_list()))]
struct Arguments {
    /// The command
    #[arg(value_enum, default_value_t = Command::Serve)]
    command: Command,

    /// TOML file with settings and routes; also WEIR_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// With weir check: connect to each upstream of each [[pool]] once; exit code 1 if a pool has
    /// none that can be reached
    #[arg(long)]
    connect: bool,

    #[command(flatten)]
    options: Options,
}

/// The task that the command line requests.
#[derive(Debug)]
pub(crate) enum Task {
    /// A command that needs a configuration.
    Configured(Cli),
    /// A node of the development chain. Its flags are its whole configuration.
    Node(Box<NodeOptions>),
    /// A Nostr relay, or a command on its events.
    Relay(Box<RelayArguments>),
    /// Check an audit log.
    Audit(AuditArguments),
    /// Print this page of the guide.
    Help(&'static str),
}

impl Task {
    /// Parses `arguments`; the first one is the program's name.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Task, clap::Error> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        if arguments.get(1).is_some_and(|word| word == "help") {
            let topic = arguments.get(2).map(|word| word.to_string_lossy().into_owned());
            arguments.truncate(1);
            match topic.as_deref() {
                Some(command @ ("audit" | "node")) => arguments.push(command.into()),
                Some(name) => {
                    if let Some(page) = page(name)? {
                        return Ok(Task::Help(page));
                    }
                }
                None => {}
            }
            arguments.push("--help".into());
        }
        if arguments.get(1).is_some_and(|word| word == "node") {
            arguments.remove(1);
            let options = NodeOptions::parse(arguments).map_err(redact).map_err(advise_on_node)?;
            return Ok(Task::Node(Box::new(options)));
        }
        if arguments.get(1).is_some_and(|word| word == "relay") {
            arguments.remove(1);
            let parsed = RelayArguments::parse(arguments).map_err(redact).map_err(advise)?;
            return Ok(Task::Relay(Box::new(parsed)));
        }
        if arguments.get(1).is_some_and(|word| word == "audit") {
            arguments.remove(1);
            return AuditArguments::parse(arguments).map(Task::Audit);
        }
        Cli::parse(arguments).map(Task::Configured).map_err(redact).map_err(advise)
    }
}

/// The guide's page on this topic. `None` for the name of a command or a flag, which have the
/// general help.
fn page(name: &str) -> Result<Option<&'static str>, clap::Error> {
    let page = help::page(name);
    let is_command = ["help", "serve", "check"].contains(&name) || name.starts_with('-');
    if page.is_some() || is_command {
        return Ok(page);
    }
    let known = help::topics().chain(["audit", "node"]);
    let hint = nearest(name, known).map(|near| format!(": a similar one is '{near}'"));
    let text = format!("no help topic '{name}'{}", hint.unwrap_or_default());
    Err(Arguments::command().error(ErrorKind::InvalidValue, text))
}

/// Removes the path of a URL from an error: it may contain a key.
fn redact(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue] {
        let is_of_url = |arg: &ContextValue| arg.to_string().starts_with("--follow-rpc");
        let is_url = error.get(ContextKind::InvalidArg).is_some_and(is_of_url);
        if let Some(ContextValue::String(text)) = error.get(kind)
            && (is_url && kind == ContextKind::InvalidValue || text.contains("://"))
        {
            let text = redacted(text);
            error.insert(kind, ContextValue::String(text));
        }
    }
    error
}

/// The command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Command {
    /// Serve until a signal stops the process
    Serve,
    /// Validate the configuration and print the effective one
    Check,
}

/// The parsed command line.
#[derive(Debug)]
pub(crate) struct Cli {
    pub(crate) command: Command,
    /// The value of `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Whether to connect to the upstreams of pools.
    pub(crate) connect: bool,
    /// The settings from flags.
    pub(crate) flags: Layer,
}

impl Cli {
    /// Parses `arguments`; the first one is the program's name.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let matches = Arguments::command().try_get_matches_from(arguments)?;
        let Arguments { command, config, connect, .. } = Arguments::from_arg_matches(&matches)?;
        if connect && command != Command::Check {
            let text = "--connect belongs to weir check: weir check --connect";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        Ok(Cli { command, file: config, connect, flags: given::<Options>(&matches) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_node_has_its_own_flags() {
        let task = |line: &str| Task::parse(line.split_whitespace().map(OsString::from));
        assert!(matches!(task("weir node --role leader"), Ok(Task::Node(_))));
        assert!(matches!(task("weir check"), Ok(Task::Configured(_))));
        let help = task("weir node --help").unwrap_err();
        assert_eq!(help.exit_code(), 0);
        assert!(
            help.to_string().contains("weir node") && help.to_string().contains("--follow-rpc")
        );
        assert_eq!(task("weir node --message-max 1MB").unwrap_err().exit_code(), 2);
        assert_eq!(task("weir --log info node").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn keys_in_urls_are_redacted_in_errors() {
        for line in [
            "weir node --follow-rpc ftp://a.example/KEY",
            "weir node --follow-rpc=http:/a/KEY",
            "weir node --follow-rpc http://u:KEY@a/",
            "weir node --rpc-addr http://a.example/KEY",
            "weir node http://a.example/KEY",
            "weir wss://a.example/KEY",
            "weir --listen wss://a.example/KEY",
            "weir check --connections-max=wss://a.example/KEY",
        ] {
            let task = Task::parse(line.split_whitespace().map(OsString::from));
            let error = task.unwrap_err().to_string();
            assert!(error.contains("..'") && !error.contains("KEY"), "{error}");
            assert!(!error.contains("--config"), "a URL is not a file: {error}");
        }
    }

    #[test]
    fn help_is_a_command_and_a_flag() {
        let help = |line: &str| {
            let error = Task::parse(line.split_whitespace().map(OsString::from)).unwrap_err();
            assert_eq!(error.exit_code(), 0, "{line}");
            error.to_string()
        };
        assert_eq!(help("weir help"), help("weir --help"));
        assert_eq!(help("weir help node"), help("weir node --help"));
        assert_eq!(help("weir help check"), help("weir --help"));
        assert_eq!(help("weir help help"), help("weir --help"));
    }

    #[test]
    fn help_prints_and_lists_the_pages_of_the_guide() {
        let task = |line: &str| Task::parse(line.split_whitespace().map(OsString::from));
        let usual = task("weir help").unwrap_err().to_string();
        for topic in help::topics() {
            let task = task(&format!("weir help {topic}"));
            assert!(
                matches!(task, Ok(Task::Help(page)) if Some(page) == help::page(topic)),
                "{topic}"
            );
            assert!(usual.contains(&format!("\n  {topic} ")), "{topic}");
        }
        let unknown = task("weir help limit").unwrap_err();
        assert_eq!(unknown.exit_code(), 2);
        assert!(unknown.to_string().contains("'limits'"), "{unknown}");
    }

    #[test]
    fn serve_is_the_default_command() {
        assert_eq!(parse("weir").unwrap().command, Command::Serve);
        assert_eq!(parse("weir serve").unwrap().command, Command::Serve);
        assert_eq!(parse("weir check").unwrap().command, Command::Check);
        assert_eq!(parse("weir chek").unwrap_err().exit_code(), 2);
        for line in ["weir serve --log debug", "weir --log debug serve", "weir --log debug"] {
            assert_eq!(parse(line).unwrap().flags["log"].values, ["debug"]);
        }
    }

    #[test]
    fn only_flags_on_the_command_line_are_parsed() {
        let cli = parse("weir --config a.toml --listen [::1]:1 --listen 127.0.0.1:2,127.0.0.1:3")
            .unwrap();
        assert_eq!(cli.file, Some(PathBuf::from("a.toml")));
        assert_eq!(cli.flags.len(), 1);
        assert_eq!(cli.flags["listen"].values, ["[::1]:1", "127.0.0.1:2", "127.0.0.1:3"]);
        assert_eq!(parse("weir --reuse-port").unwrap().flags["reuse_port"].values, ["true"]);
        assert_eq!(
            parse("weir --reuse-port=false check").unwrap().flags["reuse_port"].values,
            ["false"]
        );
    }

    #[test]
    fn errors_name_the_flag() {
        let error = |line| parse(line).unwrap_err();
        assert_eq!(error("weir --message-max lots").exit_code(), 2);
        let text = error("weir --message-max lots").to_string();
        assert!(text.contains("'--message-max <SIZE>'") && text.contains("64 KiB"), "{text}");
        assert!(error("weir --mesage-max 1MB").to_string().contains("'--message-max'"));
        assert!(error("weir --slow dorp").to_string().contains("'drop'"));
        assert!(error("weir --write-timeout 10").to_string().contains("as in \"10s\""));
        assert_eq!(error("weir --help").exit_code(), 0);
        assert_eq!(error("weir --version").exit_code(), 0);
    }

    #[test]
    fn help_describes_every_flag() {
        let help = parse("weir --help").unwrap_err().to_string();
        for arg in Arguments::command().get_opts() {
            let flag = format!("--{}", arg.get_long().unwrap());
            assert!(help.contains(&flag), "{flag}");
            assert!(arg.get_help().is_some_and(|text| !text.to_string().is_empty()), "{flag}");
        }
        for part in [
            "A WebSocket server for one core",
            "[default: \"1 MiB\"]",
            "[default: 127.0.0.1:9001]",
            "Examples:",
            "Exit codes",
        ] {
            assert!(help.contains(part), "{part}");
        }
    }
}
