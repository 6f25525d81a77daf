//! Measures whether cost grows only with the work: the same load on more connections, and with idle
//! ones.
//!
//! The cases of a series run alternately on one server and are compared within a round, so that
//! drift of the machine affects all equally. CPU time is measured on an undisturbed server.

use std::fmt;

use serde::Serialize;

use crate::scenario::{IN, Scenario};

/// One load, at several sizes.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) title: &'static str,
    /// The first case is the baseline.
    pub(crate) cases: &'static [Scenario],
}

const fn case(title: &'static str, arguments: &'static [&'static str]) -> Scenario {
    Scenario { letter: 'S', title, arguments, count: IN }
}

pub(crate) const SERIES: [Series; 2] = [
    Series {
        title: "50,000 echoes of 20 B per second",
        cases: &[
            case("on 100 connections", &["rate", "--rate", "50000", "-s", "20", "-c", "100"]),
            case("on 1,000 connections", &["rate", "--rate", "50000", "-s", "20", "-c", "1000"]),
            case("on 10,000 connections", &["rate", "--rate", "50000", "-s", "20", "-c", "10000"]),
        ],
    },
    Series {
        title: "echoes of 20 B on 200 busy connections",
        cases: &[
            case("and no others", &["echo", "-s", "20", "-c", "200"]),
            case("and 10,000 idle", &["echo", "-s", "20", "-c", "200", "--idle", "10000"]),
        ],
    },
];

/// Medians over the rounds of one case.
#[derive(Debug, Serialize)]
pub(crate) struct Size {
    title: &'static str,
    cpu_ns: f64,
    /// Ratio to the first case, within a round.
    ratio: f64,
}

/// The results of one series.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    title: &'static str,
    sizes: Vec<Size>,
    pub(crate) doubts: Vec<String>,
}

impl Growth {
    /// `rounds` holds the CPU time per message of each case, in the order of the series.
    pub(crate) fn new(series: &Series, rounds: &[Vec<f64>], doubts: Vec<String>) -> Growth {
        let size = |(index, case): (usize, &Scenario)| Size {
            title: case.title,
            cpu_ns: median(rounds.iter().map(|round| round[index]).collect()),
            ratio: median(rounds.iter().map(|round| round[index] / round[0]).collect()),
        };
        let sizes = series.cases.iter().enumerate().map(size).collect();
        Growth { title: series.title, sizes, doubts }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        for Size { title, cpu_ns, ratio } in &self.sizes {
            writeln!(f, "  {title:<22} {cpu_ns:>6.0} ns per message, ratio {ratio:.2}")?;
        }
        self.doubts.iter().try_for_each(|doubt| writeln!(f, "  doubtful: {doubt}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_within_a_round() {
        // A machine that becomes twice as slow after the first round.
        let rounds = [vec![100.0, 110.0], vec![200.0, 220.0], vec![200.0, 240.0]];
        let growth = Growth::new(&SERIES[1], &rounds, Vec::new());
        let sizes: Vec<_> = growth.sizes.iter().map(|size| (size.cpu_ns, size.ratio)).collect();
        assert_eq!(sizes, [(200.0, 1.0), (220.0, 1.1)]);
        let text = growth.to_string();
        assert!(
            text.contains("and 10,000 idle           220 ns per message, ratio 1.10"),
            "{text}"
        );
    }
}
