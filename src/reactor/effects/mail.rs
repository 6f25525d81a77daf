//! Schedules calls of services' `on_mail`.
//!
//! It calls no service: the mail phase in `turn.rs` does.

use crate::reactor::api::id::ServiceId;
use crate::reactor::core::Core;

impl Core {
    /// Schedules a call of a service's `on_mail` in the next mail phase, unless the service is
    /// paused after a panic.
    pub(crate) fn wake(&mut self, service: ServiceId) {
        self.queues.wake(service, &self.recovery);
    }

    /// Schedules a call for each service with mail from other threads.
    pub(crate) fn take_mail(&mut self) {
        for service in self.notifiers.take_notified() {
            self.queues.wake(service, &self.recovery);
        }
    }
}
