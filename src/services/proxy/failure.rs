//! Why a request gets no response of an upstream: what counts, what may be tried again, and the
//! response in its place.

use crate::protocol::handshake::Response;
use crate::upstream::pools::TryEnd;

/// Why a try failed, or why there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Failure {
    /// Refused or unreachable.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No connection within `connect_timeout`.
    ConnectTimeout,
    /// A reset, or an end, before a response.
    Reset,
    /// No response head within `answer_timeout`.
    AnswerTimeout,
    /// A response with 502, 503 or 504.
    Status,
    /// A response that is malformed, too long, or fails the checks of a 101.
    BadAnswer,
    /// All upstreams are down.
    NoUpstream,
    /// All upstreams have as many connections as they may have, or the process has.
    Full,
    /// The process lacks descriptors, memory or ports.
    Local,
    /// The memory limit of all connections is reached.
    Overloaded,
    /// No name of the pool was ever resolved.
    Resolve,
}

impl Failure {
    /// All failures, in the order of their counts.
    pub(super) const ALL: [Failure; 12] = [
        Failure::Connect,
        Failure::Tls,
        Failure::ConnectTimeout,
        Failure::Reset,
        Failure::AnswerTimeout,
        Failure::Status,
        Failure::BadAnswer,
        Failure::NoUpstream,
        Failure::Full,
        Failure::Local,
        Failure::Overloaded,
        Failure::Resolve,
    ];

    /// The label in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Tls => "tls",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Reset => "reset",
            Failure::AnswerTimeout => "answer_timeout",
            Failure::Status => "status",
            Failure::BadAnswer => "bad_answer",
            Failure::NoUpstream => "no_upstream",
            Failure::Full => "full",
            Failure::Local => "local",
            Failure::Overloaded => "overloaded",
            Failure::Resolve => "resolve",
        }
    }

    /// What the try counts as for the upstream.
    pub(super) fn try_end(self) -> TryEnd {
        match self {
            Failure::Connect => TryEnd::Connect,
            Failure::Tls => TryEnd::Tls,
            Failure::ConnectTimeout => TryEnd::ConnectTimeout,
            Failure::Reset => TryEnd::Reset,
            Failure::AnswerTimeout => TryEnd::AnswerTimeout,
            Failure::Status => TryEnd::Status,
            Failure::BadAnswer => TryEnd::BadAnswer,
            Failure::NoUpstream
            | Failure::Full
            | Failure::Local
            | Failure::Overloaded
            | Failure::Resolve => TryEnd::Cancelled,
        }
    }

    /// The status of the response.
    pub(super) fn status(self) -> u16 {
        match self {
            Failure::Connect
            | Failure::Tls
            | Failure::Reset
            | Failure::Status
            | Failure::BadAnswer => 502,
            Failure::NoUpstream
            | Failure::Full
            | Failure::Local
            | Failure::Overloaded
            | Failure::Resolve => 503,
            Failure::ConnectTimeout | Failure::AnswerTimeout => 504,
        }
    }

    /// One line for the client. It does not name the upstream.
    fn reason(self) -> &'static str {
        match self {
            Failure::Connect | Failure::Tls => "no connection to the upstream",
            Failure::Reset => "the upstream closed the connection",
            Failure::Status => "the upstream failed",
            Failure::BadAnswer => "invalid response from the upstream",
            Failure::NoUpstream | Failure::Resolve => "no upstream is available",
            Failure::Full => "all upstreams are busy",
            Failure::Local | Failure::Overloaded => "service unavailable",
            Failure::ConnectTimeout | Failure::AnswerTimeout => "the upstream did not respond",
        }
    }

    /// The response for the client. `retry_after_seconds` goes with 503.
    pub(super) fn response(self, retry_after_seconds: u8) -> Response {
        let mut response = Response::text(self.status(), self.reason());
        response.add("X-WebSocket-Error", self.reason());
        if self.status() == 503 {
            response.add("Retry-After", &retry_after_seconds.to_string());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn failures_are_counted_under_different_names() {
        let names: HashSet<_> = Failure::ALL.iter().map(|failure| failure.name()).collect();
        assert_eq!(names.len(), Failure::ALL.len());
        for (at, failure) in Failure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, at);
        }
    }

    #[test]
    fn only_unavailability_says_when_to_come_back() {
        for failure in Failure::ALL {
            let mut head = Vec::new();
            let close = crate::protocol::handshake::ConnectionOption::Close;
            failure.response(7).write(&mut head, close, false, None);
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", failure.status())), "{head}");
            assert_eq!(head.contains("Retry-After: 7\r\n"), failure.status() == 503, "{head}");
        }
    }
}
