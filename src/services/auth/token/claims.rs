//! The claims of a token (RFC 7519, 4.1): what they must say, and what an identity takes from them. They
//! are checked before the signature, which costs more.
//!
//! Times are seconds since 1970 with fractions (RFC 7519, 2, NumericDate).

use std::sync::Arc;
use std::time::Duration;

use super::error::TokenError;
use super::members::Members;
use super::parse::{Unverified, decode};
use crate::reactor::{Identity, Metadata};

/// The audiences of which a token must name one (RFC 7519, 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// A token must name none: it would be for others.
    Unset,
    /// A token may name any, or none.
    Any,
    /// A token must name one of these.
    OneOf(Vec<String>),
}

/// What claims must say.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::services::auth) struct Rules {
    pub(in crate::services::auth) audience: Audience,
    pub(in crate::services::auth) issuer: Option<String>,
    pub(in crate::services::auth) needs_exp: bool,
    /// How far clocks may differ.
    pub(in crate::services::auth) leeway: Duration,
    /// Claims that become metadata.
    pub(in crate::services::auth) claims: Vec<String>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::services::auth) struct Token {
    /// Without its end, which depends on the clocks of the loop. Its session is `sid`.
    pub(in crate::services::auth) identity: Identity,
    pub(in crate::services::auth) times: Times,
}

/// The times of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::services::auth) struct Times {
    pub(in crate::services::auth) exp: Option<f64>,
    nbf: Option<f64>,
    pub(in crate::services::auth) iat: Option<f64>,
}

impl Times {
    /// Checks `exp`, `nbf` and `iat` against the wall clock.
    ///
    /// # Errors
    /// [`TokenError::Expired`], [`TokenError::Early`].
    pub(in crate::services::auth) fn check(
        &self,
        now: f64,
        leeway: Duration,
    ) -> Result<(), TokenError> {
        self.check_end(now, leeway)?;
        let leeway = leeway.as_secs_f64();
        let is_future = |time: Option<f64>| time.is_some_and(|time| time > now + leeway);
        match is_future(self.nbf) || is_future(self.iat) {
            true => Err(TokenError::Early),
            false => Ok(()),
        }
    }

    /// Checks `exp` against the wall clock.
    ///
    /// # Errors
    /// [`TokenError::Expired`].
    pub(in crate::services::auth) fn check_end(
        &self,
        now: f64,
        leeway: Duration,
    ) -> Result<(), TokenError> {
        match self.exp.is_some_and(|exp| now >= exp + leeway.as_secs_f64()) {
            true => Err(TokenError::Expired),
            false => Ok(()),
        }
    }
}

impl Rules {
    /// Reads and checks the claims of a token, whose signature need not have been verified yet.
    ///
    /// # Errors
    /// A claim has another type than RFC 7519 says, or does not say what it must.
    pub(in crate::services::auth) fn check(
        &self,
        token: &Unverified<'_>,
        now: f64,
    ) -> Result<Token, TokenError> {
        let malformed = TokenError::Claims;
        let json = decode(&token.payload)?;
        let claims =
            Members::parse(&json).ok_or(malformed("the claims are malformed, or too many"))?;
        let times = read_times(&claims)?;
        if self.needs_exp && times.exp.is_none() {
            return Err(malformed("exp is missing"));
        }
        times.check(now, self.leeway)?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        let subject = string(&claims, "sub", "sub is not a string")?;
        let subject = subject.ok_or(malformed("sub is missing"))?;
        let what = "sub is empty, too long, or has control characters";
        let mut identity = Identity::new(&subject).map_err(|_| malformed(what))?;
        identity.session = string(&claims, "sid", "sid is not a string")?.map(Arc::from);
        // Of another type, it is unknown like any other value.
        let priority: Option<String> = claims.read("priority").unwrap_or_default();
        identity.priority = priority.and_then(|name| name.parse().ok());
        identity.metadata = self.metadata(&claims)?;
        Ok(Token { identity, times })
    }

    fn check_issuer(&self, claims: &Members<'_>) -> Result<(), TokenError> {
        let Some(expected) = &self.issuer else {
            return Ok(());
        };
        let issuer = claims.read::<String>("iss").map_err(|()| TokenError::Issuer)?;
        if issuer.as_ref() == Some(expected) { Ok(()) } else { Err(TokenError::Issuer) }
    }

