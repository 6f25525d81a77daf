//! Authentication of clients (NIP-42): the check of an AUTH event.

use super::event::{Event, KIND_AUTH, PublicKey};
use super::parse::{self, EventLimits, HexId, Invalid};
use super::refusal::{Prefix, Refusal};
use super::relay_names::RelayNames;
use super::signature::KeyCache;

/// How far `created_at` may be from now, in seconds.
pub(super) const AGE_MAX_SECONDS: u64 = 600;

/// What an AUTH event is compared with.
pub(super) struct AuthTerms<'a> {
    /// The connection's challenge.
    pub challenge: &'a str,
    /// Names of this relay.
    pub names: &'a RelayNames,
    /// Limits on the event's size.
    pub limits: &'a EventLimits,
    /// Unix time in seconds.
    pub now: u64,
}

/// A refused AUTH: `OK` false, or `NOTICE` without an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthRefused {
    /// Id for the OK.
    pub id: Option<HexId>,
    /// Always `invalid:`.
    pub refusal: Refusal,
}

/// Parses and checks the event of an AUTH message, given the message's rest from the event on. Returns
/// the event: its author is authenticated, its id is for the OK.
pub(super) fn check_message(
    rest: &str,
    terms: &AuthTerms<'_>,
    keys: &mut KeyCache,
) -> Result<Event, AuthRefused> {
    let (event, sizes) = parse::parse_in_message(rest)
        .map_err(|Invalid { id, text }| AuthRefused { id, refusal: Prefix::Invalid.text(text) })?;
    let refused = match sizes.exceeded(&event, terms.limits) {
        Some(text) => Some(Prefix::Invalid.text(text)),
        None => check(&event, terms, keys).err(),
    };
    match refused {
        None => Ok(event),
        Some(refusal) => Err(AuthRefused { id: Some(event.id().into()), refusal }),
    }
}

/// Checks an AUTH event, signature last. Returns its author, who is authenticated.
pub(super) fn check(
    event: &Event,
    terms: &AuthTerms<'_>,
    keys: &mut KeyCache,
) -> Result<PublicKey, Refusal> {
    let invalid = |text: &'static str| Err(Prefix::Invalid.text(text));
    if event.kind() != KIND_AUTH {
        return invalid("the kind of an AUTH event must be 22242");
    }
    if event.created_at().abs_diff(terms.now) > AGE_MAX_SECONDS {
        return invalid("created_at is more than 600 seconds from now");
    }
    let value = |name| event.tags().find(name).and_then(|tag| tag.value());
    if value("challenge").as_deref() != Some(terms.challenge) {
        return invalid("the challenge is not this connection's");
    }
    if !value("relay").is_some_and(|url| terms.names.contains(&url)) {
        return invalid("the relay tag does not name this relay");
    }
    if !event.has_valid_id() {
        return invalid("the id is not the hash of the event");
    }
    if !keys.verifies(event) {
        return invalid("the signature is wrong");
    }
    Ok(*event.pubkey())
}

#[cfg(test)]
mod tests;
