//! A key, and the verification of a signature with it.

use std::fmt;

use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::error::KeyError;
use crate::services::auth::token::algorithm::Algorithm;

/// Sizes of RSA keys (RFC 7518, 3.3: at least 2048 bits).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The first byte of a point whose coordinates follow uncompressed (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// A key with what its source says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::services::auth) struct Key {
    pub(super) name: KeyName,
    /// The only algorithm that the key is for, if its source names one.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) material: Material,
}

/// Which tokens a key is for, by their `kid`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyName {
    /// A key of a JWK set: for tokens with this `kid`, and for those without one.
    Kid(Box<str>),
    /// A key of a JWK set that has no `kid`: only for tokens without one.
    NoKid,
    /// A secret or a key in PEM, which cannot have a name: for all tokens.
    Any,
}

impl KeyName {
    /// Whether the key is for tokens with this `kid` (RFC 7515, 4.1.4 and RFC 7517, 4.5).
    pub(super) fn serves(&self, kid: Option<&str>) -> bool {
        match (self, kid) {
            (KeyName::Kid(own), Some(kid)) => **own == *kid,
            (KeyName::NoKid, Some(_)) => false,
            (KeyName::Any, _) | (_, None) => true,
        }
    }
}

/// The kinds of keys.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Material {
    Secret(Box<[u8]>),
    /// Modulus and exponent, without leading zeros.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
    /// A point on P-256.
    P256(Box<[u8]>),
    /// A point on P-384.
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

impl Material {
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Material, KeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let unused = n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !RSA_BITS.contains(&(n.len() * 8 - unused)) {
            return Err(KeyError::RsaSize);
        }
        Ok(Material::Rsa { n: n.into(), e: e.into() })
    }

    /// A point on P-256, as coordinates.
    pub(super) fn p256(x: &[u8], y: &[u8]) -> Result<Material, KeyError> {
        point(x, y, 32).map(Material::P256)
    }

    /// A point on P-384, as coordinates.
    pub(super) fn p384(x: &[u8], y: &[u8]) -> Result<Material, KeyError> {
        point(x, y, 48).map(Material::P384)
    }

    pub(super) fn ed25519(point: &[u8]) -> Result<Material, KeyError> {
        match point.len() {
            32 => Ok(Material::Ed25519(point.into())),
            _ => Err(KeyError::Malformed),
        }
    }
}

/// The uncompressed form of a point. Whether it is on the curve is checked with each signature.
fn point(x: &[u8], y: &[u8], len: usize) -> Result<Box<[u8]>, KeyError> {
    match x.len() == len && y.len() == len {
        true => Ok([&[UNCOMPRESSED], x, y].concat().into()),
        false => Err(KeyError::Malformed),
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

impl Key {
    /// A key whose source has no names.
    pub(super) fn unnamed(material: Material) -> Key {
        Key { name: KeyName::Any, algorithm: None, material }
    }

    /// Whether the key may verify signatures of this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm)
            && match &self.material {
                Material::Secret(_) => algorithm.is_symmetric(),
                Material::Rsa { .. } => rsa_parameters(algorithm).is_some(),
                Material::P256(_) => algorithm == Algorithm::Es256,
                Material::P384(_) => algorithm == Algorithm::Es384,
                Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
            }
    }

    /// Whether the signature of a message is one of this key. False for an algorithm of another kind.
    pub(in crate::services::auth) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let point = |by: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(by, key).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Secret(secret) => hash_of(algorithm).is_some_and(|hash| {
                let key = hmac::Key::new(hash, secret);
                hmac::verify(&key, message, signature).is_ok()
            }),
            Material::Rsa { n, e } => rsa_parameters(algorithm).is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            Material::P256(key) => point(&ECDSA_P256_SHA256_FIXED, key),
            Material::P384(key) => point(&ECDSA_P384_SHA384_FIXED, key),
            Material::Ed25519(key) => point(&ED25519, key),
        }
    }
}

fn hash_of(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

impl fmt::Debug for Material {
    /// Only the kind: one of them is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Secret(_) => "Secret",
            Material::Rsa { .. } => "Rsa",
            Material::P256(_) => "P256",
            Material::P384(_) => "P384",
            Material::Ed25519(_) => "Ed25519",
        })
    }
}
