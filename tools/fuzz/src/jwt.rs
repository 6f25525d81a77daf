//! Header and claims of tokens, read like jsonwebtoken reads them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::decode_header;
use serde_json::Value;
use weir::services::auth::internals::{UnverifiedClaims, UnverifiedToken, read_unverified};

use crate::bytes::Bytes;

const MEMBERS_MAX: usize = 5;
/// The claim that becomes metadata.
const CLAIM: &str = "role";

const HEADER_NAMES: [&str; 10] =
    ["alg", "alg", "alg", "kid", "typ", "crit", "b64", "jku", "\\u0061lg", "x"];
const HEADER_VALUES: [&str; 14] = [
    "\"HS256\"",
    "\"ES384\"",
    "\"EdDSA\"",
    "\"Ed25519\"",
    "\"none\"",
    "\"PS256\"",
    "\"hs256\"",
    "\"\\u0048S256\"",
    "\"a/../b\"",
    "\"\\ud800\"",
    "[\"HS256\"]",
    "true",
    "null",
    "1",
];
const CLAIM_NAMES: [&str; 9] =
    ["sub", "sub", "exp", "nbf", "iat", "aud", "sid", CLAIM, "\\u0073ub"];
const CLAIM_VALUES: [&str; 16] = [
    "\"ann\"",
    "\"\"",
    "\"a\\nb\"",
    "\"zo\\u00eb\"",
    "\"\\ud800\"",
    "1800000000",
    "-1",
    "1.5",
    "1e400",
    "01",
    "true",
    "null",
    "[]",
    "[\"x\",\"y\"]",
    "[1]",
    "{\"sub\":\"b\"}",
];
/// What replaces a part of a token.
const ALTERATIONS: [&str; 10] = [".", "=", "+", "/", " ", "", "A", "%", "\u{e9}", "-"];

/// What weir accepts has one meaning: other programs read the same algorithm, key, subject, session, end
/// and metadata.
pub fn jwt(data: &[u8]) {
    let mut input = Bytes(data);
    while one_token(&mut input).is_some() {}
}

fn one_token(input: &mut Bytes<'_>) -> Option<()> {
    let header = object(input, &HEADER_NAMES, &HEADER_VALUES)?;
    let claims = object(input, &CLAIM_NAMES, &CLAIM_VALUES)?;
    let token = [header, claims].map(|json| URL_SAFE_NO_PAD.encode(json)).join(".") + ".c2ln";
    let token = altered(token, input)?;
    let Ok(read) = read_unverified(&token, CLAIM) else {
        return Some(());
    };
    compare_header(&token, &read);
    if let Ok(claims) = &read.claims {
        compare_claims(&token, claims);
    }
    Some(())
}

fn compare_header(token: &str, read: &UnverifiedToken) {
    // It has types for more members, and knows no Ed25519.
    let Ok(header) = decode_header(token) else {
        return;
    };
    assert_eq!(format!("{:?}", header.alg), read.algorithm.name(), "{token}");
    assert_eq!(header.kid, read.kid, "{token}");
    assert_eq!(header.crit, None, "{token}");
}

fn compare_claims(token: &str, read: &UnverifiedClaims) {
    // It also parses claims that weir ignores, and some do not fit into its types.
    let Ok(claims) = insecure_decode_claims::<Value>(token) else {
        return;
    };
    assert_eq!(claims["sub"], *read.subject, "{token}");
    assert_eq!(claims["sid"].as_str(), read.session.as_deref(), "{token}");
    assert_eq!(claims["exp"].as_f64(), read.exp, "{token}");
    let is_plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    assert!(is_plain(&read.subject), "{token}");
    let values: Vec<String> = match &claims[CLAIM] {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => {
            items.iter().map(|it| it.as_str().expect(token).to_owned()).collect()
        }
        Value::Object(_) => panic!("an object as metadata: {token}"),
        Value::Bool(truth) => vec![truth.to_string()],
        // Written as in the token: 1.50 stays.
        Value::Number(number) => {
            let read: f64 = read.values[0].parse().expect("a number");
            assert_eq!(number.as_f64(), Some(read), "{token}");
            return;
        }
    };
    assert_eq!(values, read.values, "{token}");
}

fn object(input: &mut Bytes<'_>, names: &[&str], values: &[&str]) -> Option<String> {
    let count = input.below(MEMBERS_MAX + 1)?;
    let member = |_| {
        let name = names[input.below(names.len())?];
        Some(format!("\"{name}\":{}", values[input.below(values.len())?]))
    };
    let members: Option<Vec<String>> = (0..count).map(member).collect();
    Some(format!("{{{}}}", members?.join(",")))
}

/// Most tokens stay as they are; in others one character is replaced.
fn altered(mut token: String, input: &mut Bytes<'_>) -> Option<String> {
    if input.below(4)? > 0 {
        return Some(token);
    }
    let at = usize::from(input.u16()?) % token.len();
    token.replace_range(at..=at, ALTERATIONS[input.below(ALTERATIONS.len())?]);
    Some(token)
}
