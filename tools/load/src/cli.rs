//! The command line: a command for each scenario, and the options that all scenarios share.
//!
//! Parses and checks arguments; an invalid one is clap's error, with exit code 2.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::common::Common;
use crate::impolite::Impolite;
use crate::mix::Mix;
use crate::nostr::args::Nostr;
use crate::parts::{FANOUT_BYTES_MIN, Methods};
use crate::speed::Speed;
use crate::values::{count, positive, share};

const AFTER_HELP: &str = "\
A URL may end in the server's process id, ws://127.0.0.1:9001/=4242: then CPU time, memory, descriptors
and context switches of that process are sampled, and every table has its CPU time per message.
SIZE is a number of bytes (20, 4KiB), a range (16..1KiB) or a mix (20:0.8,1KiB:0.2).

Latency starts when a message was due (rate, churn, fanout --rate) or at the turn of the client's loop
that sent it (echo, slow), and ends at the turn that reads the answer. The clock is read once per turn,
at its start, so that latency includes the client's own work.

Messages are counted from the end of the warm-up until the last answer: received exceeds sent by the
messages that were in flight when the warm-up ended.

Examples:
  weir-load echo ws://127.0.0.1:9001/ --connections 200 --size 20 --pid 4242
  weir-load rate ws://127.0.0.1:9001/ --rate 20000 --assert 'p99<1ms' --max-errors 0
  weir-load rate ws://127.0.0.1:9001/ --rate 70% --assert 'p999<5ms'
  weir-load connect ws://127.0.0.1:9001/=4242 --connections 10000 --ramp 2000 --duration 1m
  weir-load fanout ws://127.0.0.1:9001/ --connections 1000 --size 64
  weir-load compare echo ws://127.0.0.1:9001/=4242 ws://127.0.0.1:9002/=4243 --rounds 7
  weir-load churn wss://localhost:9443/ --ca ca.pem --rate 200
  weir-load churn ws://127.0.0.1:9001/=4242 --reconnect --connections 1000 --duration 1m
  weir-load rpc ws://127.0.0.1:8545/=4242 --methods chain_id:8,block --depth 16 --bursts
  weir-load rpc ws://127.0.0.1:8545/ --no-calls --subscribers 1000 --heads 5
  weir-load nostr publish ws://127.0.0.1:7777/=4242 --connections 20 --size 150 --count 50000
  weir-load nostr request ws://127.0.0.1:7777/=4242 --by author-kind --limit 20
  weir-load nostr live ws://127.0.0.1:7777/=4242 --connections 1000 --matching 0.01 --rate 50
  weir-load impolite ws://127.0.0.1:9001/

A run is INVALID, and has no rate, if no connection opened, if more than 1 % of the answers were
wrong, if more than 1 % of the connections were lost, or if the server's process ended.

Exit codes: 0 success, 1 an assertion does not hold or the run failed, 2 invalid usage, 3 INVALID run.
Results are on stdout, everything else is on stderr.";

/// Loads a WebSocket server and measures it.
#[derive(Debug, Parser)]
#[command(name = "weir-load", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Load(Box<Scenario>),
    /// Compare several servers: alternating rounds of one scenario (default: echo), and ratios
    #[command(args_conflicts_with_subcommands = true)]
    Compare(Box<Compare>),
    /// Clients that violate the protocol or the limits, and the server's reaction to each
    Impolite(Box<Impolite>),
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,
    #[command(flatten)]
    pub(crate) echo: Common,
}

