//! Parses and prints single values: sizes, durations, and the words `off` and `auto`.
//!
//! Each type prints exactly the form that it parses. Combinations of values are checked elsewhere.

use std::fmt;
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Serialize, Serializer};
use weir::reactor::settings::Rate;
use weir::upstream::redacted;

/// A number of bytes: `64 KiB`, `1MB` or `65536`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Size, Self::Err> {
        const TOO_LARGE: &str = "must be below 16 EiB, 2^64 - 1 bytes";
        let text = text.trim();
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let size: ByteSize = text.parse().map_err(|_| match is_number {
            true => TOO_LARGE,
            false => r#"expected a size such as "64 KiB", "1MB" or 65536"#,
        })?;
        // The library saturates, so its largest value may stand for a larger one.
        match usize::try_from(size.as_u64()) {
            Ok(bytes) if bytes < usize::MAX => Ok(Size(bytes)),
            _ => Err(TOO_LARGE),
        }
    }
}

impl fmt::Display for Size {
    /// In the largest binary unit without a fraction; the library's own form rounds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let exact = |&(shift, _): &(u32, _)| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match units.into_iter().find(exact) {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A rate in bytes: `1MB/s burst 4MB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ByteRate(pub(crate) Rate);

impl FromStr for ByteRate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ByteRate, Self::Err> {
        const FORM: &str = r#"expected a rate such as "1MB/s" or "64 KiB/s burst 1 MiB""#;
        let size = |text: &str| text.parse::<Size>().map_err(|_| FORM);
        let (average, burst) = match text.split_once(" burst ") {
            Some((average, burst)) => (average, Some(size(burst)?)),
            None => (text, None),
        };
        let (count, unit) = average.split_once('/').ok_or(FORM)?;
        let count = size(count)?;
        let burst = burst.unwrap_or(count);
        if count.0.max(burst.0) > u32::MAX as usize {
            return Err("a rate or burst must be below 4 GiB");
        }
        if count.0 == 0 || burst.0 == 0 {
            return Err("a rate or burst of 0 would admit nothing");
        }
        let rate = format!("{}/{unit} burst {}", count.0, burst.0);
        rate.parse().map(ByteRate).map_err(|_| FORM)
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let sizes = |text: &str| {
            let (average, burst) = text.split_once(" burst ")?;
            let (count, unit) = average.split_once('/')?;
            let (count, burst) = (Size(count.parse().ok()?), Size(burst.parse().ok()?));
            Some(format!("{count}/{unit} burst {burst}"))
        };
        f.write_str(&sizes(&text).unwrap_or(text))
    }
}

/// A length of time: `250ms`, `10s` or `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text != "0" {
            return Err(format!(r#"a duration needs a unit, as in "{text}s""#));
        }
        match humantime::parse_duration(text) {
            Ok(duration) => Ok(Span(duration)),
            Err(_) => Err(r#"expected a duration such as "250ms", "10s" or "1m 30s""#.to_owned()),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A part of a whole: `85%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u8);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Percent, Self::Err> {
        let digits = text.trim().strip_suffix('%').map(str::trim_end);
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(percent @ 0..=100) => Ok(Percent(percent)),
            _ => Err(r#"expected a percentage such as "85%""#),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A value, or the word `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrOff<T>(pub(crate) Option<T>);

impl<T: FromStr<Err: fmt::Display>> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<OrOff<T>, String> {
        match text.trim() {
            "off" => Ok(OrOff(None)),
            text => match text.parse() {
                Ok(value) => Ok(OrOff(Some(value))),
                Err(why) => Err(format!(r#"{why}, or "off""#)),
            },
        }
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl<T: fmt::Display> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl OrOff<Span> {
    /// The duration, if one is set; `0s` equals `off`.
    pub(crate) fn duration(self) -> Option<Duration> {
        self.0.map(|span| span.0).filter(|duration| !duration.is_zero())
    }
}

/// A value, or the word `auto` for the server's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrAuto<T>(pub(crate) Option<T>);

impl<T: FromStr<Err: fmt::Display>> FromStr for OrAuto<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<OrAuto<T>, String> {
        match text.trim() {
            "auto" => Ok(OrAuto(None)),
            text => match text.parse() {
                Ok(value) => Ok(OrAuto(Some(value))),
                Err(why) => Err(format!(r#"{why}, or "auto""#)),
            },
        }
    }
}

impl<T: fmt::Display> fmt::Display for OrAuto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("auto"),
        }
    }
}

impl<T: Serialize> Serialize for OrAuto<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(to),
            None => to.serialize_str("auto"),
        }
    }
}

/// An unsigned integer whose parse errors name the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Count<T>(pub(crate) T);

/// The unsigned integers that settings use.
pub(crate) trait Unsigned: FromStr<Err = ParseIntError> + fmt::Display {
    const MAX: Self;
}

impl Unsigned for u8 {
    const MAX: u8 = u8::MAX;
}

impl Unsigned for u16 {
    const MAX: u16 = u16::MAX;
}

impl Unsigned for u64 {
    const MAX: u64 = u64::MAX;
}

impl Unsigned for usize {
    const MAX: usize = usize::MAX;
}

impl<T: Unsigned> FromStr for Count<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Count<T>, String> {
        let digits = text.trim();
        let is_negative = digits.strip_prefix('-').is_some_and(|rest| rest.parse::<T>().is_ok());
        digits.parse().map(Count).map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => format!("must be 0 to {}", T::MAX),
            _ if is_negative => format!("must be 0 to {}", T::MAX),
            _ => "expected a whole number such as 100".to_owned(),
        })
    }
}

