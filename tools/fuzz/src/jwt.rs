//! Header and claims of tokens, read like jsonwebtoken reads them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::decode_header;
use serde_json::Value;
use serde_json::value::RawValue;
use weir::services::auth::internals::{UnverifiedClaims, UnverifiedToken, read_unverified};

use crate::bytes::Bytes;

const MEMBERS_MAX: usize = 5;
/// The claim that becomes metadata.
const CLAIM: &str = "role";

const VALID_HEADER: &str = "\"alg\":\"RS384\"";
const VALID_CLAIMS: &str = "\"sub\":\"ann\"";
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
    let header = object(input, VALID_HEADER, &HEADER_NAMES, &HEADER_VALUES)?;
    let claims = object(input, VALID_CLAIMS, &CLAIM_NAMES, &CLAIM_VALUES)?;
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

/// The header as RFC 7515 says it is: jsonwebtoken accepts fewer headers than weir.
fn compare_header(token: &str, read: &UnverifiedToken) {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("not three parts: {token}");
    };
    // Values that do not count may be ones that no type of serde_json has.
    let header: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(&base64url(header).expect(token)).expect(token);
    let member = |name: &str| -> Option<String> {
        Some(serde_json::from_str(header.get(name)?.get()).expect(token))
    };
    // RFC 9864, 2.2.
    let named = member("alg").map(|name| if name == "Ed25519" { "EdDSA".into() } else { name });
    assert_eq!(named.as_deref(), Some(read.algorithm.name()), "{token}");
    assert_eq!(member("kid"), read.kid, "{token}");
    assert!(!header.contains_key("crit") && !header.contains_key("b64"), "{token}");
    assert!(base64url(signature).is_some(), "{token}");
    assert!(read.claims.is_err() || base64url(claims).is_some(), "{token}");
    // It has types for more members, and knows no Ed25519.
    if let Ok(header) = decode_header(token) {
        assert_eq!(format!("{:?}", header.alg), read.algorithm.name(), "{token}");
        assert_eq!((header.kid, header.crit), (read.kid.clone(), None), "{token}");
    }
}

/// Decodes base64url without padding (RFC 7515, 2), whose unused bits are zero.
fn base64url(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits: Option<Vec<u32>> =
        text.chars().map(|digit| Some(DIGITS.find(digit)? as u32)).collect();
    let bytes_of = |digits: &[u32]| {
        let number = digits.iter().fold(0, |number, digit| number * 64 + digit);
        let [_, bytes @ ..] = (number << (6 * (4 - digits.len()))).to_be_bytes();
        let (used, unused) = bytes.split_at(digits.len() * 3 / 4);
        let is_whole = digits.len() > 1 && unused.iter().all(|byte| *byte == 0);
        is_whole.then(|| used.to_vec())
    };
    let bytes: Option<Vec<Vec<u8>>> = digits?.chunks(4).map(bytes_of).collect();
    Some(bytes?.concat())
}

fn compare_claims(token: &str, read: &UnverifiedClaims) {
    // It also parses claims that weir ignores, and some do not fit into its types.
    let Ok(claims) = insecure_decode_claims::<Value>(token) else {
        return;
    };
    assert_eq!(claims["sub"], *read.subject, "{token}");
    assert_eq!(claims["sid"].as_str(), read.session.as_deref(), "{token}");
    assert_eq!(claims["exp"].as_f64(), read.exp, "{token}");
    for time in ["exp", "nbf", "iat"] {
        assert!(claims.get(time).is_none_or(Value::is_number), "{token}");
    }
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

/// An object of some members. Most have the `valid` one and few others: weir accepts many of these.
fn object(input: &mut Bytes<'_>, valid: &str, names: &[&str], values: &[&str]) -> Option<String> {
    let is_valid = input.below(4)? > 0;
    let count = input.below(if is_valid { 3 } else { MEMBERS_MAX + 1 })?;
    let member = |_| {
        let name = names[input.below(names.len())?];
        Some(format!("\"{name}\":{}", values[input.below(values.len())?]))
    };
    let members: Option<Vec<String>> = (0..count).map(member).collect();
    let first = is_valid.then(|| valid.to_owned());
    let members: Vec<String> = first.into_iter().chain(members?).collect();
    Some(format!("{{{}}}", members.join(",")))
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
