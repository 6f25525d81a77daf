//! Authentication of HTTP requests (NIP-98), for the management API (NIP-86).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};

use super::event::{Event, EventId, KIND_HTTP_AUTH};
use super::parse::EventLimits;
use super::refusal::{Prefix, Refusal};
use super::relay_names::{RelayNames, target};
use super::signature::KeyCache;
use super::tags::hex_32;

/// How far `created_at` may be from now, in seconds.
pub(super) const AGE_MAX_SECONDS: u64 = 60;
/// Events of the last two minutes that are remembered. Only administrators' events are.
const USED_IDS_MAX: usize = 4_096;

/// Base64 with or without padding: clients send both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The request that an event must be for.
pub(super) struct HttpAuthTerms<'a> {
    /// Names of this relay, for the `u` tag.
    pub names: &'a RelayNames,
    /// The request's method.
    pub method: &'a str,
    /// The request's path and query.
    pub target: &'a str,
    /// The request's whole body.
    pub body: &'a [u8],
    /// Unix time in seconds.
    pub now: u64,
}

/// Checks the value of an Authorization header, signature last. Returns the event: its author sent the
/// request. The caller compares the author with those that may, then asks [`UsedIds`].
pub(super) fn check(
    authorization: &str,
    terms: &HttpAuthTerms<'_>,
    keys: &mut KeyCache,
) -> Result<Event, Refusal> {
    let invalid = |text: &'static str| Prefix::Invalid.text(text);
    let event = event(authorization)?;
    if event.kind() != KIND_HTTP_AUTH {
        return Err(invalid("the kind of an HTTP authorization must be 27235"));
    }
    if event.created_at().abs_diff(terms.now) > AGE_MAX_SECONDS {
        return Err(invalid("created_at is more than 60 seconds from now"));
    }
    let value = |name| event.tags().find(name).and_then(|tag| tag.value());
    let is_url = |url: &str| terms.names.contains(url) && target(url) == Some(terms.target);
    if !value("u").is_some_and(|url| is_url(&url)) {
        return Err(invalid("the u tag is not the URL of this request"));
    }
    // Clients of nostr-tools write it in lower case.
    if !value("method").is_some_and(|method| method.eq_ignore_ascii_case(terms.method)) {
        return Err(invalid("the method tag is not the method of this request"));
    }
    let hash: [u8; 32] = Sha256::digest(terms.body).into();
    let is_payload = match value("payload") {
        Some(payload) => hex_32(&payload) == Some(hash),
        None => terms.body.is_empty(),
    };
    if !is_payload {
        return Err(invalid("the payload tag is not the SHA-256 of the body"));
    }
    if !event.has_valid_id() {
        return Err(invalid("the id is not the hash of the event"));
    }
    if !keys.verifies(&event) {
        return Err(invalid("the signature is wrong"));
    }
    Ok(event)
}

/// The event of `Nostr <base64>`.
fn event(authorization: &str) -> Result<Event, Refusal> {
    let malformed =
        || Prefix::AuthRequired.text("the header Authorization must be Nostr and base64");
    let (scheme, base64) = authorization.trim().split_once(' ').ok_or_else(malformed)?;
    // RFC 9110, 11.1: schemes have no case.
    if !scheme.eq_ignore_ascii_case("Nostr") {
        return Err(malformed());
    }
    let json = BASE64.decode(base64.trim_start()).map_err(|_| malformed())?;
    let json = String::from_utf8(json).map_err(|_| malformed())?;
    Event::parse(&json, &EventLimits::default())
        .map_err(|invalid| Prefix::Invalid.text(invalid.text))
}

/// Ids of events that were accepted, for as long as their time is: a request cannot be replayed.
#[derive(Debug, Default)]
pub(super) struct UsedIds {
    /// By the last second in which the event is valid.
    ids: BTreeSet<(u64, EventId)>,
}

impl UsedIds {
    /// Remembers the event; refuses one that is remembered already.
    pub(super) fn insert(&mut self, event: &Event, now: u64) -> Result<(), Refusal> {
        // The first second whose ids are still valid.
        self.ids = self.ids.split_off(&(now, [0; 32]));
        let entry = (event.created_at().saturating_add(AGE_MAX_SECONDS), *event.id());
        if self.ids.contains(&entry) {
            return Err(Prefix::Invalid.text("the HTTP authorization was used before"));
        }
        if self.ids.len() == USED_IDS_MAX {
            let text = format!("more than {USED_IDS_MAX} requests in two minutes");
            return Err(Prefix::RateLimited.text(text));
        }
        self.ids.insert(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
