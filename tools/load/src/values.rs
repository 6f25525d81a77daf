//! Parsers of single command-line values. Combinations are checked elsewhere.

use std::time::Duration;

/// A whole number above 0.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected 1 or more".to_owned())
}

/// A number above 0.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

/// A number from 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a share, 0 to 1".to_owned())
}

/// A duration; a number without a unit is in seconds, as in other load clients.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse()
        && let Ok(duration) = Duration::try_from_secs_f64(seconds)
    {
        return Ok(duration);
    }
    humantime::parse_duration(text)
        .map_err(|_| r#"expected a duration such as "250ms", "10s", "1m 30s" or "60""#.to_owned())
}

/// `Name: value`; both are validated when the head is written.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or(r#"expected "Name: value""#)?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_their_range_are_rejected() {
        assert_eq!((count("1"), count("0").is_err()), (Ok(1), true));
        assert_eq!((positive("0.5"), positive("0").is_err()), (Ok(0.5), true));
        assert!(positive("inf").is_err() && positive("nan").is_err() && share("nan").is_err());
        assert_eq!((share("0"), share("1"), share("1.1").is_err()), (Ok(0.0), Ok(1.0), true));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("60"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "-1", "nan", "inf", "10 lightyears"] {
            assert!(duration(text).is_err(), "{text}");
        }
        let parsed = header("X-Sugar: two: lumps");
        assert_eq!(parsed, Ok(("X-Sugar".to_owned(), "two: lumps".to_owned())));
        assert!(header("X-Sugar").is_err());
    }
}
