//! How HTTP exchanges end: complete, cut by the upstream, or lost with the client.
//!
//! After a complete response each connection waits for its next request, or closes. A response that is
//! not complete must not look so: the client's connection is reset. Before the response's head the
//! service decides what the client of a lost upstream gets. The reap phase ends the partner of a
//! connection that has ended.

use std::io;

use log::debug;

use crate::protocol::handshake::{ClientError, Refusal};
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::exchange::{ExchangeEnd, ExchangeOutcome};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::time::Time;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::Phase;
use crate::reactor::core::Core;
use crate::reactor::parts::socket::reset_on_close;

impl Reactor {
    /// The response is complete. `is_clean`: nothing arrived behind it.
    pub(crate) fn finish_exchange(&mut self, upstream: ConnId, is_clean: bool) {
        let Some(client) = self.core.streaming_client(upstream) else {
            // The client has ended: the reap phase ends the upstream.
            return;
        };
        let is_upstream_idle = is_clean && self.core.can_reuse(client, upstream);
        let end = self.core.exchange_end(client, upstream, ExchangeOutcome::Complete);
        self.core.release_client(client, upstream);
        self.core.release_upstream(upstream, is_upstream_idle);
        self.report_exchange(client, upstream, ExchangeEnd { is_upstream_idle, ..end });
    }

    /// Ends the other side of an exchange whose one connection has ended. The reap phase calls it for
    /// each ended connection.
    pub(crate) fn end_exchange(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.core.conns.get(id) else {
            return;
        };
        let Some(partner) = conn.exchange_partner() else {
            return;
        };
        if conn.request_body().is_some() {
            self.end_for_lost_client(id, partner, reason);
        } else {
            self.end_for_lost_upstream(partner, id, reason);
        }
    }

    fn end_for_lost_client(&mut self, client: ConnId, upstream: ConnId, reason: CloseReason) {
        let is_answered = self.core.is_answered(client);
        let end = self.core.exchange_end(client, upstream, ExchangeOutcome::ClientLost(reason));
        if is_answered {
            self.core.reset_on_close(client);
        }
        self.core.detach(client);
        self.core.release_upstream(upstream, false);
        if is_answered {
            self.report_exchange(client, upstream, end);
        }
    }

    fn end_for_lost_upstream(&mut self, client: ConnId, upstream: ConnId, reason: CloseReason) {
        let body = self.core.conns.get(client).and_then(|conn| conn.request_body());
        if body.is_none_or(|body| body.upstream != Some(upstream)) {
            return;
        }
        if !self.core.is_answered(client) {
            // The service learns it by `on_close`, and decides.
            self.core.detach(client);
            self.core.resume(client, PauseOwner::Partner);
            return self.core.arm(client);
        }
        if self.core.streaming_client(upstream).is_none() {
            // The client has ended, too, and is reaped after the upstream.
            return;
        }
        let response = self.core.conns.get(upstream).and_then(|conn| conn.response_body());
        let is_complete = response.is_some_and(|body| body.pass.is_complete());
        let outcome = match is_complete {
            true => ExchangeOutcome::Complete,
            false => ExchangeOutcome::Cut(reason),
        };
        let end = self.core.exchange_end(client, upstream, outcome);
        if is_complete {
            self.core.release_client(client, upstream);
        } else {
            self.core.reset_on_close(client);
            self.core.detach(client);
            self.core.drop_connection(client, CloseReason::Cut);
        }
        self.report_exchange(client, upstream, end);
    }

    fn report_exchange(&mut self, client: ConnId, upstream: ConnId, end: ExchangeEnd) {
        let Some(service) = self.core.conns.get(client).map(|conn| conn.service) else {
            return;
        };
        let _ = self.call_weighed(service, |service, cx| {
            service.on_exchange_end(cx, client, upstream, &end);
        });
    }
}

impl Core {
    /// The client that gets the response of this upstream, unless it has ended.
    fn streaming_client(&self, upstream: ConnId) -> Option<ConnId> {
        let client = self.conns.get(upstream)?.upstream_request()?.client?;
        self.conns.get(client).filter(|conn| conn.is_streaming())?;
        Some(client)
    }

    fn is_answered(&self, client: ConnId) -> bool {
        let body = self.conns.get(client).and_then(|conn| conn.request_body());
        body.is_some_and(|body| body.is_answered)
    }

