//! The responses of gates to requests that do not pass (RFC 6750, 3).

use std::time::Duration;

use crate::protocol::handshake::{Refusal, Response};
use crate::reactor::Verdict;

/// A refusal with this challenge (RFC 9110, 11.6.1).
pub(super) fn challenged(refusal: Refusal, challenge: &str) -> Verdict {
    let mut response = plain(refusal);
    response.add("WWW-Authenticate", challenge);
    Verdict::Refuse(refusal, Some(Box::new(response)))
}

/// The response to a client whose identity does not have what the route requires (RFC 6750, 3.1).
pub(super) fn insufficient_scope() -> Box<Response> {
    let mut response = plain(Refusal::Forbidden);
    response.add("WWW-Authenticate", "Bearer error=\"insufficient_scope\"");
    Box::new(response)
}

/// A refusal until this much time has passed.
pub(super) fn retry_after(refusal: Refusal, wait: Duration) -> Verdict {
    let mut response = plain(refusal);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.add("Retry-After", &seconds.to_string());
    Verdict::Refuse(refusal, Some(Box::new(response)))
}

/// The response of a refusal without the headers of its status.
pub(super) fn plain(refusal: Refusal) -> Response {
    let mut response = Response::text(refusal.status(), refusal.reason());
    response.add("X-WebSocket-Error", refusal.reason());
    response
}
