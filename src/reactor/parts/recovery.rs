//! Services whose `on_mail` has panicked: each is called again after a pause, which doubles.
//!
//! A service that panics before it takes its mail would otherwise be called again at once, for
//! ever. It owns the pauses; the mail phase calls services, and a timer ends each pause.

use std::collections::BTreeMap;
use std::time::Duration;

use log::{Level, error};

use super::schedule::Timer;
use crate::reactor::api::id::ServiceId;
use crate::reactor::core::Core;

/// The pause after the first panic.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Services that have not returned from `on_mail` since it panicked.
#[derive(Debug, Default)]
pub(crate) struct Recovery(BTreeMap<ServiceId, Pause>);

#[derive(Debug)]
struct Pause {
    length: Duration,
    /// Whether its timer has not fired yet.
    is_running: bool,
}

impl Recovery {
    /// Whether a service's mail waits for the end of a pause.
    pub(crate) fn is_paused(&self, service: ServiceId) -> bool {
        self.0.get(&service).is_some_and(|pause| pause.is_running)
    }

    /// Starts a pause; returns its length.
    fn begin(&mut self, service: ServiceId) -> Duration {
        let length = match self.0.get(&service) {
            Some(last) => (last.length * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        self.0.insert(service, Pause { length, is_running: true });
        length
    }

    /// Ends a pause: the service may be called again.
    pub(crate) fn end_pause(&mut self, service: ServiceId) {
        if let Some(pause) = self.0.get_mut(&service) {
            pause.is_running = false;
        }
    }

    /// Records that a service's `on_mail` has returned.
    pub(crate) fn succeed(&mut self, service: ServiceId) {
        if !self.0.is_empty() {
            self.0.remove(&service);
        }
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = ServiceId> {
        self.0.keys().copied()
    }
}

impl Core {
    /// Counts and logs a panic in a service's handler.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_panic(&mut self, service: ServiceId) {
        self.metrics.panics += 1;
        if self.may_log(Level::Error, "panicked", "handler") {
            error!("service {} ({}) panicked", service.number(), self.service_name(service));
        }
    }

    /// Pauses a service's mail after a panic in `on_mail`.
    pub(crate) fn pause_mail(&mut self, service: ServiceId) {
        let pause = self.recovery.begin(service);
        self.schedule.insert(self.now + pause, Timer::Mail(service));
        self.metrics.mail_pauses += 1;
        let (number, name) = (service.number(), self.service_name(service));
        error!("service {number} ({name}) panicked in on_mail: it is called again in {pause:?}");
    }

    /// The type name of a service, for logs.
    pub(crate) fn service_name(&self, service: ServiceId) -> &'static str {
        self.service_names.get(service.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_reset_by_a_success() {
        let mut recovery = Recovery::default();
        let (a, b) = (ServiceId(0), ServiceId(1));
        let pauses: Vec<u64> = (0..8).map(|_| recovery.begin(a).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(recovery.begin(b), PAUSE_MIN);
        assert!(recovery.is_paused(a));
        recovery.end_pause(a);
        assert!(!recovery.is_paused(a) && recovery.is_paused(b));
        assert_eq!(recovery.services().collect::<Vec<_>>(), [a, b], "not yet successful");
        recovery.succeed(a);
        assert_eq!(recovery.services().collect::<Vec<_>>(), [b]);
        assert_eq!(recovery.begin(a), PAUSE_MIN);
    }
}
