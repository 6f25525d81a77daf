//! The command line of `weir node`, and the settings that follow from it.
//!
//! It reads neither configuration file nor variables: the command line has all settings. The values of
//! single flags are parsed in [`flags`](super::flags).

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use weir::reactor::settings::{HostPattern, RouteSettings, Settings, SlowPolicy};
use weir::services::rpc::RpcSettings;
use weir::services::rpc::node::{
    BootPeers, INBOUND_PEERS_MAX, NodeSettings, POLL_INTERVAL_DEFAULT, RoleSettings,
};
use weir::upstream::UpstreamUrl;

use super::flags::{Chain, Role, Slow, block_time, chain, evm_chain_id, poll_interval, url};
use crate::config::{Count, OrOff, Origin, Span, socket_address};
use crate::logging::{LogFilter, LogFormat};

/// Outbound connections besides those to peers: a follower has one to its leader.
const OUTBOUND_MAX: usize = 8;
/// The chain id of a chain that only has a name.
const NAMED_CHAIN_ID: u64 = 0x849;
/// A client that does not read is closed within seconds, not minutes.
const GRACE: Duration = Duration::from_secs(2);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer, for a client that keeps sending: closing the socket earlier would reset it, and the
/// client would never read our Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

const AFTER_HELP: &str = "\
Methods, over WebSocket and HTTP POST:
  eth_chainId eth_blockNumber eth_getBlockByNumber eth_getBlockByHash eth_getTransactionByHash
  eth_getLogs eth_syncing eth_accounts eth_gasPrice eth_sendRawTransaction net_version
  net_listening web3_clientVersion rpc_modules
  eth_subscribe eth_unsubscribe   newHeads, logs, newPendingTransactions, syncing; leader only
  weir_mine [N]                   makes N blocks now: 1 (default) to 1000
  weir_emit [[LOG, ..]]           adds a transaction with these logs to the next block:
                                  {\"address\": .., \"topics\": [..], \"data\": \"0x..\"}
eth_sendRawTransaction accepts any bytes: their Keccak-256 is the hash, and nothing is executed.
A follower answers reads from its stored blocks and forwards other calls to its leader.

Nodes notify each other of new blocks over WebSockets between their P2P addresses, at the path /p2p.
Each side first sends
  {\"type\":\"hello\",\"chainId\":\"0x849\",\"chain\":NAME or null,\"node\":\"16 hex digits\"}
and then, for each new head,
  {\"type\":\"head\",\"number\":\"0x10\",\"hash\":\"0x..\"}
A notification makes a follower query its leader; nothing else in it is trusted. Without --boot-peers
a follower subscribes to its leader's newHeads instead.

Long flags may be written with one dash: -role leader.

Examples:
  weir node --data-dir leader
  weir node --role follower --follow-rpc http://127.0.0.1:8545 --data-dir follower \\
            --rpc-addr 127.0.0.1:8546 --health-addr 127.0.0.1:8082
  weir node -chain-id local-1 -data-dir leader -p2p-addr 127.0.0.1:30303
  weir node -chain-id local-1 -data-dir follower -follow-rpc http://127.0.0.1:8545 \\
            -p2p-addr 127.0.0.1:30304 -boot-peers 127.0.0.1:30303 \\
            -rpc-addr 127.0.0.1:8546 -health-addr 127.0.0.1:8082

Exit codes: 0 success, 1 failure, 2 invalid usage.
stdout has one line per listener; everything else is on stderr.";

/// A node of an embedded development chain: JSON-RPC over WebSocket and HTTP on one port.
#[derive(Debug, Clone, Parser)]
#[command(name = "weir node", bin_name = "weir node", after_help = AFTER_HELP)]
pub(crate) struct NodeOptions {
    /// Make blocks (leader), or follow a leader [default: follower with --follow-rpc, else leader]
    #[arg(long, value_enum)]
    role: Option<Role>,

    /// The leader's URL, for a follower: http://HOST:PORT/
    #[arg(long, value_name = "URL", required_if_eq("role", "follower"), value_parser = url)]
    follow_rpc: Option<UpstreamUrl>,

    /// Address and port for WebSocket and HTTP POST; port 0: chosen by the system
    #[arg(long, value_name = "ADDR", value_parser = socket_address, default_value_t = local(8545))]
    pub(super) rpc_addr: SocketAddr,

    /// Origins whose pages may connect and read answers, as in "https://example.org"; default:
    /// every page may connect, but none may read answers to HTTP POST
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    rpc_origins: Vec<Origin>,

    /// Hosts that requests may name, with any port, as in "node.example.org"; others are refused
    /// with 403; "*": all hosts [default: localhost,127.0.0.0/8,[::1] if --rpc-addr is loopback,
    /// else *]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    rpc_hosts: Option<Vec<HostPattern>>,

    /// Address and port for GET /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDR", value_parser = socket_address, default_value_t = local(8081))]
    pub(super) health_addr: SocketAddr,

    /// Address and port for peers, which connect to the path /p2p [default: none]
    #[arg(long, value_name = "ADDR", value_parser = socket_address)]
    pub(super) p2p_addr: Option<SocketAddr>,

    /// P2P addresses of peers to connect to, as HOST:PORT,HOST:PORT; they notify a follower of new
    /// blocks
    #[arg(long, value_name = "PEERS", default_value_t, hide_default_value = true)]
    pub(super) boot_peers: BootPeers,

    /// The chain: its id, decimal or 0x, or a name that starts with a letter
    #[arg(long, value_name = "CHAIN", default_value = "0x849", value_parser = chain)]
    chain_id: Chain,

    /// The chain's id if --chain-id is a name [default: 0x849]
    #[arg(long, value_name = "ID", value_parser = evm_chain_id)]
    evm_chain_id: Option<u64>,

    /// Interval between blocks; off: only on demand, by weir_mine
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = block_time)]
    block_time: OrOff<Span>,

    /// Interval at which a follower queries its leader for new blocks while no notifications arrive
    #[arg(long, value_name = "TIME", default_value_t = Span(POLL_INTERVAL_DEFAULT), value_parser = poll_interval)]
    poll_interval: Span,

    /// Directory for blocks; only one process may use it at a time
    #[arg(long, value_name = "DIR", default_value = "weir-node")]
    pub(super) data_dir: PathBuf,

    /// Maximum WebSockets; more are refused with 503
    #[arg(long, value_name = "COUNT", default_value_t = Count(RpcSettings::default().connections_max))]
    connections_max: Count<usize>,

    /// Restrict reads and refuse clients with 503 under load; without, the load is only measured
    #[arg(long, value_name = "BOOL", default_value_t = Settings::default().levels)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(action = clap::ArgAction::Set)]
    levels: bool,

    /// Maximum subscriptions; more are answered with -32005
    #[arg(long, value_name = "COUNT", default_value_t = Count(RpcSettings::default().subscriptions_max))]
    subscriptions_max: Count<usize>,

    /// Maximum subscriptions per connection; more are answered with -32005
    #[arg(long, value_name = "COUNT")]
    #[arg(default_value_t = Count(RpcSettings::default().subscriptions_per_connection_max))]
    subscriptions_per_connection_max: Count<usize>,

    /// Policy for subscribers that read too slowly
    #[arg(long, value_enum, default_value_t = Slow::Close)]
    slow: Slow,

    /// Time without messages after which a connection is closed with 1001; or off
    #[arg(long, value_name = "TIME", default_value = "off")]
    idle_timeout: OrOff<Span>,

    /// Deadline from a signal to the end of the process; remaining connections are dropped
    #[arg(long, value_name = "TIME", default_value = "30s")]
    drain_timeout: Span,

    /// Log level: error, warn, info, debug, trace or off; also per target, as in "warn,weir=debug".
    /// Libraries log only warnings and errors unless the filter names them, as in "debug,rustls=debug";
    /// ureq never logs more, because its lines contain the keys in upstream URLs
    #[arg(long, value_name = "LEVEL", default_value_t)]
    pub(super) log: LogFilter,

    /// Format of log lines on stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

/// Adds a second dash to a long flag with one dash, as in `-role leader`. One-letter flags are
/// unchanged.
fn with_two_dashes(argument: OsString) -> OsString {
    let is_long = argument.to_str().and_then(|text| text.strip_prefix('-')).is_some_and(|flag| {
        flag.len() > 1 && flag.starts_with(|first: char| first.is_ascii_lowercase())
    });
    if !is_long {
        return argument;
    }
    let mut flag = OsString::from("-");
    flag.push(argument);
    flag
}

impl NodeOptions {
    /// Parses `arguments`; the first one is the program's name.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<NodeOptions, clap::Error> {
        let options = NodeOptions::try_parse_from(arguments.into_iter().map(with_two_dashes))?;
        let conflict = |text| NodeOptions::command().error(ErrorKind::ArgumentConflict, text);
        if options.role == Some(Role::Leader) && options.follow_rpc.is_some() {
            return Err(conflict("--follow-rpc is for followers, not for --role leader"));
        }
        match (&options.chain_id, options.evm_chain_id) {
            (Chain::Id(id), Some(evm_id)) if *id != evm_id => {
                Err(conflict("--chain-id and --evm-chain-id must not differ"))
            }
            _ => Ok(options),
        }
    }

    /// The chain's number.
    fn chain_number(&self) -> u64 {
        match self.chain_id {
            Chain::Id(id) => id,
            Chain::Name(_) => self.evm_chain_id.unwrap_or(NAMED_CHAIN_ID),
        }
    }

    /// The chain's name, if it has one.
    pub(super) fn chain_name(&self) -> Option<String> {
        match &self.chain_id {
            Chain::Id(_) => None,
            Chain::Name(name) => Some(name.clone()),
        }
    }

    pub(super) fn has_peers(&self) -> bool {
        self.p2p_addr.is_some() || !self.boot_peers.0.is_empty()
    }

    pub(super) fn rpc(&self) -> RpcSettings {
        RpcSettings::default()
            .connections_max(self.connections_max.0)
            .subscriptions_max(self.subscriptions_max.0)
            .subscriptions_per_connection_max(self.subscriptions_per_connection_max.0)
    }

    /// Hosts that requests may name. A request to a loopback address under any other name comes
    /// from a page that uses DNS rebinding.
    fn hosts(&self) -> Vec<HostPattern> {
        match &self.rpc_hosts {
            Some(hosts) => hosts.clone(),
            None if self.rpc_addr.ip().to_canonical().is_loopback() => HostPattern::loopback(),
            None => Vec::new(),
        }
    }

    pub(super) fn route(&self) -> RouteSettings {
        self.rpc().fit(
            RouteSettings::default()
                .outbox_grace(GRACE)
                .write_timeout(WRITE_TIMEOUT)
                .idle_timeout(self.idle_timeout.duration())
                .origins(self.rpc_origins.iter().map(|origin| origin.0.clone()).collect())
                .hosts(self.hosts())
                // Followers, gateways and tools send no Origin.
                .require_origin(false)
                .slow_policy(match self.slow {
                    Slow::Close => SlowPolicy::Close,
                    Slow::Drop => SlowPolicy::Drop,
                }),
        )
    }

    pub(super) fn settings(&self) -> Settings {
        let rpc = self.rpc();
        let inbound_peers = if self.has_peers() { INBOUND_PEERS_MAX } else { 0 };
        Settings::default()
            // HTTP clients have room besides the WebSockets.
            .connections_max(
                rpc.connections_max.saturating_add(rpc.connections_max / 8 + 64 + inbound_peers),
            )
            .outbound_max(OUTBOUND_MAX + self.boot_peers.0.len())
            // Every subscription is a topic, or shares one.
            .topics_max(Settings::default().topics_max.max(rpc.subscriptions_max))
            .topics_per_connection_max(rpc.subscriptions_per_connection_max)
            .levels(self.levels)
            .close_timeout(CLOSE_TIMEOUT)
            .drain_timeout(self.drain_timeout.0)
    }

    pub(super) fn node(&self) -> NodeSettings {
        let role = match &self.follow_rpc {
            Some(url) => {
                RoleSettings::Follower { url: url.clone(), poll_interval: self.poll_interval.0 }
            }
            None => {
                RoleSettings::Leader { block_time: self.block_time.0.as_ref().map(|span| span.0) }
            }
        };
        NodeSettings::new(self.chain_number(), self.data_dir.clone(), role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<NodeOptions, clap::Error> {
        NodeOptions::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_default_flags_are_consistent() {
        NodeOptions::command().debug_assert();
        let options = parse("node").unwrap();
        assert_eq!(options.node().chain_id, 0x849);
        assert_eq!(options.route().check(), Ok(()));
        assert_eq!(options.settings().check(), Ok(()));
    }

    #[test]
    fn a_follower_needs_a_leader() {
        assert_eq!(parse("node --role follower").unwrap_err().exit_code(), 2);
        let follower = parse("node --role follower --follow-rpc http://127.0.0.1:8545").unwrap();
        assert!(matches!(follower.node().role, RoleSettings::Follower { .. }));
        for url in ["ws://a", "http://", "http:///x", "http://u:p@a", "a:1"] {
            assert!(parse(&format!("node --follow-rpc {url}")).is_err(), "{url}");
        }
    }

    #[test]
    fn chain_ids_and_block_times_are_parsed() {
        assert_eq!(parse("node --chain-id 7").unwrap().chain_number(), 7);
        assert_eq!(parse("node --chain-id 0x7b").unwrap().chain_number(), 123);
        for id in ["0", "0x", "0x0", "-1", "_x", "a b", "ü"] {
            assert!(parse(&format!("node --chain-id={id}")).is_err(), "{id}");
        }
        for line in ["--chain-id 18446744073709551616", "--evm-chain-id 0x10000000000000000"] {
            let error = parse(&format!("node {line}")).unwrap_err().to_string();
            assert!(error.contains("from 1 to 18446744073709551615"), "{error}");
        }
        let block_time = |line: &str| match parse(line).unwrap().node().role {
            RoleSettings::Leader { block_time } => block_time,
            RoleSettings::Follower { .. } => None,
        };
        assert_eq!(block_time("node"), Some(Duration::from_secs(1)));
        assert_eq!(block_time("node --block-time 50ms"), Some(Duration::from_millis(50)));
        assert_eq!(block_time("node --block-time off"), None);
        assert!(parse("node --block-time 0s").is_err());
    }

    #[test]
    fn long_flags_may_have_one_dash() {
        let line = "node -chain-id local-2-1 -data-dir ./d -role leader -p2p-addr 127.0.0.1:30303 \
                    -rpc-addr 127.0.0.1:8545 -health-addr 127.0.0.1:8081 -boot-peers 127.0.0.1:30304";
        let leader = parse(line).unwrap();
        assert_eq!(leader.p2p_addr, Some(local(30303)));
        assert_eq!(leader.boot_peers.to_string(), "127.0.0.1:30304");
        assert!(matches!(leader.node().role, RoleSettings::Leader { .. }));
        assert_eq!(parse("node -h").unwrap_err().exit_code(), 0);
        assert_eq!(parse("node -block-time=off").unwrap().block_time.0, None);
        assert_eq!(parse("node -chain-idd 7").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_chain_name_has_the_default_id_unless_one_is_given() {
        let named = parse("node -chain-id local-2-1").unwrap();
        assert_eq!(named.chain_number(), 0x849);
        assert_eq!(named.chain_name().as_deref(), Some("local-2-1"));
        let numbered = parse("node --chain-id local --evm-chain-id 7").unwrap();
        assert_eq!(numbered.chain_number(), 7);
        assert!(parse("node --chain-id 7 --evm-chain-id 0x7").is_ok());
        assert!(parse("node --chain-id 7 --evm-chain-id 8").is_err());
        assert!(parse("node --chain-id local --evm-chain-id other").is_err());
    }

    #[test]
    fn follow_rpc_makes_a_follower() {
        let follower = parse("node -follow-rpc http://127.0.0.1:8545").unwrap();
        assert!(matches!(follower.node().role, RoleSettings::Follower { .. }));
        assert!(parse("node -role leader -follow-rpc http://127.0.0.1:8545").is_err());
        assert!(parse("node --poll-interval 0s").is_err());
    }
}