/// A scenario with its options.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Scenario {
    /// Closed loop: each connection sends its next message after the echo of the last
    Echo(EchoArgs),
    /// Open loop: messages at a fixed rate; latency counts from the time each was due
    Rate(RateArgs),
    /// Open connections at a given rate and hold them
    Connect(ConnectArgs),
    /// Publishers to subscribers: deliveries, losses, duplicates
    Fanout(FanoutArgs),
    /// Connections that open and close continuously; or that reconnect whenever the server ends them
    Churn(ChurnArgs),
    /// Some clients stop reading; the others are measured
    Slow(SlowArgs),
    /// All of these at once, with bursts and varied sizes
    Mixed(MixedArgs),
    /// JSON-RPC: calls in a closed loop, and subscribers to new heads
    Rpc(RpcArgs),
    /// A Nostr relay: events, requests, live subscriptions
    #[command(subcommand)]
    Nostr(Nostr),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RateArgs {
    /// Messages per second on all connections together; or a percentage, as in 70%, of the rate of
    /// a closed loop (echo) that is measured first
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(crate) rate: Speed,
    /// Messages that are due at the same time [default: those of 100 us, so that the client need
    /// not wake up for each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) burst: Option<u64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArgs {
    /// Connections per second [default: as fast as possible, 100 handshakes at a time]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) ramp: Option<f64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutArgs {
    /// Connections that publish, in addition to the subscribers (--connections)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) publishers: usize,
    /// Rooms for publishers and subscribers; {room} in the path is replaced by the room's number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) rooms: usize,
    /// Messages per second of all publishers together [default: closed loop]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    /// Connections opened per second
    #[arg(long, value_name = "N", default_value = "100", value_parser = positive)]
    pub(crate) rate: f64,
    /// Share of connections that end without a Close
    #[arg(long, value_name = "SHARE", default_value = "0.2", value_parser = share)]
    pub(crate) abrupt: f64,
    /// Hold all connections instead, and reconnect those that the server ends, as a client should:
    /// exponential backoff with full jitter, up to 1 s after 1012, 2 s to 1m after other ends and
    /// failures, from 2 s again once a connection was open for 1m. Restart the server, or end its
    /// upstream, during the measurement: the report says how long it took until all were back
    #[arg(long, conflicts_with_all = ["rate", "abrupt"])]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SlowArgs {
    /// Share of connections that stop reading
    #[arg(long, value_name = "SHARE", default_value = "0.1", value_parser = share)]
    pub(crate) share: f64,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct MixedArgs {
    /// Scenarios and their shares of the connections
    #[arg(
        long,
        value_name = "MIX",
        default_value = "echo:0.4,rate:0.3,fanout:0.1,churn:0.1,slow:0.1"
    )]
    pub(crate) mix: Mix,
    /// Messages per second of the "rate" part
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive)]
    pub(crate) rate: f64,
    /// Messages of the "rate" part that are due at the same time
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) burst: u64,
    /// Connections per second of the "churn" part
    #[arg(long, value_name = "N", default_value = "50", value_parser = positive)]
    pub(crate) churn: f64,
    /// Path of the "fanout" part
    #[arg(long, value_name = "PATH", default_value = ROOMS_PATH)]
    pub(crate) fanout_path: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RpcArgs {
    /// Methods to call, with weights: chain_id, block_number, gas_price, block, logs
    #[arg(long, value_name = "METHODS", default_value = "chain_id")]
    pub(crate) methods: Methods,
    /// Calls per message; more than one make a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) batch: usize,
    /// Send the next messages (--depth) after all previous ones are answered, instead of one by one
    #[arg(long)]
    pub(crate) bursts: bool,
    /// Additional connections that subscribe to newHeads
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) subscribers: usize,
    /// Blocks per second that weir_mine makes [default: the server makes its own]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) heads: Option<f64>,
    /// Additional subscribers that stop reading until the end, so that the server's queues fill
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) non_readers: usize,
    /// No calls, only subscribers
    #[arg(long)]
    pub(crate) no_calls: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// The default path of a fan-out.
pub(crate) const ROOMS_PATH: &str = "/rooms/load-{room}";

impl Scenario {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Scenario::Echo(_) => "echo",
            Scenario::Rate(_) => "rate",
            Scenario::Connect(_) => "connect",
            Scenario::Fanout(_) => "fanout",
            Scenario::Churn(_) => "churn",
            Scenario::Slow(_) => "slow",
            Scenario::Mixed(_) => "mixed",
            Scenario::Rpc(_) => "rpc",
            Scenario::Nostr(nostr) => nostr.name(),
        }
    }

    pub(crate) fn common(&self) -> &Common {
        match self {
            Scenario::Echo(args) => &args.common,
            Scenario::Rate(args) => &args.common,
            Scenario::Connect(args) => &args.common,
            Scenario::Fanout(args) => &args.common,
            Scenario::Churn(args) => &args.common,
            Scenario::Slow(args) => &args.common,
            Scenario::Mixed(args) => &args.common,
            Scenario::Rpc(args) => &args.common,
            Scenario::Nostr(nostr) => nostr.common(),
        }
    }

    /// Checks combinations of options.
    fn check(&self) -> Result<(), String> {
        let common = self.common();
        let (urls, pids) = (common.urls.len(), common.pid.len());
        if urls == 0 {
            return Err("expected a URL such as ws://127.0.0.1:9001/".to_owned());
        }
        if pids > 0 && pids != urls {
            return Err(format!("--pid is given {pids} times for {urls} URLs"));
        }
        let is_fanout = match self {
            Scenario::Fanout(_) => true,
            Scenario::Mixed(args) => args.mix.has_fanout(),
            _ => false,
        };
        if is_fanout && common.size.min() < FANOUT_BYTES_MIN {
            return Err(format!("messages of a fan-out need at least {FANOUT_BYTES_MIN} bytes"));
        }
        if let Scenario::Fanout(FanoutArgs { publishers, rooms, .. }) = self
            && publishers < rooms
        {
            return Err("each room needs a publisher".to_owned());
        }
        if let Scenario::Nostr(nostr) = self {
            nostr.check()?;
        }
        if let Scenario::Rpc(RpcArgs { no_calls: true, subscribers: 0, .. }) = self {
            return Err("--no-calls needs --subscribers".to_owned());
        }
        Ok(())
    }
}

