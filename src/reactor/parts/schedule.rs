//! The timers of the loop: one per connection, those of services, and the loop's own.
//!
//! It owns the wheel (`timer.rs`) and packs each kind of timer into a key of eight bytes. It calls
//! no handler: the timer phase does.

use std::time::Duration;

use slab::Slab;

use super::timer::{SLOT, TimerId, Wheel};
use crate::reactor::api::budget::SERVICE_TIMERS_MAX;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::time::Time;

/// The kinds of timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Connection(ConnId),
    Service(u32),
    Listener(u32),
    Shutdown,
    Trim,
    Lines,
    /// The check of the wall clock, while identities may expire.
    Wall,
    /// A sample of the load is due.
    Load,
    /// A gate has not decided on a presented token in time.
    Presented,
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
const SHUTDOWN: u32 = u32::MAX;
const TRIM: u32 = u32::MAX - 1;
const LINES: u32 = u32::MAX - 2;
const WALL: u32 = u32::MAX - 3;
const LOAD: u32 = u32::MAX - 4;
const PRESENTED: u32 = u32::MAX - 5;

const _: () = assert!(MAIL + (u16::MAX as u32) < PRESENTED);
const _: () = assert!(SERVICE_TIMERS_MAX < LISTENERS as usize);

impl From<Timer> for Key {
    fn from(timer: Timer) -> Key {
        let (slot, serial) = match timer {
            Timer::Connection(id) => (id.slot() as u32, id.serial()),
            Timer::Service(index) => (index, 0),
            Timer::Listener(index) => (LISTENERS + index, 0),
            Timer::Shutdown => (SHUTDOWN, 0),
            Timer::Trim => (TRIM, 0),
            Timer::Lines => (LINES, 0),
            Timer::Wall => (WALL, 0),
            Timer::Load => (LOAD, 0),
            Timer::Presented => (PRESENTED, 0),
            Timer::Mail(service) => (MAIL + service.index() as u32, 0),
        };
        Key(u64::from(serial) << 32 | u64::from(slot))
    }
}

impl From<Key> for Timer {
    fn from(Key(packed): Key) -> Timer {
        let (slot, serial) = (packed as u32, (packed >> 32) as u32);
        match (slot, serial) {
            (SHUTDOWN, 0) => Timer::Shutdown,
            (TRIM, 0) => Timer::Trim,
            (LINES, 0) => Timer::Lines,
            (WALL, 0) => Timer::Wall,
            (LOAD, 0) => Timer::Load,
            (PRESENTED, 0) => Timer::Presented,
            (MAIL.., 0) => Timer::Mail(ServiceId((slot - MAIL) as u16)),
            (LISTENERS.., 0) => Timer::Listener(slot - LISTENERS),
            (index, 0) => Timer::Service(index),
            _ => Timer::Connection(ConnId::new(slot as usize, serial)),
        }
    }
}

/// Identifies a service's timer until it fires for the last time or is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTimer {
    index: u32,
    serial: u32,
}

/// A timer that a service has set.
#[derive(Debug)]
struct Set {
    service: ServiceId,
    /// The key that the service gets.
    key: u64,
    /// Distinguishes it from earlier timers with the same index.
    serial: u32,
    /// For an interval timer: when it is due next, and its period.
    every: Option<(Time, Duration)>,
    timer: TimerId,
}

#[derive(Debug, Default)]
pub(crate) struct Schedule {
    wheel: Wheel<Key>,
    services: Slab<Set>,
    last_serial: u32,
}

