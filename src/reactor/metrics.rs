//! What the loop counts: plain integers, since one thread counts them.
//!
//! Only counts. Labels, text formats and scraping are for whoever reads a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use super::{CloseReason, Durations, Sizes};
use crate::protocol::Message;
use crate::protocol::handshake::Refusal;

/// One count of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its field in [`Metrics`]; one that ends in `_now` comes and goes, the others only grow.
    pub name: &'static str,
    /// What is counted.
    pub help: &'static str,
    /// How much that is.
    pub value: u64,
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Totals since the reactor was made, but for those that say "now".
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// What `refused` counts, by the [name](Refusal::name) of the reason.
            pub refusals: BTreeMap<&'static str, u64>,
            /// How long turns took, from one poll to the next: what arrives meanwhile waits as long.
            pub turns_took: Durations,
            /// How long connections took to open, from their accept or the answer to an earlier request.
            pub handshakes_took: Durations,
            /// Times from pings to their pongs.
            pub round_trips: Durations,
            /// How long it took to decode what a read had brought of a frame, in
            /// [samples](Metrics::SAMPLED).
            pub decodes_took: Durations,
            /// Sizes of messages received, after inflating, in samples.
            pub messages_sized: Sizes,
            /// All that has ended, by the [name](CloseReason::name) of the reason.
            pub ends: BTreeMap<&'static str, u64>,
        }

        impl Metrics {
            /// Every count, but for those by reason and of times.
            pub fn iter(&self) -> impl Iterator<Item = Metric> {
                [$(Metric {
                    name: stringify!($name),
                    help: concat!($($doc),*).trim_ascii(),
                    value: self.$name,
                },)*]
                .into_iter()
            }
        }
    };
}

metrics! {
    /// Connections accepted from listeners.
    accepted,
    /// Connections begun by services.
    connects,
    /// Connections that services could not begin, because outbound_max was reached.
    connects_refused,
    /// Connections that became open.
    opened,
    /// Connections of any kind, now.
    connections_now,
    /// Connections that wait for their refusal, now.
    awaiting_refusal_now,
    /// Requests refused with an HTTP status.
    refused,
    /// Connections dropped at accept, unanswered: the table of refused ones was full.
    dropped_at_accept,
    /// Times that accepting paused for want of descriptors or memory.
    accept_pauses,
    /// TLS handshakes done, without an earlier session.
    tls_handshakes_full,
    /// TLS handshakes done that resumed one.
    tls_handshakes_resumed,
    /// Times that a TLS handshake had to wait for a later turn: the budget of this one was spent.
    tls_handshakes_deferred,
    /// Connections whose TLS failed, in the handshake or later.
    tls_failed,
    /// Connections whose peer ended the stream without a close_notify.
    tls_truncated,
    /// Times that certificates were reloaded.
    tls_reloads,
    /// Times that they were not, because they were not sound.
    tls_reloads_refused,
    /// Plain HTTP requests answered.
    http_answered,
    /// Messages received.
    messages_in,
    /// Fragments, and parts of frames, received that completed no message.
    fragments_in,
    /// Messages queued.
    messages_out,
    /// Bytes read from sockets.
    bytes_read,
    /// Bytes written to sockets.
    bytes_written,
    /// Messages that `send` or `publish` refused: the outbox or all memory was full.
    messages_refused,
    /// Messages dropped from a queue because their receiver did not read.
    messages_dropped,
    /// Times that an outbox went above its soft limit.
    congested,
    /// Pings sent.
    pings_sent,
    /// Pongs that matched a ping.
    pongs_matched,
    /// Pings not answered in time.
    pongs_missed,
    /// Connections ended by their peer with a Close.
    ended_peer_closed,
    /// Connections ended by their peer without one, or broken.
    ended_peer_lost,
    /// Connections ended by a service.
    ended_service,
    /// Connections ended for a breach of the protocol.
    ended_protocol,
    /// Connections ended by a deadline: heartbeat, idle or handshake.
    ended_timeout,
    /// Connections ended because their peer read too slowly.
    ended_slow,
    /// Connections ended for want of memory.
    ended_overloaded,
    /// Connections ended otherwise.
    ended_otherwise,
    /// Close handshakes that the peer did not finish in time.
    close_timeouts,
    /// Handlers of services that panicked.
    panics,
    /// Bytes held in queues and unfinished messages, now.
    buffered_now,
    /// Times that the limit on those refused a message or ended a connection.
    buffered_refused,
    /// Connections on which permessage-deflate was agreed.
    deflate_agreed,
    /// Messages queued in compressed form.
    messages_deflated,
    /// Bytes of those before.
    bytes_deflated_from,
    /// Bytes of those after.
    bytes_deflated_to,
    /// Messages queued as they are, because they were no smaller compressed.
    messages_not_deflated,
    /// Messages received in compressed form.
    messages_inflated,
    /// Bytes of those, and of what has come of others, before.
    bytes_inflated_from,
    /// Bytes of both after.
    bytes_inflated_to,
    /// Messages in pieces that were inflated only when they were whole: all streams were lent.
    messages_gathered,
    /// Streams that inflate messages in pieces, now.
    inflate_streams_now,
    /// Bytes held for context takeover, now.
    deflate_windows_now,
    /// Bytes that those may grow to, now.
    deflate_windows_reserved_now,
    /// Connections that do without context takeover, because the limit on those was reached.
    deflate_windows_refused,
    /// Times that what a connection had been sent was forgotten after a while of silence.
    deflate_windows_freed,
    /// Queues, buffers and streams that were kept for the next message, and freed since none came.
    spares_freed,
    /// Joins of topics refused by a limit.
    joins_refused,
    /// Timers of services refused by a limit.
    timers_refused,
    /// Turns of the loop.
    turns,
    /// Phases of turns that left work to the next turn, because their budget was spent.
    phases_cut,
}