    fn exchange_end(
        &self,
        client: ConnId,
        upstream: ConnId,
        outcome: ExchangeOutcome,
    ) -> ExchangeEnd {
        let request = self.conns.get(client).and_then(|conn| conn.request_body());
        let response = self.conns.get(upstream).and_then(|conn| conn.response_body());
        ExchangeEnd {
            outcome,
            is_upstream_idle: false,
            request_bytes: request.map_or(0, |body| body.bytes),
            response_bytes: response.map_or(0, |body| body.bytes),
        }
    }

    /// Whether an upstream may get another request after its complete response: it has got the whole
    /// request, and both sides leave the connection open.
    fn can_reuse(&self, client: ConnId, upstream: ConnId) -> bool {
        let (Some(of_client), Some(of_upstream)) =
            (self.conns.get(client), self.conns.get(upstream))
        else {
            return false;
        };
        let is_sent = of_client
            .request_body()
            .is_some_and(|body| body.pass.is_complete() && !body.is_stopped);
        is_sent
            && of_upstream.response_body().is_some_and(|body| body.keeps_upstream)
            && of_upstream.outbox.is_empty()
            && !of_upstream.read_closed
            && !self.admission.is_closed()
    }

    /// The client has got its whole response: its connection waits for the next request, or closes.
    fn release_client(&mut self, client: ConnId, upstream: ConnId) {
        let now = self.now;
        let is_closed = self.admission.is_closed();
        let response = self.conns.get(upstream).and_then(|conn| conn.response_body());
        let keeps_client = response.is_some_and(|body| body.keeps_client);
        let Some(conn) = self.conns.get_mut(client) else {
            return;
        };
        conn.pauses.end(PauseOwner::Partner);
        let is_written = conn.outbox.is_empty();
        let Some(handshake) = conn.handshake() else {
            return;
        };
        // What is left of the body must not be taken for a request.
        let body = handshake.request_body.take();
        let is_read = body.is_some_and(|body| body.pass.is_complete());
        handshake.pending_http = None;
        handshake.is_forwarded = false;
        handshake.answered += 1;
        handshake.since = if is_written { now } else { Time::MAX };
        conn.end_request_identity();
        if keeps_client && is_read && !is_closed {
            conn.phase = Phase::Handshake;
        } else {
            self.end_http(client, CloseReason::HttpDone);
        }
        self.enqueue_flush(client);
        self.enqueue_read(client);
        self.arm(client);
    }

    /// A client has read its whole response: the wait for the next request starts.
    pub(crate) fn await_next_request(&mut self, client: ConnId) {
        let now = self.now;
        let handshake = self.conns.get_mut(client).and_then(|conn| conn.handshake());
        if let Some(handshake) = handshake.filter(|handshake| handshake.since == Time::MAX) {
            handshake.since = now;
            self.arm(client);
        }
    }

    /// Ends an upstream's part in its exchange: it is idle from now on, or dropped.
    fn release_upstream(&mut self, upstream: ConnId, is_idle: bool) {
        let Some(conn) = self.conns.get_mut(upstream) else {
            return;
        };
        let is_complete = conn.response_body().is_some_and(|body| body.pass.is_complete());
        conn.pauses.end(PauseOwner::Partner);
        let Some(dialed) = conn.handshake().and_then(|handshake| handshake.dialed.as_mut()) else {
            return;
        };
        dialed.request = None;
        dialed.response = None;
        dialed.interims = 0;
        dialed.until = Time::MAX;
        self.outboxes.count_relayed(conn);
        if !is_idle {
            let reason = if is_complete { CloseReason::HttpDone } else { CloseReason::Aborted };
            return self.drop_connection(upstream, reason);
        }
        conn.phase = Phase::Idle;
        self.enqueue_flush(upstream);
        self.enqueue_read(upstream);
        self.arm(upstream);
    }

    /// Separates a client from its upstream.
    fn detach(&mut self, client: ConnId) {
        if let Some(body) = self.conns.get_mut(client).and_then(|conn| conn.request_body_mut()) {
            body.upstream = None;
        }
    }

    /// Drops the upstream of a client that gets a response of weir instead. Returns whether the
    /// client's request was read to its end.
    pub(crate) fn abandon_exchange(&mut self, client: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(client) else {
            return true;
        };
        let Some(handshake) = conn.handshake() else {
            return true;
        };
        let Some(body) = handshake.request_body.take() else {
            return true;
        };
        handshake.is_forwarded = false;
        conn.pauses.end(PauseOwner::Partner);
        self.outboxes.count_relayed(conn);
        if let Some(upstream) = body.upstream {
            self.release_upstream(upstream, false);
        }
        body.pass.is_complete()
    }

