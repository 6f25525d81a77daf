//! Public keys as operators write them: hex, or `npub1..` (NIP-19, in bech32).

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::tags::{PublicKey, hex_32};
use crate::reactor::internals::read_regular_file;

const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const NPUB: &str = "npub1";
/// Characters of 32 bytes: 5 bits each.
const DATA_CHARS: usize = 52;
const CHECKSUM_CHARS: usize = 6;
/// Size of a file of keys: a million of them.
const FILE_BYTES_MAX: usize = 64 << 20;

/// A key from 64 lower-case hex digits, or from its npub.
pub fn parse_key(text: &str) -> Option<PublicKey> {
    hex_32(text).or_else(|| parse_npub(text))
}

fn parse_npub(text: &str) -> Option<PublicKey> {
    let chars = text.strip_prefix(NPUB)?.as_bytes();
    if chars.len() != DATA_CHARS + CHECKSUM_CHARS {
        return None;
    }
    let digit = |char: &u8| CHARSET.iter().position(|other| other == char);
    let digits: Vec<u32> =
        chars.iter().map(|char| Some(digit(char)? as u32)).collect::<Option<_>>()?;
    let mut checksum = 1;
    // The prefix without its separator: the high bits of each character, zero, the low bits.
    let prefix = &NPUB.as_bytes()[..NPUB.len() - 1];
    let high = prefix.iter().map(|char| u32::from(char >> 5));
    let low = prefix.iter().map(|char| u32::from(char & 31));
    for digit in high.chain([0]).chain(low).chain(digits.iter().copied()) {
        checksum = step(checksum, digit);
    }
    (checksum == 1).then(|| key_of(&digits[..DATA_CHARS])).flatten()
}

/// The checksum of bech32 (BIP-173).
fn step(checksum: u32, digit: u32) -> u32 {
    let top = checksum >> 25;
    let mut next = (checksum & 0x01ff_ffff) << 5 ^ digit;
    for (bit, generator) in GENERATORS.iter().enumerate() {
        if top >> bit & 1 == 1 {
            next ^= generator;
        }
    }
    next
}

/// 32 bytes from 52 digits of 5 bits; the last 4 bits are zero.
fn key_of(digits: &[u32]) -> Option<PublicKey> {
    let mut key = [0; 32];
    let mut bytes = key.iter_mut();
    let (mut bits, mut pending) = (0, 0);
    for digit in digits {
        pending = (pending << 5 | digit) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *bytes.next()? = (pending >> bits) as u8;
        }
    }
    let padding = pending & ((1 << bits) - 1);
    (padding == 0).then_some(key)
}

/// A line of a file of keys that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected a public key, as npub or 64 lower-case hex digits", self.line)
    }
}

impl std::error::Error for LineError {}

/// The keys of a file: one per line. Text after white space or `#` is a comment.
///
/// # Errors
/// The first malformed line.
pub fn parse_file(text: &str) -> Result<Vec<PublicKey>, LineError> {
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        if let Some(word) = content.split_whitespace().next() {
            keys.push(parse_key(word).ok_or(LineError { line: index + 1 })?);
        }
    }
    Ok(keys)
}

/// An entry of a list of keys: a key, or the path of a file of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEntry {
    /// A key.
    Key(PublicKey),
    /// A file, read by [`load`].
    File(PathBuf),
}

impl FromStr for KeyEntry {
    type Err = Infallible;

    /// Whatever is no key is a path: a mistyped key is reported as a file that does not exist.
    fn from_str(text: &str) -> Result<KeyEntry, Infallible> {
        Ok(parse_key(text).map_or_else(|| KeyEntry::File(text.into()), KeyEntry::Key))
    }
}

impl fmt::Display for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyEntry::Key(key) => f.write_str(&hex::encode(key)),
            KeyEntry::File(path) => path.display().fmt(f),
        }
    }
}

/// The keys of all entries. Files are read again with each call.
///
/// # Errors
/// A file cannot be read or has a malformed line: one line that names the file.
pub fn load(entries: &[KeyEntry]) -> Result<Vec<PublicKey>, String> {
    let mut keys = Vec::new();
    for entry in entries {
        match entry {
            KeyEntry::Key(key) => keys.push(*key),
            KeyEntry::File(path) => {
                let in_file = |error: &dyn fmt::Display| {
                    format!(
                        "{} is neither a public key nor a file of keys: {error}",
                        path.display()
                    )
                };
                let bytes =
                    read_regular_file(path, FILE_BYTES_MAX).map_err(|error| in_file(&error))?;
                let text = String::from_utf8(bytes).map_err(|error| in_file(&error))?;
                keys.extend(parse_file(&text).map_err(|error| in_file(&error))?);
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of NIP-19.
    const NPUBS: [(&str, &str); 2] = [
        (
            "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
            "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e",
        ),
        (
            "npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9",
            "84dee6e676e5bb67b4ad4e042cf70cbd8681155db535942fcc6a0533858a7240",
        ),
    ];

    #[test]
    fn an_npub_is_the_key_of_its_hex_form() {
        for (npub, hex) in NPUBS {
            assert_eq!(parse_key(npub), parse_key(hex));
            assert!(parse_key(npub).is_some());
        }
    }

    #[test]
    fn malformed_keys_are_rejected() {
        let (npub, hex) = NPUBS[0];
        let secret = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5";
        for text in
            ["", "npub1", &npub[..62], &hex[1..], secret, &npub.to_uppercase(), &hex.to_uppercase()]
        {
            assert_eq!(parse_key(text), None, "{text}");
        }
        // Each changed character is found by the checksum.
        for index in NPUB.len()..npub.len() {
            let mut changed = npub.as_bytes().to_vec();
            changed[index] = if changed[index] == b'q' { b'p' } else { b'q' };
            assert_eq!(parse_key(std::str::from_utf8(&changed).unwrap()), None, "at {index}");
        }
    }

    #[test]
    fn a_file_has_a_key_per_line_and_comments() {
        let [(npub, hex), (other, _)] = NPUBS;
        let file = format!("# friends\r\n\n{npub}\r\n  {other} Bob # since May\n{hex}");
        let keys = [hex, NPUBS[1].1, hex].map(|hex| parse_key(hex).unwrap());
        assert_eq!(parse_file(&file), Ok(keys.to_vec()));
        let error = parse_file(&format!("{npub}\nBob\n")).unwrap_err();
        assert_eq!(error.line, 2);
    }

    #[test]
    fn entries_are_keys_or_files_that_are_read_again() {
        let path = std::env::temp_dir().join(format!("weir-keys-{}", std::process::id()));
        let [(npub, _), (other, _)] = NPUBS;
        let entry = |text: &str| text.parse::<KeyEntry>().unwrap();
        let entries = [entry(npub), entry(path.to_str().unwrap())];
        let error = load(&entries).unwrap_err();
        assert!(error.starts_with(&format!("{} is neither", path.display())), "{error}");
        std::fs::write(&path, format!("{other}\n{npub}")).unwrap();
        let [first, second] = [npub, other].map(|npub| parse_key(npub).unwrap());
        assert_eq!(load(&entries), Ok(vec![first, second, first]));
        std::fs::write(&path, "\nBob").unwrap();
        let error = load(&entries).unwrap_err();
        assert!(error.contains(": line 2: expected a public key"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
