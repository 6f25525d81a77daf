//! The samples of one scrape, by metric name, and their encoding as text.
//!
//! Names are passed without prefix and suffix. `weir_` is prepended, except to the `process_` names
//! that Prometheus client libraries share, and `_total` is appended to counters. Names end in their
//! base unit.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::format::Format;
use crate::reactor::{Amounts, Durations, Sizes};

const PREFIX: &str = "weir_";
/// Names that do not get our prefix.
const SHARED_PREFIX: &str = "process_";

/// The samples of one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    families: Vec<Family>,
}

/// The samples of one metric.
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
    /// Adds a count that only grows.
    pub fn counter(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.add(name, help, labels, Value::Counter(value));
    }

    /// Adds a sum of times that only grows, in seconds.
    pub fn seconds(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        spent: Duration,
    ) {
        self.add(name, help, labels, Value::Seconds(spent.as_secs_f64()));
    }

    /// Adds a value that rises and falls.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(name, help, labels, Value::Gauge(value));
    }

    /// Adds a histogram of times, in seconds.
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

    /// Adds a histogram of sizes, in bytes.
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

    /// Adds a histogram of numbers of things.
    pub fn amounts(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        amounts: &Amounts,
    ) {
        let most = |bound: Option<u64>| bound.map_or(f64::INFINITY, |bound| bound as f64);
        let buckets = amounts.buckets().map(|(bound, count)| (most(bound), count)).collect();
        let (sum, count) = (amounts.sum() as f64, amounts.total());
        self.add(name, help, labels, Value::Histogram { sum, count, buckets });
    }

    fn add(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Value,
    ) {
        let prefix = if name.starts_with(SHARED_PREFIX) { "" } else { PREFIX };
        let name = format!("{prefix}{name}");
        let row = (labels.iter().map(|&(name, value)| (name, value.to_owned())).collect(), value);
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.rows.push(row),
            None => self.families.push(Family { name, help, rows: vec![row] }),
        }
    }

    pub(super) fn into_text(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
            Format::OpenMetrics => text::encode(&mut text, &registry)?,
        }
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
    fn counters_have_their_suffix_in_both_formats() {
        let samples = || {
            let mut samples = Samples::default();
            samples.counter("calls", "Calls", &[], 3);
            samples.seconds("process_cpu_seconds", "Time", &[], Duration::from_millis(1500));
            samples
        };
        assert_eq!(
            samples().into_text(Format::Prometheus).unwrap(),
            "# HELP weir_calls_total Calls\n\
             # TYPE weir_calls_total counter\n\
             weir_calls_total 3\n\
             # HELP process_cpu_seconds_total Time\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total 1.5\n"
        );
        assert_eq!(
            samples().into_text(Format::OpenMetrics).unwrap(),
            "# HELP weir_calls Calls\n\
             # TYPE weir_calls counter\n\
             weir_calls_total 3\n\
             # HELP process_cpu_seconds Time\n\
             # TYPE process_cpu_seconds counter\n\
             process_cpu_seconds_total 1.5\n\
             # EOF\n"
        );
    }

    #[test]
    fn samples_of_one_name_are_adjacent() {
        let mut samples = Samples::default();
        samples.counter("calls", "Calls", &[("chain", "1")], 3);
        samples.gauge("head", "The head", &[], 7.0);
        samples.counter("calls", "Calls", &[("chain", "a\"b")], 4);
        let took = Durations::default();
        took.count(Duration::from_millis(500));
        took.count(Duration::from_secs(6));
        samples.durations("took_seconds", "Time", &[("up", "x")], &took);
        let text = samples.into_text(Format::OpenMetrics).unwrap();
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
