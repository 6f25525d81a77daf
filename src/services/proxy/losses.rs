//! Tunnels that ended by a fault of their upstream: one log line a second for each upstream and fault.
//!
//! An upstream may lose thousands of tunnels at once. A line for each would hide those of other
//! upstreams behind the limit of such lines; they are in the debug log only.

use std::collections::BTreeMap;
use std::time::Duration;

use log::{debug, warn};

use crate::reactor::{CloseReason, PipeEnd, Time};

/// How long ends are counted before their line is logged.
const SUMMARY_DELAY: Duration = Duration::from_secs(1);

/// The ends that are not logged yet.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// At most one entry for each upstream of the pools, fault and code.
    counts: BTreeMap<Loss, u64>,
    /// When the counts are logged; `None` without one.
    due: Option<Time>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Loss {
    upstream: String,
    fault: &'static str,
    reason: &'static str,
    /// The code that the clients got.
    code: Option<u16>,
}

impl Losses {
    /// Counts the end of a tunnel, if it is a fault of its upstream. Returns whether it is the first
    /// of those to be logged.
    pub(super) fn count(&mut self, upstream: &str, end: &PipeEnd, now: Time) -> bool {
        let Some(fault) = fault(end.reason) else {
            return false;
        };
        let reason = end.reason.name();
        debug!(upstream = upstream, reason = reason; "tunnel ended: {fault}");
        let code = end.reason.close_code().map(|code| code.get());
        let loss = Loss { upstream: upstream.to_owned(), fault, reason, code };
        *self.counts.entry(loss).or_default() += 1;
        let is_first = self.due.is_none();
        self.due.get_or_insert(now + SUMMARY_DELAY);
        is_first
    }

    /// When the counts are to be logged.
    pub(super) fn due(&self) -> Time {
        self.due.unwrap_or(Time::MAX)
    }

    /// Logs the counts if they are due, each if `may_log` allows it.
    pub(super) fn log_due(&mut self, now: Time, mut may_log: impl FnMut() -> bool) {
        if self.due() > now {
            return;
        }
        self.due = None;
        let counts = std::mem::take(&mut self.counts);
        counts.iter().filter(|_| may_log()).for_each(|(loss, &tunnels)| log(loss, tunnels));
    }
}

impl Drop for Losses {
    fn drop(&mut self) {
        self.counts.iter().for_each(|(loss, &tunnels)| log(loss, tunnels));
    }
}

fn log(loss: &Loss, tunnels: u64) {
    let Loss { upstream, fault, reason, code } = loss;
    let noun = if tunnels == 1 { "tunnel" } else { "tunnels" };
    let close = code.map_or_else(|| "without a Close".to_owned(), |code| format!("with {code}"));
    warn!(
        upstream = upstream.as_str(), reason = reason, code = code, tunnels = tunnels;
        "upstream {upstream} {fault}: {tunnels} {noun} ended {close}"
    );
}

/// What the upstream did, if the end of a tunnel is its fault.
fn fault(reason: CloseReason) -> Option<&'static str> {
    match reason {
        CloseReason::UpstreamLost(_) | CloseReason::ClosedMidFrame => Some("lost"),
        CloseReason::UpstreamSilent(_) => Some("answers no ping"),
        CloseReason::UpstreamStuck => Some("takes no bytes"),
        CloseReason::UpstreamProtocol => Some("violated the protocol"),
        _ => None,
    }
}
