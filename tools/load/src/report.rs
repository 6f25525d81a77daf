//! The results of a run as plain data: serialized as JSON, printed by [`table`](crate::table).
//!
//! Computes rates and shares from counts and marks. Rates and CPU time cover the measurement only;
//! latencies and errors include answers that arrived, or did not arrive, after it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::assertion::{Assertion, Metric};
use crate::crowd::Census;
use crate::latency::Latency;
use crate::parts::{CONNECTION, Shared, Unit};
use crate::process::{Sample, Usage};
use crate::run::{Mark, Marks};
use crate::tally::{Counts, Errors, Moment, Tally};

/// Share of a core above which a thread counts as busy.
const BUSY: f64 = 0.9;
/// Maximum share of messages that may be sent late.
const LATE: f64 = 0.01;

/// The results of one part, or of all parts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// The counted unit: echoes, deliveries, connections.
    pub(crate) unit: &'static str,
    pub(crate) units: &'static str,
    pub(crate) connections: Census,
    /// Durations from starting a connection to the end of its handshake.
    pub(crate) connect: Option<Latency>,
    pub(crate) messages: Counts,
    /// Units in the measurement.
    pub(crate) count: u64,
    /// Units per second; `None` if the run is INVALID.
    pub(crate) rate: Option<f64>,
    pub(crate) latency: Option<Latency>,
    /// Latencies besides it, by name.
    pub(crate) details: BTreeMap<&'static str, Latency>,
    /// A second counted unit.
    pub(crate) second: Option<Second>,
    pub(crate) errors: Errors,
    pub(crate) notes: Vec<String>,
    pub(crate) timeline: Vec<Moment>,
}

/// A second counted unit: the events of requests, or of deliveries.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Second {
    pub(crate) unit: &'static str,
    pub(crate) units: &'static str,
    pub(crate) count: u64,
    /// `None` if the run is INVALID.
    pub(crate) rate: Option<f64>,
    pub(crate) cpu_nanos_each: Option<f64>,
}

/// Resource usage of the server's process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerReport {
    pub(crate) pid: i32,
    /// CPU nanoseconds per unit: the figure for comparing servers.
    pub(crate) cpu_nanos_each: Option<f64>,
    pub(crate) user_nanos_each: Option<f64>,
    pub(crate) system_nanos_each: Option<f64>,
    /// Share of one core.
    pub(crate) cpu_share: f64,
    pub(crate) cpu_nanos_per_handshake: Option<f64>,
    pub(crate) rss_bytes: u64,
    /// Growth per connection after the first.
    pub(crate) rss_bytes_per_connection: Option<f64>,
    pub(crate) descriptors: u64,
    pub(crate) context_switches_per_second: f64,
}

/// Resource usage of the client.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClientReport {
    pub(crate) cpu_nanos_each: Option<f64>,
    pub(crate) cpu_share: f64,
    /// Share of messages that were sent more than 1 ms late.
    pub(crate) late_share: f64,
    /// Why these results measure the client rather than the server, if they do.
    pub(crate) bottleneck: Option<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) command: &'static str,
    pub(crate) url: String,
    pub(crate) seconds: f64,
    pub(crate) interrupted: bool,
    /// Why the run is INVALID, if it is; it then has neither rates nor latencies.
    pub(crate) invalid: Option<String>,
    pub(crate) total: Section,
    /// The parts, if there are several.
    pub(crate) parts: Vec<Section>,
    pub(crate) server: Option<ServerReport>,
    pub(crate) client: ClientReport,
}

/// The counts at the end of the measurement: later messages do not count towards the rate.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    counts: Vec<(Counts, Option<(Unit, u64)>)>,
}

impl Window {
    pub(crate) fn of(parts: &[Shared]) -> Window {
        let counts = |part: &Shared| {
            let mut part = part.borrow_mut();
            (part.tally().counts, part.second())
        };
        Window { counts: parts.iter().map(counts).collect() }
    }
}

impl Report {
    pub(crate) fn new(
        command: &'static str,
        url: &str,
        pid: Option<i32>,
        parts: &[Shared],
        marks: &Marks,
        window: &Window,
    ) -> Report {
        let is_ramp = command == "connect";
        let (from, to) =
            if is_ramp { (marks.rest, marks.connected) } else { (marks.started, marks.ended) };
        let seconds = to.at.since(from.at).as_secs_f64();
        let mut sections: Vec<Section> = parts
            .iter()
            .zip(&window.counts)
            .map(|(part, counts)| section(part, *counts, seconds, is_ramp))
            .collect();
        let mut total = match &sections[..] {
            [_] => sections.remove(0),
            several => total(command, several, parts, seconds),
        };
        let server = pid.and_then(|pid| server(pid, &total, marks, (from, to)));
        if let (Some(second), Some(server)) = (&mut total.second, &server) {
            second.cpu_nanos_each = per(server.cpu_share * seconds * 1e9, second.count as f64);
        }
        let client = client(&total, server.as_ref(), (from, to));
        Report {
            command,
            url: url.to_owned(),
            seconds: marks.ended.at.since(marks.started.at).as_secs_f64(),
            interrupted: false,
            invalid: None,
            total,
            parts: sections,
            server,
            client,
        }
    }

