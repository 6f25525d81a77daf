//! Services whose `on_mail` has panicked: each is called again after a pause, which doubles.
//!
//! A service that panics before it takes its mail would otherwise be called again at once, for
//! ever. It owns the pauses: [`panics`](crate::reactor::effects::panics) starts them, and a timer
//! ends each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::reactor::api::id::ServiceId;

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
    pub(crate) fn begin(&mut self, service: ServiceId) -> Duration {
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
