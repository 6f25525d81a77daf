//! Parses an event from JSON: types and limits, rows 3, 4 and 6 of the checks.
//!
//! One pass makes the canonical text of tags and content. Errors name a member, or a limit and its
//! value, and never repeat the client's text.

use std::borrow::Cow;
use std::fmt;

use super::canonical::{push_string, unescape};
use super::event::{Event, EventId, Head, PublicKey, Signature};
use super::json::{JsonError, Kind, Number, RawString, Reader};
use super::tags::{decode_hex, hex_32};

/// Exclusive bound of `created_at`: index keys hold 5 bytes.
pub const CREATED_AT_END: u64 = 1 << 40;

/// Limits on the size of events. `None` is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// Bytes of the event's JSON, as it is sent on.
    pub event_max_bytes: usize,
    /// Number of tags.
    pub tags_max: usize,
    /// Bytes of an element of a tag.
    pub tag_value_max_bytes: usize,
    /// Characters of the content (NIP-11).
    pub content_max_chars: Option<usize>,
}

impl Default for EventLimits {
    fn default() -> EventLimits {
        EventLimits {
            event_max_bytes: 512 * 1024,
            tags_max: 10_000,
            tag_value_max_bytes: 64 * 1024,
            content_max_chars: None,
        }
    }
}

/// Why an event is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The event's id, if its JSON has 64 hex digits there: the answer is OK then, otherwise NOTICE.
    pub id: Option<HexId>,
    /// Without prefix.
    pub text: Cow<'static, str>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Invalid {}

/// An id for an OK: 64 hex digits as the client sent them, upper-case ones too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HexId([u8; 64]);

