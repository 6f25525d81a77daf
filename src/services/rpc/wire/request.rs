//! Parses the calls of a message, by JSON-RPC 2.0 and by what its clients send.
//!
//! Borrows everything from the message: ids and parameters stay the bytes that they were, so that a
//! reply has exactly the id of its call. Members may have any order; unknown members are ignored.
//! Nothing here recurses, and what is collected is bounded.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::SeqDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::error::RpcError;
use super::object;
use crate::protocol::http::TraceParent;

/// Bytes of an id: a UUID has 38.
const ID_BYTES_MAX: usize = 1024;

/// The limits of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls of one batch.
    pub(crate) batch_items_max: usize,
    /// The depth of nesting of parameters.
    pub(crate) depth_max: usize,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The id as it was sent; `None` for a notification, which gets no reply.
    pub id: Option<&'a RawValue>,
    /// The method's name.
    pub method: Cow<'a, str>,
    /// The parameters as they were sent: an array, or an object.
    pub params: Option<&'a RawValue>,
    /// The trace of the request that opened the connection, or contains the call.
    pub trace: Option<TraceParent>,
}

impl<'a> Call<'a> {
    /// The parameters of a method that takes `len` of them by position, such as `(T, Option<U>)`.
    /// Absent ones are read as `null`.
    ///
    /// # Errors
    /// -32602: they are not an array, too many, or of other types.
    pub fn positional<T: Deserialize<'a>>(&self, len: usize) -> Result<T, RpcError> {
        let given = match self.params.map(|params| array(params.get(), len)) {
            None => Vec::new(),
            Some(Ok(given)) => given,
            Some(Err(ArrayError::TooLong)) => {
                return Err(RpcError::invalid_params("too many arguments"));
            }
            Some(Err(ArrayError::Malformed)) => {
                return Err(RpcError::invalid_params("params must be an array"));
            }
        };
        let absent = std::iter::repeat_n(RawValue::NULL, len - given.len());
        let values = given.into_iter().chain(absent);
        T::deserialize(SeqDeserializer::new(values))
            .map_err(|error: serde_json::Error| RpcError::invalid_params(error.to_string()))
    }
}

/// A text in the place of a call that is not a call.
#[derive(Debug)]
pub(crate) struct Rejected<'a> {
    /// Its id, if it has a valid one.
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) error: RpcError,
}

/// Whether a message that is JSON is a batch.
pub(crate) fn is_batch(text: &str) -> bool {
    text.trim_ascii_start().starts_with('[')
}

/// The items of a batch, to be read by [`item`].
///
/// # Errors
/// The only reply to the batch: it is not JSON, empty or too large.
pub(crate) fn batch(text: &str, bounds: Bounds) -> Result<Vec<&RawValue>, RpcError> {
    match array(text, bounds.batch_items_max) {
        Ok(items) if items.is_empty() => Err(RpcError::invalid_request("empty batch")),
        Ok(items) => Ok(items),
        Err(ArrayError::TooLong) => Err(RpcError::invalid_request("batch too large")),
        Err(ArrayError::Malformed) => Err(RpcError::parse()),
    }
}

/// Reads one item of a batch.
pub(crate) fn item<'a>(item: &'a RawValue, bounds: Bounds) -> Result<Call<'a>, Rejected<'a>> {
    single(item.get(), bounds)
}

/// Reads a call outside a batch. A text that does not have the usual form is read again in a slower
/// way, which accepts rare forms and finds out what is invalid.
pub(crate) fn single(text: &str, bounds: Bounds) -> Result<Call<'_>, Rejected<'_>> {
    if let Ok(usual) = object::from_str::<UsualCall<'_>>(text)
        && let Some(call) = usual.call(bounds)
    {
        return Ok(call);
    }
    let call: AnyCall<'_> = object::from_str(text).map_err(|error| {
        let error = match error.classify() {
            Category::Data => RpcError::invalid_request("invalid request"),
            Category::Io | Category::Syntax | Category::Eof => RpcError::parse(),
        };
        Rejected { id: None, error }
    })?;
    call.check(bounds)
}

/// The members of nearly all calls: of the right types, without escapes. A duplicate member is an
/// error of serde: parsers differ on which of the two counts.
#[derive(serde::Deserialize)]
struct UsualCall<'a> {
    jsonrpc: &'a str,
    #[serde(borrow, default, deserialize_with = "object::present")]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow, default, deserialize_with = "object::present")]
    params: Option<&'a RawValue>,
}

/// The members of a call, of any type.
#[derive(serde::Deserialize)]
struct AnyCall<'a> {
    #[serde(borrow, default, deserialize_with = "object::present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    params: Option<&'a RawValue>,
}

impl<'a> UsualCall<'a> {
    /// The call, if it is valid and has no rare form.
    fn call(self, bounds: Bounds) -> Option<Call<'a>> {
        let UsualCall { jsonrpc, id, method, params } = self;
        let is_call = jsonrpc == "2.0"
            && id.is_none_or(is_id)
            && params.is_none_or(|params| check(params, bounds).is_ok());
        is_call.then_some(Call { id, method: Cow::Borrowed(method), params, trace: None })
    }
}

impl<'a> AnyCall<'a> {
    fn check(self, bounds: Bounds) -> Result<Call<'a>, Rejected<'a>> {
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
        Ok(Call { id, method: Cow::Owned(method), params, trace: None })
    }
}

/// Checks the type and the depth of parameters.
fn check(params: &RawValue, bounds: Bounds) -> Result<(), &'static str> {
    let text = params.get();
    if !text.starts_with(['[', '{']) {
        return Err("invalid request: params must be an array or an object");
    }
    // Each opening bracket needs a closing one.
    if text.len() / 2 > bounds.depth_max && depth(text) > bounds.depth_max {
        return Err("invalid request: params are nested too deeply");
    }
    Ok(())
}

/// Whether a value is a valid id (JSON-RPC 2.0, 4): a string, a number or null, of bounded length.
/// The value is known to be JSON, so the first byte shows its type.
fn is_id(value: &RawValue) -> bool {
    let text = value.get().as_bytes();
    matches!(text, [b'"' | b'-' | b'0'..=b'9' | b'n', ..]) && text.len() <= ID_BYTES_MAX
}

/// The depth of nesting of a text that is known to be JSON.
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

/// An array could not be read.
enum ArrayError {
    Malformed,
    TooLong,
}

/// The items of a JSON array.
fn array(text: &str, items_max: usize) -> Result<Vec<&RawValue>, ArrayError> {
    let mut is_too_long = false;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let items = deserializer.deserialize_seq(Items { items_max, is_too_long: &mut is_too_long });
    match items.and_then(|items| deserializer.end().map(|()| items)) {
        Ok(items) => Ok(items),
        Err(_) if is_too_long => Err(ArrayError::TooLong),
        Err(_) => Err(ArrayError::Malformed),
    }
}

/// Collects items, and stops at the first one beyond the limit.
struct Items<'o> {
    items_max: usize,
    is_too_long: &'o mut bool,
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
                *self.is_too_long = true;
                return Err(A::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(items)
    }
}
