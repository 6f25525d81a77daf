//! The tags of an event, read from their canonical JSON, and addresses (NIP-01, "a" tags).

use std::borrow::Cow;

use super::canonical::unescape;

/// A public key: the x coordinate of BIP-340.
pub type PublicKey = [u8; 32];

/// 32 bytes from 64 lower-case hex digits.
pub(super) fn hex_32(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    decode_hex(text, &mut bytes).then_some(bytes)
}

/// Decodes exactly as many lower-case hex digits as the bytes need.
pub(super) fn decode_hex(text: &str, bytes: &mut [u8]) -> bool {
    text.len() == 2 * bytes.len()
        && !text.bytes().any(|digit| digit.is_ascii_uppercase())
        && hex::decode_to_slice(text, bytes).is_ok()
}

/// Tags in their canonical JSON: `[["e","5c83.."],["p","f723.."]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags<'a>(&'a str);

impl<'a> Tags<'a> {
    /// From canonical JSON, which is not checked again.
    pub(super) fn of_canonical(json: &'a str) -> Tags<'a> {
        Tags(json)
    }

    /// All tags in order.
    pub fn iter(self) -> impl Iterator<Item = Tag<'a>> {
        // Behind the outer bracket; each step starts at a tag's bracket or at the closing one.
        let mut rest = self.0.get(1..).unwrap_or_default();
        std::iter::from_fn(move || {
            let elements = rest.strip_prefix('[')?;
            let end = elements_len(elements);
            rest = elements[end..].trim_start_matches(']');
            rest = rest.strip_prefix(',').unwrap_or_default();
            Some(Tag(&elements[..end]))
        })
    }

    /// The first tag of this name.
    pub fn find(self, name: &str) -> Option<Tag<'a>> {
        self.iter().find(|tag| tag.name() == name)
    }

    /// Letter and value of each tag that filters can ask for: its name is one letter, and it has a value.
    pub fn letters(self) -> impl Iterator<Item = (u8, Cow<'a, str>)> {
        self.iter().filter_map(|tag| Some((tag.letter()?, tag.value()?)))
    }
}

/// Bytes up to the bracket that ends a tag.
fn elements_len(elements: &str) -> usize {
    let bytes = elements.as_bytes();
    let mut at = 0;
    while bytes.get(at) == Some(&b'"') {
        at += string_len(&elements[at..]);
        at += usize::from(bytes.get(at) == Some(&b','));
    }
    at
}

/// Bytes of the string at the start, quotes included.
fn string_len(json: &str) -> usize {
    let bytes = json.as_bytes();
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        // An escape: the byte behind the backslash does not end the string.
        at += 2;
    }
    bytes.len()
}

/// One tag: the elements of its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a>(&'a str);

impl<'a> Tag<'a> {
    /// All elements in order; the first is the name.
    pub fn elements(self) -> impl Iterator<Item = Cow<'a, str>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let len = string_len(rest);
            let raw = &rest[1..len - 1];
            rest = rest[len..].strip_prefix(',').unwrap_or_default();
            Some(unescape(raw))
        })
    }

    /// The first element.
    pub fn name(self) -> Cow<'a, str> {
        self.elements().next().unwrap_or_default()
    }

    /// The second element.
    pub fn value(self) -> Option<Cow<'a, str>> {
        self.elements().nth(1)
    }

    /// The name, if it is one ASCII letter. Escapes are read, too.
    pub fn letter(self) -> Option<u8> {
        match self.0.as_bytes() {
            [b'"', letter, b'"', ..] => letter.is_ascii_alphabetic().then_some(*letter),
            // A canonical letter has no escape.
            _ => None,
        }
    }
}

/// What an `a` tag refers to: the newest event of this kind, author and identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Kind of the events; of any class.
    pub kind: u16,
    /// Their author.
    pub pubkey: PublicKey,
    /// Value of the first `d` tag; empty for replaceable kinds.
    pub identifier: String,
}

impl Address {
    /// Reads `kind:pubkey:identifier`. The identifier may contain colons.
    pub fn parse(text: &str) -> Option<Address> {
        let mut parts = text.splitn(3, ':');
        let kind = decimal(parts.next()?)?.try_into().ok()?;
        let pubkey = hex_32(parts.next()?)?;
        Some(Address { kind, pubkey, identifier: parts.next()?.to_owned() })
    }
}

/// A number of decimal digits only; `u64::MAX` if it is larger than that.
pub(super) fn decimal(digits: &str) -> Option<u64> {
    let is_decimal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_decimal.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
