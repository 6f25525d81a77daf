//! The address for operators: `GET /metrics`, `GET /healthz` and `GET /readyz`.
//!
//! Whoever counts something is a [`Source`]; a scrape asks each and writes what they say in the text
//! format of Prometheus. Between scrapes this costs nothing: counts are plain integers elsewhere.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::protocol::Message;
use crate::protocol::handshake::Response;
use crate::reactor::{
    ConnId, Context, Decision, Durations, Metric, Occupancy, PlainRequest, Request, Service, Sizes,
    Time,
};

/// The path of the metrics.
pub const METRICS: &str = "/metrics";
/// Liveness: 200 while the loop turns, in a shutdown, too.
pub const HEALTH: &str = "/healthz";
/// Readiness: 200 while new clients are to come here; 503 with the reason otherwise. A full server is
/// ready, and its body says that it is full.
pub const READY: &str = "/readyz";
/// The media type of what `METRICS` answers.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who counts something that is worth a look.
pub trait Source: fmt::Debug {
    /// Adds what it has counted up to `now`.
    fn tell(&self, samples: &mut Samples, now: Time);
}

/// Answers operators.
#[derive(Debug)]
pub struct Admin {
    sources: Vec<Box<dyn Source>>,
}

impl Admin {
    /// Tells of the loop, and of these.
    pub fn new(sources: Vec<Box<dyn Source>>) -> Admin {
        Admin { sources }
    }

    fn metrics(&self, cx: &mut Context<'_>) -> Response {
        let mut samples = Samples::default();
        let now = cx.now();
        let metrics = cx.metrics();
        for Metric { name, help, value } in metrics.iter() {
            // Like the help of all else that is counted.
            let help = help.trim_end_matches('.');
            match name.strip_suffix("_now") {
                Some(name) => samples.gauge(name, help, &[], value as f64),
                None => samples.counter(name, help, &[], value),
            }
        }
        let by_reason = [
            ("refusals", "Requests refused, by reason", &metrics.refusals),
            ("ends", "Connections ended, by reason", &metrics.ends),
        ];
        for (name, help, counts) in by_reason {
            for (reason, &count) in counts {
                samples.counter(name, help, &[("reason", reason)], count);
            }
        }
        let took = [
            ("turn_seconds", "Time of a turn, from one poll to the next", &metrics.turns_took),
            ("handshake_seconds", "Time to an open connection", &metrics.handshakes_took),
            ("round_trip_seconds", "Time from a ping to its pong", &metrics.round_trips),
            ("decode_seconds", "Time to decode a frame, sampled", &metrics.decodes_took),
        ];
        for (name, help, durations) in took {
            samples.durations(name, help, &[], durations);
        }
        let help = "Bytes of messages received, sampled";
        samples.sizes("message_bytes", help, &[], &metrics.messages_sized);
        for source in &self.sources {
            source.tell(&mut samples, now);
        }
        match samples.into_text() {
            Ok(text) => Response::new(200, OPEN_METRICS, text.into_bytes()),
            Err(fmt::Error) => Response::text(500, "the metrics could not be written"),
        }
    }
}

impl Service for Admin {
    fn methods(&self) -> &'static [&'static str] {
        &["GET", "HEAD"]
    }

    fn on_plain(
        &mut self,
        cx: &mut Context<'_>,
        _: ConnId,
        request: &PlainRequest<'_>,
    ) -> Option<Response> {
        Some(match request.http.path() {
            METRICS => self.metrics(cx),
            HEALTH => Response::text(200, "ok\n"),
            READY => readiness(cx.occupancy()),
            _ => Response::text(404, "no such path"),
        })
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, _: &Request<'_>) -> Decision {
        Decision::Respond(Response::text(404, "no WebSocket here"))
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

fn readiness(occupancy: Occupancy) -> Response {
    let Occupancy { clients, clients_max, outbound, .. } = occupancy;
    if occupancy.is_draining {
        let left = clients + outbound;
        return Response::text(503, format!("shutting down: {left} connections left\n"));
    }
    if occupancy.is_full {
        let text = format!("ready, but full: {clients} of {clients_max} connections\n");
        return Response::text(200, text);
    }
    Response::text(200, "ready\n")
}

/// What is told in one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    families: Vec<Family>,
}

