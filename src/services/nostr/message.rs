//! Messages of clients (NIP-01, 42, 45, 77): parsing, and the answer to a malformed one.
//!
//! The loop looks at the verb only; events are parsed on threads by [`verify`](super::verify).
//! [`reply`](super::reply) writes the relay's messages.

use std::borrow::Cow;
use std::sync::Arc;

use super::canonical::unescape;
use super::filter::{Filter, FilterLimits};
use super::filter_parse::{FilterError, Values, read_filter};
use super::json::{JsonError, Kind, RawString, Reader};
use super::parse::{HexId, find_id};
use super::refusal::{Prefix, Refusal};
use super::verb::Verb;

/// A longer subscription id is not sent back: the answer is a NOTICE.
pub const SUBSCRIPTION_ID_CHARS_ANSWERED: usize = 256;

/// Limits on messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Characters of a subscription id.
    pub subscription_id_max_chars: usize,
    /// Filters of a REQ or COUNT.
    pub filters_max: usize,
    /// Limits on the filters.
    pub filter: FilterLimits,
}

impl Default for MessageLimits {
    fn default() -> MessageLimits {
        MessageLimits {
            subscription_id_max_chars: 64,
            filters_max: 100,
            filter: FilterLimits::default(),
        }
    }
}

/// The raw JSON of a subscription's id, quotes included. Ids are equal if their JSON is equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// The id of this name: for sessions that the relay itself opens, and for tests.
    pub fn of(name: &str) -> SubscriptionId {
        let mut json = String::new();
        super::canonical::push_text(&mut json, name);
        SubscriptionId(json.into())
    }

    /// Raw JSON, quotes included.
    pub fn json(&self) -> &str {
        &self.0
    }

    fn of_raw(string: RawString<'_>) -> SubscriptionId {
        SubscriptionId(["\"", string.raw, "\""].concat().into())
    }
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// `EVENT`; the rest of the message from the event on, unparsed: see
    /// [`Verifier::check_message`](super::verify::Verifier::check_message).
    Event(&'a str),
    /// `REQ`
    Req {
        /// Subscription.
        sub: SubscriptionId,
        /// At least one.
        filters: Vec<Filter>,
    },
    /// `CLOSE`
    Close {
        /// Subscription.
        sub: SubscriptionId,
    },
    /// `COUNT`
    Count {
        /// Query.
        sub: SubscriptionId,
        /// At least one.
        filters: Vec<Filter>,
    },
    /// `AUTH`; the rest of the message from the event on, unparsed: see
    /// [`auth::check_message`](super::auth::check_message).
    Auth(&'a str),
    /// `NEG-OPEN`
    NegOpen {
        /// Session.
        sub: SubscriptionId,
        /// The events to synchronise.
        filter: Filter,
        /// Negentropy's first message.
        message: Vec<u8>,
    },
    /// `NEG-MSG`
    NegMsg {
        /// Session.
        sub: SubscriptionId,
        /// Negentropy's message.
        message: Vec<u8>,
    },
    /// `NEG-CLOSE`
    NegClose {
        /// Session.
        sub: SubscriptionId,
    },
}

/// The answer to a malformed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMessage {
    /// `NOTICE`
    Notice(Refusal),
    /// `OK` with false, for an event that has an id.
    Ok(HexId, Refusal),
    /// `CLOSED`
    Closed(SubscriptionId, Refusal),
    /// `NEG-ERR`
    NegErr(SubscriptionId, Refusal),
}

impl BadMessage {
    /// The text of the answer.
    pub fn refusal(&self) -> &Refusal {
        match self {
            BadMessage::Notice(refusal)
            | BadMessage::Ok(_, refusal)
            | BadMessage::Closed(_, refusal)
            | BadMessage::NegErr(_, refusal) => refusal,
        }
    }
}

/// The id of the event in an EVENT message, if it is a string of 64 hex digits: for refusals before
/// anything else is checked.
pub fn event_id_of(text: &str) -> Option<HexId> {
    let (_, reader) = start(text).ok()?;
    find_id(reader.rest())
}

