//! JWK sets (RFC 7517, 5) with keys of RFC 7518, 6 and RFC 8037, 2.
//!
//! Keys that no algorithm here uses, and malformed ones, are ignored, as RFC 7517, 5 recommends: sets have
//! keys for encryption and of kinds to come. So are secrets (`oct`): they have a file of their own.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::KeyError;
use super::key::{Key, KeyName, Material};
use crate::services::auth::token::algorithm::Algorithm;
use crate::services::auth::token::parse::decode;

#[derive(Deserialize)]
struct JwkSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members that count. Private ones are not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<Box<str>>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that verify signatures, in its order.
pub(super) fn keys(json: &[u8]) -> Result<Vec<Key>, KeyError> {
    let set: JwkSet<'_> = serde_json::from_slice(json).map_err(|_| KeyError::Format)?;
    let keys = set.keys.into_iter().filter_map(|json| serde_json::from_str::<Jwk>(json.get()).ok());
    Ok(keys.filter_map(|jwk| jwk.key().ok().flatten()).collect())
}

impl Jwk {
    /// `None`: no algorithm here uses the key.
    fn key(self) -> Result<Option<Key>, KeyError> {
        let is_for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|all| all.iter().any(|it| it == "verify"));
        let algorithm = self.alg.as_deref().map(Algorithm::named);
        if !is_for_signatures || algorithm == Some(None) {
            return Ok(None);
        }
        let material = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => Material::rsa(&number(&self.n)?, &number(&self.e)?)?,
            ("EC", Some("P-256")) => Material::p256(&number(&self.x)?, &number(&self.y)?)?,
            ("EC", Some("P-384")) => Material::p384(&number(&self.x)?, &number(&self.y)?)?,
            ("OKP", Some("Ed25519")) => Material::ed25519(&number(&self.x)?)?,
            _ => return Ok(None),
        };
        let name = self.kid.map_or(KeyName::NoKid, KeyName::Kid);
        Ok(Some(Key { name, algorithm: algorithm.flatten(), material }))
    }
}

fn number(text: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = text.as_deref().ok_or(KeyError::Malformed)?;
    decode(text).map_err(|_| KeyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8037, A.2.
    const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// The key of RFC 7515, A.3.
    const P256: &str = r#"{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","key_ops":["verify"],
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

    fn set(keys: &[&str]) -> Result<Vec<Key>, KeyError> {
        super::keys(format!(r#"{{"keys":[{}],"other":1}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn keys_have_the_names_and_algorithms_of_the_set() {
        let keys = set(&[ED25519, P256]).unwrap();
        let facts: Vec<_> = keys.iter().map(|key| (key.name.clone(), key.algorithm)).collect();
        let expected = [(KeyName::Kid("e".into()), None), (KeyName::NoKid, Some(Algorithm::Es256))];
        assert_eq!(facts, expected);
        assert!(keys[0].fits(Algorithm::EdDsa) && !keys[0].fits(Algorithm::Es256));
        assert!(keys[1].fits(Algorithm::Es256) && !keys[1].fits(Algorithm::Hs256));
    }

    #[test]
    fn keys_for_other_purposes_are_ignored() {
        for other in [
            r#"{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}"#,
            r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#,
            r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#,
            r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#,
            r#"{"crv":"P-256"}"#,
            r#"{"kty":7}"#,
            "1",
            &P256.replace("ES256", "ECDH-ES"),
            &P256.replace("\"sig\"", "\"enc\""),
            &P256.replace("verify", "deriveKey"),
        ] {
            assert_eq!(set(&[other, ED25519]).unwrap().len(), 1, "{other}");
        }
    }

    #[test]
    fn malformed_sets_are_refused_and_malformed_keys_ignored() {
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[}"#, "\u{feff}{}"] {
            let error = super::keys(text.as_bytes()).unwrap_err();
            assert!(matches!(error, KeyError::Format), "{text}: {error}");
        }
        for other in [
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            r#"{"kty":"EC","crv":"P-256"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"=="}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        ] {
            assert_eq!(set(&[other, P256]).unwrap().len(), 1, "{other}");
        }
    }
}
