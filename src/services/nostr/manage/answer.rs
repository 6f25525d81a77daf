//! Responses of the management API.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::protocol::handshake::Response;
use crate::services::nostr::refusal::{Prefix, Refusal};

/// The media type of a request and of its response.
pub(crate) const MEDIA_TYPE: &str = "application/nostr+json+rpc";

/// The response to a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16, member: &str, value: Value) -> Answer {
        Answer { status, body: json!({ member: value }).to_string().into_bytes() }
    }

    pub(crate) fn result(value: impl Into<Value>) -> Answer {
        Answer::of(200, "result", value.into())
    }

    pub(crate) fn error(status: u16, text: impl Into<Cow<'static, str>>) -> Answer {
        Answer::of(status, "error", text.into().into())
    }

    /// The answer to a request that no administrator has authorized.
    pub(crate) fn refused(refusal: &Refusal) -> Answer {
        let status = if refusal.prefix == Prefix::RateLimited { 429 } else { 401 };
        Answer::error(status, refusal.to_string())
    }

    pub(crate) fn internal() -> Answer {
        Answer::error(500, "internal error")
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(self.status, MEDIA_TYPE, self.body);
        if self.status == 401 {
            // RFC 9110, 15.5.2.
            response.add("WWW-Authenticate", "Nostr");
        }
        response
    }
}
