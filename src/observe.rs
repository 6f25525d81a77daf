//! Names and HELP texts of the metrics of networks, pools and the process.
//!
//! Connects modules that must not import each other: gateway, node and log count; the admin service
//! serves the metrics. Label values are bounded: networks and upstreams by the configuration,
//! method classes and error codes by their lists.

mod auth;
mod process;
mod proxy;
mod relay;

use std::rc::Rc;
use std::time::Duration;

use weir::reactor::{Context, Time};
use weir::services::admin::{Samples, Source};
use weir::services::rpc::gateway::GatewayCounts;
use weir::services::rpc::node::PeerCounts;
use weir::services::rpc::{Class, Counts, Network, RpcError, RpcSettings};
use weir::upstream::{Count, UpstreamCounts};

pub(crate) use self::auth::AuthSource;
pub(crate) use self::process::ProcessSource;
pub(crate) use self::proxy::ProxySource;
pub(crate) use self::relay::RelaySource;

/// Metrics of a network's clients, behind a gateway or a node.
#[derive(Debug)]
pub(crate) struct RpcSource {
    project: String,
    chain: String,
    counts: Rc<Counts>,
    settings: RpcSettings,
}

impl RpcSource {
    pub(crate) fn new(network: &Network, counts: Rc<Counts>, settings: RpcSettings) -> RpcSource {
        let (project, chain) = (network.project.clone(), network.chain_id.to_string());
        RpcSource { project, chain, counts, settings }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("project", &self.project), ("chain", &self.chain)]
    }
}

impl Source for RpcSource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        let [project, chain] = self.labels();
        let counts = &*self.counts;
        for class in Class::ALL {
            let labels = [project, chain, ("class", class.name())];
            let value = counts.requests[class as usize].get();
            samples.counter(
                "rpc_requests",
                "JSON-RPC calls received, by class of method",
                &labels,
                value,
            );
        }
        let codes = RpcError::CODES.map(|code| code.to_string());
        let codes = codes.iter().map(String::as_str).chain(["other"]);
        let codes: Vec<&str> = codes.collect();
        for class in Class::ALL {
            for (code, count) in codes.iter().zip(&counts.errors[class as usize]) {
                let labels = [project, chain, ("class", class.name()), ("code", code)];
                let help = "JSON-RPC errors returned, by class of method and error code";
                samples.counter("rpc_errors", help, &labels, count.get());
            }
        }
        let labels = [project, chain];
        let mut now = |name, help, count: &Count| {
            samples.gauge(name, help, &labels, count.get() as f64);
        };
        now("rpc_connections", "Open WebSockets of clients", &counts.connections_now);
        now("rpc_subscriptions", "Active subscriptions of clients", &counts.subscriptions_now);
        now("rpc_feeds", "Active subscriptions, equal ones counted once", &counts.feeds_now);
        now("rpc_pending_calls", "Calls that wait for their answer", &counts.calls_now);
        let settings = &self.settings;
        let limits = [
            ("rpc_connections_limit", "Limit on open WebSockets", settings.connections_max),
            (
                "rpc_subscriptions_limit",
                "Limit on active subscriptions",
                settings.subscriptions_max,
            ),
            ("rpc_pending_calls_limit", "Limit on pending calls", settings.calls_max),
        ];
        for (name, help, limit) in limits {
            samples.gauge(name, help, &labels, limit as f64);
        }
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &labels, count.get());
        };
        total("rpc_timeouts", "Calls not answered within call_timeout", &counts.timeouts);
        total(
            "rpc_pauses",
            "Times reading paused because a client had too many pending calls",
            &counts.pauses,
        );
        total("rpc_heads", "Block headers announced to subscribers", &counts.heads);
        total(
            "rpc_notifications_sent",
            "Notifications queued for subscribers",
            &counts.notifications_sent,
        );
        total(
            "rpc_notifications_dropped",
            "Notifications dropped because the subscriber read too slowly",
            &counts.notifications_dropped,
        );
        total(
            "rpc_notifications_encoded",
            "Notifications encoded, once for all equal subscriptions",
            &counts.notifications_encoded,
        );
        total(
            "rpc_gaps_closed",
            "Connections closed with 1012 because notifications for them were lost",
            &counts.gaps_closed,
        );
    }
}

/// Metrics of a node's peers.
#[derive(Debug)]
pub(crate) struct PeerSource {
    project: String,
    chain: String,
    counts: Rc<PeerCounts>,
}

impl PeerSource {
    pub(crate) fn new(network: &Network, counts: Rc<PeerCounts>) -> PeerSource {
        let (project, chain) = (network.project.clone(), network.chain_id.to_string());
        PeerSource { project, chain, counts }
    }
}

