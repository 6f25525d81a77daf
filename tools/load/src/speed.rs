//! The rate of an open loop: messages per second, or a percentage of the server's capacity.

use std::str::FromStr;

use crate::values::positive;

/// The rate of an open loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    PerSecond(f64),
    /// A share of the rate that a closed loop reaches; 1 is all of it.
    OfCapacity(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        match text.strip_suffix('%') {
            Some(percent) => Ok(Speed::OfCapacity(positive(percent)? / 100.0)),
            None => positive(text).map(Speed::PerSecond),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_rate_and_a_percentage_a_share() {
        assert_eq!("2e4".parse(), Ok(Speed::PerSecond(20_000.0)));
        assert_eq!("70%".parse(), Ok(Speed::OfCapacity(0.7)));
        for text in ["", "%", "0", "-5%", "70 %", "inf%"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
