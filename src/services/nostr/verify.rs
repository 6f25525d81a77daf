//! The checks of an event before it is written: rows 3 to 13 of the specification, in their order.
//!
//! A pure function: stored events, vanished authors and lists are behind traits, time is an argument.
//! Rates, protected events and the write policy come after it, in [`policy`](super::policy).

use std::ops::RangeInclusive;

use super::event::{
    Class, Event, EventId, Expiration, KIND_AUTH, KIND_GIFT_WRAP, KIND_HTTP_AUTH, KIND_VANISH,
    PublicKey, Signature,
};
use super::parse::{self, EventLimits, HexId, Invalid, Sizes};
use super::refusal::{Prefix, Refusal};
use super::relay_names::RelayNames;
use super::signature::KeyCache;
use super::tags::hex_32;

/// Kinds that are not for relays: seals (NIP-59), zap requests (NIP-57), authentication of clients
/// (NIP-42), of Blossom uploads and of HTTP requests (NIP-98).
const KINDS_NOT_FOR_RELAYS: [u16; 5] = [13, 9734, KIND_AUTH, 24242, KIND_HTTP_AUTH];
/// How old an ephemeral event may be.
const EPHEMERAL_AGE_MAX_SECONDS: u64 = 10 * 60;

/// What the checks depend on.
#[derive(Clone, Debug)]
pub struct VerifySettings {
    /// Row 6.
    pub limits: EventLimits,
    /// Row 5, beside the kinds that are not for relays.
    pub denied_kinds: Vec<RangeInclusive<u16>>,
    /// Row 7: how far `created_at` may be in the future.
    pub future_max_seconds: u64,
    /// Row 7: how far it may be in the past; `None` is off.
    pub past_max_seconds: Option<u64>,
    /// Row 10: leading zero bits of an id.
    pub pow_min_bits: u32,
    /// Names of this relay, for requests to vanish.
    pub names: RelayNames,
}

impl Default for VerifySettings {
    fn default() -> VerifySettings {
        VerifySettings {
            limits: EventLimits::default(),
            denied_kinds: Vec::new(),
            future_max_seconds: 15 * 60,
            past_max_seconds: None,
            pow_min_bits: 0,
            names: RelayNames::default(),
        }
    }
}

/// Row 12: what the store knows.
pub trait Known {
    /// The signature of the stored event with this id.
    fn signature(&self, id: &EventId) -> Option<Signature>;
    /// Whether events of this author and time are withheld (NIP-62).
    fn is_vanished(&self, author: &PublicKey, created_at: u64) -> bool;
}

/// Lists of authors, kinds and ids.
pub trait Lists {
    /// Row 5: whether the kind is denied, beside the kinds in the settings.
    fn denies_kind(&self, kind: u16) -> bool {
        let _ = kind;
        false
    }

    /// Row 11: why the lists refuse the event.
    fn refusal(&self, event: &Event) -> Option<Refusal>;
}

/// What the checks have found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid; to be stored.
    Accept(Event),
    /// Valid and ephemeral; to be sent only.
    Ephemeral(Event),
    /// Stored already: `OK` true.
    Duplicate(EventId),
    /// `OK` false, or `NOTICE` without an id.
    Refuse {
        /// Id for the OK.
        id: Option<HexId>,
        /// Why.
        refusal: Refusal,
    },
}

/// The checks with all that they need.
pub struct Verifier<'a> {
    /// Settings of the relay.
    pub settings: &'a VerifySettings,
    /// Stored events and vanished authors.
    pub known: &'a dyn Known,
    /// Lists.
    pub lists: &'a dyn Lists,
    /// Keys that this thread has parsed.
    pub keys: &'a mut KeyCache,
    /// Unix time in seconds.
    pub now: u64,
}

