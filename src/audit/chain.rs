//! The chain of an audit log: HMAC-SHA256 (RFC 2104) of each line and the HMAC of the line before it.
//!
//! A line's HMAC is its last member, `mac`, in hexadecimal digits. It covers the line without that
//! member. The first line follows 32 zero bytes.

use std::error::Error;
use std::path::Path;

use ring::hmac::{self, HMAC_SHA256};
use weir::reactor::internals::read_regular_file;

/// Size of an HMAC, and of the shortest key: a shorter one weakens it (RFC 2104, 3).
const MAC_BYTES: usize = 32;
const KEY_BYTES_MAX: usize = 64 * 1024;

/// What stands between a line's text and its HMAC.
const MEMBER: &[u8] = br#","mac":""#;
const END: &[u8] = br#""}"#;

pub(super) type Mac = [u8; MAC_BYTES];

/// What the first line of a chain follows.
pub(super) const START: Mac = [0; MAC_BYTES];

/// The secret key of a chain.
#[derive(Debug)]
pub(super) struct Key(hmac::Key);

/// Reads a key: the bytes of the file, without a final line end.
///
/// # Errors
/// The file cannot be read, or the key is too short.
pub(super) fn load_key(path: &Path) -> Result<Key, Box<dyn Error>> {
    let bytes = read_regular_file(path, KEY_BYTES_MAX)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let key = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if key.len() < MAC_BYTES {
        let (path, len) = (path.display(), key.len());
        return Err(format!("{path}: the key has {len} bytes, at least {MAC_BYTES} needed").into());
    }
    Ok(Key(hmac::Key::new(HMAC_SHA256, key)))
}

impl Key {
    #[cfg(test)]
    pub(super) fn new(bytes: &[u8]) -> Key {
        Key(hmac::Key::new(HMAC_SHA256, bytes))
    }

    /// The HMAC of a line's text, a JSON object, after the line with this HMAC.
    pub(super) fn mac(&self, before: &Mac, text: &[u8]) -> Mac {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(before);
        context.update(text);
        let mut mac = START;
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

/// Adds its HMAC to the text of a line.
pub(super) fn add_mac(text: &mut String, mac: &Mac) {
    text.pop();
    text.push_str(r#","mac":""#);
    text.push_str(&hex::encode(mac));
    text.push_str(r#""}"#);
}

/// The text of a line, and its HMAC; `None` without one.
pub(super) fn split_mac(line: &[u8]) -> Option<(Vec<u8>, Mac)> {
    let rest = line.strip_suffix(END)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(2 * MAC_BYTES)?)?;
    let mut text = rest.strip_suffix(MEMBER)?.to_vec();
    text.push(b'}');
    let mut mac = START;
    hex::decode_to_slice(digits, &mut mac).ok()?;
    // Capital letters would be another line with the same HMAC.
    (hex::encode(mac).as_bytes() == digits).then_some((text, mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, 4.2: the key and the data of the first test case.
    #[test]
    fn the_hmac_covers_the_line_before_and_the_text() {
        let key = Key::new(&[0x0b; 20]);
        let mac = key.mac(&START, b"Hi There");
        let mut all = START.to_vec();
        all.extend(b"Hi There");
        assert_eq!(hmac::sign(&key.0, &all).as_ref(), mac);
        assert_ne!(key.mac(&mac, b"Hi There"), mac);
        let known = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex::encode(hmac::sign(&key.0, b"Hi There")), known);
    }

    #[test]
    fn a_line_is_split_into_text_and_hmac() {
        let mac = Key::new(&[1; 32]).mac(&START, b"{\"a\":1}");
        let mut line = r#"{"a":1}"#.to_owned();
        add_mac(&mut line, &mac);
        assert_eq!(line.len(), 7 + 8 + 64 + 1);
        assert_eq!(split_mac(line.as_bytes()), Some((b"{\"a\":1}".to_vec(), mac)));
        for other in [
            "",
            "{}",
            "\"}",
            &line[..line.len() - 1],
            &line.replace("mac", "mab"),
            &line.to_uppercase(),
            &line.replacen(&hex::encode(mac)[..1], "é", 1),
        ] {
            assert_eq!(split_mac(other.as_bytes()), None, "{other}");
        }
    }
}
