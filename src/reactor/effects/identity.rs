//! Identities of connections: stored after the verdict of a gate, replaced, and ended by expiry or
//! sign-out.
//!
//! An identity follows the wall clock: a token expires at a wall time, and a timer fires at a time of
//! the loop. While there are identities, the clocks are compared each second. After a jump each expiry
//! moves, some in each step.

use std::rc::Rc;
use std::time::Duration;

use log::warn;

use crate::protocol::CloseCode;
use crate::protocol::handshake::Refusal;
use crate::reactor::Reactor;
use crate::reactor::api::budget::{SIGN_OUT_CLOSES, WALL_CLOCK_INTERVAL, WALL_CLOCK_MOVES};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, GateId, ServiceId};
use crate::reactor::api::identity::{Identity, IdentityError};
use crate::reactor::api::observer::EventKind;
use crate::reactor::api::time::Time;
use crate::reactor::conn::gated::Gated;
use crate::reactor::conn::identity::HeldIdentity;
use crate::reactor::core::{Core, Decided, SignOut, unix_time};
use crate::reactor::parts::schedule::Timer;
use crate::reactor::parts::subjects::MemberId;

impl Core {
    /// Stores the identity of a request. An upgrade counts for its subject, and expires.
    ///
    /// # Errors
    /// [`SubjectFull`](Refusal::SubjectFull). Then nothing has changed.
    pub(crate) fn begin_identity(
        &mut self,
        id: ConnId,
        gated: &Gated,
        identity: Identity,
    ) -> Result<(), Refusal> {
        let member = match gated.is_upgrade {
            true => Some(self.enter_subject(id, gated.gate, &identity)?),
            false => None,
        };
        let counts = member.is_some();
        self.hold_identity(id, gated.gate, identity, member);
        if counts {
            self.observe(id, EventKind::Identity);
        }
        Ok(())
    }

    fn enter_subject(
        &mut self,
        id: ConnId,
        gate: GateId,
        identity: &Identity,
    ) -> Result<MemberId, Refusal> {
        let most = self.router.gate(gate).and_then(|settings| settings.connections_per_subject);
        let member = self.subjects.enter(gate, identity.shared_subject(), id, most);
        member.ok_or(Refusal::SubjectFull)
    }

    /// Replaces the identity of a connection. Without an entry in the table of subjects it does not
    /// expire.
    fn hold_identity(
        &mut self,
        id: ConnId,
        gate: GateId,
        identity: Identity,
        member: Option<MemberId>,
    ) {
        let grace =
            self.router.gate(gate).map_or(Duration::ZERO, |settings| settings.expired_grace);
        let expires = identity.expires.filter(|_| member.is_some());
        let until = expires.map_or(Time::MAX, |expires| expires + grace);
        let offset = self.wall_clock.offset();
        let held = HeldIdentity { identity: Rc::new(identity), gate, until, offset, member };
        let Some(conn) = self.conns.get_mut(id) else {
            if let Some(member) = held.member {
                self.subjects.leave(member);
            }
            return;
        };
        let before = conn.cold().identity.replace(Box::new(held));
        if let Some(member) = before.and_then(|before| before.member) {
            self.subjects.leave(member);
        }
        if until != Time::MAX {
            self.schedule_wall_clock(WALL_CLOCK_INTERVAL);
        }
    }

    /// The identity of a connection, for its service or its gate.
    pub(crate) fn identity(&self, service: ServiceId, id: ConnId) -> Option<&Identity> {
        let conn = self.conns.get(id)?;
        let held = conn.held_identity()?;
        let is_visible = conn.service == service || held.gate.service() == service;
        is_visible.then_some(&*held.identity)
    }

    /// The connections of a subject that have not ended, and are not ending.
    pub(crate) fn connections_of(
        &self,
        gate: GateId,
        subject: &str,
    ) -> impl Iterator<Item = (ConnId, &Identity)> {
        let all = self.subjects.connections(gate, subject);
        all.filter_map(|id| {
            let conn = self.conns.get(id).filter(|conn| conn.reason().is_none())?;
            Some((id, &**conn.identity()?))
        })
    }

