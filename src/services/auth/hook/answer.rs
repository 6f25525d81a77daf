//! What a hook answers: a status, and headers about the client.
//!
//! An answer without a decision is the hook's work: a client can cause it, with a request that the hook's
//! server finds too long, or a name that no header can have. So it refuses that client alone.

use std::fmt;
use std::time::Duration;

use crate::protocol::handshake::{Refusal, Response};
use crate::reactor::{Identity, Time};
use crate::services::auth::refusals::plain;
use crate::upstream::http::{HttpAnswer, HttpError};

/// A body is read up to this size, so that its connection can be used again; its content does not count.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The header with an entry of metadata, before its name.
const META: &str = "x-weir-meta-";
/// Headers of a refusal that the client gets.
const RETURNED: [&str; 2] = ["www-authenticate", "retry-after"];

/// What became of a request to the hook.
#[derive(Debug)]
pub(super) enum Answer {
    /// The client's request passes, with an identity if the hook names a user.
    Pass(Option<Passed>),
    Refuse(Refusal, Box<Response>),
    /// The hook works, but has decided nothing.
    Undecided(Undecided),
    /// The hook fails: 5xx, garbage, or no answer in time.
    Failed,
}

/// Why an answer is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecided {
    /// A redirect, or another error of the request.
    Status(u16),
    /// A header `X-Weir-*` is malformed.
    Header,
    /// Its head is too long.
    Head,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undecided::Status(status) => write!(f, "status {status} is no decision"),
            Undecided::Header => f.write_str("a header X-Weir-* is malformed"),
            Undecided::Head => f.write_str("its head is too long"),
        }
    }
}

/// An identity whose end is relative.
#[derive(Debug)]
pub(super) struct Passed {
    identity: Identity,
    expires_in: Option<Duration>,
}

impl Passed {
    pub(super) fn identity(self, now: Time) -> Identity {
        let mut identity = self.identity;
        identity.expires = self.expires_in.map(|after| now + after);
        identity
    }
}

impl Answer {
    /// Reads an answer.
    pub(super) fn read(answer: HttpAnswer) -> Answer {
        let decided = match answer.status() {
            200..300 => match passed(&answer) {
                Ok(identity) => Answer::Pass(identity),
                Err(Malformed) => Answer::Undecided(Undecided::Header),
            },
            401 => refused(Refusal::Unauthorized, &answer),
            403 => refused(Refusal::Forbidden, &answer),
            404 => refused(Refusal::GateNotFound, &answer),
            429 => refused(Refusal::GateLimited, &answer),
            status @ 300..500 => Answer::Undecided(Undecided::Status(status)),
            _ => Answer::Failed,
        };
        // A broken body does not change what the head says.
        let _ = answer.read(BODY_BYTES_MAX);
        decided
    }

    /// The outcome without an answer that can be read.
    pub(super) fn without(error: &HttpError) -> Answer {
        match error.is_long_head() {
            true => Answer::Undecided(Undecided::Head),
            false => Answer::Failed,
        }
    }
}

/// The identity in the headers of an answer.
fn passed(answer: &HttpAnswer) -> Result<Option<Passed>, Malformed> {
    let Some(user) = single(answer, "x-weir-user")? else {
        return Ok(None);
    };
    let mut identity = Identity::new(user).map_err(|_| Malformed)?;
    let expires_in = match single(answer, "x-weir-expires")? {
        Some(seconds) => Some(Duration::from_secs(seconds.parse().map_err(|_| Malformed)?)),
        None => None,
    };
    // An unknown value is ignored.
    identity.priority = single(answer, "x-weir-priority")?.and_then(|name| name.parse().ok());
    for (name, value) in answer.headers() {
        if let Some(name) = name.strip_prefix(META).filter(|name| !name.is_empty()) {
            let value = std::str::from_utf8(value).map_err(|_| Malformed)?;
            identity.metadata.add(name, value).map_err(|_| Malformed)?;
        }
    }
    Ok(Some(Passed { identity, expires_in }))
}

struct Malformed;

/// The value of a header that may occur once.
fn single<'a>(answer: &'a HttpAnswer, name: &str) -> Result<Option<&'a str>, Malformed> {
    let mut values = answer.headers().filter(|(other, _)| *other == name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => std::str::from_utf8(value).map(Some).map_err(|_| Malformed),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

fn refused(refusal: Refusal, answer: &HttpAnswer) -> Answer {
    let mut response = plain(refusal);
    for (name, value) in answer.headers().filter(|(name, _)| RETURNED.contains(name)) {
        let Ok(value) = std::str::from_utf8(value) else {
            continue;
        };
        // What is not printable is left out.
        if let Ok(with_header) = response.clone().header(name, value) {
            response = with_header;
        }
    }
    Answer::Refuse(refusal, Box::new(response))
}