impl HexId {
    /// From 64 hex digits of either case.
    pub fn parse(text: &str) -> Option<HexId> {
        let digits: [u8; 64] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(HexId(digits))
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&EventId> for HexId {
    fn from(id: &EventId) -> HexId {
        let mut digits = [0; 64];
        hex::encode_to_slice(id, &mut digits).expect("two digits a byte");
        HexId(digits)
    }
}

impl fmt::Debug for HexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// What the limits apply to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    tags: usize,
    /// Of the longest element of a tag, unescaped.
    tag_value_bytes: usize,
}

impl Event {
    /// Parses an event and checks types and limits; id and signature are not checked.
    pub fn parse(json: &str, limits: &EventLimits) -> Result<Event, Invalid> {
        let (event, sizes) = parse(json)?;
        match sizes.exceeded(&event, limits) {
            None => Ok(event),
            Some(text) => Err(Invalid { id: Some(event.id().into()), text: text.into() }),
        }
    }
}

impl Sizes {
    /// Row 6: the limit that the event exceeds.
    pub(super) fn exceeded(&self, event: &Event, limits: &EventLimits) -> Option<String> {
        if event.json_bytes() > limits.event_max_bytes {
            return Some(format!("the event is larger than {} bytes", limits.event_max_bytes));
        }
        if self.tags > limits.tags_max {
            return Some(format!("the event has more than {} tags", limits.tags_max));
        }
        if self.tag_value_bytes > limits.tag_value_max_bytes {
            let max = limits.tag_value_max_bytes;
            return Some(format!("a tag value is longer than {max} bytes"));
        }
        let max = limits.content_max_chars?;
        (event.content().chars().count() > max)
            .then(|| format!("the content is longer than {max} characters"))
    }
}

/// Rows 3 and 4, of a text that is one event.
pub(super) fn parse(json: &str) -> Result<(Event, Sizes), Invalid> {
    let mut reader = Reader::new(json);
    let parsed = read(&mut reader).and_then(|event| {
        reader.end()?;
        Ok(event)
    });
    parsed.map_err(|fault| fault.of_event(json))
}

/// Rows 3 and 4, of the rest of a message from its event on: `{..}]`.
pub(super) fn parse_in_message(rest: &str) -> Result<(Event, Sizes), Invalid> {
    let mut reader = Reader::new(rest);
    let parsed = read(&mut reader).and_then(|event| {
        let mut is_first = false;
        while reader.next_element(&mut is_first)? {
            reader.skip()?;
        }
        reader.end()?;
        Ok(event)
    });
    parsed.map_err(|fault| fault.of_event(rest))
}

/// The id in an event's JSON, if it is a string of 64 hex digits, whatever follows it.
pub fn find_id(json: &str) -> Option<HexId> {
    let mut reader = Reader::new(json);
    reader.expect(b'{').ok()?;
    let mut is_first = true;
    while let Some(name) = reader.next_member(&mut is_first).ok()? {
        if unescape(name.raw) == "id" && reader.kind() == Kind::String {
            return HexId::parse(&unescape(reader.string().ok()?.raw));
        }
        reader.skip().ok()?;
    }
    None
}

/// Why parsing ended.
enum Fault {
    Json(JsonError),
    Text(&'static str),
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Fault {
        Fault::Json(error)
    }
}

impl Fault {
    fn of_event(self, json: &str) -> Invalid {
        let text = match self {
            Fault::Json(error) => format!("event: {error}").into(),
            Fault::Text(text) => text.into(),
        };
        Invalid { id: find_id(json), text }
    }
}

#[derive(Default)]
struct Members<'a> {
    id: Option<EventId>,
    pubkey: Option<PublicKey>,
    sig: Option<Signature>,
    created_at: Option<u64>,
    kind: Option<u16>,
    /// Bytes of the tags' canonical JSON, which is the start of the event's text.
    tags_bytes: Option<usize>,
    content: Option<RawString<'a>>,
}

fn read(reader: &mut Reader<'_>) -> Result<(Event, Sizes), Fault> {
    if reader.kind() != Kind::Object {
        return Err(Fault::Text("the event must be an object"));
    }
    reader.expect(b'{')?;
    let mut members = Members::default();
    let mut sizes = Sizes::default();
    // The other members take at least this much.
    let mut text = String::with_capacity(reader.rest().len().saturating_sub(MEMBERS_BYTES_MIN));
    let mut is_first = true;
    while let Some(name) = reader.next_member(&mut is_first)? {
        match &*unescape(name.raw) {
            "id" => set(&mut members.id, Member::Id, id(reader)?)?,
            "pubkey" => set(&mut members.pubkey, Member::Pubkey, pubkey(reader)?)?,
            "sig" => set(&mut members.sig, Member::Sig, sig(reader)?)?,
            "created_at" => {
                set(&mut members.created_at, Member::CreatedAt, created_at(reader)?)?;
            }
            "kind" => set(&mut members.kind, Member::Kind, kind(reader)?)?,
            "tags" => {
                let start = text.len();
                tags(reader, &mut text, &mut sizes)?;
                set(&mut members.tags_bytes, Member::Tags, text.len() - start)?;
            }
            "content" => set(&mut members.content, Member::Content, content(reader)?)?,
            _ => reader.skip()?,
        }
    }
    let head = Head {
        id: get(members.id, Member::Id)?,
        pubkey: get(members.pubkey, Member::Pubkey)?,
        sig: get(members.sig, Member::Sig)?,
        created_at: get(members.created_at, Member::CreatedAt)?,
        kind: get(members.kind, Member::Kind)?,
    };
    let tags_bytes = get(members.tags_bytes, Member::Tags)?;
    text.push(',');
    push_string(&mut text, get(members.content, Member::Content)?);
    Ok((Event::new(head, text, tags_bytes), sizes))
}

/// Bytes of the shortest members beside tags and content.
const MEMBERS_BYTES_MIN: usize =
    br#""id":"","pubkey":"","sig":"","created_at":0,"kind":0,"tags":,"content":"#.len()
        + 2 * (32 + 32 + 64);

/// The members that an event must have once.
#[derive(Clone, Copy)]
enum Member {
    Id,
    Pubkey,
    Sig,
    CreatedAt,
    Kind,
    Tags,
    Content,
}

fn set<T>(place: &mut Option<T>, member: Member, value: T) -> Result<(), Fault> {
    if place.replace(value).is_none() {
        return Ok(());
    }
    Err(Fault::Text(match member {
        Member::Id => "the member id occurs twice",
        Member::Pubkey => "the member pubkey occurs twice",
        Member::Sig => "the member sig occurs twice",
        Member::CreatedAt => "the member created_at occurs twice",
        Member::Kind => "the member kind occurs twice",
        Member::Tags => "the member tags occurs twice",
        Member::Content => "the member content occurs twice",
    }))
}

fn get<T>(value: Option<T>, member: Member) -> Result<T, Fault> {
    value.ok_or(Fault::Text(match member {
        Member::Id => "the member id is missing",
        Member::Pubkey => "the member pubkey is missing",
        Member::Sig => "the member sig is missing",
        Member::CreatedAt => "the member created_at is missing",
        Member::Kind => "the member kind is missing",
        Member::Tags => "the member tags is missing",
        Member::Content => "the member content is missing",
    }))
}

fn id(reader: &mut Reader<'_>) -> Result<EventId, Fault> {
    const FAULT: Fault = Fault::Text("id must be 64 lower-case hex digits");
    hex_32(&string(reader, FAULT)?).ok_or(FAULT)
}

fn pubkey(reader: &mut Reader<'_>) -> Result<PublicKey, Fault> {
    const FAULT: Fault = Fault::Text("pubkey must be 64 lower-case hex digits");
    hex_32(&string(reader, FAULT)?).ok_or(FAULT)
}

fn sig(reader: &mut Reader<'_>) -> Result<Signature, Fault> {
    const FAULT: Fault = Fault::Text("sig must be 128 lower-case hex digits");
    let mut sig = [0; 64];
    if decode_hex(&string(reader, FAULT)?, &mut sig) { Ok(sig) } else { Err(FAULT) }
}

/// A string; this fault for another type.
fn string<'a>(reader: &mut Reader<'a>, fault: Fault) -> Result<Cow<'a, str>, Fault> {
    if reader.kind() != Kind::String {
        return Err(fault);
    }
    Ok(unescape(reader.string()?.raw))
}