    /// Ends an exchange whose body is invalid or does not fit in memory.
    pub(crate) fn fail_body(&mut self, id: ConnId, refusal: Refusal) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let is_request = conn.request_body().is_some();
        let reason = match refusal {
            _ if is_request => CloseReason::Refused(refusal),
            Refusal::OutOfResources => CloseReason::Overloaded,
            _ => CloseReason::UpgradeFailed(ClientError::Malformed),
        };
        if conn.phase == Phase::Deferred {
            let head_only = conn.handshake().is_some_and(|handshake| handshake.is_head_only());
            self.refuse(id, refusal, head_only);
        } else {
            self.drop_connection(id, reason);
        }
    }

    /// A body was silent for too long.
    pub(crate) fn fail_silent_body(&mut self, id: ConnId) {
        match self.conns.get(id).is_some_and(|conn| conn.request_body().is_some()) {
            true => self.fail_body(id, Refusal::BodyTimeout),
            false => self.drop_connection(id, CloseReason::HandshakeTimeout),
        }
    }

    /// Handles the end of the stream of one side of an exchange. It completes a response without
    /// another end.
    pub(crate) fn end_body(&mut self, id: ConnId, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let client = conn.exchange_partner();
        let reason = conn.end_or_reset(reason);
        let mut written = Vec::new();
        let is_complete = reason == CloseReason::PeerGone
            && conn.upstream_request().is_some()
            && conn.sent_body_mut().is_some_and(|(pass, _)| pass.end(&mut written).is_ok());
        self.write_close_notify(id);
        if let Some(client) = client.filter(|_| is_complete) {
            let is_passed = self.forward_body(id, client, &written);
            debug_assert!(is_passed || self.conns.get(id).is_some_and(|conn| conn.has_ended()));
            self.drop_connection(id, CloseReason::HttpDone);
        } else {
            self.drop_connection(id, reason);
        }
    }

    /// Handles a failed write. What the peer sent before it stopped to read is read first: Linux keeps
    /// what has arrived before a reset.
    pub(crate) fn fail_write(&mut self, id: ConnId, error: &io::Error) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let is_reset = error.kind() == io::ErrorKind::ConnectionReset;
        if is_reset {
            conn.note_reset();
        }
        let is_closed = is_reset || error.kind() == io::ErrorKind::BrokenPipe;
        if is_closed && conn.sends_frames() && !conn.is_unread_by_choice() {
            return self.read_last_frames(id);
        }
        let client = conn.exchange_partner().filter(|_| conn.upstream_request().is_some());
        let is_read = conn.awaits_response() || conn.is_streaming();
        // Without a request sent there is no response, and the body is for another upstream.
        let body = client.and_then(|client| self.conns.get(client)?.request_body());
        let is_bound = body.is_none_or(|body| body.upstream == Some(id));
        let Some(client) = client.filter(|_| is_read && is_bound) else {
            return self.end_by_reset(id);
        };
        self.drop_output(id);
        if let Some(body) = self.conns.get_mut(client).and_then(|conn| conn.request_body_mut()) {
            body.is_stopped = true;
        }
        self.await_response(id, true);
        self.enqueue_read(id);
    }

    /// Reads the frames of a side of a tunnel that takes no more, until the end of its stream. What its
    /// partner sends meanwhile fails to be written, and is dropped.
    fn read_last_frames(&mut self, id: ConnId) {
        self.drop_output(id);
        if let Some(partner) = self.conns.get(id).and_then(|conn| conn.pipe()).map(|it| it.partner)
        {
            self.resume(partner, PauseOwner::Partner);
        }
        self.enqueue_flush(id);
        self.enqueue_read(id);
    }

    /// Drops the output of a connection that takes no more. Its input is to be read.
    fn drop_output(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.outboxes.change(id, conn, |open| open.outbox.clear(open.spares));
            conn.readable = true;
        }
    }

    /// Lets the end of a connection show as a reset.
    fn reset_on_close(&self, id: ConnId) {
        if let Some(conn) = self.conns.get(id)
            && let Err(error) = reset_on_close(&conn.socket)
        {
            debug!("{id}: the connection ends without a reset: {error}");
        }
    }
}