impl Source for PeerSource {
    fn collect(&self, samples: &mut Samples, _: &Context<'_>) {
        let labels = [("project", self.project.as_str()), ("chain", self.chain.as_str())];
        let PeerCounts { connected_now, heads_in, heads_out } = &*self.counts;
        let connected = connected_now.get() as f64;
        samples.gauge("node_peers", "Connected peers of the same chain", &labels, connected);
        let help = "Announcements of new heads received from peers";
        samples.counter("node_peer_heads_received", help, &labels, heads_in.get());
        let help = "Announcements of new heads sent to peers";
        samples.counter("node_peer_heads_sent", help, &labels, heads_out.get());
    }
}

/// Metrics of one network behind a gateway.
#[derive(Debug)]
pub(crate) struct NetworkSource {
    clients: RpcSource,
    gateway: Rc<GatewayCounts>,
}

impl NetworkSource {
    pub(crate) fn new(
        network: &Network,
        service: Rc<Counts>,
        settings: RpcSettings,
        gateway: Rc<GatewayCounts>,
    ) -> NetworkSource {
        NetworkSource { clients: RpcSource::new(network, service, settings), gateway }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        self.clients.labels()
    }

    fn collect_gateway(&self, samples: &mut Samples, now: Time) {
        let labels = self.labels();
        let counts = &*self.gateway;
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &labels, count.get());
        };
        total(
            "gateway_shared_calls",
            "Calls that shared the answer to an equal pending call",
            &counts.joined,
        );
        total(
            "gateway_refused_calls",
            "Calls refused because upstream_queue_max was reached",
            &counts.refused,
        );
        total(
            "gateway_head_gaps",
            "Times the announced heads could not be continued",
            &counts.losses,
        );
        let mut gauge = |name, help, value| samples.gauge(name, help, &labels, value);
        gauge(
            "gateway_queued_calls",
            "Calls that wait for an upstream",
            counts.queued_now.get() as f64,
        );
        gauge("gateway_head_block", "Number of the block announced last", counts.head.get() as f64);
        gauge(
            "gateway_heads_pushed",
            "Whether an upstream pushes new heads, 0 or 1; otherwise they are polled",
            counts.pushed.get() as f64,
        );
        let block_time = Duration::from_nanos(counts.block_time.get()).as_secs_f64();
        gauge("gateway_block_time_seconds", "Mean time between blocks", block_time);
        // Without subscribers nothing is polled: then there is no lag.
        let reported_at = counts.head_reported_at.get();
        let lag = if reported_at == 0 {
            Duration::ZERO
        } else {
            now.since(Time::from_nanos(reported_at))
        };
        gauge(
            "gateway_poll_lag_seconds",
            "Time since an upstream last reported a head; 0 without subscribers",
            lag.as_secs_f64(),
        );
        let [project, chain] = labels;
        for class in Class::ALL {
            let labels = [project, chain, ("class", class.name())];
            let help = "Time from a request to the answer of its upstream, by class of method";
            let latency = &counts.latency[class as usize];
            samples.durations("gateway_latency_seconds", help, &labels, latency);
        }
    }

    fn collect_upstream(&self, samples: &mut Samples, counts: &UpstreamCounts) {
        let [project, chain] = self.labels();
        let labels = [project, chain, ("upstream", counts.name.as_str())];
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &labels, count.get());
        };
        total("upstream_requests", "Requests sent to the upstream", &counts.sent);
        total("upstream_failures", "Requests to the upstream that failed", &counts.failed);
        let help = "Messages from the upstream that were not valid JSON-RPC";
        total("upstream_malformed", help, &counts.malformed);
        total("upstream_breaker_opened", "Times the circuit breaker opened", &counts.opened);
        let mut now = |name, help, count: &Count| {
            samples.gauge(name, help, &labels, count.get() as f64);
        };
        now(
            "upstream_pending_requests",
            "Requests that wait for the upstream's answer",
            &counts.in_flight_now,
        );
        now(
            "upstream_ready",
            "Whether requests can be sent to the upstream, 0 or 1",
            &counts.ready,
        );
        now(
            "upstream_breaker_state",
            "Circuit breaker: 0 closed, 1 half-open, 2 open",
            &counts.breaker,
        );
        let help = "Time from a request to the upstream's answer";
        samples.durations("upstream_latency_seconds", help, &labels, &counts.latency);
    }
}

impl Source for NetworkSource {
    fn collect(&self, samples: &mut Samples, cx: &Context<'_>) {
        self.clients.collect(samples, cx);
        self.collect_gateway(samples, cx.now());
        for upstream in &self.gateway.upstreams {
            self.collect_upstream(samples, upstream);
        }
    }
}
