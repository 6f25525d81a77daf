//! What a run has shown, as plain data: for JSON as it is, for tables by [`table`](crate::table).
//!
//! Owns the arithmetic from counts and marks to rates and shares. Rates and CPU time are those of the
//! measurement alone; latencies and errors include what came, or did not come, after it.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::assertion::{Assertion, Metric};
use crate::crowd::Census;
use crate::parts::{CONNECTION, Shared};
use crate::process::{Sample, Usage};
use crate::run::{Mark, Marks};
use crate::tally::{Counts, Errors, Moment, Tally};

/// The share of a core from which a thread is busy.
const BUSY: f64 = 0.9;
/// The share of messages that may be sent late.
const LATE: f64 = 0.01;
/// Points of a distribution for each factor of ten.
const POINTS_PER_DECADE: u32 = 8;
/// Factors of ten: up to 99.9999 %.
const DECADES: u32 = 6;

/// A distribution of latencies, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    /// Quantile and latency, denser towards 1.
    pub(crate) distribution: Vec<(f64, u64)>,
}

impl Latency {
    /// `None` if nothing was recorded.
    fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        let points = 0..=POINTS_PER_DECADE * DECADES;
        let quantile = |point| 1.0 - 0.1_f64.powf(f64::from(point) / f64::from(POINTS_PER_DECADE));
        Some(Latency {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            distribution: points.map(quantile).map(|point| (point, at(point))).collect(),
        })
    }
}

/// What one part has counted, or all of them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// What is counted: echoes, deliveries, connections.
    pub(crate) unit: &'static str,
    pub(crate) units: &'static str,
    pub(crate) connections: Census,
    /// From the beginning of a connection to the end of its handshake.
    pub(crate) connect: Option<Latency>,
    pub(crate) messages: Counts,
    /// Units in the measurement.
    pub(crate) count: u64,
    /// Units per second; `None` where the run is INVALID.
    pub(crate) rate: Option<f64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) errors: Errors,
    pub(crate) notes: Vec<String>,
    pub(crate) timeline: Vec<Moment>,
}

/// What the server's process did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerReport {
    pub(crate) pid: i32,
    /// CPU nanoseconds for each unit: the figure to compare servers by.
    pub(crate) cpu_nanos_each: Option<f64>,
    pub(crate) user_nanos_each: Option<f64>,
    pub(crate) system_nanos_each: Option<f64>,
    /// Of one core.
    pub(crate) cpu_share: f64,
    pub(crate) cpu_nanos_per_handshake: Option<f64>,
    pub(crate) rss_bytes: u64,
    /// What each connection after the first has added.
    pub(crate) rss_bytes_per_connection: Option<f64>,
    pub(crate) descriptors: u64,
    pub(crate) context_switches_per_second: f64,
}

/// What the client itself did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClientReport {
    pub(crate) cpu_nanos_each: Option<f64>,
    pub(crate) cpu_share: f64,
    /// Messages that were sent more than a millisecond late.
    pub(crate) late_share: f64,
    /// Why these figures say more of the client than of the server.
    pub(crate) bottleneck: Option<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) command: &'static str,
    pub(crate) url: String,
    pub(crate) seconds: f64,
    pub(crate) interrupted: bool,
    /// Why the run says nothing about the server, if so: then it has neither rates nor latencies.
    pub(crate) invalid: Option<String>,
    pub(crate) total: Section,
    /// Each part, if there are several.
    pub(crate) parts: Vec<Section>,
    pub(crate) server: Option<ServerReport>,
    pub(crate) client: ClientReport,
}

/// What a run's measurement had counted when it ended: what comes later does not belong to its rate.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    counts: Vec<Counts>,
    handshakes: u64,
}

impl Window {
    pub(crate) fn of(parts: &[Shared]) -> Window {
        let counts = parts.iter().map(|part| part.borrow_mut().tally().counts).collect();
        let opened = parts.iter().map(|part| part.borrow_mut().crowd().census.opened);
        Window { counts, handshakes: opened.sum() }
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
            if is_ramp { (marks.rest, marks.connected) } else { (marks.begun, marks.ended) };
        let seconds = to.at.since(from.at).as_secs_f64();
        let mut sections: Vec<Section> = parts
            .iter()
            .zip(&window.counts)
            .map(|(part, counts)| section(part, *counts, seconds, is_ramp))
            .collect();
        let total = match &sections[..] {
            [_] => sections.remove(0),
            several => total(command, several, parts, seconds),
        };
        let server = pid.and_then(|pid| server(pid, &total, marks, window, (from, to)));
        let client = client(&total, server.as_ref(), (from, to));
        Report {
            command,
            url: url.to_owned(),
            seconds: marks.ended.at.since(marks.begun.at).as_secs_f64(),
            interrupted: false,
            invalid: None,
            total,
            parts: sections,
            server,
            client,
        }
    }