    fn check_audience(&self, claims: &Members<'_>) -> Result<(), TokenError> {
        let named = match (&self.audience, claims.get("aud")) {
            (Audience::Any, _) | (Audience::Unset, None) => return Ok(()),
            (Audience::OneOf(_), None) => return Err(TokenError::Audience),
            (_, Some(text)) => texts(text).ok_or(TokenError::Claims("aud is malformed"))?,
        };
        let is_ours = match &self.audience {
            Audience::OneOf(ours) => named.iter().any(|name| ours.contains(name)),
            Audience::Unset | Audience::Any => false,
        };
        if is_ours { Ok(()) } else { Err(TokenError::Audience) }
    }

    /// The claims that the settings name, as texts.
    fn metadata(&self, claims: &Members<'_>) -> Result<Metadata, TokenError> {
        let mut metadata = Metadata::default();
        for name in &self.claims {
            let Some(written) = claims.get(name) else {
                continue;
            };
            let values = values(written)
                .ok_or(TokenError::Claims("a claim is neither a text nor a list of texts"))?;
            for value in values {
                metadata
                    .add(name, &value)
                    .map_err(|_| TokenError::Claims("the claims exceed the limits of metadata"))?;
            }
        }
        Ok(metadata)
    }
}

fn read_times(claims: &Members<'_>) -> Result<Times, TokenError> {
    let time = |name, what| claims.read::<f64>(name).map_err(|()| TokenError::Claims(what));
    Ok(Times {
        exp: time("exp", "exp is not a number")?,
        nbf: time("nbf", "nbf is not a number")?,
        iat: time("iat", "iat is not a number")?,
    })
}

fn string(
    claims: &Members<'_>,
    name: &str,
    what: &'static str,
) -> Result<Option<Box<str>>, TokenError> {
    claims.read(name).map_err(|()| TokenError::Claims(what))
}

/// A string, or the strings of a list.
fn texts(json: &str) -> Option<Vec<String>> {
    match serde_json::from_str(json) {
        Ok(text) => Some(vec![text]),
        Err(_) => serde_json::from_str(json).ok(),
    }
}

