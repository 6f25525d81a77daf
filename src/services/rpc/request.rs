//! From a message to calls: JSON-RPC 2.0 as clients of the field send it.
//!
//! Borrows everything from the message: ids and parameters stay the bytes that they were, so that an
//! id goes back exactly as it came. The order of members does not matter; unknown ones are passed
//! over. Nothing here recurses, and what is collected is bounded.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::RpcError;

/// Bytes of an id: a UUID has 38.
const ID_BYTES_MAX: usize = 1024;

/// What a message may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Calls of one batch.
    pub(super) batch_items_max: usize,
    /// Brackets open at once within parameters.
    pub(super) depth_max: usize,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The id as it was sent; `None` for a notification, which is not answered.
    pub id: Option<&'a RawValue>,
    /// The method's name.
    pub method: Cow<'a, str>,
    /// The parameters as they were sent: an array, or an object.
    pub params: Option<&'a RawValue>,
}

impl<'a> Call<'a> {
    /// The parameters of a method that takes its own by position, such as `(T, Option<U>)`. Those that
    /// are absent are filled up with `null`; more than `len` are refused.
    ///
    /// # Errors
    /// -32602: they are none, too many, or not of these types.
    pub fn positional<T: Deserialize<'a>>(&self, len: usize) -> Result<T, RpcError> {
        let given = match self.params.map(|params| array(params.get(), len)) {
            None => Vec::new(),
            Some(Ok(given)) => given,
            Some(Err(Misread::Overfull)) => {
                return Err(RpcError::invalid_params("too many arguments"));
            }
            Some(Err(Misread::Broken)) => {
                return Err(RpcError::invalid_params("params must be an array"));
            }
        };
        let absent = std::iter::repeat_n(RawValue::NULL, len - given.len());
        let values = given.into_iter().chain(absent);
        T::deserialize(SeqDeserializer::new(values))
            .map_err(|error: serde_json::Error| RpcError::invalid_params(error.to_string()))
    }
}

/// Something in the place of a call that is none.
#[derive(Debug)]
pub(super) struct Rejected<'a> {
    /// Its id, as far as it has a valid one.
    pub(super) id: Option<&'a RawValue>,
    pub(super) error: RpcError,
}

/// What a message holds.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    Single(Result<Call<'a>, Rejected<'a>>),
    /// Each is still to be read by [`read`].
    Batch(Vec<&'a RawValue>),
}

impl<'a> Incoming<'a> {
    /// # Errors
    /// The one answer to all of it: it is no JSON, an empty batch or one too large.
    pub(super) fn parse(text: &'a str, bounds: Bounds) -> Result<Incoming<'a>, RpcError> {
        if text.trim_ascii_start().starts_with('[') {
            return batch(text, bounds.batch_items_max).map(Incoming::Batch);
        }
        members(text).map(|members| Incoming::Single(members.call(bounds))).map_err(|error| {
            match error.classify() {
                Category::Data => RpcError::invalid_request("invalid request"),
                Category::Io | Category::Syntax | Category::Eof => RpcError::parse(),
            }
        })
    }
}

/// Reads one item of a batch.
pub(super) fn read<'a>(item: &'a RawValue, bounds: Bounds) -> Result<Call<'a>, Rejected<'a>> {
    // An array would pass for an object's members in their order.
    let is_object = item.get().starts_with('{');
    match is_object.then(|| members(item.get())) {
        Some(Ok(members)) => members.call(bounds),
        _ => Err(Rejected { id: None, error: RpcError::invalid_request("invalid request") }),
    }
}

/// The members of a call. One that comes twice is an error of serde's: parsers differ on which of the two
/// counts.
struct Members<'a> {
    /// `None` where there is no string.
    jsonrpc: Option<Cow<'a, str>>,
    id: Option<&'a RawValue>,
    method: Option<Cow<'a, str>>,
    params: Option<&'a RawValue>,
}

/// The members of nearly all calls: of their right types, and nothing escaped.
#[derive(serde::Deserialize)]
struct Usual<'a> {
    jsonrpc: &'a str,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// Members of any type.
#[derive(serde::Deserialize)]
struct Odd<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
}

/// Reads a call in one go if it is like nearly all are, else anew, to find out what it has instead.
fn members(text: &str) -> Result<Members<'_>, serde_json::Error> {
    if let Ok(Usual { jsonrpc, id, method, params }) = serde_json::from_str(text) {
        let (jsonrpc, method) = (Some(jsonrpc.into()), Some(method.into()));
        return Ok(Members { jsonrpc, id, method, params });
    }
    let Odd { jsonrpc, id, method, params } = serde_json::from_str(text)?;
    let string = |value: &'_ RawValue| serde_json::from_str(value.get()).ok();
    Ok(Members { jsonrpc: jsonrpc.and_then(string), id, method: method.and_then(string), params })
}

/// A member that is there, `null` or not: for an id that makes a difference.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Members<'a> {
    fn call(self, bounds: Bounds) -> Result<Call<'a>, Rejected<'a>> {
        let rejected = |id, why| Err(Rejected { id, error: RpcError::invalid_request(why) });
        if !self.id.is_none_or(is_id) {
            return rejected(None, "invalid request: id must be a string, a number or null");
        }
        if self.jsonrpc.is_none_or(|version| version != "2.0") {
            return rejected(self.id, r#"invalid request: jsonrpc must be "2.0""#);
        }
        let Some(method) = self.method else {
            return rejected(self.id, "invalid request: method must be a string");
        };
        let params = self.params.filter(|params| params.get() != "null");
        match params.map(|params| params.get()) {
            Some(text) if !text.starts_with(['[', '{']) => {
                rejected(self.id, "invalid request: params must be an array or an object")
            }
            Some(text) if depth(text) > bounds.depth_max => {
                rejected(self.id, "invalid request: params are nested too deeply")
            }
            _ => Ok(Call { id: self.id, method, params }),
        }
    }
}

/// Whether it may be an id (JSON-RPC 2.0, 4): a string, a number or null, and not endless.
fn is_id(value: &RawValue) -> bool {
    let text = value.get();
    let is_scalar =
        text == "null" || text.starts_with(|c: char| matches!(c, '"' | '-' | '0'..='9'));
    is_scalar && text.len() <= ID_BYTES_MAX
}

/// How many brackets are open at once, at the most. The text is JSON already.
fn depth(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    most
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

fn batch(text: &str, items_max: usize) -> Result<Vec<&RawValue>, RpcError> {
    match array(text, items_max) {
        Ok(items) if items.is_empty() => Err(RpcError::invalid_request("empty batch")),
        Ok(items) => Ok(items),
        Err(Misread::Overfull) => Err(RpcError::invalid_request("batch too large")),
        Err(Misread::Broken) => Err(RpcError::parse()),
    }
}

/// Why an array was not read.
enum Misread {
    Broken,
    Overfull,
}

/// The items of a JSON array of so many at the most.
fn array(text: &str, items_max: usize) -> Result<Vec<&RawValue>, Misread> {
    let mut overfull = false;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let items = deserializer.deserialize_seq(Items { items_max, overfull: &mut overfull });
    match items.and_then(|items| deserializer.end().map(|()| items)) {
        Ok(items) => Ok(items),
        Err(_) if overfull => Err(Misread::Overfull),
        Err(_) => Err(Misread::Broken),
    }
}

/// Collects items, and gives up at the first one too many.
struct Items<'o> {
    items_max: usize,
    overfull: &'o mut bool,
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == self.items_max {
                *self.overfull = true;
                return Err(A::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(items)
    }
}
