//! Panics in handlers: counted and logged. A service whose `on_mail` panicked is paused.
//!
//! The pauses are in [`recovery`](crate::reactor::parts::recovery).

use log::{Level, error};

use crate::reactor::api::id::ServiceId;
use crate::reactor::core::Core;
use crate::reactor::parts::schedule::Timer;

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
