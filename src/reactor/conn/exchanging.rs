//! What follows from a connection's side of an HTTP exchange: what it may read, and its next
//! deadline.
//!
//! The state itself is in [`exchange`](super::exchange).

use super::connection::Connection;
use super::due::Due;
use super::exchange::{RequestBody, ResponseBody};
use super::handshake::Handshake;
use super::pause::PauseOwner;
use super::phase::Phase;
use crate::protocol::Role;
use crate::protocol::http::BodyPass;
use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;
use crate::reactor::api::upstream::UpstreamRequest;

impl Connection {
    pub(crate) fn handshake_ref(&self) -> Option<&Handshake> {
        self.cold.as_ref()?.handshake.as_deref()
    }

    /// The body of the request that an upstream gets, or may get.
    pub(crate) fn request_body(&self) -> Option<&RequestBody> {
        self.handshake_ref()?.request_body.as_deref()
    }

    pub(crate) fn request_body_mut(&mut self) -> Option<&mut RequestBody> {
        self.handshake()?.request_body.as_deref_mut()
    }

    /// The body of the response that is forwarded.
    pub(crate) fn response_body(&self) -> Option<&ResponseBody> {
        self.handshake_ref()?.dialed.as_ref()?.response.as_deref()
    }

    /// The body that it sends, and the number of bytes that were read of it.
    pub(crate) fn sent_body_mut(&mut self) -> Option<(&mut BodyPass, &mut u64)> {
        let handshake = self.handshake()?;
        if let Some(body) = handshake.request_body.as_deref_mut() {
            return Some((&mut body.pass, &mut body.bytes));
        }
        let body = handshake.dialed.as_mut()?.response.as_deref_mut()?;
        Some((&mut body.pass, &mut body.bytes))
    }

    /// The request that an upstream was sent, or will be once it is connected.
    pub(crate) fn upstream_request(&self) -> Option<&UpstreamRequest> {
        self.handshake_ref()?.dialed.as_ref()?.request.as_ref()
    }

    /// Whether the final head of its exchange's response was forwarded, and the response is not
    /// complete.
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Streaming)
    }

    /// The other side of its exchange, if the request was queued for the upstream. It may have ended.
    pub(crate) fn exchange_partner(&self) -> Option<ConnId> {
        match self.request_body() {
            Some(body) => body.upstream,
            None if matches!(self.phase, Phase::Connecting | Phase::Idle) => None,
            None => self.upstream_request()?.client,
        }
    }

    /// Whether it is an upstream that a client waits for, whose body it gets.
    pub(crate) fn answers_client(&self) -> bool {
        self.awaits_response() && self.exchange_partner().is_some()
    }

    /// Whether it is an upstream whose client reads too slowly.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.decoder.role() == Role::Client && self.pauses.has(PauseOwner::Partner)
    }

    /// Whether it takes bytes that another connection sent: it is joined, in an exchange, or an
    /// upstream that gets a request body.
    pub(crate) fn takes_forwarded(&self) -> bool {
        self.is_piped() || self.is_streaming() || self.awaits_response()
    }

    /// Whether its input is a body that is passed on.
    pub(crate) fn passes_body(&self) -> bool {
        if !matches!(self.phase, Phase::Deferred | Phase::Streaming) || self.pauses.is_any() {
            return false;
        }
        match (self.request_body(), self.response_body()) {
            (Some(body), _) => body.upstream.is_some() && !body.is_done(),
            (None, Some(body)) => !body.pass.is_complete(),
            (None, None) => false,
        }
    }

    /// The next deadline of a client whose body may be passed, or of either side of an exchange whose
    /// response is forwarded.
    pub(crate) fn exchange_deadline(&self, route: &RouteSettings) -> (Time, Due) {
        let never = (Time::MAX, Due::Body);
        let timeout = match self.request_body() {
            Some(body) => Some(body.timeout).filter(|_| !body.awaits_continue),
            None => self.upstream_request().map(|request| request.body_timeout),
        };
        let silence = timeout.filter(|_| self.passes_body());
        let silence = silence.map_or(never, |timeout| (self.last_heard + timeout, Due::Body));
        let blocked = (self.write_deadline(route), Due::Write);
        if blocked.0 < silence.0 { blocked } else { silence }
    }

    /// Until when the peer must read a part of the output.
    pub(crate) fn write_deadline(&self, route: &RouteSettings) -> Time {
        self.outbox.blocked_since().map_or(Time::MAX, |since| since + route.write_timeout)
    }

    /// Whether it is a client that has not read all of a complete response.
    pub(crate) fn writes_response(&self) -> bool {
        !self.outbox.is_empty()
            && self.handshake_ref().is_some_and(|handshake| handshake.since == Time::MAX)
    }
}