impl Schedule {
    /// A schedule that holds `count` timers without growing.
    pub(crate) fn with_capacity(count: usize) -> Schedule {
        Schedule { wheel: Wheel::with_capacity(count), ..Schedule::default() }
    }

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
        self.add(service, due, key, None)
    }

    /// Sets a timer that fires after each period.
    pub(crate) fn set_every(
        &mut self,
        service: ServiceId,
        now: Time,
        period: Duration,
        key: u64,
    ) -> Option<ServiceTimer> {
        let period = period.max(SLOT);
        self.add(service, now + period, key, Some(period))
    }

    fn add(
        &mut self,
        service: ServiceId,
        due: Time,
        key: u64,
        period: Option<Duration>,
    ) -> Option<ServiceTimer> {
        if self.services.len() == SERVICE_TIMERS_MAX {
            return None;
        }
        self.last_serial = self.last_serial.wrapping_add(1);
        let serial = self.last_serial;
        let index = self.services.vacant_key() as u32;
        let timer = self.insert(due, Timer::Service(index));
        let every = period.map(|period| (due, period));
        self.services.insert(Set { service, key, serial, every, timer });
        Some(ServiceTimer { index, serial })
    }

    /// Cancels a service's timer; false if it has fired for the last time.
    pub(crate) fn unset(&mut self, timer: ServiceTimer) -> bool {
        let index = timer.index as usize;
        let set = self.services.get(index).filter(|set| set.serial == timer.serial);
        let Some(armed) = set.map(|set| set.timer) else {
            return false;
        };
        self.services.remove(index);
        self.cancel(armed).is_some()
    }

    /// The service and key of a fired timer. An interval timer is set again, for the first multiple
    /// of its period that has not passed.
    pub(crate) fn fired(&mut self, index: u32, now: Time) -> Option<(ServiceId, u64)> {
        let set = self.services.get(index as usize)?;
        let fired = (set.service, set.key);
        let Some((due, period)) = set.every else {
            self.services.remove(index as usize);
            return Some(fired);
        };
        let due = next_after(due, period, now);
        let timer = self.insert(due, Timer::Service(index));
        let set = &mut self.services[index as usize];
        set.every = Some((due, period));
        set.timer = timer;
        Some(fired)
    }
}

/// The first time after `now` that is a multiple of `period` after `due`.
fn next_after(due: Time, period: Duration, now: Time) -> Time {
    let missed = now.since(due).as_nanos() / period.as_nanos().max(1);
    let periods = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
    due + period.saturating_mul(periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// The keys of timers that fire up to `now`.
    fn keys(schedule: &mut Schedule, now: Time) -> Vec<u64> {
        let mut keys = Vec::new();
        while let Some(timer) = schedule.pop(now, &mut 1000) {
            let Timer::Service(index) = timer else {
                panic!("{timer:?}");
            };
            keys.extend(schedule.fired(index, now).map(|(_, key)| key));
        }
        keys
    }

    #[test]
    fn an_interval_timer_keeps_its_period_and_skips_missed_calls() {
        let mut schedule = Schedule::default();
        let period = Duration::from_secs(1);
        let timer = schedule.set_every(ServiceId(3), at(500), period, 7).unwrap();
        assert!(keys(&mut schedule, at(1400)).is_empty());
        // Late by less than a period, then by several.
        assert_eq!(keys(&mut schedule, at(1900)), [7]);
        assert!(keys(&mut schedule, at(2400)).is_empty());
        assert_eq!(keys(&mut schedule, at(2700)), [7]);
        assert_eq!(keys(&mut schedule, at(60_000)), [7]);
        assert!(keys(&mut schedule, at(60_400)).is_empty());
        assert_eq!(keys(&mut schedule, at(60_700)), [7]);
        assert!(schedule.unset(timer) && !schedule.unset(timer));
        assert!(keys(&mut schedule, at(100_000)).is_empty());
        assert_eq!((schedule.services.len(), schedule.wheel.len()), (0, 0));
    }

    #[test]
    fn an_interval_of_zero_is_one_slot() {
        let mut schedule = Schedule::default();
        schedule.set_every(ServiceId(0), at(0), Duration::ZERO, 1).unwrap();
        let fired: usize = (0..=1000).map(|millis| keys(&mut schedule, at(millis)).len()).sum();
        assert_eq!(fired, 7, "times in a second");
    }

    #[test]
    fn the_id_of_an_ended_timer_matches_no_later_one() {
        let mut schedule = Schedule::default();
        let once = schedule.set(ServiceId(0), at(100), 1).unwrap();
        assert_eq!(keys(&mut schedule, at(1000)), [1]);
        let every = schedule.set_every(ServiceId(0), at(1000), SLOT, 2).unwrap();
        assert!(!schedule.unset(once));
        assert_eq!(keys(&mut schedule, at(2000)), [2]);
        assert!(schedule.unset(every));
    }

    #[test]
    fn keys_convert_back_to_their_timers() {
        let timers = [
            Timer::Connection(ConnId::new(0, 1)),
            Timer::Connection(ConnId::new(u32::MAX as usize, u32::MAX)),
            Timer::Service(0),
            Timer::Service(SERVICE_TIMERS_MAX as u32),
            Timer::Listener(0),
            Timer::Listener(1000),
            Timer::Shutdown,
            Timer::Trim,
            Timer::Lines,
            Timer::Wall,
            Timer::Load,
            Timer::Mail(ServiceId(0)),
            Timer::Mail(ServiceId(u16::MAX)),
        ];
        for timer in timers {
            assert_eq!(Timer::from(Key::from(timer)), timer);
        }
    }
}
