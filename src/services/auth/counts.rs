//! The counts of one gate, shared with the source of metrics on the same thread.

use super::token::error::TokenError;
use crate::reactor::Durations;
use crate::upstream::Count;
use crate::upstream::upstream_counts::add;

/// What became of a request at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthOutcome {
    /// It passed.
    Ok,
    /// It had no token.
    Missing,
    /// Its token was malformed, or it had several; or its path can be read as another one.
    Malformed,
    /// The signature was wrong.
    Signature,
    /// The algorithm was not allowed.
    Algorithm,
    /// The token had expired.
    Expired,
    /// The token was not valid yet.
    Early,
    /// The token was for another audience.
    Audience,
    /// The token was of another issuer.
    Issuer,
    /// No key had its name, or there were no keys yet.
    UnknownKey,
    /// The identity did not have what the route requires.
    Require,
    /// The subject was signed out.
    SignedOut,
    /// The hook refused.
    HookNo,
    /// The hook gave no answer in time, or none that is an answer.
    HookFailed,
    /// Too many requests waited.
    HookFull,
    /// Too many forged tokens came from the address.
    Failures,
}

impl AuthOutcome {
    /// All outcomes.
    pub const ALL: [AuthOutcome; 16] = [
        AuthOutcome::Ok,
        AuthOutcome::Missing,
        AuthOutcome::Malformed,
        AuthOutcome::Signature,
        AuthOutcome::Algorithm,
        AuthOutcome::Expired,
        AuthOutcome::Early,
        AuthOutcome::Audience,
        AuthOutcome::Issuer,
        AuthOutcome::UnknownKey,
        AuthOutcome::Require,
        AuthOutcome::SignedOut,
        AuthOutcome::HookNo,
        AuthOutcome::HookFailed,
        AuthOutcome::HookFull,
        AuthOutcome::Failures,
    ];

    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            AuthOutcome::Ok => "ok",
            AuthOutcome::Missing => "missing",
            AuthOutcome::Malformed => "malformed",
            AuthOutcome::Signature => "signature",
            AuthOutcome::Algorithm => "algorithm",
            AuthOutcome::Expired => "expired",
            AuthOutcome::Early => "early",
            AuthOutcome::Audience => "audience",
            AuthOutcome::Issuer => "issuer",
            AuthOutcome::UnknownKey => "unknown_key",
            AuthOutcome::Require => "require",
            AuthOutcome::SignedOut => "signed_out",
            AuthOutcome::HookNo => "hook_no",
            AuthOutcome::HookFailed => "hook_failed",
            AuthOutcome::HookFull => "hook_full",
            AuthOutcome::Failures => "failures",
        }
    }
}

impl From<TokenError> for AuthOutcome {
    fn from(error: TokenError) -> AuthOutcome {
        match error {
            TokenError::Malformed(_) | TokenError::Claims(_) => AuthOutcome::Malformed,
            TokenError::Algorithm => AuthOutcome::Algorithm,
            TokenError::UnknownKey => AuthOutcome::UnknownKey,
            TokenError::Signature => AuthOutcome::Signature,
            TokenError::Expired => AuthOutcome::Expired,
            TokenError::Early => AuthOutcome::Early,
            TokenError::Audience => AuthOutcome::Audience,
            TokenError::Issuer => AuthOutcome::Issuer,
            TokenError::SignedOut => AuthOutcome::SignedOut,
        }
    }
}

/// The counts of one gate.
#[derive(Debug)]
pub struct AuthCounts {
    /// The name of the gate.
    pub gate: String,
    outcomes: [Count; AuthOutcome::ALL.len()],
    /// Time that the gate took for a verdict. Read from the clock, since most verdicts take part of a turn.
    pub took: Durations,
    /// Verdicts from the cache.
    pub cache_hits: Count,
    /// Verdicts that were not in the cache, and needed a signature or a request to a hook.
    pub cache_misses: Count,
    /// Times that keys were loaded.
    pub keys_loaded: Count,
    /// Times that keys could not be loaded; the old ones stayed.
    pub keys_failed: Count,
}

impl AuthCounts {
    pub(super) fn new(gate: &str) -> AuthCounts {
        AuthCounts {
            gate: gate.to_owned(),
            outcomes: Default::default(),
            took: Durations::default(),
            cache_hits: Count::default(),
            cache_misses: Count::default(),
            keys_loaded: Count::default(),
            keys_failed: Count::default(),
        }
    }

    pub(super) fn count(&self, outcome: AuthOutcome) {
        add(&self.outcomes[outcome as usize], 1);
    }

    /// Requests with this outcome.
    pub fn outcome(&self, outcome: AuthOutcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }
}
