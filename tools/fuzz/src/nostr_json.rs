//! JSON of Nostr events, and alterations of any JSON, for the targets of the relay.

use crate::bytes::Bytes;

/// Maximum number of alterations: a text altered more often would be rejected for its first fault.
const STEPS_MAX: usize = 3;

pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(crate) const OTHER_KEY: &str =
    "f7f6f5f4f3f2f1f0f7f6f5f4f3f2f1f0f7f6f5f4f3f2f1f0f7f6f5f4f3f2f1f0";

/// The inside of JSON strings, valid and invalid.
const STRINGS: [&str; 24] = [
    "",
    "a",
    "t",
    "e",
    "p",
    "-",
    "d",
    "x",
    "\\n",
    "\\\"",
    "\\\\",
    "\\/",
    "\\u0000",
    "\\u001F",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\u{e9}",
    "\u{10ffff}",
    "\u{7f}",
    "]],[[",
    "a:b",
    "expiration",
    "\\t\\r\\b\\f",
];
const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "7",
    "1700000000",
    "65535",
    "65536",
    "1099511627775",
    "1099511627776",
    "18446744073709551616",
    "-1",
    "1.0",
    "1e3",
];
const PARTS: [&str; 32] = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "\n",
    "null",
    "true",
    "0",
    "9",
    "-",
    ".",
    "e",
    "\\u",
    "\"id\":",
    "\"kind\":1,",
    "\"tags\":[]",
    "[[]]",
    "{}",
    "\"a\"",
    "\u{e9}",
    "\u{1}",
    "f",
    "\"#t\":",
    "\"x\":[{}],",
    ",\"sig\":\"\"",
    "[[[[[[",
    "\\ud800",
];

/// A string, its quotes included.
pub(crate) fn string(input: &mut Bytes<'_>) -> Option<String> {
    Some(match input.below(4)? {
        0 => format!("\"{KEY}\""),
        1 => format!("\"{OTHER_KEY}\""),
        _ => {
            let parts = input.below(3)?;
            let parts: Option<Vec<&str>> =
                (0..=parts).map(|_| Some(STRINGS[input.below(STRINGS.len())?])).collect();
            format!("\"{}\"", parts?.concat())
        }
    })
}

/// A number, mostly one that a relay accepts.
pub(crate) fn number(input: &mut Bytes<'_>) -> Option<&'static str> {
    let choice = input.below(2 * NUMBERS.len())?;
    Some(NUMBERS[choice.min(choice % 5)])
}

/// A list of values, of up to `max`.
pub(crate) fn list(
    input: &mut Bytes<'_>,
    max: usize,
    value: impl Fn(&mut Bytes<'_>) -> Option<String>,
) -> Option<String> {
    let len = input.below(max + 1)?;
    let values: Option<Vec<String>> = (0..len).map(|_| value(input)).collect();
    Some(format!("[{}]", values?.join(",")))
}

/// The tags of an event.
pub(crate) fn tags(input: &mut Bytes<'_>) -> Option<String> {
    list(input, 3, |input| {
        let name = ["t", "e", "p", "T", "title", "-", "expiration", "d"][input.below(8)?];
        let values = list(input, 2, string)?;
        let separator = if values == "[]" { "" } else { "," };
        Some(format!("[\"{name}\"{separator}{}", &values[1..]))
    })
}

/// An event whose members are mostly of the right type, in one of two orders.
pub(crate) fn event(input: &mut Bytes<'_>) -> Option<String> {
    let (tags, content) = (tags(input)?, string(input)?);
    let (time, kind) = (number(input)?, number(input)?);
    let sig = [KEY, OTHER_KEY].concat();
    Some(if input.below(2)? == 0 {
        format!(
            "{{\"id\":\"{KEY}\",\"pubkey\":\"{OTHER_KEY}\",\"created_at\":{time},\"kind\":{kind},\
             \"tags\":{tags},\"content\":{content},\"sig\":\"{sig}\"}}"
        )
    } else {
        format!(
            "{{ \"content\" : {content},\"seen\":[1],\"created_at\":{time},\"tags\":{tags},\
             \"kind\":{kind},\"pubkey\":\"{OTHER_KEY}\",\"sig\":\"{sig}\",\"id\":\"{KEY}\"}}\n"
        )
    })
}

/// The text, altered in up to [`STEPS_MAX`] places; in half of the cases not at all.
pub(crate) fn altered(mut text: String, input: &mut Bytes<'_>) -> Option<String> {
    for _ in 0..input.below(2 * STEPS_MAX)?.saturating_sub(STEPS_MAX - 1) {
        let mut at = usize::from(input.u16()?) % (text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        match input.below(3)? {
            0 => {
                let chars = text[at..].chars().take(input.below(4)?);
                let end = at + chars.map(char::len_utf8).sum::<usize>();
                text.replace_range(at..end, "");
            }
            1 => text.insert_str(at, PARTS[input.below(PARTS.len())?]),
            _ => text.truncate(at),
        }
    }
    Some(text)
}
