//! What an upstream sends: the answer to a request, or news of a subscription.
//!
//! The text may be anything; what is not JSON-RPC is `None`. Results and errors go on as they came.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::object::Object;
use super::super::{Outcome, RpcError, object};

/// A message of an upstream's.
#[derive(Debug)]
pub(super) enum Incoming {
    /// What the request with this id is answered.
    Answer(u64, Outcome),
    /// What a subscription is told. Its id is the upstream's, as JSON: most are strings, some numbers.
    News(Box<RawValue>, Box<RawValue>),
    /// A notification or a request of the upstream's that is none of ours.
    Aside,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<Object<Failed<'a>>>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failed<'a> {
    code: i64,
    message: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct News<'a> {
    #[serde(borrow)]
    subscription: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// A result that is there, `null` or not.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl Incoming {
    /// Reads a message.
    pub(super) fn parse(text: &str) -> Option<Incoming> {
        let Members { id, result, error, method, params } = object::from_str(text).ok()?;
        if method.is_some() {
            let news = params.and_then(|params| object::from_str(params.get()).ok());
            return Some(news.map_or(Incoming::Aside, |News { subscription, result }| {
                Incoming::News(subscription.to_owned(), result.to_owned())
            }));
        }
        let id = id.map_or(Some(0), |id| id.get().parse().ok())?;
        let outcome = match (result, error) {
            (_, Some(Object(Failed { code, message, data }))) => {
                let data = data.map(ToOwned::to_owned);
                Err(RpcError { data, ..RpcError::new(code, message) })
            }
            (Some(result), None) => Ok(result.to_owned()),
            (None, None) => return None,
        };
        Some(Incoming::Answer(id, outcome))
    }
}

/// Whether the upstream says by this error that it has too much to do, rather than that the request
/// is wrong.
pub(super) fn is_overloaded(outcome: &Outcome) -> bool {
    matches!(outcome, Err(error) if error.code == RpcError::LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<(u64, Result<String, RpcError>)> {
        match Incoming::parse(text)? {
            Incoming::Answer(id, outcome) => Some((id, outcome.map(|result| result.get().into()))),
            Incoming::News(..) | Incoming::Aside => None,
        }
    }

    #[test]
    fn results_go_on_as_they_came() {
        let (id, outcome) = answer(r#"{"id":7,"result": {"b":1, "a":2},"jsonrpc":"2.0"}"#).unwrap();
        assert_eq!((id, outcome.unwrap()), (7, r#"{"b":1, "a":2}"#.to_owned()));
        let (_, outcome) = answer(r#"{"jsonrpc":"2.0","id":1,"result":null}"#).unwrap();
        assert_eq!(outcome.unwrap(), "null");
    }

    #[test]
    fn errors_keep_code_message_and_data() {
        let text =
            r#"{"id":1,"error":{"code":3,"message":"execution \"reverted\"","data":"0x08"}}"#;
        let error = answer(text).unwrap().1.unwrap_err();
        assert_eq!((error.code, &*error.message), (3, r#"execution "reverted""#));
        assert_eq!(error.data.unwrap().get(), r#""0x08""#);
        let busy = answer(r#"{"id":1,"error":{"code":-32005,"message":"slow down"}}"#).unwrap().1;
        assert!(is_overloaded(&busy.map(|_| unreachable!())));
    }

    #[test]
    fn news_name_their_subscription_by_a_string_or_a_number() {
        for name in [r#""0xa""#, "23"] {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"eth_subscription",
                "params":{{"subscription":{name},"result":[1]}}}}"#
            );
            match Incoming::parse(&text) {
                Some(Incoming::News(id, result)) => {
                    assert_eq!((id.get(), result.get()), (name, "[1]"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_else_an_upstream_may_say_by_itself_is_no_answer() {
        for text in [
            r#"{"jsonrpc":"2.0","method":"telemetry","params":{"peers":3}}"#,
            r#"{"jsonrpc":"2.0","method":"telemetry","params":[1]}"#,
            r#"{"jsonrpc":"2.0","method":"eth_subscription","params":["0xa",{}]}"#,
            r#"{"jsonrpc":"2.0","method":"ready"}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#,
        ] {
            assert!(matches!(Incoming::parse(text), Some(Incoming::Aside)), "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for text in [
            "",
            "<html>",
            "[]",
            "[7,1]",
            "{}",
            r#"{"id":1}"#,
            r#"{"id":"x","result":1}"#,
            r#"{"id":1,"error":[3,"reverted"]}"#,
            "1",
        ] {
            assert!(Incoming::parse(text).is_none(), "{text}");
        }
    }
}
