//! Going down in good order: no new connections, 1001 to all in batches, a deadline, the end.

use log::{info, warn};

use super::budget::SHUTDOWN_CLOSES;
use super::core::Timer;
use super::{CloseReason, ConnId, Reactor};

/// A shutdown under way.
#[derive(Debug)]
pub(super) struct Drain {
    /// Who has not been told yet.
    untold: Vec<ConnId>,
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
        self.drain = Some(Drain { untold });
        let deadline = self.core.now + self.core.settings.drain_timeout;
        self.core.schedule.wheel.insert(deadline, Timer::Drain);
    }

    pub(super) fn tell_next_batch(&mut self) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        let rest = drain.untold.len().saturating_sub(SHUTDOWN_CLOSES);
        for id in drain.untold.drain(rest..) {
            self.core.close(id, CloseReason::Shutdown);
        }
    }

    /// The drain deadline has passed: whoever is left is left.
    pub(super) fn force_shutdown(&mut self) {
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