    /// Removes every figure that wrong answers falsify; counts remain.
    pub(crate) fn invalidate(&mut self, why: String) {
        self.invalid = Some(why);
        for section in std::iter::once(&mut self.total).chain(&mut self.parts) {
            section.rate = None;
            section.latency = None;
            section.details.clear();
            if let Some(second) = &mut section.second {
                (second.rate, second.cpu_nanos_each) = (None, None);
            }
        }
        if let Some(server) = &mut self.server {
            server.cpu_nanos_each = None;
            server.user_nanos_each = None;
            server.system_nanos_each = None;
        }
        self.client.cpu_nanos_each = None;
        self.client.bottleneck = None;
    }

    /// The value of an assertion's metric.
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        let latency = self.total.latency.as_ref();
        match metric {
            Metric::P50 => latency.map(|latency| latency.p50 as f64),
            Metric::P90 => latency.map(|latency| latency.p90 as f64),
            Metric::P99 => latency.map(|latency| latency.p99 as f64),
            Metric::P999 => latency.map(|latency| latency.p999 as f64),
            Metric::Max => latency.map(|latency| latency.max as f64),
            Metric::Mean => latency.map(|latency| latency.mean),
            Metric::Rate => self.total.rate,
            Metric::Errors => Some(self.total.errors.total() as f64),
            Metric::Cpu => self.server.as_ref().and_then(|server| server.cpu_nanos_each),
        }
    }

    /// The assertions that do not hold, as text.
    pub(crate) fn failures(&self, demands: &[Assertion], max_errors: Option<u64>) -> Vec<String> {
        let unmet = demands.iter().filter(|demand| !demand.holds(|metric| self.value(metric)));
        let mut failures: Vec<String> =
            unmet.map(|demand| format!("does not hold: {demand}")).collect();
        let errors = self.total.errors.total();
        if let Some(max) = max_errors.filter(|max| errors > *max) {
            failures.push(format!("{errors} errors, {max} allowed"));
        }
        failures
    }
}

fn section(
    part: &Shared,
    (counts, second): (Counts, Option<(Unit, u64)>),
    seconds: f64,
    is_ramp: bool,
) -> Section {
    let mut part = part.borrow_mut();
    let details = part.details().into_iter();
    let details =
        details.filter_map(|(name, tally)| Some((name, Latency::of(tally.latencies())?))).collect();
    let connect = Latency::of(part.crowd().connects.latencies());
    let census = part.crowd().census;
    let (unit, latency, timeline, count) = if is_ramp {
        let timeline = part.crowd().connects.timeline().to_vec();
        (CONNECTION, connect.clone(), timeline, census.opened)
    } else {
        let tally = part.tally();
        let (latency, timeline) = (Latency::of(tally.latencies()), tally.timeline().to_vec());
        (part.unit(), latency, timeline, counts.received)
    };
    Section {
        name: part.name().to_owned(),
        unit: unit.one,
        units: unit.many,
        connections: census,
        connect,
        messages: part.tally().counts,
        count,
        rate: Some(per(count as f64, seconds).unwrap_or(0.0)),
        latency,
        details,
        second: second.map(|(unit, count)| Second {
            unit: unit.one,
            units: unit.many,
            count,
            rate: per(count as f64, seconds),
            cpu_nanos_each: None,
        }),
        errors: part.tally().errors.clone(),
        notes: part.notes(),
        timeline,
    }
}

fn total(command: &str, sections: &[Section], parts: &[Shared], seconds: f64) -> Section {
    let mut latencies = Tally::new();
    let mut connects = Tally::new();
    for part in parts {
        let mut part = part.borrow_mut();
        latencies.absorb(part.tally());
        connects.absorb(&part.crowd().connects);
    }
    let mut total = Section {
        name: command.to_owned(),
        unit: "message",
        units: "messages",
        connections: Census::default(),
        connect: Latency::of(connects.latencies()),
        messages: Counts::default(),
        count: 0,
        rate: None,
        latency: Latency::of(latencies.latencies()),
        details: BTreeMap::new(),
        second: None,
        errors: Errors::default(),
        notes: Vec::new(),
        timeline: Vec::new(),
    };
    for section in sections {
        total.connections.add(&section.connections);
        total.messages.add(&section.messages);
        total.errors.merge(&section.errors);
        total.count += section.count;
    }
    total.rate = Some(per(total.count as f64, seconds).unwrap_or(0.0));
    total
}