impl Metrics {
    /// At most one message in so many is a sample: two looks at the clock cost more than to decode a
    /// small one.
    pub const SAMPLED: u64 = 256;

    /// Whether the next message is one.
    #[inline(always)]
    pub(super) fn samples_next(&self) -> bool {
        self.messages_in.is_multiple_of(Metrics::SAMPLED)
    }

    pub(super) fn count_message(&mut self, message: Message<'_>) {
        if self.samples_next() {
            self.messages_sized.count(message.len());
        }
        self.messages_in += 1;
    }

    #[cold]
    pub(super) fn count_decode(&self, began: Instant) {
        self.decodes_took.count(began.elapsed());
    }

    pub(super) fn count_refusal(&mut self, refusal: Refusal) {
        self.refused += 1;
        *self.refusals.entry(refusal.name()).or_default() += 1;
    }

    pub(super) fn count_end(&mut self, reason: CloseReason) {
        let count = match reason {
            CloseReason::PeerClosed(_) => &mut self.ended_peer_closed,
            CloseReason::PeerGone | CloseReason::PeerReset | CloseReason::Truncated => {
                &mut self.ended_peer_lost
            }
            CloseReason::Service(_) | CloseReason::Aborted => &mut self.ended_service,
            CloseReason::Protocol(_) => &mut self.ended_protocol,
            CloseReason::HeartbeatTimeout
            | CloseReason::IdleTimeout
            | CloseReason::HandshakeTimeout => &mut self.ended_timeout,
            CloseReason::SlowConsumer | CloseReason::WriteTimeout => &mut self.ended_slow,
            CloseReason::Overloaded => &mut self.ended_overloaded,
            _ => &mut self.ended_otherwise,
        };
        *count += 1;
        *self.ends.entry(reason.name()).or_default() += 1;
    }
}

impl fmt::Display for Metrics {
    /// The counts that are not zero: `accepted=3 opened=3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.iter().filter(|metric| metric.value > 0);
        for (index, Metric { name, value, .. }) in counted.enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Where they are shown, what comes and goes is told by its kind, not by its name.
    #[test]
    fn no_two_counts_have_one_name_without_now() {
        let metrics = Metrics::default();
        let names = metrics.iter().map(|metric| metric.name);
        let names = names.map(|name| name.strip_suffix("_now").unwrap_or(name));
        let mut known = HashSet::from(["refusals", "ends"]);
        for name in names {
            assert!(known.insert(name), "{name}");
        }
        let help = |wanted| metrics.iter().find(|metric| metric.name == wanted).unwrap().help;
        assert_eq!(help("accepted"), "Connections accepted from listeners.");
    }
}
