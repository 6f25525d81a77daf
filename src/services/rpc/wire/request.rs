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

use super::error::RpcError;
use super::object;

/// Bytes of an id: a UUID has 38.
const ID_BYTES_MAX: usize = 1024;

/// What a message may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls of one batch.
    pub(crate) batch_items_max: usize,
    /// Brackets open at once within parameters.
    pub(crate) depth_max: usize,
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
pub(crate) struct Rejected<'a> {
    /// Its id, as far as it has a valid one.
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) error: RpcError,
}

/// Whether a message is a batch, if it is JSON at all.
pub(crate) fn is_batch(text: &str) -> bool {
    text.trim_ascii_start().starts_with('[')
}

/// The items of a batch, each still to be read by [`item`].
///
/// # Errors
/// The one answer to all of it: it is no JSON, an empty batch or one too large.
pub(crate) fn batch(text: &str, bounds: Bounds) -> Result<Vec<&RawValue>, RpcError> {
    match array(text, bounds.batch_items_max) {
        Ok(items) if items.is_empty() => Err(RpcError::invalid_request("empty batch")),
        Ok(items) => Ok(items),
        Err(Misread::Overfull) => Err(RpcError::invalid_request("batch too large")),
        Err(Misread::Broken) => Err(RpcError::parse()),
    }
}

/// Reads one item of a batch.
pub(crate) fn item<'a>(item: &'a RawValue, bounds: Bounds) -> Result<Call<'a>, Rejected<'a>> {
    single(item.get(), bounds)
}

/// Reads a call that is no batch: in one go if it is like nearly all are, else anew, to find out what it
/// has instead.
pub(crate) fn single(text: &str, bounds: Bounds) -> Result<Call<'_>, Rejected<'_>> {
    if let Ok(usual) = object::from_str::<Usual<'_>>(text)
        && let Some(call) = usual.call(bounds)
    {
        return Ok(call);
    }
    let odd: Odd<'_> = object::from_str(text).map_err(|error| {
        let error = match error.classify() {
            Category::Data => RpcError::invalid_request("invalid request"),
            Category::Io | Category::Syntax | Category::Eof => RpcError::parse(),
        };
        Rejected { id: None, error }
    })?;
    odd.call(bounds)
}

/// The members of nearly all calls: of their right types, and nothing escaped. One that comes twice is an
/// error of serde's: parsers differ on which of the two counts.
#[derive(serde::Deserialize)]
struct Usual<'a> {
    jsonrpc: &'a str,
    #[serde(borrow, default, deserialize_with = "object::present")]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow, default, deserialize_with = "object::present")]
    params: Option<&'a RawValue>,
}

/// Members of any type.
#[derive(serde::Deserialize)]
struct Odd<'a> {
    #[serde(borrow, default, deserialize_with = "object::present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    params: Option<&'a RawValue>,
}

impl<'a> Usual<'a> {
    /// The call, if nothing is wrong or odd with it.
    fn call(self, bounds: Bounds) -> Option<Call<'a>> {
        let Usual { jsonrpc, id, method, params } = self;
        let is_call = jsonrpc == "2.0"
            && id.is_none_or(is_id)
            && params.is_none_or(|params| check(params, bounds).is_ok());
        is_call.then_some(Call { id, method: Cow::Borrowed(method), params })
    }
}

impl<'a> Odd<'a> {
    fn call(self, bounds: Bounds) -> Result<Call<'a>, Rejected<'a>> {
        let rejected = |id, why| Rejected { id, error: RpcError::invalid_request(why) };
        let string = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
        let id = self.id;
        if !id.is_none_or(is_id) {
            return Err(rejected(None, "invalid request: id must be a string, a number or null"));
        }
        if self.jsonrpc.and_then(string).is_none_or(|version| version != "2.0") {
            return Err(rejected(id, r#"invalid request: jsonrpc must be "2.0""#));
        }
        let Some(method) = self.method.and_then(string) else {
            return Err(rejected(id, "invalid request: method must be a string"));
        };
        let params = self.params.filter(|params| params.get() != "null");
        if let Some(Err(why)) = params.map(|params| check(params, bounds)) {
            return Err(rejected(id, why));
        }
        Ok(Call { id, method: Cow::Owned(method), params })
    }
}

/// What is wrong with parameters, if anything is.
fn check(params: &RawValue, bounds: Bounds) -> Result<(), &'static str> {
    let text = params.get();
    if !text.starts_with(['[', '{']) {
        return Err("invalid request: params must be an array or an object");
    }
    // Each bracket takes another to close it.
    if text.len() / 2 > bounds.depth_max && depth(text) > bounds.depth_max {
        return Err("invalid request: params are nested too deeply");
    }
    Ok(())
}

/// Whether it may be an id (JSON-RPC 2.0, 4): a string, a number or null, and not
/// endless. It is JSON already, so that its first byte tells.
fn is_id(value: &RawValue) -> bool {
    let text = value.get().as_bytes();
    matches!(text, [b'"' | b'-' | b'0'..=b'9' | b'n', ..]) && text.len() <= ID_BYTES_MAX
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
