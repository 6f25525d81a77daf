//! Refusals: the prefixes of NIP-01 and one line of text.

use std::borrow::Cow;
use std::fmt;

/// The machine-readable start of a refusal, and of some acceptances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// Stored already.
    Duplicate,
    /// An ephemeral event that nobody receives.
    Mute,
    /// Too little work (NIP-13).
    Pow,
    /// On a list, deleted before, or not for relays.
    Blocked,
    /// Over a rate, or a full queue.
    RateLimited,
    /// Malformed, wrong id or signature, times, sizes.
    Invalid,
    /// Authenticated, but without the right.
    Restricted,
    /// Not authenticated.
    AuthRequired,
    /// A feature that this relay does not have.
    Unsupported,
    /// The relay failed.
    Error,
}

impl Prefix {
    /// All of them, for metrics.
    pub const ALL: [Prefix; 10] = [
        Prefix::Duplicate,
        Prefix::Mute,
        Prefix::Pow,
        Prefix::Blocked,
        Prefix::RateLimited,
        Prefix::Invalid,
        Prefix::Restricted,
        Prefix::AuthRequired,
        Prefix::Unsupported,
        Prefix::Error,
    ];

    /// The word before the colon, also a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Prefix::Duplicate => "duplicate",
            Prefix::Mute => "mute",
            Prefix::Pow => "pow",
            Prefix::Blocked => "blocked",
            Prefix::RateLimited => "rate-limited",
            Prefix::Invalid => "invalid",
            Prefix::Restricted => "restricted",
            Prefix::AuthRequired => "auth-required",
            Prefix::Unsupported => "unsupported",
            Prefix::Error => "error",
        }
    }

    /// A refusal with this prefix.
    pub fn text(self, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { prefix: self, text: text.into() }
    }
}

/// Why something is refused: shown as `prefix: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The start.
    pub prefix: Prefix,
    /// One line that names the limit and its value. Nothing of the client's own text.
    pub text: Cow<'static, str>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.prefix.name(), self.text)
    }
}

impl std::error::Error for Refusal {}
