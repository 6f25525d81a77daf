//! Management by administrators (NIP-86): POST requests with an HTTP authorization (NIP-98).
//!
//! A thread that verifies checks and parses requests, and answers those that only read (`check`). The
//! thread that writes changes the store and the lists (`change`), and removes the events of a ban between
//! its batches (`removals`). The loop's part is in [`calls`](super::calls).

mod call;
mod change;
mod check;
mod removals;

use std::borrow::Cow;

use serde_json::{Value, json};

use super::refusal::{Prefix, Refusal};
use crate::protocol::handshake::Response;

pub(super) use self::change::Change;
pub(super) use self::check::{ManageJob, Management};
pub(super) use self::removals::Removals;

/// The media type of a request and of its response.
pub(super) const MEDIA_TYPE: &str = "application/nostr+json+rpc";

/// The response to a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16, member: &str, value: Value) -> Answer {
        Answer { status, body: json!({ member: value }).to_string().into_bytes() }
    }

    fn result(value: impl Into<Value>) -> Answer {
        Answer::of(200, "result", value.into())
    }

    pub(super) fn error(status: u16, text: impl Into<Cow<'static, str>>) -> Answer {
        Answer::of(status, "error", text.into().into())
    }

    /// The answer to a request that no administrator has authorized.
    pub(super) fn refused(refusal: &Refusal) -> Answer {
        let status = if refusal.prefix == Prefix::RateLimited { 429 } else { 401 };
        Answer::error(status, refusal.to_string())
    }

    pub(super) fn internal() -> Answer {
        Answer::error(500, "internal error")
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(self.status, MEDIA_TYPE, self.body);
        if self.status == 401 {
            // RFC 9110, 15.5.2.
            response.add("WWW-Authenticate", "Nostr");
        }
        response
    }
}
