//! Refusals that scripts in browsers can read: a 101, then a Close with a code and the reason.
//!
//! Browsers hide the status of a failed upgrade and report code 1006. Routes with
//! [`RefuseBy::Close`] accept a valid upgrade that is refused, and close it at once. Its service never
//! sees it, admission does not count it from then on, and few such connections wait for their end at
//! the same time. [`closing`](crate::reactor::effects::closing) ends them.

use std::net::SocketAddr;

use crate::protocol::handshake::{
    Accept, Refusal, Response, TOKEN_PREFIX, TOKEN_PROTOCOL, Upgrade,
};
use crate::protocol::secret::Secret;
use crate::protocol::{CloseCode, CloseFrame};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId};
use crate::reactor::api::settings::RefuseBy;
use crate::reactor::conn::handshake::Deferred;
use crate::reactor::conn::phase::{Input, Phase, Registration};
use crate::reactor::core::Core;

impl Core {
    /// Remembers a valid upgrade that is about to be refused, if its route refuses by a Close.
    pub(crate) fn note_refusable(&mut self, id: ConnId, route: RouteId, upgrade: &Upgrade<'_>) {
        if self.router.settings(route).refuse != RefuseBy::Close {
            return;
        }
        let service = self.router.service(route);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.route = route;
        conn.service = service;
        if let Some(handshake) = conn.handshake() {
            let offered = Secret(upgrade.protocols().map(Box::from).collect());
            handshake.deferred =
                Some(Deferred { digest: upgrade.accept(), offered, deflate: None });
        }
    }

    /// Refuses an upgrade by a Close. False if the response must be sent instead: for other requests,
    /// routes and statuses, and if too many such connections wait for their end.
    pub(crate) fn refuse_by_close(
        &mut self,
        id: ConnId,
        reason: CloseReason,
        response: &Response,
        text: &str,
    ) -> bool {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.reason().is_none()) else {
            return false;
        };
        let handshake = conn.cold.as_deref().and_then(|cold| cold.handshake.as_deref());
        let Some(deferred) = handshake.and_then(|handshake| handshake.deferred.as_ref()) else {
            return false;
        };
        let is_by_close = self.router.settings(conn.route).refuse == RefuseBy::Close;
        let Some(code) = close_code(response.status()).filter(|_| is_by_close) else {
            return false;
        };
        let mut head = Vec::new();
        let accept = self.accept_refused(conn.route, deferred);
        if accept.write(&mut head, &deferred.digest, "").is_err() || !self.release_refused(id) {
            return false;
        }
        let text = match code == CloseCode::TRY_AGAIN_LATER {
            true => format!("{text}, retry in {} s", self.retry_seconds(response)),
            false => text.to_owned(),
        };
        self.abandon_exchange(id);
        self.queue_head(id, head);
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return true;
        };
        if let Some(handshake) = conn.handshake() {
            handshake.deferred = None;
        }
        conn.phase = Phase::Closing { since: now, reason, input: Input::AwaitClose };
        let close = CloseFrame::new(code, &text);
        self.outboxes.change(id, conn, |open| {
            open.outbox.push_close(open.spares, Some(close), None);
        });
        self.charge_input_or_close(id);
        self.enqueue_flush(id);
        self.enqueue_read(id);
        self.arm(id);
        true
    }

    /// When the client of a refused upgrade should return. `Retry-After` may also be a date (RFC 9110,
    /// 10.2.3), which pages do not need.
    fn retry_seconds(&mut self, response: &Response) -> u32 {
        let stated = response.header_value("Retry-After").and_then(|value| value.parse().ok());
        stated.unwrap_or_else(|| self.masks.retry_after_seconds())
    }

    /// The 101 of a refused upgrade. It selects a subprotocol if the client offers some.
    fn accept_refused(&self, route: RouteId, deferred: &Deferred) -> Accept {
        let listed = self.router.protocols(self.router.service(route)).iter();
        let of_service = listed.map(|name| &**name).find(|name| deferred.offers(name));
        let of_client = || {
            let mut names = deferred.offered.iter().map(|name| &**name);
            names.find(|name| !name.starts_with(TOKEN_PREFIX))
        };
        let token = Some(TOKEN_PROTOCOL).filter(|name| deferred.offers(name));
        let chosen = of_service.or(token).or_else(of_client);
        chosen.map_or_else(Accept::new, |name| Accept::new().protocol(name))
    }

    /// Ends the admission of a refused connection; false if too many wait for their end.
    fn release_refused(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        if conn.is_refused() {
            return true;
        }
        if !self.admission.admit_refused(&self.settings) {
            return false;
        }
        if conn.is_provisional() {
            conn.set_provisional(false);
            self.admission.end_provisional();
        }
        self.admission.release(conn.quota(), SocketAddr::from(conn.peer).ip());
        let registration = match conn.is_announced() {
            true => Registration::Dismissed,
            false => Registration::Refused,
        };
        conn.set_registration(registration);
        let member = conn.take_member();
        self.leave_route_of(id);
        if let Some(member) = member {
            self.subjects.leave(member);
        }
        true
    }
}

/// The code of the Close instead of a status; `None`: the status is sent.
fn close_code(status: u16) -> Option<CloseCode> {
    match status {
        401 => Some(CloseCode::UNAUTHORIZED),
        403 | 404 => Some(CloseCode::FORBIDDEN),
        429 | 500..=599 => Some(CloseCode::TRY_AGAIN_LATER),
        _ => None,
    }
}

/// What the client learns of a refusal by a response of a service: its text, else its status.
pub(crate) fn close_text(response: &Response) -> String {
    let text = response.plain_text().and_then(|text| text.lines().next()).unwrap_or_default();
    match text.is_empty() {
        true => format!("status {}", response.status()),
        false => text.to_owned(),
    }
}

impl Refusal {
    /// Whether it is sent as a status by all routes: it protects from pages of other sites, or from
    /// malformed requests.
    pub(crate) fn is_always_http(self) -> bool {
        matches!(self, Refusal::Origin | Refusal::Host)
    }
}