/// The samples of one name.
#[derive(Debug)]
struct Family {
    name: String,
    help: &'static str,
    rows: Vec<(Vec<(&'static str, String)>, Value)>,
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    Seconds(f64),
    Gauge(f64),
    Histogram { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

impl Samples {
    /// Something that only grows. The name is given without prefix and suffix, here and below.
    pub fn counter(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.add(name, help, labels, Value::Counter(value));
    }

    /// Time that was spent.
    pub fn seconds(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        spent: Duration,
    ) {
        self.add(name, help, labels, Value::Seconds(spent.as_secs_f64()));
    }

    /// Something that comes and goes.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(name, help, labels, Value::Gauge(value));
    }

    /// How long things took, in seconds.
    pub fn durations(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        took: &Durations,
    ) {
        let seconds =
            |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets = took.buckets().map(|(bound, count)| (seconds(bound), count)).collect();
        let (sum, count) = (took.sum().as_secs_f64(), took.total());
        self.add(name, help, labels, Value::Histogram { sum, count, buckets });
    }

    /// How large things were, in bytes.
    pub fn sizes(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        sizes: &Sizes,
    ) {
        let bytes = |bound: Option<usize>| bound.map_or(f64::INFINITY, |bound| bound as f64);
        let buckets = sizes.buckets().map(|(bound, count)| (bytes(bound), count)).collect();
        let (sum, count) = (sizes.sum() as f64, sizes.total());
        self.add(name, help, labels, Value::Histogram { sum, count, buckets });
    }

    fn add(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Value,
    ) {
        let row = (labels.iter().map(|&(name, value)| (name, value.to_owned())).collect(), value);
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.rows.push(row),
            None => self.families.push(Family { name: name.to_owned(), help, rows: vec![row] }),
        }
    }

    fn into_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("weir");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { name, help, rows } in &self.families {
            let Some((_, first)) = rows.first() else {
                continue;
            };
            let mut metric = encoder.encode_descriptor(name, help, None, first.kind())?;
            for (labels, value) in rows {
                if labels.is_empty() {
                    value.encode(&mut metric)?;
                } else {
                    value.encode(&mut metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Value::Counter(_) | Value::Seconds(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
            Value::Histogram { .. } => MetricType::Histogram,
        }
    }

    fn encode(&self, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Value::Counter(value) => metric.encode_counter::<NoLabelSet, _, u64>(value, None),
            Value::Seconds(value) => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
            Value::Gauge(value) => metric.encode_gauge(value),
            Value::Histogram { sum, count, buckets } => {
                metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together() {
        let mut samples = Samples::default();
        samples.counter("calls", "Calls", &[("chain", "1")], 3);
        samples.gauge("head", "The head", &[], 7.0);
        samples.counter("calls", "Calls", &[("chain", "a\"b")], 4);
        let took = Durations::default();
        took.count(Duration::from_millis(500));
        took.count(Duration::from_secs(6));
        samples.durations("took_seconds", "Time", &[("up", "x")], &took);
        let text = samples.into_text().unwrap();
        let (head, buckets) = text.split_at(text.find("weir_took_seconds_bucket").unwrap());
        assert_eq!(
            head,
            "# HELP weir_calls Calls\n\
             # TYPE weir_calls counter\n\
             weir_calls_total{chain=\"1\"} 3\n\
             weir_calls_total{chain=\"a\\\"b\"} 4\n\
             # HELP weir_head The head\n\
             # TYPE weir_head gauge\n\
             weir_head 7.0\n\
             # HELP weir_took_seconds Time\n\
             # TYPE weir_took_seconds histogram\n\
             weir_took_seconds_sum{up=\"x\"} 6.5\n\
             weir_took_seconds_count{up=\"x\"} 2\n"
        );
        let bucket =
            |bound, count| format!("weir_took_seconds_bucket{{le=\"{bound}\",up=\"x\"}} {count}\n");
        assert!(buckets.contains(&[bucket("0.25", 0), bucket("0.5", 1)].concat()), "{buckets}");
        assert!(
            buckets.ends_with(&[bucket("5.0", 1), bucket("+Inf", 2), "# EOF\n".into()].concat()),
            "{buckets}"
        );
    }
}
