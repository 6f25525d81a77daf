//! The [`Context`] that a service gets in each handler: everything that it can do.
//!
//! A thin layer over the core for one service. It calls no handler, and changes only connections of
//! its service. Its table says what each function answers for the [`ConnId`] of another one. Its
//! methods are in `context/`, by topic; those about the whole loop are here.

mod flow;
mod identity;
mod outbound;
mod records;
mod requests;
mod routes;
mod send;
mod timers;
mod topics;

use super::id::{ConnId, ServiceId};
use super::level::{Level, Load};
use super::priority::Priority;
use super::settings::Settings;
use super::time::Time;
use crate::reactor::core::Core;
use crate::reactor::parts::admission::Occupancy;
use crate::reactor::parts::metrics::Metrics;

/// A service's access to the loop, for one call of a handler.
///
/// # Ids of connections that have ended, and of other services
///
/// An id is *stale* once [`on_close`](crate::reactor::Service::on_close) has returned. A service may
/// keep one: it never names another connection, and a function that gets it changes nothing. An id is
/// *foreign* if its connection belongs to another service of the reactor. It gets the same answer as
/// a stale one, everywhere:
///
/// | function | stale or foreign id |
/// |---|---|
/// | [`send`](Context::send), [`send_masked`](Context::send_masked), [`send_shared`](Context::send_shared), [`send_pieces`](Context::send_pieces), [`send_batch`](Context::send_batch), [`send_joined`](Context::send_joined), [`send_part`](Context::send_part), [`ping`](Context::ping) | [`SendOutcome::Gone`](crate::reactor::SendOutcome::Gone) |
/// | [`pause`](Context::pause), [`resume`](Context::resume), [`charge`](Context::charge), [`close`](Context::close), [`abort`](Context::abort), [`accept`](Context::accept), [`respond`](Context::respond), [`refuse`](Context::refuse), [`end_response`](Context::end_response), [`verdict`](Context::verdict) | no effect |
/// | `send_request`, `is_body_unread`, `keeps_alive`, `keep_idle` of the feature `proxy` | `false`, no effect |
/// | [`has_memory`](Context::has_memory), [`hold`](Context::hold), [`begin_response`](Context::begin_response), [`redact`](Context::redact), [`admit_call`](Context::admit_call) | `false` |
/// | [`queued_bytes`](Context::queued_bytes) | 0 |
/// | [`record`](Context::record), [`peer`](Context::peer), [`trace`](Context::trace), [`deflate_terms`](Context::deflate_terms) | `None` |
/// | [`identity`](Context::identity) | `None`; a gate sees those that it has determined |
/// | [`set_identity`](Context::set_identity) | [`IdentityError::Gone`](crate::reactor::IdentityError::Gone); likewise |
/// | [`present`](Context::present) | [`PresentError::Gone`](crate::reactor::PresentError::Gone) |
/// | [`set_metadata`](Context::set_metadata) | [`MetadataError::Gone`](crate::reactor::MetadataError::Gone) |
/// | [`remove_metadata`](Context::remove_metadata) | no effect |
/// | [`subscribe`](Context::subscribe) | [`JoinError::NotOpen`](crate::reactor::JoinError::NotOpen) |
/// | [`unsubscribe`](Context::unsubscribe) | [`Left::NotMember`](crate::reactor::Left::NotMember) |
/// | [`publish`](Context::publish) to a list | [`skipped`](crate::reactor::Published::skipped) |
/// | [`ConnMap`](crate::reactor::ConnMap) and [`Throttle`](crate::reactor::Throttle) | no value, `false` |
///
/// So services cannot affect each other's connections. A service that must close connections of
/// others, or send to them, does that with a [`Handle`](crate::reactor::Handle), which belongs to the
/// whole reactor. An id of another reactor cannot be recognized: it may name a connection of this
/// one.
#[derive(Debug)]
pub struct Context<'a> {
    core: &'a mut Core,
}

impl<'a> Context<'a> {
    pub(in crate::reactor) fn new(core: &'a mut Core, service: ServiceId) -> Context<'a> {
        core.served = service;
        Context { core }
    }

    /// Whether a connection is the service's, and is in the table.
    fn owns(&self, conn: ConnId) -> bool {
        self.core.conns.owned(self.core.served, conn).is_some()
    }

    /// Whether a connection is the service's and has not ended.
    pub(super) fn has(&self, conn: ConnId) -> bool {
        let conn = self.core.conns.owned(self.core.served, conn);
        conn.is_some_and(|conn| !conn.has_ended())
    }

    /// Whether a connection has ended and [`on_close`](crate::reactor::Service::on_close) has
    /// returned.
    pub(super) fn is_stale(&self, conn: ConnId) -> bool {
        self.core.conns.get(conn).is_none()
    }

    /// The time at which this turn started, or at which
    /// [`Reactor::context`](crate::reactor::Reactor::context) was called.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// The counts of the loop. This call updates the gauges (`.._now`).
    pub fn metrics(&mut self) -> &Metrics {
        self.core.metrics()
    }

    /// The settings of the loop.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// The numbers of connections, their limits, and whether the loop is shutting down.
    pub fn occupancy(&self) -> Occupancy {
        self.core.admission.occupancy()
    }

    /// The number of clients of each priority, in the order of [`Priority::ALL`].
    pub fn clients_by_priority(&self) -> [usize; Priority::ALL.len()] {
        self.core.conns.by_priority()
    }

    /// The load of the loop, as of the last sample: its level, and the measurements by resource.
    pub fn load(&self) -> Load {
        self.core.load.levels.report()
    }

    /// The load level that services should act on, as in
    /// [`on_load_level`](crate::reactor::Service::on_load_level).
    pub fn load_level(&self) -> Level {
        self.core.load.work_level()
    }

    /// Services whose [`on_mail`](crate::reactor::Service::on_mail) panicked and has not returned
    /// normally since, each with its type name.
    pub fn recovering(&self) -> impl Iterator<Item = (ServiceId, &'static str)> {
        let services = self.core.recovery.services();
        services.map(|service| (service, self.core.service_name(service)))
    }

    /// Whether a log line that a peer can provoke may be logged now: ten per second for each
    /// `reason`, for all services together. Suppressed lines are counted, and the loop logs the
    /// count at the same level one second later.
    pub fn may_log(&mut self, level: log::Level, reason: &'static str) -> bool {
        self.core.may_log(level, "service", reason)
    }
}
