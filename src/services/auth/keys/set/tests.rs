use crate::services::auth::testing::{SECRET, Signer};

use super::*;

fn header(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{algorithm}"}}"#)
}

fn both(signer: &Signer) -> KeySet {
    let secret = KeySet::secret(SECRET, &Algorithm::ALL).unwrap();
    secret.and(KeySet::parse(signer.jwks("").as_bytes()).unwrap())
}

fn verify(keys: &KeySet, token: &str) -> Result<(), TokenError> {
    keys.verify(&Unverified::parse(token)?)
}

#[test]
fn each_algorithm_verifies_its_own_signatures() {
    let signer = Signer::new();
    let keys = both(&signer);
    for algorithm in Algorithm::ALL {
        let token = signer.token(algorithm, &header(algorithm), "{}");
        assert_eq!(verify(&keys, &token), Ok(()), "{algorithm}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let token = signer.token(algorithm, &header(other), "{}");
            assert_eq!(verify(&keys, &token), Err(TokenError::Signature), "{algorithm} as {other}");
        }
    }
}

#[test]
fn a_changed_bit_makes_a_signature_wrong() {
    let signer = Signer::new();
    let keys = both(&signer);
    for algorithm in Algorithm::ALL {
        let token = signer.token(algorithm, &header(algorithm), r#"{"sub":"a"}"#);
        let other = signer.token(algorithm, &header(algorithm), r#"{"sub":"b"}"#);
        let (_, signature) = token.rsplit_once('.').unwrap();
        let (message, _) = other.rsplit_once('.').unwrap();
        let mixed = format!("{message}.{signature}");
        assert_eq!(verify(&keys, &mixed), Err(TokenError::Signature), "{algorithm}");
        let mut parsed = Unverified::parse(&token).unwrap();
        let whole = parsed.signature.clone();
        for bit in 0..8 {
            parsed.signature.clone_from(&whole);
            *parsed.signature.last_mut().unwrap() ^= 1 << bit;
            assert_eq!(keys.verify(&parsed), Err(TokenError::Signature), "{algorithm}");
        }
        for len in [0, 1, whole.len() - 1] {
            *parsed.signature = whole[..len].to_vec();
            assert_eq!(
                keys.verify(&parsed),
                Err(TokenError::Signature),
                "{algorithm}, {len} bytes"
            );
        }
    }
}

/// RFC 8725, 2.1 and 3.1: the public key as the secret of an HMAC.
#[test]
fn a_public_key_is_never_a_secret() {
    let signer = Signer::new();
    let pem = include_bytes!("../testdata/rsa.pem");
    let keys = KeySet::parse(pem).unwrap();
    let token = signer.token(Algorithm::Hs256, &header(Algorithm::Hs256), "{}");
    assert_eq!(verify(&keys, &token), Err(TokenError::UnknownKey));
    let message = token.rsplit_once('.').unwrap().0;
    let Material::Rsa { n, .. } = &keys.0[0].material else {
        panic!("{keys:?}");
    };
    for secret in [&pem[..], pem.trim_ascii(), n] {
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let mut parsed = Unverified::parse(&token).unwrap();
        *parsed.signature = ring::hmac::sign(&secret, message.as_bytes()).as_ref().to_vec();
        assert_eq!(keys.verify(&parsed), Err(TokenError::UnknownKey));
    }
}

#[test]
fn the_kid_selects_a_key_of_a_jwk_set() {
    let (first, second) = (Signer::new(), Signer::new());
    let set = |signer: &Signer, kid| KeySet::parse(signer.jwks(kid).as_bytes()).unwrap();
    let keys = set(&first, "1").and(set(&second, "2"));
    let token = |kid: &str| {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
        second.token(Algorithm::Es256, &header, "{}")
    };
    assert_eq!(verify(&keys, &token("p2562")), Ok(()));
    assert_eq!(verify(&keys, &token("p2561")), Err(TokenError::Signature));
    for unknown in ["p3842", "rsa2", "p256", "", "../../../dev/null", "p2562' OR '1'='1"] {
        assert_eq!(verify(&keys, &token(unknown)), Err(TokenError::UnknownKey), "{unknown}");
    }
    // Without kid each of the kind is tried.
    let unnamed = second.token(Algorithm::Es256, &header(Algorithm::Es256), "{}");
    assert_eq!(verify(&keys, &unnamed), Ok(()));
}

/// RFC 7515, 4.1.4 and RFC 7517, 4.5, as `createLocalJWKSet` of jose.
#[test]
fn a_token_with_a_kid_needs_a_key_with_that_kid_unless_keys_cannot_have_one() {
    let signer = Signer::new();
    let token = |algorithm, kid: &str| {
        signer.token(algorithm, &format!(r#"{{"alg":"{algorithm}"{kid}}}"#), "{}")
    };
    let without_kid = signer.jwks("").replace("\"kid\"", "\"other\"");
    let without_kid = KeySet::parse(without_kid.as_bytes()).unwrap();
    let named = token(Algorithm::Es256, r#","kid":"p256""#);
    assert_eq!(verify(&without_kid, &named), Err(TokenError::UnknownKey));
    assert_eq!(verify(&without_kid, &token(Algorithm::Es256, "")), Ok(()));
    // Keys in PEM and secrets have no names, whatever the JWK set beside them has.
    let keys = both(&signer);
    for kid in ["", r#","kid":"p256""#, r#","kid":"other""#] {
        assert_eq!(verify(&keys, &token(Algorithm::Hs256, kid)), Ok(()), "{kid}");
        let pem = KeySet::parse(include_bytes!("../testdata/rsa.pem")).unwrap();
        assert_eq!(verify(&pem, &token(Algorithm::Rs256, kid)), Ok(()), "{kid}");
    }
}

#[test]
fn at_most_four_keys_are_tried() {
    let signers: Vec<Signer> = (0..6).map(|_| Signer::new()).collect();
    let keys = signers.iter().map(|signer| KeySet::parse(signer.jwks("").as_bytes()).unwrap());
    let keys = keys.reduce(KeySet::and).unwrap();
    for (number, signer) in signers.iter().enumerate() {
        let token = signer.token(Algorithm::EdDsa, &header(Algorithm::EdDsa), "{}");
        assert_eq!(keys.tries(&Unverified::parse(&token).unwrap()), TRIES_MAX);
        assert_eq!(verify(&keys, &token).is_ok(), number < TRIES_MAX, "{number}");
    }
}

/// RFC 7518, 3.2 and RFC 8725, 3.5: not a password.
#[test]
fn a_secret_is_as_long_as_the_hash() {
    let secret = |text: &[u8], algorithm| KeySet::secret(text, &[algorithm]).map(|keys| keys.len());
    for (algorithm, least) in
        [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)]
    {
        let text = "x".repeat(least);
        assert!(matches!(secret(text.as_bytes(), algorithm), Ok(1)));
        for short in
            ["", "\n", &text[1..], &format!("{}\n", &text[1..]), &format!("{}\r\n", &text[1..])]
        {
            let error = secret(short.as_bytes(), algorithm).unwrap_err();
            assert!(matches!(error, KeyError::ShortSecret(needed) if needed == least), "{short:?}");
        }
    }
    let keys = KeySet::secret(&[SECRET, b"\n"].concat(), &Algorithm::ALL).unwrap();
    let signer = Signer::new();
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        let token = signer.token(algorithm, &header(algorithm), "{}");
        assert_eq!(verify(&keys, &token), Ok(()), "one newline does not belong to it");
    }
}

#[test]
fn a_source_has_one_to_64_keys() {
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let parse = |count: usize| {
        let text = format!(r#" {{"keys":[{}]}}"#, vec![key; count].join(","));
        KeySet::parse(text.as_bytes()).map(|keys| keys.len())
    };
    assert!(matches!(parse(KEYS_MAX), Ok(KEYS_MAX)));
    assert!(matches!(parse(0), Err(KeyError::Empty)));
    assert!(matches!(parse(KEYS_MAX + 1), Err(KeyError::TooMany)));
}
