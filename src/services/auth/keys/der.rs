//! Reads the public key of a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7): the only ASN.1 here.

use rustls_pki_types::alg_id;

use super::error::KeyError;
use super::key::Material;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// The first byte of a point whose coordinates follow uncompressed.
const UNCOMPRESSED: u8 = 0x04;

/// The key in a SubjectPublicKeyInfo.
pub(super) fn public_key(der: &[u8]) -> Result<Material, KeyError> {
    let (algorithm, key) = split(der).ok_or(KeyError::Malformed)?;
    if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        let (n, e) = rsa(key).ok_or(KeyError::Malformed)?;
        return Material::rsa(n, e);
    }
    if algorithm == alg_id::ED25519.as_ref() {
        return Material::ed25519(key);
    }
    let coordinates = |half: usize| match key.split_first() {
        Some((&UNCOMPRESSED, both)) => both.split_at_checked(half).ok_or(KeyError::Malformed),
        _ => Err(KeyError::Malformed),
    };
    if algorithm == alg_id::ECDSA_P256.as_ref() {
        let (x, y) = coordinates(32)?;
        return Material::p256(x, y);
    }
    if algorithm == alg_id::ECDSA_P384.as_ref() {
        let (x, y) = coordinates(48)?;
        return Material::p384(x, y);
    }
    Err(KeyError::Kind)
}

/// The algorithm and the key.
fn split(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut info, rest) = element(SEQUENCE, der)?;
    let algorithm = take(SEQUENCE, &mut info)?;
    let bits = take(BIT_STRING, &mut info)?;
    let (unused_bits, key) = bits.split_first()?;
    (*unused_bits == 0 && info.is_empty() && rest.is_empty()).then_some((algorithm, key))
}

/// Modulus and exponent (RFC 8017, A.1.1).
fn rsa(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, rest) = element(SEQUENCE, der)?;
    let (n, e) = (take(INTEGER, &mut key)?, take(INTEGER, &mut key)?);
    (key.is_empty() && rest.is_empty()).then_some((n, e))
}

fn take<'a>(tag: u8, input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (content, rest) = element(tag, input)?;
    *input = rest;
    Some(content)
}

/// The content of the first element, which must have this tag, and what follows it. A length has at most
/// two bytes: keys are shorter.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (len, rest) = match rest {
        [len @ 0..=0x7f, rest @ ..] => (usize::from(*len), rest),
        [0x81, len @ 0x80..=0xff, rest @ ..] => (usize::from(*len), rest),
        [0x82, high @ 1..=0xff, low, rest @ ..] => {
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(len)).flatten()
}