fn created_at(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    const RANGE: Fault = Fault::Text("created_at must be below 2^40");
    match number(reader)? {
        Some(Number::Unsigned(time)) if time < CREATED_AT_END => Ok(time),
        Some(Number::Unsigned(_) | Number::TooLarge) => Err(RANGE),
        Some(Number::NotUnsigned) | None => {
            Err(Fault::Text("created_at must be an integer without sign, fraction and exponent"))
        }
    }
}

fn kind(reader: &mut Reader<'_>) -> Result<u16, Fault> {
    const RANGE: Fault = Fault::Text("kind must be at most 65535");
    match number(reader)? {
        Some(Number::Unsigned(kind)) => u16::try_from(kind).map_err(|_| RANGE),
        Some(Number::TooLarge) => Err(RANGE),
        Some(Number::NotUnsigned) | None => {
            Err(Fault::Text("kind must be an integer without sign, fraction and exponent"))
        }
    }
}

/// A number; `None` for another type.
fn number(reader: &mut Reader<'_>) -> Result<Option<Number>, Fault> {
    if reader.kind() != Kind::Number {
        return Ok(None);
    }
    Ok(Some(reader.number()?))
}

fn content<'a>(reader: &mut Reader<'a>) -> Result<RawString<'a>, Fault> {
    if reader.kind() != Kind::String {
        return Err(Fault::Text("content must be a string"));
    }
    Ok(reader.string()?)
}

/// Appends the canonical JSON of the tags.
fn tags(reader: &mut Reader<'_>, out: &mut String, sizes: &mut Sizes) -> Result<(), Fault> {
    const FAULT: Fault = Fault::Text("tags must be an array of non-empty arrays of strings");
    let open = |reader: &mut Reader<'_>| match reader.kind() {
        Kind::Array => Ok(reader.expect(b'[')?),
        _ => Err(FAULT),
    };
    open(reader)?;
    let mut is_first = true;
    while reader.next_element(&mut is_first)? {
        out.push(if sizes.tags == 0 { '[' } else { ',' });
        sizes.tags += 1;
        open(reader)?;
        let mut separator = '[';
        let mut is_first = true;
        while reader.next_element(&mut is_first)? {
            if reader.kind() != Kind::String {
                return Err(FAULT);
            }
            out.push(separator);
            separator = ',';
            let len = push_string(out, reader.string()?);
            sizes.tag_value_bytes = sizes.tag_value_bytes.max(len);
        }
        if separator == '[' {
            return Err(FAULT);
        }
        out.push(']');
    }
    out.push_str(if sizes.tags == 0 { "[]" } else { "]" });
    Ok(())
}

#[cfg(test)]
mod tests;
