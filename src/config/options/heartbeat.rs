//! The heartbeat, of the server and of a route.

use clap::Args;
use serde::Serialize;
use weir::reactor::settings::Heartbeat;

use crate::config::values::{Count, OrOff, Span};

/// The settings of pings. A `[[route]]` that has one of them has a heartbeat of its own; the others
/// are then the server's.
#[derive(Debug, Args, Serialize)]
pub(in crate::config) struct HeartbeatOptions {
    /// Time without input after which a ping is sent, or off; can also be set per [[route]]
    #[arg(long, value_name = "TIME", help_heading = "Heartbeat")]
    #[arg(default_value_t = OrOff(Some(Span(Heartbeat::default().interval))))]
    ping_interval: OrOff<Span>,

    /// Deadline from a ping to the next frame from the peer; can also be set per [[route]]
    #[arg(long, value_name = "TIME", help_heading = "Heartbeat")]
    #[arg(default_value_t = Span(Heartbeat::default().pong_timeout))]
    pong_timeout: Span,

    /// Unanswered pings in a row after which a connection is closed with 1001; can also be set per
    /// [[route]]
    #[arg(long, value_name = "N", help_heading = "Heartbeat")]
    #[arg(default_value_t = Count(Heartbeat::default().misses_max))]
    pong_misses_max: Count<u8>,
}

impl From<Option<Heartbeat>> for HeartbeatOptions {
    fn from(heartbeat: Option<Heartbeat>) -> HeartbeatOptions {
        let beat = heartbeat.unwrap_or_default();
        HeartbeatOptions {
            ping_interval: OrOff(heartbeat.map(|beat| Span(beat.interval))),
            pong_timeout: Span(beat.pong_timeout),
            pong_misses_max: Count(beat.misses_max),
        }
    }
}

impl HeartbeatOptions {
    /// `None`: no pings.
    pub(in crate::config) fn heartbeat(&self) -> Option<Heartbeat> {
        self.ping_interval.duration().map(|interval| {
            Heartbeat::default()
                .interval(interval)
                .pong_timeout(self.pong_timeout.0)
                .misses_max(self.pong_misses_max.0)
        })
    }
}
