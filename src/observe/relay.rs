//! Names and HELP texts of the metrics of a relay.

use std::rc::Rc;

use weir::reactor::Context;
use weir::services::admin::{Samples, Source};
use weir::services::nostr::metrics::{
    Count, EventOutcome, PluginCounts, PluginWatch, RelayCounts, Reply,
};
use weir::services::nostr::refusal::Prefix;
use weir::services::nostr::store::Table;
use weir::services::nostr::verb::Verb;

/// Metrics of one relay.
#[derive(Debug)]
pub(crate) struct RelaySource(Rc<RelayCounts>);

impl RelaySource {
    pub(crate) fn new(counts: Rc<RelayCounts>) -> RelaySource {
        RelaySource(counts)
    }

    fn count(&self, samples: &mut Samples) {
        let counts = &*self.0;
        let relay = ("relay", counts.relay.as_str());
        let help = "Messages of clients and to clients, by verb";
        let verbs = Verb::ALL.iter().map(|verb| verb.name()).chain(["other"]);
        for (verb, count) in verbs.zip(&counts.received) {
            let labels = [relay, ("verb", verb), ("direction", "received")];
            samples.counter("nostr_messages", help, &labels, count.get());
        }
        for (reply, count) in Reply::ALL.iter().zip(&counts.sent) {
            let labels = [relay, ("verb", reply.name()), ("direction", "sent")];
            samples.counter("nostr_messages", help, &labels, count.get());
        }
        for (outcome, count) in EventOutcome::ALL.iter().zip(&counts.events) {
            let labels = [relay, ("outcome", outcome.name())];
            let help = "Events of clients, by what became of them";
            samples.counter("nostr_events", help, &labels, count.get());
        }
        for (prefix, count) in Prefix::ALL.iter().zip(&counts.refused) {
            let labels = [relay, ("reason", prefix.name())];
            let help = "Answers with a reason, by its prefix";
            samples.counter("nostr_refused", help, &labels, count.get());
        }
        for (prefix, count) in Prefix::ALL.iter().zip(&counts.closed) {
            let labels = [relay, ("reason", prefix.name())];
            let help = "Requests that ended with CLOSED, by its prefix";
            samples.counter("nostr_closed", help, &labels, count.get());
        }
        let paths = [("live", &counts.deliveries_live), ("stored", &counts.deliveries_stored)];
        for (path, count) in paths {
            let labels = [relay, ("path", path)];
            let help = "Events queued for subscriptions, live or stored";
            samples.counter("nostr_deliveries", help, &labels, count.get());
        }
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &[relay], count.get());
        };
        let help = "Live events encoded: once for all their subscriptions";
        total("nostr_encodings", help, &counts.encodings);
        let help = "Live events dropped for connections that read too slowly, or for slow requests";
        let dropped = counts.dropped.get() + counts.lost.get();
        samples.counter("nostr_dropped", help, &[relay], dropped);
    }

    fn measure(&self, samples: &mut Samples) {
        let counts = &*self.0;
        let relay = ("relay", counts.relay.as_str());
        let mut now = |name, help, count: &Count| {
            samples.gauge(name, help, &[relay], count.get() as f64);
        };
        now("nostr_subscriptions", "Open subscriptions", &counts.subscriptions_now);
        let help = "Subscriptions of closed connections that are still in the live index";
        now("nostr_subscriptions_ended", help, &counts.subscriptions_ended_now);
        now("nostr_filters", "Filters of subscriptions", &counts.filters_now);
        now("nostr_live_values", "Values in these filters", &counts.live_values_now);
        let help = "Open negentropy sessions";
        now("nostr_negentropy_sessions", help, &counts.negentropy_sessions_now);
        now("nostr_store_events", "Stored events", &counts.store_events_now);
        let help = "Bytes of stored events and their index entries, before compression";
        now("nostr_store_live_bytes", help, &counts.live_bytes_now);
        now("nostr_authenticated", "Connections with a key", &counts.authenticated_now);
        for (state, count) in
            [("running", &counts.scans_running_now), ("waiting", &counts.scans_waiting_now)]
        {
            let labels = [relay, ("state", state)];
            samples.gauge("nostr_scans", "Scans, by state", &labels, count.get() as f64);
        }
        for (table, bytes) in Table::ALL.iter().zip(&counts.table_bytes_now) {
            let labels = [relay, ("table", table.name())];
            let help = "Bytes on disk of a table of the store, without journals";
            samples.gauge("nostr_store_bytes", help, &labels, bytes.get() as f64);
        }
        let labels = [relay, ("queue", "events")];
        let help = "Jobs without a result, by queue";
        samples.gauge("nostr_queued", help, &labels, counts.events_in_flight_now.get() as f64);
        let plugin = counts.plugin.as_ref().map(PluginWatch::counts).unwrap_or_default();
        let PluginCounts { in_flight, waiting, failures, malformed, restarts } = plugin;
        let labels = [relay, ("queue", "plugin")];
        let help = "Jobs without a result, by queue";
        samples.gauge("nostr_queued", help, &labels, (in_flight + waiting) as f64);
        for (name, help, count) in [
            ("nostr_plugin_failures", "Events that the plugin did not judge", failures),
            ("nostr_plugin_malformed", "Lines of the plugin that judge no event", malformed),
            ("nostr_plugin_restarts", "Processes of the plugin after the first", restarts),
        ] {
            samples.counter(name, help, &[relay], count);
        }
        for (name, help, took) in [
            ("nostr_ack_seconds", "Time from an event to its OK", &counts.acks),
            ("nostr_verify_seconds", "Time of the checks of an event", &counts.verifications),
            ("nostr_commit_seconds", "Time of a commit", &counts.commits),
            (
                "nostr_first_event_seconds",
                "Time from a request to its first stored events",
                &counts.first_events,
            ),
            ("nostr_eose_seconds", "Time from a request to its EOSE", &counts.eoses),
            (
                "nostr_live_seconds",
                "Time from a commit until subscribers were sent its events; one commit in 16",
                &counts.live,
            ),
        ] {
            samples.durations(name, help, &[relay], took);
        }
        for (name, help, amounts) in [
            ("nostr_recipients", "Subscriptions that a live event matched", &counts.recipients),
            ("nostr_batch_events", "Events of a commit", &counts.batch_events),
            ("nostr_scan_steps", "Index steps of a request for stored events", &counts.scan_steps),
        ] {
            samples.amounts(name, help, &[relay], amounts);
        }
    }
}

impl Source for RelaySource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        self.count(samples);
        self.measure(samples);
    }

    fn failure(&self) -> Option<String> {
        let failure = self.0.failure.borrow();
        failure.as_ref().map(|why| format!("relay {}: {why}", self.0.relay))
    }
}
