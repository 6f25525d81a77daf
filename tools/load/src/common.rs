//! What every scenario can be told: whom to load, how long, with what, and what to print.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::assertion::Assertion;
use crate::payload::Kind;
use crate::size::Sizes;
use crate::source::Sources;
use crate::target::Target;
use crate::values::{count, duration, header};

/// What every scenario can be told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Server, as in ws://HOST:PORT/PATH or wss://HOST:PORT/PATH=PID; several: as with compare
    // Checked by hand: clap would ask for it beside the scenario of a comparison, too.
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<Target>,
    /// Connections, at once
    #[arg(long, short = 'c', value_name = "N", default_value_t = 100, value_parser = count)]
    pub(crate) connections: usize,
    /// Further connections, which are held and say nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) idle: usize,
    /// How long to measure
    #[arg(long, short = 'd', value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to run before that
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Rounds; more than one are compared [default: 1, with several URLs 5]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) rounds: Option<usize>,
    /// Payload bytes of messages
    #[arg(long, short = 's', value_name = "SIZE", default_value = "64")]
    pub(crate) size: Sizes,
    /// Messages in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) depth: usize,
    /// Send text
    #[arg(long, conflicts_with = "binary")]
    pub(crate) text: bool,
    /// Send binary, as is the default
    #[arg(long)]
    pub(crate) binary: bool,
    /// Randomness of sizes and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// Local addresses, as in 127.0.0.1-8 [default: as many as a loopback server needs]
    #[arg(long, value_name = "ADDR")]
    pub(crate) source: Option<Sources>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// For one handshake, TLS included
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// The server's process; once for each URL
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Vec<i32>,
    /// Run on this CPU alone
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw latency and timeline
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Exit with 1 after more errors than this
    #[arg(long, value_name = "N")]
    pub(crate) max_errors: Option<u64>,
    /// A server whose wrong answers are errors, but do not make a run INVALID
    #[arg(long, value_name = "URL")]
    pub(crate) tolerate: Vec<Target>,
    /// Exit with 1 unless this holds: p50 p90 p99 p999 max mean cpu (times), rate, errors
    #[arg(long = "assert", value_name = "METRIC<VALUE")]
    pub(crate) assertions: Vec<Assertion>,
}

/// Which certificates to trust where the URL is wss://.
#[derive(Debug, Clone, Args)]
pub(crate) struct TlsArgs {
    /// CA certificates (PEM) trusted for wss:// [default: the built-in Mozilla roots]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Begin each TLS session anew, so that each handshake is a full one
    #[arg(long)]
    pub(crate) no_resumption: bool,
}

/// How the upgrade is asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct RequestArgs {
    /// Path and query, instead of the URL's
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Offer permessage-deflate, as browsers do, and send text
    #[arg(long)]
    pub(crate) deflate: bool,
    /// A further header, "Name: value"
    #[arg(long, value_name = "HEADER", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// A subprotocol to offer
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Vec<String>,
    /// The Origin header
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: Option<String>,
}

impl Common {
    pub(crate) fn kind(&self) -> Kind {
        // What is masked ahead would be noise to a compressor.
        if self.text || self.request.deflate { Kind::Text } else { Kind::Binary }
    }
}
