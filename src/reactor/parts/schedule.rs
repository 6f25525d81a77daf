//! The timers of the loop: one per connection, those of services, and the loop's own.
//!
//! It owns the wheel (`timer.rs`) and packs each kind of timer into a key of eight bytes. It calls
//! no handler: the timer phase does.

use slab::Slab;

use super::timer::{TimerId, Wheel};
use crate::reactor::api::budget::SERVICE_TIMERS_MAX;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::time::Time;

/// The kinds of timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Connection(ConnId),
    Service(u32),
    Listener(u32),
    Drain,
    Trim,
    Lines,
    /// The end of a service's pause after a panic in `on_mail`.
    Mail(ServiceId),
}

/// A [`Timer`] in eight bytes, since each connection has one: slot and serial of a connection, or
/// serial 0, which no connection has, and a number for other timers.
#[derive(Debug, Clone, Copy)]
struct Key(u64);

/// First number of listeners' timers. Services' timers count from 0 and are fewer than this.
const LISTENERS: u32 = 1 << 31;
/// First number of timers that end pauses of services' mail.
const MAIL: u32 = 3 << 30;
const DRAIN: u32 = u32::MAX;
const TRIM: u32 = u32::MAX - 1;
const LINES: u32 = u32::MAX - 2;

const _: () = assert!(MAIL + (u16::MAX as u32) < LINES);
const _: () = assert!(SERVICE_TIMERS_MAX < LISTENERS as usize);

impl From<Timer> for Key {
    fn from(timer: Timer) -> Key {
        let (slot, serial) = match timer {
            Timer::Connection(id) => (id.slot() as u32, id.serial()),
            Timer::Service(index) => (index, 0),
            Timer::Listener(index) => (LISTENERS + index, 0),
            Timer::Drain => (DRAIN, 0),
            Timer::Trim => (TRIM, 0),
            Timer::Lines => (LINES, 0),
            Timer::Mail(service) => (MAIL + service.index() as u32, 0),
        };
        Key(u64::from(serial) << 32 | u64::from(slot))
    }
}

impl From<Key> for Timer {
    fn from(Key(packed): Key) -> Timer {
        let (slot, serial) = (packed as u32, (packed >> 32) as u32);
        match (slot, serial) {
            (DRAIN, 0) => Timer::Drain,
            (TRIM, 0) => Timer::Trim,
            (LINES, 0) => Timer::Lines,
            (MAIL.., 0) => Timer::Mail(ServiceId((slot - MAIL) as u16)),
            (LISTENERS.., 0) => Timer::Listener(slot - LISTENERS),
            (index, 0) => Timer::Service(index),
            _ => Timer::Connection(ConnId::new(slot as usize, serial)),
        }
    }
}

/// Identifies a service's timer until it fires or is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTimer(TimerId);

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    wheel: Wheel<Key>,
    /// The service of each timer, and its key.
    services: Slab<(ServiceId, u64)>,
}

impl Schedule {
    /// See [`Wheel::insert`].
    pub(crate) fn insert(&mut self, due: Time, timer: Timer) -> TimerId {
        self.wheel.insert(due, timer.into())
    }

    /// See [`Wheel::cancel`].
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<Timer> {
        self.wheel.cancel(id).map(Timer::from)
    }

    /// See [`Wheel::due`].
    pub(crate) fn due(&self, id: TimerId) -> Option<Time> {
        self.wheel.due(id)
    }

    /// See [`Wheel::next`].
    pub(crate) fn next(&self) -> Option<Time> {
        self.wheel.next()
    }

    /// See [`Wheel::pop`].
    pub(crate) fn pop(&mut self, now: Time, budget: &mut usize) -> Option<Timer> {
        self.wheel.pop(now, budget).map(Timer::from)
    }

    /// Sets a service's timer; `None` if there are [`SERVICE_TIMERS_MAX`] already.
    pub(crate) fn set(&mut self, service: ServiceId, due: Time, key: u64) -> Option<ServiceTimer> {
        if self.services.len() == SERVICE_TIMERS_MAX {
            return None;
        }
        let index = self.services.insert((service, key)) as u32;
        Some(ServiceTimer(self.insert(due, Timer::Service(index))))
    }

    /// Cancels a service's timer; false if it has fired.
    pub(crate) fn unset(&mut self, ServiceTimer(id): ServiceTimer) -> bool {
        match self.cancel(id) {
            Some(Timer::Service(index)) => self.fired(index).is_some(),
            _ => false,
        }
    }

    /// Removes a fired timer; returns its service and key.
    pub(crate) fn fired(&mut self, index: u32) -> Option<(ServiceId, u64)> {
        self.services.try_remove(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_convert_back_to_their_timers() {
        let timers = [
            Timer::Connection(ConnId::new(0, 1)),
            Timer::Connection(ConnId::new(u32::MAX as usize, u32::MAX)),
            Timer::Service(0),
            Timer::Service(SERVICE_TIMERS_MAX as u32),
            Timer::Listener(0),
            Timer::Listener(1000),
            Timer::Drain,
            Timer::Trim,
            Timer::Lines,
            Timer::Mail(ServiceId(0)),
            Timer::Mail(ServiceId(u16::MAX)),
        ];
        for timer in timers {
            assert_eq!(Timer::from(Key::from(timer)), timer);
        }
    }
}