impl Verifier<'_> {
    /// Checks the event of an EVENT message, given the message's rest from the event on.
    pub fn check_message(&mut self, rest: &str) -> Verdict {
        self.check_parsed(parse::parse_in_message(rest))
    }

    /// Checks a text that is one event.
    pub fn check(&mut self, json: &str) -> Verdict {
        self.check_parsed(parse::parse(json))
    }

    fn check_parsed(&mut self, parsed: Result<(Event, Sizes), Invalid>) -> Verdict {
        let (event, sizes) = match parsed {
            Ok(parsed) => parsed,
            Err(Invalid { id, text }) => {
                return Verdict::Refuse { id, refusal: Prefix::Invalid.text(text) };
            }
        };
        let refuse = |refusal| Verdict::Refuse { id: Some(event.id().into()), refusal };
        if let Err(refusal) = self.check_content(&event, &sizes) {
            return refuse(refusal);
        }
        if let Err(refusal) = self.check_author(&event) {
            return refuse(refusal);
        }
        match self.known.signature(event.id()) {
            Some(sig) if sig == *event.sig() => return Verdict::Duplicate(*event.id()),
            stored => {
                if !self.keys.verifies(&event) {
                    return refuse(Prefix::Invalid.text("the signature is wrong"));
                }
                if stored.is_some() {
                    return Verdict::Duplicate(*event.id());
                }
            }
        }
        match event.class() {
            Class::Ephemeral => Verdict::Ephemeral(event),
            Class::Regular | Class::Replaceable | Class::Addressable => Verdict::Accept(event),
        }
    }

    /// Rows 5 to 10.
    fn check_content(&self, event: &Event, sizes: &Sizes) -> Result<(), Refusal> {
        let kind = event.kind();
        if KINDS_NOT_FOR_RELAYS.contains(&kind) {
            return Err(Prefix::Blocked.text(format!("kind {kind} is not for relays")));
        }
        let is_denied = self.settings.denied_kinds.iter().any(|range| range.contains(&kind));
        if is_denied || self.lists.denies_kind(kind) {
            return Err(Prefix::Blocked.text(format!("kind {kind} is not accepted here")));
        }
        if let Some(text) = sizes.exceeded(event, &self.settings.limits) {
            return Err(Prefix::Invalid.text(text));
        }
        self.check_times(event)?;
        if !event.has_valid_id() {
            return Err(Prefix::Invalid.text("the id is not the hash of the event"));
        }
        self.check_work(event)
    }

    /// Rows 7 and 8.
    fn check_times(&self, event: &Event) -> Result<(), Refusal> {
        let created_at = event.created_at();
        let future_max = self.settings.future_max_seconds;
        if created_at > self.now.saturating_add(future_max) {
            let text = format!("created_at is more than {future_max} seconds in the future");
            return Err(Prefix::Invalid.text(text));
        }
        let ephemeral_max =
            (event.class() == Class::Ephemeral).then_some(EPHEMERAL_AGE_MAX_SECONDS);
        let past_max = self.settings.past_max_seconds.into_iter().chain(ephemeral_max).min();
        if let Some(past_max) = past_max
            && created_at < self.now.saturating_sub(past_max)
        {
            let text = format!("created_at is more than {past_max} seconds in the past");
            return Err(Prefix::Invalid.text(text));
        }
        match event.expiration_tag() {
            Expiration::Malformed => Err(Prefix::Invalid.text("expiration must be decimal digits")),
            Expiration::At(time) if time <= self.now => {
                Err(Prefix::Invalid.text("the event has expired"))
            }
            Expiration::At(_) | Expiration::Never => Ok(()),
        }
    }

    /// Row 10 (NIP-13).
    fn check_work(&self, event: &Event) -> Result<(), Refusal> {
        let min = self.settings.pow_min_bits;
        let difficulty = event.difficulty();
        if difficulty < min {
            let text = format!("difficulty {difficulty} is less than {min}");
            return Err(Prefix::Pow.text(text));
        }
        if min > 0 && event.committed_difficulty().is_none_or(|target| target < min.into()) {
            let text = format!("the nonce tag does not commit to a difficulty of {min}");
            return Err(Prefix::Pow.text(text));
        }
        Ok(())
    }

    /// Row 11, and vanished authors of row 12. Requests to vanish skip both: a ban does not prevent
    /// them, and a later one extends an earlier one.
    fn check_author(&self, event: &Event) -> Result<(), Refusal> {
        if event.kind() == KIND_VANISH {
            if !names_relay(event, &self.settings.names) {
                let text = "a request to vanish must name this relay or ALL_RELAYS";
                return Err(Prefix::Invalid.text(text));
            }
            return Ok(());
        }
        if let Some(refusal) = self.lists.refusal(event) {
            return Err(refusal);
        }
        let is_vanished = self.known.is_vanished(event.pubkey(), event.created_at())
            || event.kind() == KIND_GIFT_WRAP && self.has_vanished_recipient(event);
        if is_vanished {
            return Err(Prefix::Blocked.text("the author has requested to vanish"));
        }
        Ok(())
    }

    fn has_vanished_recipient(&self, event: &Event) -> bool {
        let mut recipients = event.tags().letters().filter(|(letter, _)| *letter == b'p');
        recipients.any(|(_, value)| {
            hex_32(&value).is_some_and(|key| self.known.is_vanished(&key, event.created_at()))
        })
    }
}

/// Whether a `relay` tag is `ALL_RELAYS` or one of this relay's names (NIP-62).
fn names_relay(event: &Event, names: &RelayNames) -> bool {
    let mut relays = event.tags().iter().filter(|tag| tag.name() == "relay");
    relays.any(|tag| tag.value().is_some_and(|url| url == "ALL_RELAYS" || names.contains(&url)))
}

#[cfg(test)]
mod tests;
