//! Reads the messages of an upstream: the answer to a request, or the notification of a
//! subscription.
//!
//! Text that is neither is `None`. If the id of a malformed answer can be read, the request with
//! that id fails, and no other request. Results and errors pass unchanged.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::RpcError;
use super::object;

/// Stands for an `id` that is `null` or missing. No request has this id.
pub(crate) const NO_ID: u64 = 0;

/// The outcome of a call: a result, which is any JSON, or an error.
pub type Outcome = Result<Box<RawValue>, RpcError>;

/// The answer has the id of a request, but is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A message from an upstream.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The answer to the request with this id.
    Answer(u64, Result<Outcome, Malformed>),
    /// The notification of a subscription.
    Notification(Notification),
    /// A request, or a notification outside subscriptions.
    Other,
}

/// The notification of a subscription.
#[derive(Debug, Deserialize)]
pub(crate) struct Notification {
    /// The id of the subscription at the upstream, as JSON: most are strings, some are numbers.
    pub(crate) subscription: Box<RawValue>,
    pub(crate) result: Box<RawValue>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "object::present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// The id of a malformed answer.
#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct ErrorMembers<'a> {
    code: i64,
    message: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Incoming {
    /// Reads a message.
    pub(crate) fn parse(text: &str) -> Option<Incoming> {
        let Ok(members) = object::from_str(text) else {
            // A duplicate member makes an answer malformed; a duplicate id makes it unreadable.
            let Id { id } = object::from_str(text).ok()?;
            return Some(Incoming::Answer(id, Err(Malformed)));
        };
        let Members { id, result, error, method, params } = members;
        if method.is_some() {
            let notification = params.and_then(|params| object::from_str(params.get()).ok());
            return Some(notification.map_or(Incoming::Other, Incoming::Notification));
        }
        let id = id.map_or(Some(NO_ID), |id| id.get().parse().ok())?;
        Some(Incoming::Answer(id, outcome(result, error).ok_or(Malformed)))
    }

    /// The outcome, if this is the answer to the request with this id.
    pub(crate) fn answer_to(self, id: u64) -> Option<Result<Outcome, Malformed>> {
        match self {
            Incoming::Answer(answered, outcome) if answered == id => Some(outcome),
            Incoming::Answer(..) | Incoming::Notification(_) | Incoming::Other => None,
        }
    }
}

/// Reads the answer to a request by HTTP POST; `None` if the text is not an answer to it. Some
/// servers send an error without the id.
pub(crate) fn posted_answer(id: u64, text: &str) -> Option<Result<Outcome, Malformed>> {
    match Incoming::parse(text)? {
        Incoming::Answer(NO_ID, Ok(Err(error))) => Some(Ok(Err(error))),
        incoming => incoming.answer_to(id),
    }
}

/// The outcome of an answer (JSON-RPC 2.0, 5): a result or an error, not both. Some servers send
/// the other one as `null`.
fn outcome(result: Option<&RawValue>, error: Option<&RawValue>) -> Option<Outcome> {
    match (result, error) {
        (Some(result), None) => Some(Ok(result.to_owned())),
        (None, Some(error)) => read_error(error).map(Err),
        (Some(result), Some(error)) if result.get() == "null" => read_error(error).map(Err),
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn read_error(error: &RawValue) -> Option<RpcError> {
    let ErrorMembers { code, message, data } = object::from_str(error.get()).ok()?;
    let data = data.map(ToOwned::to_owned);
    Some(RpcError { data, ..RpcError::new(code, message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<(u64, Result<Outcome, Malformed>)> {
        match Incoming::parse(text)? {
            Incoming::Answer(id, outcome) => Some((id, outcome)),
            Incoming::Notification(_) | Incoming::Other => None,
        }
    }

    fn outcome(text: &str) -> Outcome {
        answer(text).unwrap().1.unwrap()
    }

    #[test]
    fn results_pass_unchanged() {
        let text = r#"{"id":7,"result": {"b":1, "a":2},"jsonrpc":"2.0"}"#;
        assert_eq!(answer(text).unwrap().0, 7);
        assert_eq!(outcome(text).unwrap().get(), r#"{"b":1, "a":2}"#);
        let null = outcome(r#"{"jsonrpc":"2.0","id":1,"result":null}"#);
        assert_eq!(null.unwrap().get(), "null");
        let both = outcome(r#"{"jsonrpc":"2.0","id":1,"result":1,"error":null}"#);
        assert_eq!(both.unwrap().get(), "1");
    }

    #[test]
    fn errors_keep_code_message_and_data() {
        let text = r#"{"id":1,"result":null,
            "error":{"code":3,"message":"execution \"reverted\"","data":"0x08"}}"#;
        let error = outcome(text).unwrap_err();
        assert_eq!((error.code, &*error.message), (3, r#"execution "reverted""#));
        assert_eq!(error.data.unwrap().get(), r#""0x08""#);
        let text = r#"{"error":{"code":429,"message":"slow down"}}"#;
        assert_eq!((answer(text).unwrap().0, outcome(text).unwrap_err().code), (NO_ID, 429));
    }

    #[test]
    fn a_malformed_answer_keeps_its_id() {
        for rest in [
            r#""error":{"code":-32000}"#,
            r#""error":{"message":"no code"}"#,
            r#""error":{"code":"-32000","message":""}"#,
            r#""error":{"code":-32000.5,"message":""}"#,
            r#""error":{"code":1e30,"message":""}"#,
            r#""error":{"code":-32000,"message":null}"#,
            r#""error":{"code":-32000,"message":"\ud800"}"#,
            r#""error":[-32000,"an array"]"#,
            r#""error":"text""#,
            r#""error":false"#,
            r#""error":{"code":1,"message":"and a result"},"result":1"#,
            r#""result":1,"result":2"#,
            r#""jsonrpc":"2.0""#,
        ] {
            let text = format!(r#"{{"id":7,{rest}}}"#);
            let (id, outcome) = answer(&text).unwrap();
            assert_eq!((id, outcome.unwrap_err()), (7, Malformed), "{text}");
        }
    }

    #[test]
    fn subscription_ids_are_strings_or_numbers() {
        for name in [r#""0xa""#, "23"] {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"eth_subscription",
                "params":{{"subscription":{name},"result":[1]}}}}"#
            );
            match Incoming::parse(&text) {
                Some(Incoming::Notification(Notification { subscription, result })) => {
                    assert_eq!((subscription.get(), result.get()), (name, "[1]"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn requests_and_other_notifications_of_an_upstream_are_not_answers() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"telemetry","params":{"peers":3}}"#,
            r#"{"jsonrpc":"2.0","method":"telemetry","params":[1]}"#,
            r#"{"jsonrpc":"2.0","method":"eth_subscription","params":["0xa",[1]]}"#,
            r#"{"jsonrpc":"2.0","method":"ready"}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#,
        ] {
            assert!(matches!(Incoming::parse(text), Some(Incoming::Other)), "{text}");
        }
    }

    #[test]
    fn text_without_a_readable_id_is_not_an_answer() {
        for text in [
            "",
            "<html>",
            "[]",
            r#"[7,"an array",null,null,null]"#,
            r#"[{"id":7,"result":1}]"#,
            "1",
            "null",
            r#"{"id":7,"result":1"#,
            r#"{"id":7,"id":7,"result":1}"#,
            r#"{"id":"7","result":1}"#,
            r#"{"id":7.0,"result":1}"#,
            r#"{"id":-7,"result":1}"#,
            r#"{"id":[7],"result":1}"#,
        ] {
            assert!(Incoming::parse(text).is_none(), "{text}");
        }
    }
}
