//! The wheel with what is on it: each connection's one timer, and those that services set.

use slab::Slab;

use super::budget::SERVICE_TIMERS_MAX;
use super::core::Timer;
use super::timer::{TimerId, Wheel};
use super::{ServiceId, Time};

/// Names a timer that a service has set, until it fires or is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTimer(TimerId);

#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) wheel: Wheel<Timer>,
    /// Whose timer it is, and the key that comes back.
    services: Slab<(ServiceId, u64)>,
}

impl Schedule {
    /// Sets a service's timer; `None` if there are [`SERVICE_TIMERS_MAX`] already.
    pub(super) fn set(&mut self, service: ServiceId, due: Time, key: u64) -> Option<ServiceTimer> {
        if self.services.len() == SERVICE_TIMERS_MAX {
            return None;
        }
        let index = self.services.insert((service, key)) as u32;
        Some(ServiceTimer(self.wheel.insert(due, Timer::Service(index))))
    }

    /// Takes a service's timer back; whether it had not fired yet.
    pub(super) fn cancel(&mut self, ServiceTimer(id): ServiceTimer) -> bool {
        match self.wheel.cancel(id) {
            Some(Timer::Service(index)) => self.fired(index).is_some(),
            _ => false,
        }
    }

    /// Whose timer has fired, and its key.
    pub(super) fn fired(&mut self, index: u32) -> Option<(ServiceId, u64)> {
        self.services.try_remove(index as usize)
    }
}
