//! Formats durations, bytes and counts with a unit, in three or four digits.

use std::fmt;

/// A length of time in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nanos(pub(crate) f64);

/// A number of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(pub(crate) f64);

/// A whole number with thousands separators.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count(pub(crate) u64);

const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
const SIZES: [(f64, &str); 4] =
    [(1073741824.0, "GiB"), (1048576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")];

fn scaled(f: &mut fmt::Formatter<'_>, value: f64, units: &[(f64, &str)]) -> fmt::Result {
    let (scale, unit) = units
        .iter()
        .find(|(scale, _)| value.abs() >= *scale)
        .or(units.last())
        .copied()
        .unwrap_or((1.0, ""));
    let value = value / scale;
    let digits = match value.abs() {
        _ if scale == 1.0 => 0,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    f.pad(&format!("{value:.digits$} {unit}"))
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &TIMES)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, &SIZES)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let nanos = |value| Nanos(value).to_string();
        assert_eq!([nanos(0.0), nanos(999.0), nanos(1234.0)], ["0 ns", "999 ns", "1.23 us"]);
        assert_eq!([nanos(12_340.0), nanos(123.4e6), nanos(75e9)], ["12.3 us", "123 ms", "75.0 s"]);
        let bytes = |value| Bytes(value).to_string();
        assert_eq!([bytes(272.0), bytes(1536.0), bytes(3e9)], ["272 B", "1.50 KiB", "2.79 GiB"]);
        let count = |value| Count(value).to_string();
        assert_eq!([count(7), count(1000), count(1_234_567)], ["7", "1,000", "1,234,567"]);
    }
}