    /// See [`Context::set_identity`](crate::reactor::Context::set_identity).
    pub(crate) fn set_identity(
        &mut self,
        service: ServiceId,
        id: ConnId,
        identity: Box<Identity>,
    ) -> Result<(), IdentityError> {
        let conn = self.conns.get(id).filter(|conn| conn.reason().is_none());
        let conn = conn.ok_or(IdentityError::Gone)?;
        let held = conn.held_identity();
        let is_of_gate = held.is_some_and(|held| held.gate.service() == service);
        let is_upgraded = conn.is_open() || held.is_some_and(|held| held.member.is_some());
        if !is_upgraded || conn.service != service && !is_of_gate {
            return Err(IdentityError::Gone);
        }
        let settings = self.router.settings(conn.route);
        let gate = held.map(|held| held.gate).or(settings.gate).ok_or(IdentityError::NoGate)?;
        if !settings.require.iter().all(|required| identity.holds(required)) {
            self.end_signed_out(id, CloseCode::FORBIDDEN);
            return Err(IdentityError::Forbidden);
        }
        let is_same = held.is_some_and(|held| held.identity.subject() == identity.subject());
        let member = match is_same {
            true => self.conns.get_mut(id).and_then(|conn| conn.take_member()),
            false => None,
        };
        let member = match member {
            Some(member) => member,
            None => {
                let entered = self.enter_subject(id, gate, &identity);
                entered.map_err(|_| IdentityError::SubjectFull)?
            }
        };
        if let Some(conn) = self.conns.get(id) {
            let priority = self.router.settings(conn.route).priority_of(identity.priority);
            self.conns.set_priority(id, priority);
        }
        self.hold_identity(id, gate, *identity, Some(member));
        self.observe(id, EventKind::Refreshed);
        self.arm(id);
        Ok(())
    }

    /// The identity of a connection has expired.
    pub(crate) fn expire(&mut self, id: ConnId) {
        let gate = self.conns.get(id).and_then(|conn| conn.held_identity()).map(|held| held.gate);
        let settings = gate.and_then(|gate| self.router.gate(gate));
        let code = settings.map_or(CloseCode::UNAUTHORIZED, |settings| settings.expired_code);
        self.observe(id, EventKind::Expired);
        self.close(id, CloseReason::Expired(code));
    }

    /// Closes a connection whose client may no longer be connected.
    fn end_signed_out(&mut self, id: ConnId, code: CloseCode) {
        if self.conns.get(id).is_some_and(|conn| conn.reason().is_none()) {
            self.observe(id, EventKind::SignedOut);
            self.close(id, CloseReason::SignedOut(code));
        }
    }

    /// See [`Context::sign_out`](crate::reactor::Context::sign_out).
    pub(crate) fn sign_out(&mut self, gate: GateId, subject: &str, code: CloseCode) -> usize {
        let left: Vec<ConnId> = self.connections_of(gate, subject).map(|(id, _)| id).collect();
        let count = left.len();
        let sign_out = SignOut { gate, subject: subject.into(), code, left, is_announced: false };
        self.queues.decisions.push_back(Decided::SignOut(Box::new(sign_out)));
        count
    }

    /// Reads the wall clock; returns the time since 1970.
    pub(crate) fn read_wall_clock(&mut self) -> Duration {
        let unix = unix_time();
        self.wall_clock.read(Time::ZERO + self.epoch.elapsed(), unix);
        unix
    }

    /// Handles the timer of the wall clock.
    pub(crate) fn watch_wall_clock(&mut self) {
        self.is_wall_due = false;
        self.read_wall_clock();
        self.follow_wall_clock();
    }

    /// Moves expiries after a jump of the wall clock, some in each step.
    fn follow_wall_clock(&mut self) {
        if self.wall_clock.take_jump() {
            self.wall_walk = Some(0);
            warn!("the wall clock was set: identities expire by the new time");
        }
        if let Some(place) = self.wall_walk {
            let (conns, next) = self.subjects.walk(place, WALL_CLOCK_MOVES);
            conns.into_iter().for_each(|id| self.move_expiry(id));
            self.wall_walk = next;
        }
        if self.subjects.len() > 0 {
            let wait = if self.wall_walk.is_some() { Duration::ZERO } else { WALL_CLOCK_INTERVAL };
            self.schedule_wall_clock(wait);
        } else {
            self.wall_walk = None;
        }
    }

    fn move_expiry(&mut self, id: ConnId) {
        let offset = self.wall_clock.offset();
        if let Some(held) = self.conns.get_mut(id).and_then(|conn| conn.held_identity_mut()) {
            held.until = offset.moved(held.until, held.offset);
            held.offset = offset;
            self.arm(id);
        }
    }

    fn schedule_wall_clock(&mut self, wait: Duration) {
        if !self.is_wall_due {
            self.is_wall_due = true;
            self.schedule.insert(self.now + wait, Timer::Wall);
        }
    }
}

impl Reactor {
    /// Informs the gate of a sign-out, then closes the connections of the subject, some in each turn.
    pub(in crate::reactor) fn continue_sign_out(&mut self, mut sign_out: Box<SignOut>) {
        if !sign_out.is_announced {
            sign_out.is_announced = true;
            let subject = &*sign_out.subject;
            let _ = self.call_gate(sign_out.gate, |gate, cx| gate.on_signed_out(cx, subject));
        }
        let rest = sign_out.left.len().saturating_sub(SIGN_OUT_CLOSES);
        for id in sign_out.left.split_off(rest) {
            self.core.end_signed_out(id, sign_out.code);
        }
        if !sign_out.left.is_empty() {
            self.core.queues.decisions.push_back(Decided::SignOut(sign_out));
        }
    }
}