impl<T: fmt::Display> fmt::Display for Count<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file name, in a shell's notation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileName(pub(crate) PathBuf);

impl FromStr for FileName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<FileName, Self::Err> {
        match text.is_empty() || text.chars().any(char::is_control) {
            true => Err("expected a file name"),
            false => Ok(FileName(text.into())),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Serializes each value of a list by its `Display`.
pub(super) fn texts<T: fmt::Display, S: Serializer>(
    values: &[T],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(T::to_string))
}

/// Serializes a value by its `Display`.
pub(super) fn one_text<T: fmt::Display, S: Serializer>(
    value: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// A value for an error. A URL, which may be an upstream under a wrong key, loses its path.
pub(super) fn shown(value: &str) -> String {
    if value.contains("://") { redacted(value) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<usize, &'static str> {
        text.parse::<Size>().map(|size| size.0)
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(size("64 KiB"), Ok(65536));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert_eq!(size("1.5 KiB"), Ok(1536));
        assert_eq!(size(" 65536 "), Ok(65536));
        for text in ["", "lots", "-1", "1 parsec", "KiB", "99999999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(size("20000000000 GiB").is_err(), "saturated");
    }

    #[test]
    fn sizes_are_written_exactly() {
        for (bytes, text) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (65537, "65537 B"),
            (1536 << 10, "1536 KiB"),
            (1 << 20, "1 MiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
            assert_eq!(size(text), Ok(bytes));
        }
    }

    #[test]
    fn rates_of_bytes_are_parsed_from_their_own_format() {
        let rate = |text: &str| text.parse::<ByteRate>().map(|rate| rate.0);
        assert_eq!(rate("1MB/s burst 4MB"), Ok(Rate { per_second: 1e6, burst: 4_000_000 }));
        assert_eq!(rate("64 KiB / s"), Ok(Rate { per_second: 65536.0, burst: 65536 }));
        assert_eq!(rate("60MB/min"), Ok(Rate { per_second: 1e6, burst: 60_000_000 }));
        for text in ["1MB/s", "1 MiB/s burst 3 MiB", "7 B/h burst 1 KiB", "1GB/min"] {
            let parsed: ByteRate = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text} as {parsed}");
        }
        assert_eq!("1MiB/s".parse::<ByteRate>().unwrap().to_string(), "1 MiB/s burst 1 MiB");
        for text in ["", "1MB", "/s", "1MB/day", "-1/s", "1MB/s burst", "1MB/s burst x", "0/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(rate("1MB/s burst 0").is_err());
        assert!(rate("1MB/s burst 4GiB").unwrap_err().contains("below 4 GiB"));
    }

    #[test]
    fn durations_need_a_unit() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0);
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(span("10").unwrap_err(), r#"a duration needs a unit, as in "10s""#);
        for text in ["", "s", "-1s", "ten seconds", "1.5"] {
            assert!(span(text).is_err(), "{text}");
        }
        for text in ["1h 1ns", "400days", "90s"] {
            let parsed = text.parse::<Span>().unwrap();
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn off_and_zero_both_disable() {
        let off = |text: &str| text.parse::<OrOff<Span>>().map(OrOff::duration);
        assert_eq!(off("off"), Ok(None));
        assert_eq!(off("0s"), Ok(None));
        assert_eq!(off("0"), Ok(None));
        assert_eq!(off("5s"), Ok(Some(Duration::from_secs(5))));
        assert!(off("5").unwrap_err().ends_with(r#"as in "5s", or "off""#));
    }

    #[test]
    fn percentages_have_their_sign() {
        let percent = |text: &str| text.parse::<Percent>().map(|percent| percent.0);
        assert_eq!((percent("85%"), percent(" 5 % "), percent("0%")), (Ok(85), Ok(5), Ok(0)));
        for text in ["85", "101%", "-1%", "%", "0.5%"] {
            assert!(percent(text).is_err(), "{text}");
        }
        assert_eq!(Percent(93).to_string(), "93%");
    }

    #[test]
    fn auto_is_a_value_and_a_misspelt_one_is_an_error() {
        assert_eq!("auto".parse(), Ok(OrAuto::<Size>(None)));
        assert_eq!("1 KiB".parse(), Ok(OrAuto(Some(Size(1024)))));
        assert_eq!(OrAuto::<Size>(None).to_string(), "auto");
        assert!("of".parse::<OrAuto<Size>>().is_err());
    }
    #[test]
    fn invalid_counts_state_the_expected_range() {
        assert_eq!(" 7 ".parse(), Ok(Count(7_u8)));
        assert_eq!("256".parse::<Count<u8>>().unwrap_err(), "must be 0 to 255");
        assert_eq!("-1".parse::<Count<u8>>().unwrap_err(), "must be 0 to 255");
        assert!("many".parse::<Count<u8>>().unwrap_err().contains("whole number"));
        assert!("-1".parse::<Count<usize>>().is_err());
    }
}
