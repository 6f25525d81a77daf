//! A distribution of latencies: the percentiles of a report, and the points of a plot.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Points of a distribution per factor of ten.
const POINTS_PER_DECADE: u32 = 8;
/// Number of factors of ten: up to 99.9999 %.
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
    /// Pairs of quantile and latency, denser towards 1.
    pub(crate) distribution: Vec<(f64, u64)>,
}

impl Latency {
    /// `None` if nothing was recorded.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Latency> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
