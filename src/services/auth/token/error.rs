//! Why a token is refused. The client only learns that it is; log and metric have the reason.

use std::fmt;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It is not a signed JWT in compact form, or its header has extensions.
    Malformed(&'static str),
    /// A claim is missing, has another type than RFC 7519 says, or is too long. The token may be of the
    /// issuer: claims are checked before the signature.
    Claims(&'static str),
    /// The algorithm is not allowed.
    Algorithm,
    /// No key has its `kid`, or its kind.
    UnknownKey,
    /// No key that fits verifies the signature.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` is in the future.
    Early,
    /// `aud` is missing, or names others.
    Audience,
    /// `iss` is missing, or is another one.
    Issuer,
    /// Its subject was signed out after it was issued.
    SignedOut,
}

impl TokenError {
    /// Whether only a forger causes it. Claims may be those of the issuer, and cost no signature if not.
    pub(in crate::services::auth) fn is_forgery(self) -> bool {
        match self {
            TokenError::Malformed(_)
            | TokenError::Algorithm
            | TokenError::UnknownKey
            | TokenError::Signature => true,
            TokenError::Claims(_)
            | TokenError::Expired
            | TokenError::Early
            | TokenError::Audience
            | TokenError::Issuer
            | TokenError::SignedOut => false,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenError::Malformed(what) | TokenError::Claims(what) => what,
            TokenError::Algorithm => "the algorithm is not allowed",
            TokenError::UnknownKey => "no key has the kid and the kind of the token",
            TokenError::Signature => "the signature is wrong",
            TokenError::Expired => "the token has expired",
            TokenError::Early => "nbf or iat is in the future",
            TokenError::Audience => "aud is missing, or does not name an accepted audience",
            TokenError::Issuer => "iss is missing, or is not the accepted issuer",
            TokenError::SignedOut => "the subject was signed out after the token was issued",
        })
    }
}

impl std::error::Error for TokenError {}
