//! The notation of rates, compared with a naive reader; and what is parsed survives being written.

use weir::reactor::settings::Rate;

use crate::bytes::Bytes;

const PARTS: [&str; 24] = [
    "0",
    "1",
    "7",
    "60",
    "3600",
    "4294967295",
    "4294967296",
    "+",
    "-",
    ".",
    "/",
    " / ",
    " ",
    "\t",
    "s",
    "sec",
    "second",
    "m",
    "min",
    "minute",
    "h",
    "hour",
    " burst ",
    "\u{e9}",
];
/// Maximum number of parts: a longer text would be rejected for its first fault.
const PARTS_MAX: usize = 8;

/// Texts, well-formed, altered or arbitrary, parse as the naive reader reads them.
pub fn rate(data: &[u8]) {
    let mut input = Bytes(data);
    while one_rate(&mut input).is_some() {}
}

fn one_rate(input: &mut Bytes<'_>) -> Option<()> {
    let text = match input.u8()? % 4 {
        0 => String::from_utf8_lossy(input.up_to(16)).into_owned(),
        1 => {
            let (count, burst) = (input.below(5)?, input.below(7)?);
            let unit = PARTS[14 + input.below(8)?];
            let burst = if burst == 6 { String::new() } else { format!(" burst {}", PARTS[burst]) };
            format!("{}/{unit}{burst}", PARTS[count])
        }
        _ => {
            let count = input.below(PARTS_MAX)?;
            (0..count)
                .map(|_| Some(PARTS[input.below(PARTS.len())?]))
                .collect::<Option<String>>()?
        }
    };
    check(&text);
    Some(())
}

fn check(text: &str) {
    let parsed = text.parse::<Rate>().ok();
    assert_eq!(parsed, naive(text), "{text:?}");
    let Some(rate) = parsed else {
        return;
    };
    assert!(rate.per_second > 0.0 && rate.per_second.is_finite() && rate.burst > 0, "{text:?}");
    let written = rate.to_string();
    assert_eq!(written.parse(), Ok(rate), "{text:?} as {written:?}");
    // The written form is final.
    assert_eq!(written.parse::<Rate>().unwrap().to_string(), written);
}

/// Reads a rate word by word: count, slash, unit, and perhaps `burst` and a number.
fn naive(text: &str) -> Option<Rate> {
    let slash = text.find('/')?;
    let (count, rest) = (number(&text[..slash])?, &text[slash + 1..]);
    let (unit, burst) = match rest.find(" burst ") {
        Some(at) => (&rest[..at], Some(number(&rest[at + 7..])?)),
        None => (rest, None),
    };
    let seconds: u32 = match unit.trim().as_bytes() {
        [b's'] | b"sec" | b"second" => 1,
        [b'm'] | b"min" | b"minute" => 60,
        [b'h'] | b"hour" => 60 * 60,
        _ => return None,
    };
    let burst = burst.unwrap_or(count);
    let is_positive = count > 0 && burst > 0;
    is_positive.then_some(Rate { per_second: f64::from(count) / f64::from(seconds), burst })
}

/// Decimal digits, perhaps after a plus sign, within 32 bits.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.bytes().try_fold(0_u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    value.and_then(|value| u32::try_from(value).ok())
}
