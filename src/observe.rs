//! What the counts of networks, and of the process, are called where operators read them.
//!
//! Between those that do not know each other: the gateway and the log, which count, and the admin
//! service, which shows. Labels are bounded: networks and upstreams by the configuration, classes of
//! methods and codes of errors by their lists.

use std::rc::Rc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir::reactor::Time;
use weir::services::admin::{Samples, Source};
use weir::services::rpc::gateway::{GatewayCounts, UpstreamCounts};
use weir::services::rpc::node::PeerCounts;
use weir::services::rpc::{Class, Count, Counts, Network, RpcError};

use crate::logging::lines_lost;
use crate::version::{COMMIT, VERSION};

/// What the process uses, and the counts of its log.
#[derive(Debug)]
pub(crate) struct ProcessSource;

impl Source for ProcessSource {
    fn tell(&self, samples: &mut Samples, _: Time) {
        let build = [("version", VERSION), ("commit", COMMIT)];
        samples.gauge("build_info", "Version and git commit of this build; always 1", &build, 1.0);
        samples.counter("log_lines_lost", "Lines that nobody read in time", &[], lines_lost());
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let spent = Duration::try_from(spent).unwrap_or_default();
        samples.seconds("process_cpu_seconds", "CPU time of all threads", &[], spent);
        if let Some(bytes) = resident_bytes() {
            samples.gauge("process_resident_bytes", "Memory in use", &[], bytes as f64);
        }
    }
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    let memory = procfs::process::Process::myself().and_then(|process| process.statm());
    Some(memory.ok()?.resident * procfs::page_size())
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}

/// What is counted of a network's clients, whether a gateway or a node serves them.
#[derive(Debug)]
pub(crate) struct RpcSource {
    project: String,
    chain: String,
    counts: Rc<Counts>,
}

impl RpcSource {
    pub(crate) fn new(network: &Network, counts: Rc<Counts>) -> RpcSource {
        let (project, chain) = (network.project.clone(), network.chain_id.to_string());
        RpcSource { project, chain, counts }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("project", &self.project), ("chain", &self.chain)]
    }
}

impl Source for RpcSource {
    fn tell(&self, samples: &mut Samples, _: Time) {
        let [project, chain] = self.labels();
        let counts = &*self.counts;
        for class in Class::ALL {
            let labels = [project, chain, ("class", class.name())];
            let value = counts.requests[class as usize].get();
            samples.counter("rpc_requests", "Calls, by class of method", &labels, value);
        }
        let codes = RpcError::CODES.map(|code| code.to_string());
        let codes = codes.iter().map(String::as_str).chain(["other"]);
        let codes: Vec<&str> = codes.collect();
        for class in Class::ALL {
            for (code, count) in codes.iter().zip(&counts.errors[class as usize]) {
                let labels = [project, chain, ("class", class.name()), ("code", code)];
                let help = "Errors answered, by class of method and code";
                samples.counter("rpc_errors", help, &labels, count.get());
            }
        }
        let labels = [project, chain];
        let mut now = |name, help, count: &Count| {
            samples.gauge(name, help, &labels, count.get() as f64);
        };
        now("rpc_connections", "Open WebSockets", &counts.connections_now);
        now("rpc_subscriptions", "Subscriptions", &counts.subscriptions_now);
        now("rpc_feeds", "Things subscribed to that differ", &counts.feeds_now);
        now("rpc_calls", "Calls that wait for their answer", &counts.calls_now);
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &labels, count.get());
        };
        total("rpc_timeouts", "Calls not answered in time", &counts.timeouts);
        total("rpc_pauses", "Connections not read from for their many calls", &counts.pauses);
        total("rpc_heads", "Heads announced", &counts.heads);
        total("rpc_notifications_sent", "Notifications queued", &counts.notifications_sent);
        total(
            "rpc_notifications_dropped",
            "Notifications without room",
            &counts.notifications_dropped,
        );
        total("rpc_notifications_encoded", "Notifications encoded", &counts.notifications_encoded);
        total("rpc_gaps_closed", "Connections closed with 1012", &counts.gaps_closed);
    }
}

/// What is counted of a node's peers.
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
    fn tell(&self, samples: &mut Samples, _: Time) {
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

/// The counts of one network behind a gateway.
#[derive(Debug)]
pub(crate) struct NetworkSource {
    clients: RpcSource,
    gateway: Rc<GatewayCounts>,
}

impl NetworkSource {
    pub(crate) fn new(
        network: &Network,
        service: Rc<Counts>,
        gateway: Rc<GatewayCounts>,
    ) -> NetworkSource {
        NetworkSource { clients: RpcSource::new(network, service), gateway }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        self.clients.labels()
    }

    fn tell_gateway(&self, samples: &mut Samples, now: Time) {
        let labels = self.labels();
        let counts = &*self.gateway;
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &labels, count.get());
        };
        total("gateway_shared", "Calls that joined another", &counts.joined);
        total("gateway_refused", "Calls refused as busy", &counts.refused);
        total("gateway_losses", "Times that heads could not be continued", &counts.losses);
        let mut gauge = |name, help, value| samples.gauge(name, help, &labels, value);
        gauge("gateway_queued", "Calls that wait for an upstream", counts.queued_now.get() as f64);
        gauge("gateway_head", "The block announced last", counts.head.get() as f64);
        gauge("gateway_pushed", "Whether heads are pushed", counts.pushed.get() as f64);
        let block_time = Duration::from_nanos(counts.block_time.get()).as_secs_f64();
        gauge("gateway_block_time_seconds", "The time between blocks", block_time);
        // Nobody asks while nobody subscribes: then there is no lag.
        let heard = counts.heard.get();
        let lag = if heard == 0 { Duration::ZERO } else { now.since(Time::from_nanos(heard)) };
        gauge("gateway_poll_lag_seconds", "Since a head was last told", lag.as_secs_f64());
        let [project, chain] = labels;
        for class in Class::ALL {
            let labels = [project, chain, ("class", class.name())];
            let help = "Time to an upstream's answer, by class of method";
            let latency = &counts.latency[class as usize];
            samples.durations("gateway_latency_seconds", help, &labels, latency);
        }
    }

    fn tell_upstream(&self, samples: &mut Samples, counts: &UpstreamCounts) {
        let [project, chain] = self.labels();
        let labels = [project, chain, ("upstream", counts.name.as_str())];
        let mut total = |name, help, count: &Count| {
            samples.counter(name, help, &labels, count.get());
        };
        total("upstream_requests", "Calls sent", &counts.sent);
        total("upstream_failures", "Calls that failed", &counts.failed);
        let help = "Messages from the upstream that were no valid JSON-RPC";
        total("upstream_malformed", help, &counts.malformed);
        total("upstream_breaker_opened", "Times that the breaker opened", &counts.opened);
        let mut now = |name, help, count: &Count| {
            samples.gauge(name, help, &labels, count.get() as f64);
        };
        now("upstream_in_flight", "Calls under way", &counts.in_flight_now);
        now("upstream_ready", "Whether it can be asked", &counts.ready);
        now("upstream_breaker", "0 closed, 1 half-open, 2 open", &counts.breaker);
        let help = "Time to the answer";
        samples.durations("upstream_latency_seconds", help, &labels, &counts.latency);
    }
}

impl Source for NetworkSource {
    fn tell(&self, samples: &mut Samples, now: Time) {
        self.clients.tell(samples, now);
        self.tell_gateway(samples, now);
        for upstream in &self.gateway.upstreams {
            self.tell_upstream(samples, upstream);
        }
    }
}
