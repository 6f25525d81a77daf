//! Connections to HTTP upstreams: dialled by a service, one request after another.
//!
//! The sockets are opened in [`connect`](crate::reactor::effects::connect), and heads are found in
//! [`upgrade`](crate::reactor::effects::upgrade). The service decides on each response;
//! [`pipe`](crate::reactor::effects::pipe) joins the connection with its client.

use std::io;
use std::time::Duration;

use crate::protocol::handshake::{ClientError, EMPTY_SLOTS, Refusal};
use crate::protocol::http::{ResponseError, ResponseHead};
use crate::protocol::{Decoder, Role};
use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::connect::Connect;
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::time::Time;
use crate::reactor::api::upstream::{UpstreamDecision, UpstreamRequest};
use crate::reactor::conn::connection::{Connection, Place};
use crate::reactor::conn::handshake::{Dialed, Handshake};
use crate::reactor::conn::phase::{Phase, Registration};
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Quota;

impl Core {
    pub(crate) fn dial(
        &mut self,
        service: ServiceId,
        to: Connect<'_>,
        route: RouteId,
        connect_timeout: Duration,
    ) -> io::Result<ConnId> {
        let (socket, session) = self.open_socket(&to)?;
        let id = self.conns.next_id();
        let mut handshake = Handshake::new(self.now);
        handshake.dialed = Some(Dialed::new(self.now + connect_timeout, to.preface));
        let place = Place { route, service, path: self.no_path.clone() };
        let (decoder, phase) = (Decoder::new(Role::Client), Phase::Connecting);
        let mut conn = Connection::new(id, socket, to.address, decoder, phase, handshake, place);
        conn.register(Quota::Outbound, Registration::Announced);
        conn.cold().session = session;
        self.insert(conn);
        self.metrics.connects += 1;
        self.sync_interest(id);
        self.arm(id);
        self.charge_input_or_close(id);
        Ok(id)
    }

    fn dialed(&mut self, id: ConnId) -> Option<&mut Dialed> {
        self.conns.get_mut(id)?.handshake()?.dialed.as_mut()
    }

    /// Sends what goes before TLS and HTTP, on a socket that is connected.
    pub(crate) fn send_preface(&mut self, id: ConnId) {
        let preface = self.dialed(id).map(|dialed| std::mem::take(&mut dialed.preface));
        let Some(preface) = preface.filter(|preface| !preface.is_empty()) else {
            return;
        };
        if self.conns.get(id).is_some_and(Connection::is_secure) {
            self.queue_sealed(id, &preface);
        } else {
            self.queue_head(id, preface);
        }
        self.charge_input_or_close(id);
    }

    /// The connection is established: sends its request if it was given already. The drain phase
    /// reports it to the service.
    pub(crate) fn finish_dial(&mut self, id: ConnId) {
        let Some(dialed) = self.dialed(id) else {
            return;
        };
        dialed.is_connected = true;
        dialed.until = Time::MAX;
        let has_request = dialed.request.is_some();
        self.queues.drained.push_back(id);
        if has_request {
            self.queue_request(id);
        } else if let Some(conn) = self.conns.get_mut(id) {
            conn.phase = Phase::Idle;
        }
    }

    pub(crate) fn send_upstream_request(
        &mut self,
        service: ServiceId,
        id: ConnId,
        request: UpstreamRequest,
    ) -> bool {
        let Some(conn) = self.conns.owned_mut(service, id) else {
            return false;
        };
        let phase = conn.phase;
        let dialed = conn.handshake().and_then(|handshake| handshake.dialed.as_ref());
        let is_free = match phase {
            Phase::Connecting | Phase::Handshake => {
                dialed.is_some_and(|dialed| !dialed.is_connected && dialed.request.is_none())
            }
            Phase::Idle => self.is_quiet(id),
            _ => false,
        };
        if !is_free || request.client.is_some_and(|client| !self.can_forward(service, client)) {
            return false;
        }
        if let Some(client) = request.client {
            self.mark_forwarded(service, client);
        }
        if let Some(dialed) = self.dialed(id) {
            dialed.request = Some(request);
        }
        if phase == Phase::Idle {
            self.queue_request(id);
        }
        self.charge_input_or_close(id);
        self.conns.get(id).is_some_and(|conn| !conn.has_ended())
    }

