//! Going down in good order: no new connections, 1001 to all in batches, 503 to those whose request is
//! not answered, a deadline, the end.
//!
//! A connection that its service is [busy](super::Service::is_busy) for is told after the others: when it
//! is not any more, or when half of the time has passed.

use log::{info, warn};

use super::budget::SHUTDOWN_CLOSES;
use super::connection::Phase;
use super::core::Core;
use super::schedule::Timer;
use super::{CloseReason, ConnId, Reactor, Time};
use crate::protocol::Role;
use crate::protocol::handshake::{self, Refusal, Response};

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Drain {
    /// Who has not been told yet.
    untold: Vec<ConnId>,
    /// Who is told once something has reached it.
    busy: Vec<ConnId>,
    /// Until when that is waited for.
    patience: Time,
    deadline: Time,
}

impl Drain {
    pub(super) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }
}

impl Reactor {
    /// Stops listening, so that the port is free from here on, and notes whom to tell.
    pub(super) fn begin_shutdown(&mut self) {
        self.listeners.clear();
        self.core.admission.close();
        let untold: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        info!("shutting down: {} connections", untold.len());
        let timeout = self.core.settings.drain_timeout;
        let (patience, deadline) = (self.core.now + timeout / 2, self.core.now + timeout);
        self.drain = Some(Drain { untold, busy: Vec::new(), patience, deadline });
        for due in [patience, deadline] {
            self.core.schedule.insert(due, Timer::Drain);
        }
    }

    pub(super) fn tell_next_batch(&mut self) {
        let Some(mut drain) = self.drain.take() else {
            return;
        };
        let is_patient = self.core.now < drain.patience;
        let rest = drain.untold.len().saturating_sub(SHUTDOWN_CLOSES);
        let batch = drain.untold.split_off(rest);
        for id in std::mem::take(&mut drain.busy).into_iter().chain(batch) {
            if is_patient && self.is_busy(id) {
                self.core.take_no_more(id);
                drain.busy.push(id);
            } else {
                self.core.send_away(id);
            }
        }
        self.drain = Some(drain);
    }

    fn is_busy(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.core.conns.get(id).filter(|conn| conn.is_announced()) else {
            return false;
        };
        let service = conn.service;
        let is_ending = conn.reason().is_some();
        !is_ending && self.call(service, |service, _| service.is_busy(id)).unwrap_or(false)
    }

    /// The drain deadline has passed: whoever is left is left.
    pub(super) fn force_shutdown(&mut self) {
        if self.drain.as_ref().is_some_and(|drain| self.core.now < drain.deadline) {
            return;
        }
        let rest: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        warn!("{} connections did not end in time", rest.len());
        for id in rest {
            self.core.vanish(id, CloseReason::Shutdown);
        }
    }

    /// Whether a shutdown has come to its end: everybody was told, and the last connection is gone.
    /// [`Reactor::run`] returns then; who calls [`Reactor::turn`] himself stops.
    pub fn is_finished(&self) -> bool {
        let is_told = self.drain.as_ref().is_some_and(Drain::is_told);
        is_told && self.core.conns.len() == 0
    }
}

impl Core {
    /// A client is owed what is on its way, and nothing more. A server that we have connected to is not
    /// asked for more, but what it sends may be what a client is owed.
    fn take_no_more(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.decoder.role() == Role::Server) {
            self.pause(id);
        }
    }

    /// Ends a connection because the loop goes down: with a Close if it is open; with a 503 if its request
    /// has not come whole, is not decided on, or may be under way; behind the answer that it is getting.
    fn send_away(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let asks = matches!(conn.phase, Phase::Handshake | Phase::Deferred)
            && conn.decoder.role() == Role::Server;
        if !asks || conn.session().is_some_and(|session| session.is_handshaking()) {
            return self.close(id, CloseReason::Shutdown);
        }
        let is_answered = !conn.outbox.is_empty();
        let awaits_answer = conn.handshake().is_some_and(|handshake| handshake.awaits_answer());
        if !is_answered && !awaits_answer {
            return self.vanish(id, CloseReason::Shutdown);
        }
        if !is_answered {
            let head_only = conn.handshake().is_some_and(|handshake| handshake.is_head_only());
            let mut answer = Vec::new();
            let refusal = Refusal::ShuttingDown;
            Response::from(refusal).write(&mut answer, handshake::Connection::Close, head_only);
            self.metrics.count_refusal(refusal);
            self.queue_head(id, answer);
        }
        self.end_http(id, CloseReason::Shutdown);
    }
}