/// The answer to a request that is not parsed for this reason: only its verb and its subscription are read.
pub fn unparsed(text: &str, limits: &MessageLimits, refusal: Refusal) -> BadMessage {
    let refused = || {
        let (verb, mut reader) = start(text).ok()?;
        let answer = match verb {
            Verb::Req | Verb::Count => BadMessage::Closed,
            Verb::NegOpen | Verb::NegMsg => BadMessage::NegErr,
            Verb::Event | Verb::Auth | Verb::Close | Verb::NegClose => return None,
        };
        let sub = subscription(&mut reader, limits, answer).ok()?;
        Some(answer(sub, refusal.clone()))
    };
    refused().unwrap_or_else(|| BadMessage::Notice(refusal.clone()))
}

impl<'a> ClientMessage<'a> {
    /// Parses a message. Events are left as text.
    ///
    /// A text that is not JSON gets a NOTICE, whatever else is wrong with it.
    pub fn parse(text: &'a str, limits: &MessageLimits) -> Result<ClientMessage<'a>, BadMessage> {
        let parsed = ClientMessage::parse_valid(text, limits);
        if let Err(BadMessage::Closed(..) | BadMessage::NegErr(..)) = &parsed {
            let mut reader = Reader::new(text);
            reader.skip()?;
            reader.end()?;
        }
        parsed
    }

    fn parse_valid(text: &'a str, limits: &MessageLimits) -> Result<ClientMessage<'a>, BadMessage> {
        let (verb, mut reader) = start(text)?;
        match verb {
            Verb::Event => Ok(ClientMessage::Event(reader.rest())),
            Verb::Auth => Ok(ClientMessage::Auth(reader.rest())),
            Verb::Req => {
                let (sub, filters) = query(&mut reader, limits)?;
                Ok(ClientMessage::Req { sub, filters })
            }
            Verb::Count => {
                let (sub, filters) = query(&mut reader, limits)?;
                Ok(ClientMessage::Count { sub, filters })
            }
            Verb::Close => {
                let sub = open_subscription(&mut reader)?;
                Ok(ClientMessage::Close { sub })
            }
            Verb::NegOpen => {
                let sub = subscription(&mut reader, limits, BadMessage::NegErr)?;
                let refuse =
                    |error| answer(error, |refusal| BadMessage::NegErr(sub.clone(), refusal));
                let filter = neg_filter(&mut reader, limits).map_err(refuse)?;
                let message = neg_message(&mut reader).map_err(refuse)?;
                end(&mut reader)?;
                Ok(ClientMessage::NegOpen { sub, filter, message })
            }
            Verb::NegMsg => {
                let sub = subscription(&mut reader, limits, BadMessage::NegErr)?;
                let refuse =
                    |error| answer(error, |refusal| BadMessage::NegErr(sub.clone(), refusal));
                let message = neg_message(&mut reader).map_err(refuse)?;
                end(&mut reader)?;
                Ok(ClientMessage::NegMsg { sub, message })
            }
            Verb::NegClose => {
                let sub = open_subscription(&mut reader)?;
                Ok(ClientMessage::NegClose { sub })
            }
        }
    }
}

fn notice(text: impl Into<Cow<'static, str>>) -> BadMessage {
    BadMessage::Notice(Prefix::Invalid.text(text))
}

impl From<JsonError> for BadMessage {
    fn from(error: JsonError) -> BadMessage {
        notice(error.to_string())
    }
}

/// A text that is not JSON gets a NOTICE, a refused filter this answer.
fn answer(error: FilterError, closed: impl FnOnce(Refusal) -> BadMessage) -> BadMessage {
    match error {
        FilterError::Json(error) => error.into(),
        FilterError::Refused(refusal) => closed(refusal),
    }
}

/// The verb, and a reader at the element behind it, if there is one.
fn start(text: &str) -> Result<(Verb, Reader<'_>), BadMessage> {
    let mut reader = Reader::new(text);
    if reader.kind() != Kind::Array {
        return Err(notice("a message must be a JSON array"));
    }
    reader.expect(b'[')?;
    let mut is_first = true;
    if !reader.next_element(&mut is_first)? || reader.kind() != Kind::String {
        return Err(notice("the first element of a message must be a string"));
    }
    let Some(verb) = Verb::of(&unescape(reader.string()?.raw)) else {
        return Err(BadMessage::Notice(Prefix::Unsupported.text("unknown message type")));
    };
    if !reader.next_element(&mut is_first)? {
        return Err(notice(format!("{} needs a second element", verb.name())));
    }
    Ok((verb, reader))
}

/// Skips the other elements: the message ends there.
fn end(reader: &mut Reader<'_>) -> Result<(), JsonError> {
    let mut is_first = false;
    while reader.next_element(&mut is_first)? {
        reader.skip()?;
    }
    reader.end()
}

/// A string as the second element.
fn subscription_string<'a>(reader: &mut Reader<'a>) -> Result<RawString<'a>, BadMessage> {
    if reader.kind() != Kind::String {
        return Err(notice("a subscription id must be a string"));
    }
    Ok(reader.string()?)
}