    /// Takes back every figure that a wrong answer spoils: what remains are counts.
    pub(crate) fn invalidate(&mut self, why: String) {
        self.invalid = Some(why);
        for section in std::iter::once(&mut self.total).chain(&mut self.parts) {
            section.rate = None;
            section.latency = None;
        }
        if let Some(server) = &mut self.server {
            server.cpu_nanos_each = None;
            server.user_nanos_each = None;
            server.system_nanos_each = None;
        }
        self.client.cpu_nanos_each = None;
        self.client.bottleneck = None;
    }

    /// The value that an assertion is about.
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

    /// The demands that were not met, in words.
    pub(crate) fn failures(&self, demands: &[Assertion], max_errors: Option<u64>) -> Vec<String> {
        let unmet = demands.iter().filter(|demand| !demand.holds(|metric| self.value(metric)));
        let mut failures: Vec<String> = unmet.map(|demand| format!("not so: {demand}")).collect();
        let errors = self.total.errors.total();
        if let Some(max) = max_errors.filter(|max| errors > *max) {
            failures.push(format!("{errors} errors, {max} allowed"));
        }
        failures
    }
}

fn section(part: &Shared, counts: Counts, seconds: f64, is_ramp: bool) -> Section {
    let mut part = part.borrow_mut();
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
    window: &Window,
    (from, to): (Mark, Mark),
) -> Option<ServerReport> {
    let (rest, connected) = (marks.rest.server?, marks.connected.server?);
    let last: Sample = marks.ended.server?;
    let used: Usage = to.server?.since(&from.server?);
    let seconds = to.at.since(from.at).as_secs_f64();
    let each = |nanos: f64| per(nanos, total.count as f64);
    let cpu = used.cpu_nanos as f64;
    let handshakes = window.handshakes.min(total.connections.wanted) as f64;
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

/// What each further connection adds, once the first is open: its buffers are there, and the code that it
/// runs has been read from disk.
fn rss_bytes_each(marks: &Marks, connections: f64) -> Option<f64> {
    let (first, begun) = marks.first?;
    let (before, after) = (first.server?, marks.connected.server?);
    let grown = after.rss_bytes.saturating_sub(before.rss_bytes) as f64;
    per(grown, connections - begun as f64)
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

/// Whether the client, not the server, was at its limit.
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
            "the client used {share:.0} % of its core; with --pid the server's share would show"
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
    fn the_client_owns_up() {
        assert_eq!(bottleneck(&client(0.5, 0.0), Some(0.99)), None);
        assert_eq!(bottleneck(&client(0.5, 0.0), Some(0.5)), None);
        assert_eq!(bottleneck(&client(0.5, 0.0), None), None);
        assert_eq!(bottleneck(&client(0.99, 0.0), Some(0.97)), None);
        assert!(bottleneck(&client(0.99, 0.0), Some(0.5)).is_some());
        assert!(bottleneck(&client(0.99, 0.0), None).is_some());
        assert!(bottleneck(&client(0.5, 0.02), Some(0.99)).is_some());
    }

    #[test]
    fn the_first_connection_pays_for_what_all_share() {
        let mark = |rss_bytes| {
            let mut server = Sample::default();
            server.rss_bytes = rss_bytes;
            Mark { at: Time::ZERO, client_cpu_nanos: 0, server: Some(server) }
        };
        let marks = |first| Marks {
            rest: mark(1_000_000),
            first,
            connected: mark(1_227_000),
            begun: mark(1_227_000),
            ended: mark(1_227_000),
        };
        assert_eq!(rss_bytes_each(&marks(Some((mark(1_200_000), 100))), 200.0), Some(270.0));
        assert_eq!(rss_bytes_each(&marks(Some((mark(1_200_000), 200))), 200.0), None);
        assert_eq!(rss_bytes_each(&marks(None), 200.0), None);
    }

    #[test]
    fn a_distribution_rises_to_its_maximum() {
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(Latency::of(&histogram), None);
        (1..=1000).for_each(|value| histogram.record(value).unwrap());
        let latency = Latency::of(&histogram).unwrap();
        assert_eq!((latency.p50, latency.p99, latency.max), (500, 990, 1000));
        assert!(latency.distribution.is_sorted());
        assert_eq!(latency.distribution.last().map(|(_, value)| *value), Some(1000));
    }
}
