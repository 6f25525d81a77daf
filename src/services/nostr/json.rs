//! A pull reader of JSON (RFC 8259): checks all of the syntax, builds nothing, uses no recursion.
//!
//! Strings are returned as they stand in the text; [`canonical`](super::canonical) unescapes them.
//! Nesting is bounded by [`DEPTH_MAX`], so a message of 100,000 brackets costs neither stack nor heap.

use std::fmt;

/// Maximum nesting of arrays and objects: serde_json's own limit. The bits of [`Reader::skip`] hold it.
pub const DEPTH_MAX: u32 = 128;

/// Why a text is not JSON, or not JSON that a relay accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The grammar of RFC 8259 is violated at this byte.
    Syntax {
        /// Offset from the start of the text.
        at: usize,
    },
    /// Arrays and objects are nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// A string contains half of a surrogate pair, which no UTF-8 text can hold.
    LoneSurrogate,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Syntax { at } => write!(f, "malformed JSON at byte {at}"),
            JsonError::TooDeep => write!(f, "JSON nested deeper than {DEPTH_MAX} levels"),
            JsonError::LoneSurrogate => f.write_str("a string contains half of a surrogate pair"),
        }
    }
}

impl std::error::Error for JsonError {}

/// A string as it stands in the text, without its quotes. Its escapes are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawString<'a> {
    /// Between the quotes.
    pub raw: &'a str,
    /// Whether there is any escape.
    pub is_escaped: bool,
}

/// The type of a value, from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus sign.
    Number,
    /// `true`, `false`, `null`, or no value at all: [`Reader::skip`] finds out.
    Other,
}

/// A number as a relay accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Without sign, fraction and exponent.
    Unsigned(u64),
    /// Unsigned, but above `u64::MAX`.
    TooLarge,
    /// With a sign, a fraction or an exponent.
    NotUnsigned,
}

/// Reads one text from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read<T> = Result<T, JsonError>;

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    /// The text that is not read yet.
    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The text from an earlier position to the current one.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The next byte after white space; `None` at the end of the text.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// The type of the next value.
    pub fn kind(&mut self) -> Kind {
        match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Other,
        }
    }

    /// Reads this byte, after white space.
    pub fn expect(&mut self, byte: u8) -> Read<()> {
        if self.peek() != Some(byte) {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// Only white space is left.
    pub fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.malformed()),
        }
    }

    /// Moves to the next element of an array whose `[` has been read; false after its `]`. `is_first` is
    /// true before the first call.
    pub fn next_element(&mut self, is_first: &mut bool) -> Read<bool> {
        self.next_of(b']', is_first)
    }

    /// Moves to the value of the next member of an object whose `{` has been read, and returns the
    /// member's name; `None` after its `}`. `is_first` is true before the first call.
    pub fn next_member(&mut self, is_first: &mut bool) -> Read<Option<RawString<'a>>> {
        if !self.next_of(b'}', is_first)? {
            return Ok(None);
        }
        let name = self.string()?;
        self.expect(b':')?;
        Ok(Some(name))
    }

    fn next_of(&mut self, close: u8, is_first: &mut bool) -> Read<bool> {
        let was_first = std::mem::take(is_first);
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !was_first => {
                self.at += 1;
                // A comma before the closing bracket.
                if self.peek() == Some(close) { Err(self.malformed()) } else { Ok(true) }
            }
            Some(_) if was_first => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    /// Reads a string.
    pub fn string(&mut self) -> Read<RawString<'a>> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut is_escaped = false;
        loop {
            self.at += plain_len(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(RawString { raw, is_escaped });
                }
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Reads an escape; surrogates must come in pairs.
    fn escape(&mut self) -> Read<()> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.unit()? {
                0xD800..0xDC00 => {
                    let is_unit = bytes[self.at..].starts_with(b"\\u");
                    if is_unit && (0xDC00..0xE000).contains(&self.unit()?) {
                        Ok(())
                    } else {
                        Err(JsonError::LoneSurrogate)
                    }
                }
                0xDC00..0xE000 => Err(JsonError::LoneSurrogate),
                _ => Ok(()),
            },
            _ => Err(self.malformed()),
        }
    }

    /// Reads `\u` and four hex digits.
    fn unit(&mut self) -> Read<u16> {
        let digits = self.text.as_bytes().get(self.at + 2..self.at + 6);
        let unit = digits.and_then(utf16_unit).ok_or_else(|| self.malformed())?;
        self.at += 6;
        Ok(unit)
    }

    /// Reads a number.
    pub fn number(&mut self) -> Read<Number> {
        self.peek();
        let is_negative = self.take_if(b'-');
        let start = self.at;
        let digits = self.digits()?;
        if digits > 1 && self.text.as_bytes()[start] == b'0' {
            self.at = start + 1;
            return Err(self.malformed());
        }
        let integer = &self.text[start..self.at];
        let mut is_integer = true;
        if self.take_if(b'.') {
            is_integer = false;
            self.digits()?;
        }
        if self.take_if(b'e') || self.take_if(b'E') {
            is_integer = false;
            if !self.take_if(b'-') {
                self.take_if(b'+');
            }
            self.digits()?;
        }
        if is_negative || !is_integer {
            return Ok(Number::NotUnsigned);
        }
        Ok(integer.parse().map_or(Number::TooLarge, Number::Unsigned))
    }

    fn take_if(&mut self, byte: u8) -> bool {
        let is_next = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Reads at least one digit, and returns their number.
    fn digits(&mut self) -> Read<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return Err(self.malformed());
        }
        self.at += len;
        Ok(len)
    }

    /// Reads a value of any type.
    pub fn skip(&mut self) -> Read<()> {
        // One bit a level, the innermost last: 1 for an object.
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            let kind = self.kind();
            let mut is_first = false;
            match kind {
                Kind::Object | Kind::Array => {
                    if depth == DEPTH_MAX {
                        return Err(JsonError::TooDeep);
                    }
                    self.at += 1;
                    depth += 1;
                    objects = objects << 1 | u128::from(kind == Kind::Object);
                    is_first = true;
                }
                Kind::String => drop(self.string()?),
                Kind::Number => drop(self.number()?),
                Kind::Other => self.literal()?,
            }
            // To the next value, out of the arrays and objects that end here.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let has_next = if objects & 1 == 1 {
                    self.next_member(&mut is_first)?.is_some()
                } else {
                    self.next_element(&mut is_first)?
                };
                if has_next {
                    break;
                }
                depth -= 1;
                objects >>= 1;
                is_first = false;
            }
        }
    }

    fn literal(&mut self) -> Read<()> {
        for literal in ["true", "false", "null"] {
            if self.rest().starts_with(literal) {
                self.at += literal.len();
                return Ok(());
            }
        }
        Err(self.malformed())
    }

    fn malformed(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }
}

/// The UTF-16 code unit of four hex digits.
pub(super) fn utf16_unit(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |unit: u16, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(unit << 4 | value as u16)
    })
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = ONES << 7;

/// Number of leading bytes that stand for themselves in a JSON string: up to a quote, a backslash or a
/// control character. Eight bytes a step: content is mostly plain.
fn plain_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5C);
        // The high bit of each byte that is zero, or below 0x20. The lowest one is exact; higher ones
        // may be wrong by a borrow.
        let found = quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash
            | word.wrapping_sub(ONES * 0x20) & !word;
        let found = found & HIGHS;
        if found != 0 {
            return len + found.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let is_plain = |byte: &&u8| !matches!(byte, 0..=0x1F | b'"' | b'\\');
    len + bytes[len..].iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests;
