//! Responses to HTTP requests that a service sends in parts, each as a chunk (RFC 9112, 7.1).
//!
//! Each part is queued within the limits of the route, and `on_drain` reports room, as for messages.
//! The connection is closed after the last part. A response that ends before it lacks the last chunk,
//! so its client can tell.

use std::time::SystemTime;

use crate::protocol::handshake::Response;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::{Decision, SendOutcome};
use crate::reactor::conn::outbox::pressure::Pressure;
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::Core;

/// The end of a body in chunks.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Core {
    /// Queues the head of a response to a deferred request. False: the response has no parts, or
    /// nothing waits for it.
    pub(crate) fn begin_parts(&mut self, id: ConnId, mut response: Response) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.phase == Phase::Deferred) else {
            return false;
        };
        let Some(handshake) = conn.handshake() else {
            return false;
        };
        let Some(pending) = handshake.pending_http.take() else {
            return false;
        };
        if !pending.takes_chunks {
            let text = "this response needs HTTP/1.1\n";
            let decision = Decision::Respond(Response::text(505, text));
            self.answer_deferred(id, pending, decision);
            return false;
        }
        handshake.answered += 1;
        handshake.since = now;
        pending.cors.add_to(&mut response);
        let mut head = Vec::new();
        let date = self.dates.at(now, SystemTime::now);
        response.write_chunked_head(&mut head, Some(date));
        self.metrics.http_answered += 1;
        self.queue_head(id, head);
        if pending.head_only {
            self.close_after_response(id);
            return false;
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.phase = Phase::Responding;
        }
        self.arm(id);
        true
    }

    /// Queues a part. An empty one is not sent: it would be the last chunk.
    pub(crate) fn send_part(&mut self, id: ConnId, part: &[u8]) -> SendOutcome {
        let now = self.now;
        let conn = self.conns.get_mut(id);
        let Some(conn) = conn.filter(|conn| conn.phase == Phase::Responding) else {
            return SendOutcome::Gone;
        };
        if part.is_empty() {
            return SendOutcome::Queued;
        }
        let limits = self.router.settings(conn.route);
        let refused = self.outboxes.check_room(id, conn, limits, part.len(), false);
        // As for other responses, the memory of all connections does not limit those of operators.
        let is_exempt = refused == Some(SendOutcome::Overloaded) && conn.is_operator();
        if let Some(outcome) = refused.filter(|_| !is_exempt) {
            self.metrics.buffered_refused += u64::from(outcome == SendOutcome::Overloaded);
            if outcome == SendOutcome::Full {
                self.mark_above_soft(id, Pressure::Congested);
            }
            return outcome;
        }
        if let Some(handshake) = conn.handshake() {
            handshake.since = now;
        }
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.reserve_exact(part.len() + 2);
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        let soft = limits.outbox_soft_bytes;
        self.queue_head(id, chunk);
        if self.conns.get(id).is_none_or(|conn| conn.outbox.bytes() <= soft) {
            return SendOutcome::Queued;
        }
        self.mark_above_soft(id, Pressure::Congested);
        SendOutcome::Congested
    }

    /// Ends the body. `on_close` does not follow.
    pub(crate) fn end_response(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.phase == Phase::Responding) {
            self.queue_head(id, LAST_CHUNK.to_vec());
            self.close_after_response(id);
        }
    }

    fn close_after_response(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.set_registration(Registration::Admitted);
        }
        self.end_http(id, CloseReason::HttpDone);
    }
}