/// The texts that a claim stands for; numbers and booleans as they were written.
fn values(json: &str) -> Option<Vec<String>> {
    match json.as_bytes().first() {
        Some(b'"' | b'[') => texts(json),
        Some(b'{' | b'n') | None => None,
        Some(_) => Some(vec![json.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::reactor::Priority;

    const NOW: f64 = 1_800_000_000.0;

    fn rules() -> Rules {
        Rules {
            audience: Audience::Unset,
            issuer: None,
            needs_exp: true,
            leeway: Duration::from_secs(5),
            claims: Vec::new(),
        }
    }

    fn check(rules: &Rules, claims: &str) -> Result<Token, TokenError> {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let token = format!("{header}.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        rules.check(&Unverified::parse(&token).unwrap(), NOW)
    }

    fn error(rules: &Rules, claims: &str) -> Option<TokenError> {
        check(rules, claims).err()
    }

    fn is_malformed(rules: &Rules, claims: &str) -> bool {
        matches!(error(rules, claims), Some(TokenError::Claims(_)))
    }

    #[test]
    fn times_are_compared_with_the_leeway() {
        let rules = rules();
        let at = |claims: &str| error(&rules, &format!(r#"{{"sub":"a",{claims}}}"#));
        assert_eq!(at(r#""exp":1800000000"#), None);
        assert_eq!(at(r#""exp":1799999995.5"#), None);
        assert_eq!(at(r#""exp":1799999995"#), Some(TokenError::Expired));
        assert_eq!(at(r#""exp":-1"#), Some(TokenError::Expired));
        assert_eq!(at(r#""exp":1e300"#), None);
        assert_eq!(at(r#""exp":1900000000,"nbf":1800000005,"iat":1800000005"#), None);
        assert_eq!(at(r#""exp":1900000000,"nbf":1800000006"#), Some(TokenError::Early));
        assert_eq!(at(r#""exp":1900000000,"iat":1800000005.5"#), Some(TokenError::Early));
        for exp in ["\"1900000000\"", "null", "true", "[1900000000]", "1e999", "NaN"] {
            assert!(is_malformed(&rules, &format!(r#"{{"sub":"a","exp":{exp}}}"#)), "{exp}");
        }
        assert!(is_malformed(&rules, r#"{"sub":"a"}"#));
        let optional = Rules { needs_exp: false, ..rules };
        assert_eq!(error(&optional, r#"{"sub":"a"}"#), None);
        assert_eq!(error(&optional, r#"{"sub":"a","exp":1}"#), Some(TokenError::Expired));
        for time in ["exp", "nbf", "iat"] {
            let claims = format!(r#"{{"sub":"a","{time}":"1900000000"}}"#);
            assert!(is_malformed(&optional, &claims), "{claims}");
        }
    }

    #[test]
    fn the_subject_is_a_short_text() {
        let rules = Rules { needs_exp: false, ..rules() };
        let token = check(&rules, r#"{"sub":"zo\u00eb","sid":"s1","priority":"high"}"#).unwrap();
        assert_eq!(token.identity.subject(), "zo\u{eb}");
        assert_eq!(token.identity.session.as_deref(), Some("s1"));
        assert_eq!(token.identity.priority, Some(Priority::High));
        let long = "a".repeat(257);
        for subject in [r#""""#, "1", "null", r#"["a"]"#, r#""a\nb""#, &format!("\"{long}\"")] {
            assert!(is_malformed(&rules, &format!(r#"{{"sub":{subject}}}"#)), "{subject}");
        }
        assert!(is_malformed(&rules, "{}") && is_malformed(&rules, r#"{"sub":"a","sid":1}"#));
        assert!(is_malformed(&rules, r#"{"sub":"a","sub":"b"}"#));
        for priority in ["3", "\"urgent\"", "null"] {
            let token = check(&rules, &format!(r#"{{"sub":"a","priority":{priority}}}"#)).unwrap();
            assert_eq!(token.identity.priority, None, "{priority}");
        }
    }

    #[test]
    fn an_audience_that_is_set_must_be_named() {
        let error = |audience: &Audience, claims: &str| {
            let rules = Rules { audience: audience.clone(), needs_exp: false, ..rules() };
            error(&rules, &format!(r#"{{"sub":"a"{claims}}}"#))
        };
        let ours = Audience::OneOf(vec!["chat".to_owned(), "feed".to_owned()]);
        for named in [r#""chat""#, r#"["x","feed"]"#] {
            assert_eq!(error(&ours, &format!(r#","aud":{named}"#)), None, "{named}");
        }
        for claims in ["", r#","aud":"x""#, r#","aud":[]"#, r#","aud":"CHAT""#, r#","aud":"cha""#] {
            assert_eq!(error(&ours, claims), Some(TokenError::Audience), "{claims}");
        }
        for named in ["1", "null", "[1]", "{}"] {
            let found = error(&ours, &format!(r#","aud":{named}"#));
            assert!(matches!(found, Some(TokenError::Claims(_))), "{named}: {found:?}");
        }
        // RFC 7519, 4.1.3: without a name of ours the token is for others.
        assert_eq!(error(&Audience::Unset, r#","aud":"x""#), Some(TokenError::Audience));
        assert_eq!(error(&Audience::Unset, ""), None);
        assert_eq!(error(&Audience::Any, r#","aud":"x""#), None);
    }

    #[test]
    fn an_issuer_that_is_set_must_be_named() {
        let rules = Rules { issuer: Some("https://a".into()), needs_exp: false, ..rules() };
        assert_eq!(error(&rules, r#"{"sub":"a","iss":"https://a"}"#), None);
        for claims in ["", r#","iss":"https://a/""#, r#","iss":["https://a"]"#, r#","iss":null"#] {
            let found = error(&rules, &format!(r#"{{"sub":"a"{claims}}}"#));
            assert_eq!(found, Some(TokenError::Issuer), "{claims}");
        }
    }

    #[test]
    fn named_claims_become_metadata() {
        let claims = ["role", "n", "ok", "missing", "roles"].map(str::to_owned).to_vec();
        let rules = Rules { claims, needs_exp: false, ..rules() };
        let text = r#"{"sub":"a","role":"admin","n":1.50,"ok":false,"roles":["x","y"],"other":1}"#;
        let metadata = check(&rules, text).unwrap().identity.metadata;
        let all: Vec<_> = metadata.iter().collect();
        let expected =
            [("role", "admin"), ("n", "1.50"), ("ok", "false"), ("roles", "x"), ("roles", "y")];
        assert_eq!(all, expected);
        for value in ["null", "{}", "[1]", r#"[["x"]]"#, r#"["x",null]"#] {
            assert!(is_malformed(&rules, &format!(r#"{{"sub":"a","role":{value}}}"#)), "{value}");
        }
        let many = format!(r#"{{"sub":"a","role":["{}"]}}"#, ["x"; 100].join("\",\""));
        assert!(is_malformed(&rules, &many));
    }
}
