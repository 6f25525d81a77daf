//! Settings with a notation of their own: [`Rate`] (`10/s burst 50`) and [`Prefix`] (`10.0.0.0/8`).
//!
//! It parses and formats; `admission.rs` uses the values. `FromStr` parses the output of `Display`
//! as the same value.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A text that is not in the notation of its type; the error states what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotationError(&'static str);

impl From<&'static str> for NotationError {
    fn from(expected: &'static str) -> NotationError {
        NotationError(expected)
    }
}

impl fmt::Display for NotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotationError {}

/// A token bucket: `per_second` on average, `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens added each second.
    pub per_second: f64,
    /// Tokens that a full bucket holds.
    pub burst: u32,
}

impl FromStr for Rate {
    type Err = NotationError;

    /// `COUNT/UNIT`, with the unit `s`, `min` or `h`, and optionally ` burst N`. The default burst
    /// is the count: all tokens of one period at once.
    fn from_str(text: &str) -> Result<Rate, Self::Err> {
        const FORM: &str = r#"expected a rate such as "10/s", "100/min" or "10/s burst 50""#;
        let (average, burst) = match text.split_once(" burst ") {
            Some((average, burst)) => (average, Some(burst.trim().parse().map_err(|_| FORM)?)),
            None => (text, None),
        };
        let (count, unit) = average.split_once('/').ok_or(FORM)?;
        let count: u32 = count.trim().parse().map_err(|_| FORM)?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            _ => return Err(FORM.into()),
        };
        let burst = burst.unwrap_or(count);
        if count == 0 || burst == 0 {
            return Err("a rate or burst of 0 would admit nothing".into());
        }
        Ok(Rate { per_second: f64::from(count) / seconds, burst })
    }
}

impl fmt::Display for Rate {
    /// The notation that [`Rate::from_str`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |seconds: f64| {
            let count = (self.per_second * seconds).round();
            (count / seconds == self.per_second).then_some(count)
        };
        let units = [(1.0, "s"), (60.0, "min"), (3600.0, "h")];
        match units.iter().find_map(|&(seconds, unit)| Some((whole(seconds)?, unit))) {
            Some((count, unit)) => write!(f, "{count}/{unit} burst {}", self.burst),
            None => write!(f, "{}/s burst {}", self.per_second, self.burst),
        }
    }
}

/// An address range in CIDR form: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Any address of the range.
    pub address: IpAddr,
    /// The number of significant leading bits.
    pub bits: u8,
}

impl Prefix {
    /// The number of bits of an address of this family.
    pub(super) fn width(&self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl FromStr for Prefix {
    type Err = NotationError;

    /// `ADDRESS/BITS`, or an address alone for that one address.
    fn from_str(text: &str) -> Result<Prefix, Self::Err> {
        const FORM: &str = r#"expected an address range such as "10.0.0.0/8" or "2001:db8::/32""#;
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| FORM)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| FORM)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            let error = "more prefix bits than the address has: at most 32 (IPv4) or 128 (IPv6)";
            return Err(error.into());
        }
        Ok(Prefix { address, bits })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_parsed_from_their_own_format() {
        let rate = |text: &str| text.parse::<Rate>();
        assert_eq!(rate("10/s"), Ok(Rate { per_second: 10.0, burst: 10 }));
        assert_eq!(rate("10 / s burst 50"), Ok(Rate { per_second: 10.0, burst: 50 }));
        assert_eq!(rate("120/min"), Ok(Rate { per_second: 2.0, burst: 120 }));
        for text in ["10/s", "100/min", "7/h burst 2", "3/minute", "4294967295/hour"] {
            let parsed = rate(text).unwrap();
            assert_eq!(rate(&parsed.to_string()), Ok(parsed), "{text} as {parsed}");
        }
        for text in ["", "10", "/s", "-1/s", "1.5/s", "10/day", "10/s burst", "10/s burst x", "0/s"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(rate("5/s burst 0").is_err());
    }

    #[test]
    fn prefixes_are_parsed_from_their_own_format() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.1".parse::<Prefix>().unwrap().bits, 32);
        assert_eq!("::1".parse::<Prefix>().unwrap().bits, 128);
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "host/8"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