impl Cli {
    /// Parses `arguments`; the first one is the program's name.
    pub(crate) fn parse_from_args(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Cli, clap::Error> {
        let cli = Cli::try_parse_from(arguments)?;
        let checked = cli.scenario().map_or(Ok(()), |scenario| scenario.check());
        let refuse = |why| Cli::command().error(ErrorKind::ValueValidation, why);
        checked.map_err(refuse)?;
        Ok(cli)
    }

    /// The scenario to run; `None` for [`Impolite`].
    pub(crate) fn scenario(&self) -> Option<Scenario> {
        match &self.command {
            Command::Load(scenario) => Some(Scenario::clone(scenario)),
            Command::Compare(compare) => Some(compare.scenario()),
            Command::Impolite(_) => None,
        }
    }
}

impl RateArgs {
    /// The closed loop that measures the capacity for a percentage.
    pub(crate) fn closed_loop(&self) -> Scenario {
        Scenario::Echo(EchoArgs { common: self.common.clone() })
    }

    /// The same load at a known rate.
    pub(crate) fn at(&self, per_second: f64) -> Scenario {
        Scenario::Rate(RateArgs { rate: Speed::PerSecond(per_second), ..self.clone() })
    }
}

impl Compare {
    fn scenario(&self) -> Scenario {
        let echo = || Scenario::Echo(EchoArgs { common: self.echo.clone() });
        self.scenario.clone().unwrap_or_else(echo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::parse_from_args(format!("weir-load {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn compare_runs_echo_by_default() {
        let scenario = |line| parse(line).unwrap().scenario().unwrap();
        let echo = scenario("compare ws://a:1 ws://b:2=7 --size 20 --rounds 3");
        assert_eq!((echo.name(), echo.common().urls.len()), ("echo", 2));
        assert_eq!(echo.common().rounds, Some(3));
        let fanout = scenario("compare fanout ws://a:1 ws://b:2 --publishers 2");
        assert_eq!((fanout.name(), fanout.common().urls.len()), ("fanout", 2));
        let request = scenario("compare nostr request ws://a:1 ws://b:2 --limit 20");
        assert_eq!((request.name(), request.common().urls.len()), ("nostr request", 2));
    }

    #[test]
    fn invalid_options_are_rejected() {
        for line in [
            "",
            "echo",
            "echo http://a",
            "echo ws://a --text --binary",
            "echo ws://a --connections 0",
            "echo ws://a ws://b --pid 1",
            "echo ws://a --duration soon",
            "rate ws://a --rate 0",
            "rate ws://a --rate 0%",
            "slow ws://a --share 1.5",
            "fanout ws://a --size 15",
            "fanout ws://a --rooms 2",
            "mixed ws://a --mix echo:1,tea:1",
            "churn ws://a --reconnect --rate 5",
            "churn ws://a --reconnect --abrupt 0",
            "nostr",
            "nostr ws://a",
            "nostr publish ws://a --duplicates 2",
            "nostr publish ws://a --kind 65536",
            "nostr publish ws://a --count 0",
            "nostr publish ws://a -c 5 --depth 2 --count 10 --duplicates 1",
            "nostr request ws://a --by nothing",
            "nostr request ws://a --filters f --limit 1",
            "nostr live ws://a --publishers 0",
            "compare",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_of_every_scenario_lists_the_common_options() {
        for name in ["echo", "rate", "connect", "fanout", "churn", "slow", "mixed", "impolite"] {
            let error = parse(&format!("{name} --help")).unwrap_err();
            assert_eq!(error.exit_code(), 0);
            assert!(error.to_string().contains("--path"), "{name}");
        }
    }
}
