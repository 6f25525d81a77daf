//! The command line of `nostr`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::By;
use crate::common::Common;
use crate::values::{count, positive, share};

/// Authors above this are not derived: each costs a multiplication on the curve.
const AUTHORS_MAX: u64 = 1_000_000;
/// Events above this are not signed: each takes some 700 bytes.
const EVENTS_MAX: u64 = 10_000_000;

/// A load for a Nostr relay.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Nostr {
    /// Events, signed beforehand, in a closed loop; latency ends at OK
    Publish(PublishArgs),
    /// REQs in a closed loop; latency ends at EOSE
    Request(ReqArgs),
    /// Events to subscribers: deliveries, losses, duplicates
    Live(LiveArgs),
}

/// Options that the loads of a relay share.
#[derive(Debug, Clone, Args)]
pub(crate) struct NostrCommon {
    /// Authors of the events; the same ones for the same --seed
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=AUTHORS_MAX))]
    pub(crate) authors: u64,
    /// Kind of the events
    #[arg(long, value_name = "KIND", default_value_t = 1)]
    pub(crate) kind: u16,
    /// Answer AUTH challenges as one of the authors, and wait for it
    #[arg(long)]
    pub(crate) auth: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PublishArgs {
    /// Events to sign, those of the warm-up included; the run ends when all are answered
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    pub(crate) count: u64,
    /// Share of events that were accepted before and are sent again, from the end of the warm-up on
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub(crate) duplicates: f64,
    #[command(flatten)]
    pub(crate) nostr: NostrCommon,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReqArgs {
    /// What each filter names: something that `publish` has published with the same --seed
    #[arg(long, value_name = "WHAT", value_enum, default_value = "kind")]
    pub(crate) by: By,
    /// The filter's limit; with `--by id` also its number of ids
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) limit: usize,
    /// File with a filter, or an array of filters, per line, to use in rotation instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["by", "limit"])]
    pub(crate) filters: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) nostr: NostrCommon,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LiveArgs {
    /// Connections that publish, in addition to the subscribers (--connections); each is an author
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) publishers: usize,
    /// Share of subscribers whose filter matches
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    pub(crate) matching: f64,
    /// Authors in each subscriber's filter; random ones, and the publishers if it matches
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub(crate) follows: usize,
    /// Events per second of all publishers together [default: closed loop]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Events to sign [default: those of the rate, or 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=EVENTS_MAX))]
    pub(crate) count: Option<u64>,
    /// Kind of the events
    #[arg(long, value_name = "KIND", default_value_t = 1)]
    pub(crate) kind: u16,
    /// Answer AUTH challenges as one of the authors, and wait for it
    #[arg(long)]
    pub(crate) auth: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Events that a closed loop signs.
const LIVE_EVENTS: u64 = 10_000;

impl LiveArgs {
    /// The number of events to sign.
    pub(crate) fn events(&self) -> usize {
        let Some(rate) = self.rate else {
            return self.count.unwrap_or(LIVE_EVENTS) as usize;
        };
        let due = rate * (self.common.warmup + self.common.duration).as_secs_f64();
        // One more for the start, and one for rounding.
        self.count.unwrap_or((due as u64 + 2).min(EVENTS_MAX)) as usize
    }
}

impl Nostr {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Nostr::Publish(_) => "nostr publish",
            Nostr::Request(_) => "nostr request",
            Nostr::Live(_) => "nostr live",
        }
    }

    /// Checks combinations of options.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Nostr::Publish(PublishArgs { count, duplicates, common, .. }) = self else {
            return Ok(());
        };
        let in_flight = common.connections * common.depth;
        if *duplicates > 0.0 && *count <= in_flight as u64 {
            return Err(format!(
                "--duplicates needs more events (--count) than the {in_flight} in flight"
            ));
        }
        Ok(())
    }

    pub(crate) fn common(&self) -> &Common {
        match self {
            Nostr::Publish(args) => &args.common,
            Nostr::Request(args) => &args.common,
            Nostr::Live(args) => &args.common,
        }
    }
}
