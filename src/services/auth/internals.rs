//! Parts that fuzz targets use. They are exempt from semantic versioning: not for embedders.

use std::time::Duration;

use super::token::algorithm::Algorithm;
use super::token::claims::{Audience, Rules};
use super::token::error::TokenError;
use super::token::parse::Unverified;

/// What a token says, without a look at its signature.
#[derive(Debug)]
pub struct UnverifiedToken {
    /// The algorithm of the header.
    pub algorithm: Algorithm,
    /// The `kid` of the header.
    pub kid: Option<String>,
    /// The claims, if an identity could be made of them.
    pub claims: Result<UnverifiedClaims, TokenError>,
}

/// What claims say.
#[derive(Debug)]
pub struct UnverifiedClaims {
    /// `sub`.
    pub subject: String,
    /// `sid`.
    pub session: Option<String>,
    /// `exp`.
    pub exp: Option<f64>,
    /// The values of the claim that was asked for.
    pub values: Vec<String>,
}

/// Reads a token: its header, and its claims with one that becomes metadata. Any time and any audience
/// will do.
///
/// # Errors
/// The token or its header is malformed, or the algorithm is unknown.
pub fn read_unverified(token: &str, claim: &str) -> Result<UnverifiedToken, TokenError> {
    let token = Unverified::parse(token)?;
    let rules = Rules {
        audience: Audience::Any,
        issuer: None,
        needs_exp: false,
        leeway: Duration::MAX,
        claims: vec![claim.to_owned()],
    };
    let claims = rules.check(&token, 0.0).map(|valid| UnverifiedClaims {
        subject: valid.identity.subject().to_owned(),
        session: valid.identity.session.as_deref().map(str::to_owned),
        exp: valid.times.exp,
        values: valid.identity.metadata.iter().map(|(_, value)| value.to_owned()).collect(),
    });
    let kid = token.kid.as_deref().map(str::to_owned);
    Ok(UnverifiedToken { algorithm: token.algorithm, kid, claims })
}