fn server(
    pid: i32,
    total: &Section,
    marks: &Marks,
    (from, to): (Mark, Mark),
) -> Option<ServerReport> {
    let (rest, connected) = (marks.rest.server?, marks.connected.server?);
    let last: Sample = marks.ended.server?;
    let used: Usage = to.server?.since(&from.server?);
    let seconds = to.at.since(from.at).as_secs_f64();
    let each = |nanos: f64| per(nanos, total.count as f64);
    let cpu = used.cpu_nanos as f64;
    // Connections that open later are not in the usage up to `connected`.
    let handshakes = marks.opened as f64;
    Some(ServerReport {
        pid,
        cpu_nanos_each: each(cpu),
        user_nanos_each: each(cpu * (1.0 - used.system_share)),
        system_nanos_each: each(cpu * used.system_share),
        cpu_share: per(cpu / 1e9, seconds).unwrap_or(0.0),
        cpu_nanos_per_handshake: per(connected.since(&rest).cpu_nanos as f64, handshakes),
        rss_bytes: last.rss_bytes,
        rss_bytes_per_connection: rss_bytes_each(marks, handshakes),
        descriptors: last.descriptors,
        context_switches_per_second: per(used.context_switches as f64, seconds).unwrap_or(0.0),
    })
}

/// Growth of RSS per connection after the first: by then the server has allocated its shared
/// buffers and loaded the code that it runs.
fn rss_bytes_each(marks: &Marks, connections: f64) -> Option<f64> {
    let (first, started) = marks.first?;
    let (before, after) = (first.server?, marks.connected.server?);
    let grown = after.rss_bytes.saturating_sub(before.rss_bytes) as f64;
    per(grown, connections - started as f64)
}

fn client(
    total: &Section,
    server: Option<&ServerReport>,
    (from, to): (Mark, Mark),
) -> ClientReport {
    let cpu = to.client_cpu_nanos.saturating_sub(from.client_cpu_nanos) as f64;
    let seconds = to.at.since(from.at).as_secs_f64();
    let mut report = ClientReport {
        cpu_nanos_each: per(cpu, total.count as f64),
        cpu_share: per(cpu / 1e9, seconds).unwrap_or(0.0),
        late_share: per(total.messages.late as f64, total.messages.sent as f64).unwrap_or(0.0),
        bottleneck: None,
    };
    report.bottleneck = bottleneck(&report, server.map(|server| server.cpu_share));
    report
}

/// Whether the client limited the results, not the server.
fn bottleneck(client: &ClientReport, server_share: Option<f64>) -> Option<String> {
    let share = 100.0 * client.cpu_share;
    let late = 100.0 * client.late_share;
    match server_share {
        _ if client.late_share > LATE => {
            Some(format!("the client sent {late:.1} % of its messages late"))
        }
        _ if client.cpu_share < BUSY => None,
        Some(server) if server >= BUSY => None,
        Some(server) => Some(format!(
            "the client used {share:.0} % of its core, the server {:.0} %",
            100.0 * server
        )),
        None => Some(format!(
            "the client used {share:.0} % of its core; use --pid to see the server's share"
        )),
    }
}

fn per(amount: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| amount / count)
}

#[cfg(test)]
mod tests {
    use weir::reactor::Time;

    use super::*;

    fn client(cpu_share: f64, late_share: f64) -> ClientReport {
        ClientReport { cpu_nanos_each: None, cpu_share, late_share, bottleneck: None }
    }

    #[test]
    fn a_busy_or_late_client_is_the_bottleneck() {
        assert_eq!(bottleneck(&client(0.5, 0.0), Some(0.99)), None);
        assert_eq!(bottleneck(&client(0.5, 0.0), Some(0.5)), None);
        assert_eq!(bottleneck(&client(0.5, 0.0), None), None);
        assert_eq!(bottleneck(&client(0.99, 0.0), Some(0.97)), None);
        assert!(bottleneck(&client(0.99, 0.0), Some(0.5)).is_some());
        assert!(bottleneck(&client(0.99, 0.0), None).is_some());
        assert!(bottleneck(&client(0.5, 0.02), Some(0.99)).is_some());
    }

    #[test]
    fn shared_memory_is_not_counted_per_connection() {
        let mark = |rss_bytes| {
            let mut server = Sample::default();
            server.rss_bytes = rss_bytes;
            Mark { at: Time::ZERO, client_cpu_nanos: 0, server: Some(server) }
        };
        let marks = |first| Marks {
            rest: mark(1_000_000),
            first,
            connected: mark(1_227_000),
            opened: 200,
            started: mark(1_227_000),
            ended: mark(1_227_000),
        };
        assert_eq!(rss_bytes_each(&marks(Some((mark(1_200_000), 100))), 200.0), Some(270.0));
        assert_eq!(rss_bytes_each(&marks(Some((mark(1_200_000), 200))), 200.0), None);
        assert_eq!(rss_bytes_each(&marks(None), 200.0), None);
    }
}
