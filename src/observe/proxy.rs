//! Names and HELP texts of the metrics of the proxy's pools and upstreams.

use std::rc::Rc;

use weir::reactor::Context;
use weir::services::admin::{Samples, Source};
use weir::services::proxy::{ProxyCounts, ProxyPoolCounts};
use weir::upstream::{Count, PoolUpstreamCounts, PoolsCounts};

/// Metrics of the proxy.
#[derive(Debug)]
pub(crate) struct ProxySource {
    pools: Rc<ProxyCounts>,
    upstreams: Rc<PoolsCounts>,
}

impl ProxySource {
    pub(crate) fn new(pools: Rc<ProxyCounts>, upstreams: Rc<PoolsCounts>) -> ProxySource {
        ProxySource { pools, upstreams }
    }
}

impl Source for ProxySource {
    fn collect(&self, samples: &mut Samples, cx: &Context<'_>) {
        for counts in self.pools.pools() {
            collect_pool(samples, &counts, cx);
        }
        for counts in self.upstreams.all() {
            collect_upstream(samples, &counts);
        }
    }
}

fn collect_pool(samples: &mut Samples, counts: &ProxyPoolCounts, cx: &Context<'_>) {
    let pool = ("pool", counts.pool.as_str());
    let help = "Bytes held for requests and tunnels: incomplete frames, heads, and output that a \
                client or an upstream has not read";
    samples.gauge("proxy_held_bytes", help, &[pool], counts.held_bytes(cx) as f64);
    let mut total = |name, help, count: &Count| samples.counter(name, help, &[pool], count.get());
    total("proxy_tunnels", "WebSockets joined with an upstream", &counts.tunnels);
    total("proxy_retries", "Tries of requests after a failed one", &counts.retries);
    let help = "Tunnels that ended inside a frame, so without a Close";
    total("proxy_closed_mid_frame", help, &counts.closed_mid_frame);
    let help = "Responses of upstreams that ended before their end: the client's was reset";
    total("proxy_cut", help, &counts.cut);
    total("proxy_fragments", "Fragments that long frames were split into", &counts.fragments);
    let help = "Times that reading from this side of a tunnel paused, because the other side read \
                too slowly";
    for (side, count) in [("client", &counts.client_pauses), ("upstream", &counts.upstream_pauses)]
    {
        samples.counter("proxy_paused", help, &[pool, ("side", side)], count.get());
    }
    for (class, count) in counts.forwarded() {
        let labels = [pool, ("class", class)];
        samples.counter("proxied", "Responses forwarded, by class of status", &labels, count);
    }
    let help = "Requests that got no response of an upstream, by reason";
    for (reason, count) in counts.refused() {
        samples.counter("proxy_refused", help, &[pool, ("reason", reason)], count);
    }
    for (reason, count) in counts.closed() {
        let labels = [pool, ("reason", reason)];
        samples.counter("proxy_closed", "Tunnels ended, by reason", &labels, count);
    }
}

fn collect_upstream(samples: &mut Samples, counts: &PoolUpstreamCounts) {
    let pool = ("pool", counts.pool.as_str());
    let upstream = ("upstream", counts.upstream.as_str());
    let mut now = |name, help, count: &Count| {
        samples.gauge(name, help, &[pool, upstream], count.get() as f64);
    };
    now("upstream_up", "Addresses that are up, by checks and breaker", &counts.up_now);
    now("upstream_breaker", "Breaker: 0 closed, 1 half-open, 2 open", &counts.breaker_now);
    for (usage, count) in [
        ("tunnel", &counts.tunnels_now),
        ("closing", &counts.closing_now),
        ("exchange", &counts.exchanges_now),
        ("idle", &counts.idle_now),
    ] {
        let labels = [pool, upstream, ("use", usage)];
        let help = "Connections to the upstream, by use";
        samples.gauge("upstream_connections", help, &labels, count.get() as f64);
    }
    for (outcome, count) in counts.tries() {
        let labels = [pool, upstream, ("outcome", outcome)];
        samples.counter("upstream_tries", "Tries at the upstream, by outcome", &labels, count);
    }
    let help = "Time to connect to the upstream, TLS included";
    samples.durations("upstream_connect_seconds", help, &[pool, upstream], &counts.connect);
    let help = "Time from the end of a request to the head of the upstream's response";
    samples.durations("upstream_answer_seconds", help, &[pool, upstream], &counts.answer);
    for (name, help, label, outcomes) in [
        (
            "upstream_bytes",
            "Bytes exchanged with the upstream",
            "direction",
            [("sent", &counts.sent_bytes), ("received", &counts.received_bytes)],
        ),
        (
            "upstream_health_checks",
            "Active checks, by outcome",
            "outcome",
            [("success", &counts.checks_succeeded), ("failure", &counts.checks_failed)],
        ),
        (
            "upstream_resolved",
            "Lookups of the upstream's name, by outcome",
            "outcome",
            [("success", &counts.lookups_succeeded), ("failure", &counts.lookups_failed)],
        ),
    ] {
        for (outcome, count) in outcomes {
            samples.counter(name, help, &[pool, upstream, (label, outcome)], count.get());
        }
    }
}
