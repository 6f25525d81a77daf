//! Assertions on a run's results: `p99<5ms`, `rate>=10000`, `errors<=0`.
//!
//! Parses the notation and compares numbers; the report supplies the values.

use std::fmt;
use std::str::FromStr;

/// The metric of an assertion. Latencies are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    P50,
    P90,
    P99,
    P999,
    Max,
    Mean,
    /// Units (messages, deliveries, connections) per second.
    Rate,
    Errors,
    /// Server CPU time per unit, in nanoseconds.
    Cpu,
}

const METRICS: [(&str, Metric); 9] = [
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p99", Metric::P99),
    ("p999", Metric::P999),
    ("max", Metric::Max),
    ("mean", Metric::Mean),
    ("rate", Metric::Rate),
    ("errors", Metric::Errors),
    ("cpu", Metric::Cpu),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Longer relations first: `<=` starts with `<`.
const RELATIONS: [(&str, Relation); 4] = [
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Less),
    (">", Relation::More),
];

/// One assertion.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assertion {
    text: String,
    metric: Metric,
    relation: Relation,
    bound: f64,
}

impl Assertion {
    /// Whether the metric's value satisfies the assertion; a missing value never does.
    pub(crate) fn holds(&self, value_of: impl Fn(Metric) -> Option<f64>) -> bool {
        value_of(self.metric).is_some_and(|value| match self.relation {
            Relation::Less => value < self.bound,
            Relation::AtMost => value <= self.bound,
            Relation::More => value > self.bound,
            Relation::AtLeast => value >= self.bound,
        })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Assertion, String> {
        let found = RELATIONS.iter().find_map(|(sign, relation)| {
            text.split_once(sign).map(|(name, bound)| (name.trim(), *relation, bound.trim()))
        });
        let (name, relation, bound) = found.ok_or("expected a relation, as in p99<5ms")?;
        let metric = METRICS.iter().find(|(known, _)| *known == name);
        let &(_, metric) = metric.ok_or_else(|| {
            let names = METRICS.map(|(name, _)| name).join(", ");
            format!("'{name}' is not one of {names}")
        })?;
        let bound = match metric {
            Metric::Rate | Metric::Errors => parse_number(bound)?,
            _ => parse_nanos(bound)?,
        };
        Ok(Assertion { text: text.to_owned(), metric, relation, bound })
    }
}

fn parse_number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| format!("'{text}' is not a number"))
}

fn parse_nanos(text: &str) -> Result<f64, String> {
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(duration.as_nanos() as f64),
        Err(_) => Err(format!("'{text}' is not a duration such as 5ms")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, value: f64) -> bool {
        text.parse::<Assertion>().unwrap().holds(|_| Some(value))
    }

    #[test]
    fn relations_are_exact_at_their_bound() {
        let around = |text| [4e6, 5e6, 6e6].map(|value| holds(text, value));
        assert_eq!(around("p99<5ms"), [true, false, false]);
        assert_eq!(around("p99 <= 5ms"), [true, true, false]);
        assert_eq!(around("max>5ms"), [false, false, true]);
        assert_eq!(around("mean>=5ms"), [false, true, true]);
        assert!(holds("cpu<4us", 3999.0) && !holds("cpu<4us", 4001.0));
        assert!(holds("errors<=0", 0.0) && !holds("errors<=0", 1.0));
        assert!(holds("rate>1000.5", 1001.0));
    }

    #[test]
    fn an_assertion_compares_the_metric_it_names() {
        for (name, metric) in METRICS {
            let bound = if matches!(metric, Metric::Rate | Metric::Errors) { "1" } else { "1ns" };
            let assertion: Assertion = format!("{name}<={bound}").parse().unwrap();
            assert!(assertion.holds(|asked| (asked == metric).then_some(1.0)), "{name}");
            assert!(!assertion.holds(|_| None), "{name}");
        }
    }

    #[test]
    fn malformed_assertions_are_rejected() {
        for text in ["", "p99", "p99=5ms", "p98<5ms", "p99<5", "p99<", "rate>5ms", "errors<=x"] {
            assert!(text.parse::<Assertion>().is_err(), "{text}");
        }
    }
}