/// The second element of CLOSE and NEG-CLOSE. An id that nothing can have is not found later.
fn open_subscription(reader: &mut Reader<'_>) -> Result<SubscriptionId, BadMessage> {
    let sub = SubscriptionId::of_raw(subscription_string(reader)?);
    end(reader)?;
    Ok(sub)
}

/// The second element of messages that need an id within the limits.
fn subscription(
    reader: &mut Reader<'_>,
    limits: &MessageLimits,
    refuse: fn(SubscriptionId, Refusal) -> BadMessage,
) -> Result<SubscriptionId, BadMessage> {
    let string = subscription_string(reader)?;
    let chars = unescape(string.raw).chars().count();
    let max = limits.subscription_id_max_chars;
    if chars > max.max(SUBSCRIPTION_ID_CHARS_ANSWERED) {
        return Err(notice(format!("a subscription id is longer than {max} characters")));
    }
    let sub = SubscriptionId::of_raw(string);
    if chars > max {
        let text = format!("a subscription id is longer than {max} characters");
        return Err(refuse(sub, Prefix::Invalid.text(text)));
    }
    if chars == 0 {
        return Err(refuse(sub, Prefix::Invalid.text("a subscription id must not be empty")));
    }
    Ok(sub)
}

/// Subscription and filters of REQ and COUNT.
fn query(
    reader: &mut Reader<'_>,
    limits: &MessageLimits,
) -> Result<(SubscriptionId, Vec<Filter>), BadMessage> {
    let sub = subscription(reader, limits, BadMessage::Closed)?;
    let invalid = |text| BadMessage::Closed(sub.clone(), Prefix::Invalid.text(text));
    let mut values = Values::new(&limits.filter);
    let mut filters = Vec::new();
    let mut is_first = false;
    while reader.next_element(&mut is_first)? {
        if filters.len() == limits.filters_max {
            return Err(invalid(format!("more than {} filters", limits.filters_max)));
        }
        let filter = read_filter(reader, &mut values, &limits.filter);
        let refuse = |refusal| BadMessage::Closed(sub.clone(), refusal);
        filters.push(filter.map_err(|error| answer(error, refuse))?);
    }
    reader.end()?;
    if filters.is_empty() {
        return Err(invalid("at least one filter is needed".to_owned()));
    }
    Ok((sub, filters))
}

/// The third element of NEG-OPEN.
fn neg_filter(reader: &mut Reader<'_>, limits: &MessageLimits) -> Result<Filter, FilterError> {
    let mut is_first = false;
    if !reader.next_element(&mut is_first)? {
        return Err(FilterError::Refused(Prefix::Invalid.text("NEG-OPEN needs a filter")));
    }
    read_filter(reader, &mut Values::new(&limits.filter), &limits.filter)
}

/// The last element of NEG-OPEN and NEG-MSG.
fn neg_message(reader: &mut Reader<'_>) -> Result<Vec<u8>, FilterError> {
    let fault = || {
        FilterError::Refused(
            Prefix::Invalid.text("a negentropy message must be a string of hex digits"),
        )
    };
    let mut is_first = false;
    if !reader.next_element(&mut is_first)? || reader.kind() != Kind::String {
        return Err(fault());
    }
    let digits = unescape(reader.string()?.raw);
    // The decoder would accept the prefix 0x.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(fault());
    }
    hex::decode(&*digits).map_err(|_| fault())
}

#[cfg(test)]
mod tests;
