//! The shares of a mixed load: its scenarios, and their parts of the connections.

use std::str::FromStr;

use crate::weighted;

/// A scenario that a mix can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingredient {
    Echo,
    Rate,
    Fanout,
    Churn,
    Slow,
}

/// Shares of the connections, which add up to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mix(Vec<(Ingredient, f64)>);

impl Mix {
    pub(crate) fn has_fanout(&self) -> bool {
        self.0.iter().any(|(ingredient, _)| *ingredient == Ingredient::Fanout)
    }

    /// The number of connections of each scenario: at least one.
    pub(crate) fn divide(&self, connections: usize) -> impl Iterator<Item = (Ingredient, usize)> {
        self.0.iter().map(move |(ingredient, share)| {
            let count = (connections as f64 * share).round() as usize;
            (*ingredient, count.max(1))
        })
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        weighted::parse(text).map(Mix)
    }
}

impl FromStr for Ingredient {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Ingredient, Self::Err> {
        Ok(match text {
            "echo" => Ingredient::Echo,
            "rate" => Ingredient::Rate,
            "fanout" => Ingredient::Fanout,
            "churn" => Ingredient::Churn,
            "slow" => Ingredient::Slow,
            _ => return Err("expected echo, rate, fanout, churn or slow"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_a_mix_gets_a_connection() {
        let mix: Mix = "echo:3,slow:1,churn:0.001".parse().unwrap();
        let divided: Vec<_> = mix.divide(100).collect();
        let expected = [(Ingredient::Echo, 75), (Ingredient::Slow, 25), (Ingredient::Churn, 1)];
        assert_eq!(divided, expected);
        assert!(!mix.has_fanout());
    }
}
