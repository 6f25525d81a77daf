//! Weighted lists, as in `20:0.8,1KiB:0.2`: for sizes, and for the parts of a mix.
//!
//! Parses the notation and normalizes the weights; the caller defines the items.

use std::fmt::Display;
use std::str::FromStr;

/// Parses `ITEM[:WEIGHT],..`; returns the weights as shares that add up to 1. The default weight is
/// 1.
///
/// # Errors
/// An invalid item, or a weight that is not positive.
pub(crate) fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<(T, f64)>, String> {
    let mut choices = Vec::new();
    for item in text.split(',').map(str::trim) {
        let (choice, weight) = match item.rsplit_once(':') {
            Some((choice, weight)) => (choice, parse_weight(weight)?),
            None => (item, 1.0),
        };
        let choice = choice.trim().parse().map_err(|why| format!("'{choice}': {why}"))?;
        choices.push((choice, weight));
    }
    let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
    Ok(choices.into_iter().map(|(choice, weight)| (choice, weight / total)).collect())
}

fn parse_weight(text: &str) -> Result<f64, String> {
    let weight: Option<f64> = text.trim().parse().ok();
    weight
        .filter(|weight| weight.is_finite() && *weight > 0.0)
        .ok_or_else(|| format!("'{text}' is not a weight, as in 20:0.8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_shares() {
        assert_eq!(parse::<u8>("7"), Ok(vec![(7, 1.0)]));
        assert_eq!(parse::<u8>("1:3, 2:1"), Ok(vec![(1, 0.75), (2, 0.25)]));
        assert_eq!(parse::<u8>("1,2"), Ok(vec![(1, 0.5), (2, 0.5)]));
    }

    #[test]
    fn malformed_lists_are_rejected() {
        for text in ["", "1:", "1:0", "1:-1", "1:inf", "1:nan", "x:1", "1,,2", "300"] {
            assert!(parse::<u8>(text).is_err(), "{text}");
        }
    }
}