    /// Queues the head of the request.
    fn queue_request(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.phase = Phase::Handshake;
        let Some(dialed) = conn.handshake().and_then(|handshake| handshake.dialed.as_mut()) else {
            return;
        };
        let Some(request) = &mut dialed.request else {
            return;
        };
        dialed.until = now + request.answer_timeout;
        let head = std::mem::take(&mut request.head);
        self.queue_head(id, head.0);
        self.charge_input_or_close(id);
        self.arm(id);
        self.begin_exchange(id);
    }

    /// From now on the end of the client's stream ends its request, and the wait for a response has
    /// its own timeout.
    fn mark_forwarded(&mut self, service: ServiceId, client: ConnId) {
        let now = self.now;
        let Some(conn) = self.conns.owned_mut(service, client) else {
            return;
        };
        if let Some(handshake) = conn.handshake().filter(|handshake| !handshake.is_forwarded) {
            handshake.is_forwarded = true;
            handshake.since = now;
            self.outboxes.count_relayed(conn);
            self.arm(client);
            self.enqueue_read(client);
        }
    }

    /// Whether nothing has arrived on an idle connection, except what belongs to TLS. Otherwise it
    /// is dropped.
    fn is_quiet(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get(id) else {
            return false;
        };
        let peeked = conn.socket.peek(&mut [0]);
        let is_quiet = match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            // Perhaps only session tickets.
            Ok(1..) if conn.is_secure() && !conn.read_closed => self.reads_no_plaintext(id),
            _ => false,
        };
        if !is_quiet {
            self.drop_connection(id, CloseReason::PeerGone);
        }
        is_quiet
    }

    pub(crate) fn keep_idle(&mut self, id: ConnId, most: Duration) {
        let now = self.now;
        if self.conns.get(id).is_some_and(|conn| conn.phase == Phase::Idle)
            && let Some(dialed) = self.dialed(id)
        {
            dialed.until = now + most;
            self.arm(id);
        }
    }

    /// Refuses a request whose upstream has not answered in time; false for other connections.
    pub(crate) fn refuse_late_upstream(&mut self, id: ConnId) -> bool {
        let conn = self.conns.get_mut(id).filter(|conn| conn.phase == Phase::Deferred);
        let handshake = conn.and_then(|conn| conn.handshake());
        let head_only = handshake.as_ref().is_some_and(|handshake| handshake.is_head_only());
        let is_forwarded = handshake.is_some_and(|handshake| {
            handshake.is_forwarded && handshake.deferred.is_some()
                || handshake.request_body.is_some()
        });
        if is_forwarded {
            self.refuse(id, Refusal::UpstreamTimeout, head_only);
        }
        is_forwarded
    }
}

impl Reactor {
    /// Handles the head of an upstream's response.
    pub(crate) fn handle_response(&mut self, id: ConnId, head: &[u8]) {
        let Some(conn) = self.core.conns.get(id) else {
            return;
        };
        let service = conn.service;
        let mut slots = EMPTY_SLOTS;
        let head = match ResponseHead::parse(head, &mut slots) {
            Ok(head) => head,
            Err(error) => {
                let error = match error {
                    ResponseError::HeadTooLong => ClientError::HeadTooLong,
                    _ => ClientError::Malformed,
                };
                return self.core.drop_connection(id, CloseReason::UpgradeFailed(error));
            }
        };
        let decision = self.call(service, |service, cx| service.on_response_head(cx, id, &head));
        match decision {
            None => self.core.drop_connection(id, CloseReason::ServicePanicked),
            Some(UpstreamDecision::Drop) => self.core.drop_connection(id, CloseReason::Aborted),
            Some(UpstreamDecision::Join { head, tunnel }) => self.core.join(id, head, &tunnel),
            Some(UpstreamDecision::Interim(interim)) => {
                self.core.forward_interim(id, head.status(), interim);
            }
            Some(UpstreamDecision::Forward(response)) => self.core.forward_response(id, response),
        }
    }
}
