//! Shutdown: no new clients, a Close with 1001 to all in batches, 503 to those whose request is not
//! answered, a deadline, the end.
//!
//! A connection that its service is [busy](crate::reactor::Service::is_busy) for is closed after the others: when
//! it is not busy any more, or when half of the time has passed. Operators are served until the last
//! client and the last outbound connection have ended; then they are dropped, and the loop is finished.

use log::{info, warn};

use crate::protocol::Role;
use crate::protocol::handshake::{self, Refusal, Response};
use crate::reactor::Reactor;
use crate::reactor::api::budget::SHUTDOWN_CLOSES;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::Phase;
use crate::reactor::core::Core;
use crate::reactor::parts::drain::{Drain, PROGRESS_INTERVAL};
use crate::reactor::parts::schedule::Timer;

impl Reactor {
    /// Closes the clients' listeners, so that their ports are free from here on, and notes which
    /// connections to close.
    pub(crate) fn begin_shutdown(&mut self) {
        for listener in &mut self.listeners {
            listener.take_if(|listener| !listener.is_for_operators());
        }
        self.core.admission.close();
        let untold = self.core.drained_connections();
        info!("shutting down: {} connections", untold.len());
        let drain = Drain::new(untold, self.core.now, self.core.settings.drain_timeout);
        for due in [drain.patience, drain.deadline, drain.progress] {
            self.core.schedule.insert(due, Timer::Drain);
        }
        self.drain = Some(drain);
    }

    /// Whether the drain goes on without waiting for an event.
    pub(crate) fn has_drain_work(&self) -> bool {
        let is_told = self.drain.as_ref().map(Drain::is_told);
        match is_told {
            None => false,
            Some(false) => true,
            Some(true) => self.only_operators_are_left() && !self.is_finished(),
        }
    }

    /// Closes the next batch of connections; once none but operators' is left, drops those.
    pub(crate) fn continue_drain(&mut self) {
        self.tell_next_batch();
        if self.drain.as_ref().is_some_and(Drain::is_told) && self.only_operators_are_left() {
            self.listeners.clear();
            self.core.end_operators();
        }
    }

    fn only_operators_are_left(&self) -> bool {
        self.core.conns.drained_len() == 0
    }

    fn tell_next_batch(&mut self) {
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

    /// A timer of the drain: reports progress each second; at the deadline, drops the connections that
    /// are left.
    pub(crate) fn watch_drain(&mut self) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        let now = self.core.now;
        if now < drain.deadline {
            if now >= drain.progress {
                drain.progress = now + PROGRESS_INTERVAL;
                self.core.schedule.insert(drain.progress, Timer::Drain);
                let seconds = drain.deadline.since(now).as_secs_f64().ceil();
                let left = self.core.conns.drained_len();
                info!("shutting down: {left} connections left, {seconds} s until they are dropped");
            }
            return;
        }
        let rest = self.core.drained_connections();
        if !rest.is_empty() {
            warn!("{} connections did not end in time", rest.len());
        }
        for id in rest {
            self.core.vanish(id, CloseReason::Shutdown);
        }
    }

    /// Whether a shutdown has come to its end: every connection was closed, and the last one is gone.
    /// [`Reactor::run`] returns then; a caller of [`Reactor::turn`] stops.
    pub fn is_finished(&self) -> bool {
        let is_told = self.drain.as_ref().is_some_and(Drain::is_told);
        is_told && self.core.conns.len() == 0
    }
}

impl Core {
    /// The connections that a shutdown ends and waits for: all but those of operators.
    fn drained_connections(&self) -> Vec<ConnId> {
        let drained = self.conns.iter().filter(|(_, conn)| !conn.is_operator());
        drained.map(|(id, _)| id).collect()
    }

    /// Drops the operators' connections, each after a try to write what is queued for it.
    fn end_operators(&mut self) {
        let operators = self.conns.iter().filter(|(_, conn)| conn.is_operator());
        let operators: Vec<ConnId> = operators.map(|(id, _)| id).collect();
        for id in operators {
            self.flush(id);
            self.vanish(id, CloseReason::Shutdown);
        }
    }

    /// A client is owed what is on its way, and nothing more. A server that we have connected to is not
    /// asked for more, but what it sends may be what a client is owed.
    fn take_no_more(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.decoder.role() == Role::Server) {
            self.pause(id, PauseOwner::Shutdown);
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
            let refusal = Refusal::ShuttingDown;
            self.log_refused(id, refusal);
            self.metrics.count_refusal(refusal);
            self.queue_response(
                id,
                &Response::from(refusal),
                handshake::Connection::Close,
                head_only,
            );
        }
        self.end_http(id, CloseReason::Shutdown);
    }
}
