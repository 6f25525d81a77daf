//! Rendezvous hashing (Thaler and Ravishankar, 1998), and the value of the sticky cookie.
//!
//! Both depend only on names, so that all proxies of a site agree without talking to each other. The
//! hash is our own, since that of the standard library may change with the compiler.

use sha1::{Digest, Sha1};

/// Hexadecimal digits of the sticky cookie.
const STICKY_DIGITS: usize = 16;

/// The first 64 bits of a text's SHA-1.
pub(super) fn hash(text: &[u8]) -> u64 {
    let digest: [u8; 20] = Sha1::digest(text).into();
    digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// The value of the sticky cookie for the upstream whose name has this hash.
pub(super) fn sticky_value(name_hash: u64) -> String {
    format!("{name_hash:0STICKY_DIGITS$x}")
}

/// The hash of the name in a value of the sticky cookie; `None` if weir did not set it.
pub(super) fn parse_sticky(value: &str) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if value.len() != STICKY_DIGITS || !value.bytes().all(is_digit) {
        return None;
    }
    u64::from_str_radix(value, 16).ok()
}

/// The score of an upstream for a key; the highest score wins. A higher weight wins more keys, in
/// proportion (weighted rendezvous hashing: weight / -ln(u), u uniform in (0, 1)).
pub(super) fn score(key_hash: u64, name_hash: u64, weight: u8) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    let bits = mix(key_hash ^ mix(name_hash)) >> 11;
    let uniform = (bits as f64 + 0.5) / STEPS;
    f64::from(weight) / -uniform.ln()
}

/// The finalizer of SplitMix64: each input bit affects each output bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sticky_value_is_the_start_of_the_sha1_in_hexadecimal() {
        // printf 127.0.0.1:9944 | sha1sum
        assert_eq!(sticky_value(hash(b"127.0.0.1:9944")), "89130cea92cf1668");
        assert_eq!(sticky_value(7), "0000000000000007");
        assert_eq!(parse_sticky("0000000000000007"), Some(7));
        for value in ["", "7", "+000000000000007", "000000000000000A", "00000000000000007"] {
            assert_eq!(parse_sticky(value), None, "{value}");
        }
    }

    #[test]
    fn scores_are_finite_and_depend_on_key_and_name() {
        for bits in [0, 1, u64::MAX, 1 << 63] {
            let score = score(bits, hash(b"a"), 1);
            assert!(score.is_finite() && score > 0.0, "{bits}: {score}");
        }
        assert_ne!(score(1, 2, 1), score(2, 1, 1));
        assert_ne!(score(1, 2, 1), score(1, 3, 1));
    }
}
