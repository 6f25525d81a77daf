//! Refusals of requests, and the end of connections that never were a WebSocket: a response, or on some
//! routes a [Close](crate::reactor::effects::refuse_close).
//!
//! Each refusal is counted and logged here, once.

use std::net::SocketAddr;
use std::time::Duration;

use crate::protocol::handshake::{ConnectionOption, Refusal, Response};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::phase::{Input, Phase};
use crate::reactor::core::Core;
use crate::reactor::effects::refuse_close::close_text;

impl Core {
    /// Sends a refusal and closes; for HEAD without body (RFC 9110, 9.3.2).
    pub(crate) fn refuse(&mut self, id: ConnId, refusal: Refusal, head_only: bool) {
        let response = self.refusal_response(id, refusal);
        self.refuse_with(id, refusal, &response, head_only);
    }

    /// The response to a refused request. One that may succeed later states when to return: after a
    /// refusal by a rate as soon as that has a token, else at random.
    pub(crate) fn refusal_response(&mut self, id: ConnId, refusal: Refusal) -> Response {
        let mut response = Response::from(refusal);
        self.add_retry_after(id, refusal, &mut response);
        response
    }

    /// States when a client should return, if that is of use and the response does not.
    pub(crate) fn add_retry_after(
        &mut self,
        id: ConnId,
        refusal: Refusal,
        response: &mut Response,
    ) {
        if !refusal.may_succeed_later() || response.header_value("Retry-After").is_some() {
            return;
        }
        let wait = self.rate_wait(id, refusal).filter(|wait| !wait.is_zero());
        // Rounded up: a client that returns after exactly this time is admitted.
        let seconds = wait.map_or_else(
            || u64::from(self.masks.retry_after_seconds()),
            |wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        );
        response.add("Retry-After", &seconds.to_string());
    }

    /// The time until the rate that refused a client has a token.
    fn rate_wait(&mut self, id: ConnId, refusal: Refusal) -> Option<Duration> {
        let conn = self.conns.get_mut(id)?;
        match refusal {
            Refusal::Requests | Refusal::MessagesPerAddress | Refusal::MessagesPerSubject => {
                Some(conn.handshake()?.requests_wait)
            }
            Refusal::RateLimited => {
                let client = SocketAddr::from(conn.peer).ip();
                Some(self.admission.connection_wait(&self.settings, client, self.now))
            }
            _ => None,
        }
    }

    /// Sends a refusal with further headers, and closes.
    pub(crate) fn refuse_with(
        &mut self,
        id: ConnId,
        refusal: Refusal,
        response: &Response,
        head_only: bool,
    ) {
        if self.conns.get(id).is_none_or(|conn| conn.reason().is_some()) {
            return;
        }
        self.log_refused(id, refusal);
        self.metrics.count_refusal(refusal);
        let reason = CloseReason::Refused(refusal);
        if !refusal.is_always_http() && self.refuse_by_close(id, reason, response, refusal.reason())
        {
            return;
        }
        self.queue_response(id, response, ConnectionOption::Close, head_only);
        self.end_http(id, reason);
    }

    /// Sends a service's own response to an upgrade request, and closes.
    pub(crate) fn respond_and_close(&mut self, id: ConnId, response: &Response) {
        self.metrics.http_answered += 1;
        if response.status() >= 400 {
            self.log_refused_by_service(id, response);
            if self.refuse_by_close(id, CloseReason::HttpDone, response, &close_text(response)) {
                return;
            }
        }
        self.queue_response(id, response, ConnectionOption::Close, false);
        self.end_http(id, CloseReason::HttpDone);
    }

    /// Starts the end of a connection that never was a WebSocket: its response is queued, its input
    /// is discarded from now on.
    pub(crate) fn end_http(&mut self, id: ConnId, reason: CloseReason) {
        self.abandon_exchange(id);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.phase = Phase::Closing { since: self.now, reason, input: Input::Discard };
            self.arm(id);
        }
    }
}
