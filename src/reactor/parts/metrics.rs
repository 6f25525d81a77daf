//! Counts of the loop: plain integers, since one thread updates them.
//!
//! It only counts. Labels, text formats and scraping belong to the reader of a snapshot, see
//! `services::admin`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use super::histograms::{Durations, Sizes};
use crate::protocol::Message;
use crate::protocol::handshake::Refusal;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::settings::Limit;

/// One count of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name of its field in [`Metrics`]. A name that ends in `_now` is a gauge, others are
    /// counters.
    pub name: &'static str,
    /// The name that operators see, without prefix, and without the `_total` of a counter. `None`
    /// for a count that is exported as part of a metric with labels.
    pub shown: Option<&'static str>,
    /// What the metric counts, for its HELP line.
    pub help: &'static str,
    /// The current value.
    pub value: u64,
}

/// The name that operators see: the field's name, or the given one; `""` hides the metric.
macro_rules! shown {
    ($name:ident) => {
        Some(stringify!($name))
    };
    ($name:ident "") => {
        None
    };
    ($name:ident $shown:literal) => {
        Some($shown)
    };
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $name:ident $(= $shown:tt)?,)*) => {
        /// Totals since the reactor was created, except for gauges, whose names end in `_now`.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Refused requests by [reason](Refusal::name); `refused` is their sum.
            pub refusals: BTreeMap<&'static str, u64>,
            /// Pauses of reading by a rate, by path of the route and by
            /// [limit](crate::reactor::settings::Limit::name).
            pub throttled: BTreeMap<Box<str>, BTreeMap<&'static str, u64>>,
            /// What limits in a dry run would have refused or paused, by
            /// [limit](crate::reactor::settings::Limit::name).
            pub refused_dry: BTreeMap<&'static str, u64>,
            /// Buckets, by table: that of the rates of connections and requests (`admission`), and by
            /// [limit](crate::reactor::settings::Limit::name) those that open connections share. A
            /// gauge.
            pub rate_tables: BTreeMap<&'static str, u64>,
            /// Duration of turns, from the end of one poll to the next poll. Input that arrives
            /// meanwhile waits up to that long.
            pub turns_took: Durations,
            /// Time from an accept, or from the response to an earlier request, until the
            /// connection was open.
            pub handshakes_took: Durations,
            /// Time from pings to their pongs.
            pub round_trips: Durations,
            /// Time to decode the part of a frame that one read returned, in
            /// [samples](Metrics::SAMPLED).
            pub decodes_took: Durations,
            /// Sizes of received messages after decompression, in samples.
            pub messages_sized: Sizes,
            /// Ended connections by [reason](CloseReason::name).
            pub ends: BTreeMap<&'static str, u64>,
        }

        impl Metrics {
            /// All counts and gauges, without the maps and histograms.
            pub fn iter(&self) -> impl Iterator<Item = Metric> {
                [$(Metric {
                    name: stringify!($name),
                    shown: shown!($name $($shown)?),
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
    accepted = "accepted_connections",
    /// Outbound connections that services have started.
    connects = "outbound_connections_started",
    /// Outbound connections refused because outbound_max was reached.
    connects_refused = "outbound_connections_refused",
    /// Connections that became open WebSockets.
    opened = "opened_connections",
    /// Connections of any kind.
    connections_now = "",
    /// Upgraded connections whose gate has determined who the client is.
    identities_now = "identities",
    /// Connections that wait for their refusal.
    awaiting_refusal_now = "",
    /// Requests refused with an HTTP status.
    refused = "",
    /// Addresses with a token bucket, over all rates per address.
    rate_entries_now = "",
    /// Times an address shared a token bucket, because too many addresses have one.
    rate_overflows,
    /// Requests through trusted proxies whose list of addresses was malformed, had an invalid entry,
    /// or was too long.
    forwarded_bad,
    /// Connections dropped at accept without an answer, because too many waited for their refusal.
    dropped_at_accept = "accept_dropped_connections",
    /// Times accepting paused because descriptors or memory had run out.
    accept_pauses,
    /// TLS handshakes completed without session resumption.
    tls_handshakes_full,
    /// TLS handshakes completed by session resumption.
    tls_handshakes_resumed,
    /// Times a TLS handshake waited for a later turn because this turn's budget was spent.
    tls_handshakes_deferred,
    /// Connections whose TLS failed, in the handshake or later.
    tls_failed = "tls_failed_connections",
    /// TLS connections whose peer ended the stream without close_notify.
    tls_truncated = "tls_truncated_connections",
    /// Times certificates were reloaded.
    tls_reloads,
    /// Times a reload of certificates failed; the previous ones stay in use.
    tls_reloads_refused = "tls_reload_failures",
    /// HTTP responses of services and pages; refusals and upgrades are counted apart.
    http_answered = "http_responses",
    /// WebSocket messages received.
    messages_in = "received_messages",
    /// Frames, or parts of frames, received that did not complete a message.
    fragments_in = "received_fragments",
    /// Control frames received: pings, pongs, and Closes of open connections.
    controls_in = "received_control_frames",
    /// Connections that a rate of their route pauses.
    throttled_now = "",
    /// WebSocket messages queued for sending.
    messages_out = "sent_messages",
    /// Bytes read from sockets.
    bytes_read = "received_bytes",
    /// Bytes written to sockets.
    bytes_written = "sent_bytes",
    /// Messages not queued because the outbox of their receiver or buffered_max was full.
    messages_refused = "refused_messages",
    /// Queued messages dropped because their receiver did not read.
    messages_dropped = "dropped_messages",
    /// Times an outbox rose above its soft limit.
    congested = "outbox_congestions",
    /// Pings sent.
    pings_sent,
    /// Pongs received that matched a ping.
    pongs_matched,
    /// Pings not answered within pong_timeout.
    pongs_missed,
    /// Pongs that were late because of weir: their input was not read yet, or the process was stopped.
    pongs_excused,
    /// Connections ended by their peer with a Close.
    ended_peer_closed = "",
    /// Connections ended by their peer without a Close, or broken.
    ended_peer_lost = "",
    /// Connections ended by a service.
    ended_service = "",
    /// Connections ended because the peer broke the protocol.
    ended_protocol = "",
    /// Connections ended by a deadline: heartbeat, idle or handshake.
    ended_timeout = "",
    /// Connections ended because their peer read too slowly.
    ended_slow = "",
    /// Connections ended because all connections together held too much memory, or because of the load.
    ended_overloaded = "",
    /// Connections ended for other reasons.
    ended_otherwise = "",
    /// Close handshakes that the peer did not finish within close_timeout.
    close_timeouts,
    /// Panics in handlers of services.
    panics = "service_panics",
    /// Times a service panicked in on_mail and was then not called for a while.
    mail_pauses = "service_mail_pauses",
    /// Bytes held in queues and unfinished messages of all connections.
    buffered_now = "buffered_bytes",
    /// Times buffered_max refused a message or ended a connection.
    buffered_refused = "buffered_refusals",
    /// Connections that negotiated permessage-deflate.
    deflate_agreed = "deflate_negotiated_connections",
    /// Messages queued in compressed form.
    messages_deflated = "deflated_messages",
    /// Payload bytes of messages before they were compressed.
    bytes_deflated_from = "deflate_input_bytes",
    /// Payload bytes of messages after they were compressed.
    bytes_deflated_to = "deflate_output_bytes",
    /// Messages queued uncompressed because compressing made them no smaller.
    messages_not_deflated = "deflate_skipped_messages",
    /// Messages received in compressed form.
    messages_inflated = "inflated_messages",
    /// Compressed payload bytes received, including unfinished messages.
    bytes_inflated_from = "inflate_input_bytes",
    /// Payload bytes after decompression, including unfinished messages.
    bytes_inflated_to = "inflate_output_bytes",
    /// Fragmented compressed messages decompressed only when complete, because all streams were in
    /// use.
    messages_gathered = "inflate_gathered_messages",
    /// Streams in use that decompress fragmented messages.
    inflate_streams_now = "inflate_streams",
    /// Bytes held by compression windows for context takeover.
    deflate_windows_now = "deflate_windows_bytes",
    /// Bytes that the compression windows may grow to.
    deflate_windows_reserved_now = "deflate_windows_reserved_bytes",
    /// Connections without context takeover because deflate_windows_max was reached.
    deflate_windows_refused,
    /// Compression windows freed because nothing was sent for a while.
    deflate_windows_freed,
    /// Spare queues, buffers and streams freed because no message needed them.
    spares_freed = "spare_buffers_freed",
    /// Joins of topics refused by topics_max or topics_per_connection_max.
    joins_refused = "topic_joins_refused",
    /// Times late timers waited for input that may have arrived while the process was stopped.
    timers_held = "timer_holds",
    /// Timers of services refused because too many were set.
    timers_refused = "service_timers_refused",
    /// The load level of the loop: 0 normal, 1 elevated, 2 critical.
    level_now = "level",
    /// Connections closed because of the load.
    shed = "shed",
    /// Times closing connections because of the load was stopped, since it did not help.
    shed_futile,
    /// Times the poll returned more than 1 s late, because the process was stopped or the machine
    /// suspended.
    stops,
    /// Turns of the loop.
    turns,
    /// Phases of turns that left work to the next turn because their budget was spent.
    phases_cut = "turn_phases_cut",
    /// Log lines about peers that were suppressed, because 10 a second were logged for their
    /// reason.
    lines_held_back = "log_lines_suppressed",
}

impl Metrics {
    /// One message of this number is sampled: reading the clock twice costs more than decoding a
    /// small message.
    pub const SAMPLED: u64 = 256;

    /// Whether the next message is sampled.
    #[inline(always)]
    pub(crate) fn samples_next(&self) -> bool {
        self.messages_in.is_multiple_of(Metrics::SAMPLED)
    }

    pub(crate) fn count_message(&mut self, message: Message<'_>) {
        if self.samples_next() {
            self.messages_sized.count(message.len());
        }
        self.messages_in += 1;
    }

    #[cold]
    pub(crate) fn count_decode(&self, began: Instant) {
        self.decodes_took.count(began.elapsed());
    }

    pub(crate) fn count_pauses(&mut self, route: &str, limit: Limit, pauses: u64) {
        if !self.throttled.contains_key(route) {
            self.throttled.insert(route.into(), BTreeMap::new());
        }
        if let Some(counts) = self.throttled.get_mut(route) {
            *counts.entry(limit.name()).or_default() += pauses;
        }
    }

    pub(crate) fn count_refusal(&mut self, refusal: Refusal) {
        self.refused += 1;
        *self.refusals.entry(refusal.name()).or_default() += 1;
    }

    pub(crate) fn count_end(&mut self, reason: CloseReason) {
        let count = match reason {
            CloseReason::PeerClosed(_) | CloseReason::UpstreamClosed(_) => {
                &mut self.ended_peer_closed
            }
            CloseReason::PeerGone | CloseReason::PeerReset | CloseReason::Truncated => {
                &mut self.ended_peer_lost
            }
            CloseReason::Service(_) | CloseReason::Aborted => &mut self.ended_service,
            CloseReason::Protocol(_) => &mut self.ended_protocol,
            CloseReason::HeartbeatTimeout
            | CloseReason::IdleTimeout
            | CloseReason::HandshakeTimeout => &mut self.ended_timeout,
            CloseReason::SlowConsumer | CloseReason::WriteTimeout => &mut self.ended_slow,
            CloseReason::Overloaded | CloseReason::Shed => &mut self.ended_overloaded,
            _ => &mut self.ended_otherwise,
        };
        *count += 1;
        *self.ends.entry(reason.name()).or_default() += 1;
    }
}

impl fmt::Display for Metrics {
    /// The values that are not zero: `accepted=3 opened=3`.
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

    #[test]
    fn names_are_unique_and_help_is_plain_text() {
        let metrics = Metrics::default();
        let mut known = HashSet::new();
        for metric in metrics.iter() {
            let is_unique = metric.shown.is_none_or(|name| known.insert(name));
            assert!(
                is_unique && metric.shown.is_none_or(|name| !name.ends_with("_now")),
                "{metric:?}"
            );
            let is_plain = metric.help.ends_with('.') && !metric.help.contains(['`', '[']);
            assert!(is_plain, "{metric:?}");
        }
        let accepted = metrics.iter().find(|metric| metric.name == "accepted").unwrap();
        assert_eq!(accepted.shown, Some("accepted_connections"));
        assert_eq!(accepted.help, "Connections accepted from listeners.");
    }
}
