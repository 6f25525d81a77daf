//! Strings in the canonical form of NIP-01, and the hash over it.
//!
//! Canonical escapes are `\n \" \\ \r \t \b \f`, and `\u00xx` in lower case for the other control
//! characters; everything else stands for itself. Events are hashed, stored and sent in this form, so
//! each string is escaped once.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::json::{RawString, utf16_unit};

/// Appends a string in its canonical form, quotes included. Returns the bytes of the unescaped string.
pub(super) fn push_string(out: &mut String, string: RawString<'_>) -> usize {
    out.push('"');
    let len = if string.is_escaped {
        push_escaped(out, string.raw)
    } else {
        out.push_str(string.raw);
        string.raw.len()
    };
    out.push('"');
    len
}

fn push_escaped(out: &mut String, raw: &str) -> usize {
    let mut len = 0;
    for part in Parts(raw) {
        match part {
            Part::Plain(plain) => {
                out.push_str(plain);
                len += plain.len();
            }
            Part::Char(char) => {
                push_char(out, char);
                len += char.len_utf8();
            }
        }
    }
    len
}

/// Appends a text as a JSON string in canonical form, quotes included.
pub(super) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        push_char(out, char);
    }
    out.push('"');
}

fn push_char(out: &mut String, char: char) {
    match char {
        '\n' => out.push_str("\\n"),
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\0'..='\x1F' => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let code = char as usize;
            out.push_str("\\u00");
            out.push(DIGITS[code >> 4].into());
            out.push(DIGITS[code & 15].into());
        }
        _ => out.push(char),
    }
}

/// The text of a string with valid escapes, given without its quotes.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    for part in Parts(raw) {
        match part {
            Part::Plain(plain) => text.push_str(plain),
            Part::Char(char) => text.push(char),
        }
    }
    Cow::Owned(text)
}

/// Parts of a string whose escapes are valid.
struct Parts<'a>(&'a str);

enum Part<'a> {
    Plain(&'a str),
    /// From an escape.
    Char(char),
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let rest = self.0;
        match memchr::memchr(b'\\', rest.as_bytes()) {
            Some(0) => {
                let (char, len) = unescaped_char(rest.as_bytes());
                self.0 = &rest[len..];
                Some(Part::Char(char))
            }
            Some(end) => {
                self.0 = &rest[end..];
                Some(Part::Plain(&rest[..end]))
            }
            None => {
                self.0 = "";
                (!rest.is_empty()).then_some(Part::Plain(rest))
            }
        }
    }
}

/// The character of the escape at the start, and the bytes that the escape takes.
fn unescaped_char(escape: &[u8]) -> (char, usize) {
    match escape[1] {
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'u' => {
            let unit = |at: usize| escape.get(at..at + 4).and_then(utf16_unit).unwrap_or_default();
            let first = unit(2);
            let len = if (0xD800..0xDC00).contains(&first) { 12 } else { 6 };
            let units = [first, unit(8)];
            let mut chars = char::decode_utf16(units.into_iter().take(len / 6));
            // The reader has checked that surrogates come in pairs.
            let char = chars.next().and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER);
            (char, len)
        }
        byte => (byte.into(), 2),
    }
}

/// The hash of an event: SHA-256 over `[0,"pubkey",created_at,kind,tags,"content"]`, given its first
/// part up to the comma before the tags, and the canonical JSON of tags and content.
pub(super) fn hash(head: &[u8], tags: &str, content: &str) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(head);
    sha.update(tags);
    sha.update(b",");
    sha.update(content);
    sha.update(b"]");
    sha.finalize().into()
}

/// The same hash with control characters that have no short escape as themselves, which is NIP-01 to
/// the letter. `None` if there are no such characters.
pub(super) fn hash_verbatim(head: &[u8], tags: &str, content: &str) -> Option<[u8; 32]> {
    let tags = verbatim(tags);
    let content = verbatim(content);
    let is_different = matches!(tags, Cow::Owned(_)) || matches!(content, Cow::Owned(_));
    is_different.then(|| hash(head, &tags, &content))
}

/// Canonical JSON with each `\u00xx` as the character itself.
fn verbatim(canonical: &str) -> Cow<'_, str> {
    if !canonical.contains("\\u") {
        return Cow::Borrowed(canonical);
    }
    let mut text = String::with_capacity(canonical.len());
    let mut is_different = false;
    let mut rest = canonical;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        let escape = &rest[at..];
        let (char, len) = unescaped_char(escape.as_bytes());
        if escape.as_bytes()[1] == b'u' {
            text.push(char);
            is_different = true;
        } else {
            text.push_str(&escape[..len]);
        }
        rest = &escape[len..];
    }
    text.push_str(rest);
    if is_different { Cow::Owned(text) } else { Cow::Borrowed(canonical) }
}

#[cfg(test)]
mod tests;
