//! Options that all scenarios share: targets, duration, messages, output.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use weir::protocol::deflate::Offer;
use weir::protocol::handshake::{ClientRequest, FieldError};

use crate::assertion::Assertion;
use crate::payload::Kind;
use crate::size::Sizes;
use crate::source::Sources;
use crate::target::Target;
use crate::values::{count, duration, header};

/// Options that all scenarios share.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Server, as in ws://HOST:PORT/PATH or wss://HOST:PORT/PATH=PID; several are compared
    // Checked later: clap would also require it before the scenario of a comparison.
    #[arg(value_name = "URL")]
    pub(crate) urls: Vec<Target>,
    /// Number of connections
    #[arg(long, short = 'c', value_name = "N", default_value_t = 100, value_parser = count)]
    pub(crate) connections: usize,
    /// Additional idle connections
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) idle: usize,
    /// Duration of the measurement
    #[arg(long, short = 'd', value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Duration of the warm-up before it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Rounds; several are compared [default: 1, or 5 with several URLs]
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) rounds: Option<usize>,
    /// Payload size of messages in bytes
    #[arg(long, short = 's', value_name = "SIZE", default_value = "64")]
    pub(crate) size: Sizes,
    /// Messages in flight on each connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) depth: usize,
    /// Send text messages
    #[arg(long, conflicts_with = "binary")]
    pub(crate) text: bool,
    /// Send binary messages (the default)
    #[arg(long)]
    pub(crate) binary: bool,
    /// Seed of random sizes and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// Local addresses to connect from, as in 127.0.0.1-8 [default: as many as a loopback server
    /// needs]
    #[arg(long, value_name = "ADDR")]
    pub(crate) source: Option<Sources>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Deadline of one handshake, TLS included
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// The server's process id; once per URL
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Vec<i32>,
    /// Run on this CPU only
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw latency and timeline to an SVG file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Exit with 1 if there are more errors than this
    #[arg(long, value_name = "N")]
    pub(crate) max_errors: Option<u64>,
    /// Server whose wrong answers are counted as errors, but do not make a run INVALID
    #[arg(long, value_name = "URL")]
    pub(crate) tolerate: Vec<Target>,
    /// Exit with 1 unless this holds; metrics: p50 p90 p99 p999 max mean cpu (times), rate, errors
    #[arg(long = "assert", value_name = "METRIC<VALUE")]
    pub(crate) assertions: Vec<Assertion>,
}

/// The certificates to trust for wss:// URLs.
#[derive(Debug, Clone, Args)]
pub(crate) struct TlsArgs {
    /// CA certificates (PEM) trusted for wss:// [default: the built-in Mozilla roots]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Do not resume TLS sessions, so that every handshake is a full one
    #[arg(long)]
    pub(crate) no_resumption: bool,
}

/// The request of the opening handshake.
#[derive(Debug, Clone, Args)]
pub(crate) struct RequestArgs {
    /// Path and query, instead of the URL's
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Offer permessage-deflate, as browsers do, and send text
    #[arg(long)]
    pub(crate) deflate: bool,
    /// An additional header, "Name: value"
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
        // Pre-masked binary data would not compress.
        if self.text || self.request.deflate { Kind::Text } else { Kind::Binary }
    }
}

impl RequestArgs {
    /// The request for `path` at `host`.
    ///
    /// # Errors
    /// A field is invalid in a request head.
    pub(crate) fn to(&self, host: &str, path: &str) -> Result<ClientRequest, FieldError> {
        let mut request = ClientRequest::new(host, path)?;
        if self.deflate {
            request = request.deflate(Offer { takeover: true });
        }
        for (name, value) in &self.header {
            request = request.header(name, value)?;
        }
        for name in &self.subprotocol {
            request = request.protocol(name)?;
        }
        match &self.origin {
            Some(origin) => request.origin(origin),
            None => Ok(request),
        }
    }
}
