//! Validates UTF-8 that arrives in parts: RFC 6455, 8.1, and RFC 3629.
//!
//! Finds an error at the byte that proves it, also inside an unfinished frame and across fragments.
//! `simdutf8` does the work; this module handles a character that straddles two parts.

use std::fmt;

/// The bytes are not UTF-8, and no continuation can make them valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid UTF-8")
    }
}

impl std::error::Error for InvalidUtf8 {}

/// State between two parts: the first bytes of a character whose rest has not arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8 {
    pending: [u8; 3],
    pending_len: u8,
}

impl Utf8 {
    /// Validates the next part.
    ///
    /// # Errors
    /// No continuation of the bytes so far can be valid.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.complete_pending(piece)?;
        match simdutf8::compat::from_utf8(rest) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                self.keep(&rest[error.valid_up_to()..]);
                Ok(())
            }
            Err(_) => Err(InvalidUtf8),
        }
    }

    /// Checks that the text does not end within a character.
    ///
    /// # Errors
    /// The last character is incomplete.
    pub fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.pending_len == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }

    /// Adds to the incomplete character until it is whole or `piece` is used up; returns the rest.
    fn complete_pending<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let have = usize::from(self.pending_len);
        if have == 0 {
            return Ok(piece);
        }
        let missing = width(self.pending[0]) - have;
        let (more, rest) = piece.split_at(missing.min(piece.len()));
        let mut character = [0; 4];
        character[..have].copy_from_slice(&self.pending[..have]);
        character[have..have + more.len()].copy_from_slice(more);
        let character = &character[..have + more.len()];
        match std::str::from_utf8(character) {
            Ok(_) => self.pending_len = 0,
            Err(error) if error.error_len().is_none() => self.keep(character),
            Err(_) => return Err(InvalidUtf8),
        }
        Ok(rest)
    }

    fn keep(&mut self, unfinished: &[u8]) {
        self.pending[..unfinished.len()].copy_from_slice(unfinished);
        self.pending_len = unfinished.len() as u8;
    }
}

/// Length in bytes of the character that starts with `lead`, which is a valid lead byte.
fn width(lead: u8) -> usize {
    match lead {
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) -> Result<(), InvalidUtf8> {
        let mut utf8 = Utf8::default();
        for piece in pieces {
            utf8.push(piece)?;
        }
        utf8.finish()
    }

    #[test]
    fn the_result_does_not_depend_on_splits() {
        let texts: [&[u8]; 8] = [
            "κόσμε, \u{1F600} \u{10FFFF}\u{800}\u{7FF}".as_bytes(),
            b"plain",
            b"",
            b"\xED\xA0\x80",
            b"ok \xF4\x90\x80\x80 past the last code point",
            b"\xC0\xAF overlong",
            b"cut \xE2\x82",
            b"\xF0\x9F\x98",
        ];
        for text in texts {
            let whole = std::str::from_utf8(text).map(|_| ()).map_err(|_| InvalidUtf8);
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let pieces = [&text[..first], &text[first..second], &text[second..]];
                    assert_eq!(check(&pieces), whole, "{text:x?} at {first}, {second}");
                }
            }
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(check(&bytes), whole);
        }
    }

    #[test]
    fn an_error_is_found_at_the_byte_that_proves_it() {
        let mut utf8 = Utf8::default();
        assert_eq!(utf8.push(b"\xCE\xBA\xF4"), Ok(()));
        assert_eq!(utf8.push(b"\x90"), Err(InvalidUtf8));
    }
}
