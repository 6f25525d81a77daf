//! Shutdown: stops accepting, closes all connections with 1001 in batches, answers pending requests
//! with 503, and drops the rest at a deadline.
//!
//! Connections that their service is [busy](crate::reactor::Service::is_busy) for are closed when
//! that ends, or when half of the time has passed. Operators are served until the last client and
//! the last outbound connection have ended; then they are dropped, and the loop has finished.

use log::{info, warn};

use crate::protocol::Role;
use crate::protocol::handshake::{self, Refusal};
use crate::reactor::Reactor;
use crate::reactor::api::budget::SHUTDOWN_CLOSES;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::Phase;
use crate::reactor::core::Core;
use crate::reactor::parts::schedule::Timer;
use crate::reactor::parts::shutdown::{PROGRESS_INTERVAL, Shutdown};

impl Reactor {
    /// Closes the clients' listeners, which frees their ports, and collects the connections to
    /// close.
    pub(crate) fn begin_shutdown(&mut self) {
        for listener in &mut self.listeners {
            listener.take_if(|listener| !listener.is_for_operators());
        }
        self.core.admission.close();
        let not_closed = self.core.connections_to_close();
        info!("shutting down: {} connections", not_closed.len());
        let shutdown = Shutdown::new(not_closed, self.core.now, self.core.settings.drain_timeout);
        for due in [shutdown.busy_until, shutdown.deadline, shutdown.progress] {
            self.core.schedule.insert(due, Timer::Shutdown);
        }
        self.shutdown = Some(shutdown);
    }

    /// Whether the shutdown has work that does not wait for an event.
    pub(crate) fn has_shutdown_work(&self) -> bool {
        let has_closed_all = self.shutdown.as_ref().map(Shutdown::has_closed_all);
        match has_closed_all {
            None => false,
            Some(false) => true,
            Some(true) => self.only_operators_are_left() && !self.is_finished(),
        }
    }

    /// Closes the next batch of connections. Once only operators' connections are left, drops
    /// those.
    pub(crate) fn continue_shutdown(&mut self) {
        self.close_next_batch();
        if self.shutdown.as_ref().is_some_and(Shutdown::has_closed_all)
            && self.only_operators_are_left()
        {
            self.listeners.clear();
            self.core.end_operators();
        }
    }

    fn only_operators_are_left(&self) -> bool {
        self.core.conns.len_without_operators() == 0
    }

    fn close_next_batch(&mut self) {
        let Some(mut shutdown) = self.shutdown.take() else {
            return;
        };
        let may_wait = self.core.now < shutdown.busy_until;
        let rest = shutdown.not_closed.len().saturating_sub(SHUTDOWN_CLOSES);
        let batch = shutdown.not_closed.split_off(rest);
        for id in std::mem::take(&mut shutdown.busy).into_iter().chain(batch) {
            if may_wait && self.is_busy(id) {
                self.core.pause_busy_client(id);
                shutdown.busy.push(id);
            } else {
                self.core.close_for_shutdown(id);
            }
        }
        self.shutdown = Some(shutdown);
    }

    /// Whether the service of a connection is busy for it.
    pub(crate) fn is_busy(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.core.conns.get(id).filter(|conn| conn.is_announced()) else {
            return false;
        };
        let service = conn.service;
        let is_ending = conn.reason().is_some();
        !is_ending && self.call(service, |service, _| service.is_busy(id)).unwrap_or(false)
    }

    /// Handles a timer of the shutdown: logs progress each second; at the deadline, drops the
    /// remaining connections.
    pub(crate) fn watch_shutdown(&mut self) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        let now = self.core.now;
        if now < shutdown.deadline {
            if now >= shutdown.progress {
                shutdown.progress = now + PROGRESS_INTERVAL;
                self.core.schedule.insert(shutdown.progress, Timer::Shutdown);
                let seconds = shutdown.deadline.since(now).as_secs_f64().ceil();
                let left = self.core.conns.len_without_operators();
                info!("shutting down: {left} connections left, {seconds} s until they are dropped");
            }
            return;
        }
        let rest = self.core.connections_to_close();
        if !rest.is_empty() {
            warn!("{} connections did not end in time", rest.len());
        }
        for id in rest {
            self.core.drop_connection(id, CloseReason::Shutdown);
        }
    }

    /// Whether a shutdown is complete: all connections have ended. Then [`Reactor::run`] returns; a
    /// caller of [`Reactor::turn`] stops.
    pub fn is_finished(&self) -> bool {
        let has_closed_all = self.shutdown.as_ref().is_some_and(Shutdown::has_closed_all);
        has_closed_all && self.core.conns.len() == 0
    }
}

impl Core {
    /// The connections that a shutdown closes and waits for: all except those of operators.
    fn connections_to_close(&self) -> Vec<ConnId> {
        let to_close = self.conns.iter().filter(|(_, conn)| !conn.is_operator());
        to_close.map(|(id, _)| id).collect()
    }

    /// Drops the operators' connections, after one attempt to write their output.
    fn end_operators(&mut self) {
        let operators = self.conns.iter().filter(|(_, conn)| conn.is_operator());
        let operators: Vec<ConnId> = operators.map(|(id, _)| id).collect();
        for id in operators {
            self.flush(id);
            self.drop_connection(id, CloseReason::Shutdown);
        }
    }

    /// Pauses reading from a busy client: it gets its pending responses, but no further requests
    /// are read. An outbound connection is read on, since its input may be part of a client's
    /// response.
    fn pause_busy_client(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.decoder.role() == Role::Server) {
            self.pause(id, PauseOwner::Shutdown);
        }
    }

    /// Closes a connection for the shutdown. An open one gets a Close. One whose request is
    /// incomplete, undecided or perhaps on its way gets a 503. One whose response is being written
    /// is closed after it.
    fn close_for_shutdown(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.is_streaming() || conn.answers_client() {
            return;
        }
        let asks = matches!(conn.phase, Phase::Handshake | Phase::Deferred)
            && conn.decoder.role() == Role::Server;
        let is_before_http = conn.awaits_proxy_header();
        if !asks || is_before_http || conn.session().is_some_and(|session| session.is_handshaking())
        {
            return self.close(id, CloseReason::Shutdown);
        }
        // A deferred request has no response yet; a 100 may be queued.
        let is_answered = !conn.outbox.is_empty() && conn.phase == Phase::Handshake;
        let awaits_answer = conn.handshake().is_some_and(|handshake| handshake.awaits_answer());
        if !is_answered && !awaits_answer {
            return self.drop_connection(id, CloseReason::Shutdown);
        }
        if !is_answered {
            let head_only = conn.handshake().is_some_and(|handshake| handshake.is_head_only());
            let refusal = Refusal::ShuttingDown;
            let response = self.refusal_response(id, refusal);
            self.log_refused(id, refusal);
            self.metrics.count_refusal(refusal);
            if self.refuse_by_close(id, CloseReason::Shutdown, &response, refusal.reason()) {
                return;
            }
            self.queue_response(id, &response, handshake::ConnectionOption::Close, head_only);
        }
        self.end_http(id, CloseReason::Shutdown);
    }
}
