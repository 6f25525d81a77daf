//! Compares several servers, or several rounds: medians, and ratios to the first server.
//!
//! Rounds are interleaved, and every other round runs in reverse order, so that drift of the
//! machine affects all servers equally. Ratios are computed within a round; the smallest, the
//! median and the largest are reported.

use std::fmt;

use serde::Serialize;

use crate::assertion::Metric;
use crate::quantity::{Bytes, Count, Nanos};
use crate::report::Report;

/// The smallest, the median and the largest of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` if there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Spread { min, median, max })
    }
}

/// A compared figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    CpuNanosEach,
    Rate,
    P50,
    P99,
    P999,
    RssBytesPerConnection,
    CpuNanosPerHandshake,
}

const FIGURES: [Figure; 7] = [
    Figure::CpuNanosEach,
    Figure::Rate,
    Figure::P50,
    Figure::P99,
    Figure::P999,
    Figure::RssBytesPerConnection,
    Figure::CpuNanosPerHandshake,
];

impl Figure {
    fn of(self, report: &Report) -> Option<f64> {
        let server = report.server.as_ref();
        match self {
            Figure::CpuNanosEach => report.value(Metric::Cpu),
            Figure::Rate => report.value(Metric::Rate),
            Figure::P50 => report.value(Metric::P50),
            Figure::P99 => report.value(Metric::P99),
            Figure::P999 => report.value(Metric::P999),
            Figure::RssBytesPerConnection => server?.rss_bytes_per_connection,
            Figure::CpuNanosPerHandshake => server?.cpu_nanos_per_handshake,
        }
    }

    fn title(self, unit: &str) -> String {
        match self {
            Figure::CpuNanosEach => format!("server CPU per {unit}"),
            Figure::Rate => "rate per second".to_owned(),
            Figure::P50 => "latency p50".to_owned(),
            Figure::P99 => "latency p99".to_owned(),
            Figure::P999 => "latency p99.9".to_owned(),
            Figure::RssBytesPerConnection => "server RSS per connection".to_owned(),
            Figure::CpuNanosPerHandshake => "server CPU per handshake".to_owned(),
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Figure::Rate => Count(value as u64).to_string(),
            Figure::RssBytesPerConnection => Bytes(value).to_string(),
            // In whole nanoseconds, because CPU times are close to each other.
            Figure::CpuNanosEach => format!("{value:.0} ns"),
            _ => Nanos(value).to_string(),
        }
    }
}

/// One figure of one server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) url: String,
    pub(crate) value: Spread,
    /// The ratio to the first server, per round; `None` for the first server.
    pub(crate) ratio: Option<Spread>,
}

/// One figure of all servers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    pub(crate) figure: Figure,
    pub(crate) rows: Vec<Row>,
}

/// All rounds of all servers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    pub(crate) command: &'static str,
    pub(crate) rounds: usize,
    pub(crate) interrupted: bool,
    pub(crate) tables: Vec<Table>,
    /// The rounds of each server.
    pub(crate) reports: Vec<Vec<Report>>,
}

impl Comparison {
    /// `reports` has the rounds of each server, all of the same length, at least one.
    pub(crate) fn new(command: &'static str, reports: Vec<Vec<Report>>) -> Comparison {
        Comparison {
            command,
            rounds: reports.iter().map(Vec::len).min().unwrap_or(0),
            interrupted: false,
            tables: FIGURES.into_iter().filter_map(|figure| table(figure, &reports)).collect(),
            reports,
        }
    }
}

fn table(figure: Figure, reports: &[Vec<Report>]) -> Option<Table> {
    let values = |rounds: &[Report]| -> Vec<Option<f64>> {
        rounds.iter().map(|report| figure.of(report)).collect()
    };
    let first = values(reports.first()?);
    let mut rows = Vec::new();
    for (index, rounds) in reports.iter().enumerate() {
        let own = values(rounds);
        let ratios = own.iter().zip(&first).filter_map(|(own, first)| {
            let (own, first) = ((*own)?, (*first)?);
            (first > 0.0).then(|| own / first)
        });
        if let Some(value) = Spread::of(own.iter().copied().flatten().collect()) {
            let ratio = if index == 0 { None } else { Spread::of(ratios.collect()) };
            rows.push(Row { url: rounds.first()?.url.clone(), value, ratio });
        }
    }
    (!rows.is_empty()).then_some(Table { figure, rows })
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = if self.interrupted { ", interrupted" } else { "" };
        writeln!(f, "{}, {} rounds{cut}: median (min to max)", self.command, self.rounds)?;
        let unit = self.reports.iter().flatten().next().map_or("message", |first| first.total.unit);
        for Table { figure, rows } in &self.tables {
            writeln!(f, "{}", figure.title(unit))?;
            for row in rows {
                let Spread { min, median, max } = row.value;
                let show = |value| figure.show(value);
                let range = format!("({} to {})", show(min), show(max));
                write!(f, "  {:<34} {:>12} {range:<26}", row.url, show(median))?;
                match row.ratio {
                    Some(Spread { min, median, max }) => {
                        writeln!(f, " ratio {median:.3} ({min:.3} to {max:.3})")?;
                    }
                    None => writeln!(f)?,
                }
            }
        }
        let all = || self.reports.iter().flatten();
        let errors: u64 = all().map(|report| report.total.errors.total()).sum();
        writeln!(f, "errors: {errors}")?;
        let invalid = all().filter(|report| report.invalid.is_some()).count();
        if invalid > 0 {
            writeln!(f, "INVALID: {invalid} of {} runs, not in the tables", all().count())?;
        }
        let held_up = all().filter(|report| report.client.bottleneck.is_some()).count();
        if held_up > 0 {
            writeln!(f, "BOTTLENECK: the client limited {held_up} of {} runs", all().count())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_a_mean() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
    }
}
