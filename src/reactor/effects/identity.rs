//! Identities of connections: stored after the verdict of a gate, counted once all other limits have
//! admitted the upgrade, replaced, and ended by expiry or sign-out.
//!
//! An identity follows the wall clock: a token expires at a wall time, and a timer fires at a time of
//! the loop. While there are identities, the clocks are compared each second. After a jump each expiry
//! moves, some in each step.

use std::rc::Rc;
use std::sync::Arc;
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
use crate::reactor::api::settings::Limit;
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::gated::Gated;
use crate::reactor::conn::identity::HeldIdentity;
use crate::reactor::core::{Core, Decided, SignOut, unix_time};
use crate::reactor::parts::schedule::Timer;
use crate::reactor::parts::subjects::MemberId;

impl Core {
    /// Stores the identity of a request. It counts for no subject yet, and does not expire.
    ///
    /// # Errors
    /// [`Unauthorized`](Refusal::Unauthorized): the subject was signed out while its gate decided. Then
    /// nothing has changed.
    pub(crate) fn begin_identity(
        &mut self,
        id: ConnId,
        gated: &Gated,
        identity: Identity,
    ) -> Result<(), Refusal> {
        if self.sign_outs.is_since(gated.asked, gated.gate, identity.shared_subject()) {
            return Err(Refusal::Unauthorized);
        }
        self.hold_identity(id, gated.gate, identity, None);
        Ok(())
    }

    /// Counts an upgrade for the subject of its identity, if it has one. From now on that expires.
    ///
    /// # Errors
    /// [`SubjectFull`](Refusal::SubjectFull). Then nothing has changed.
    pub(crate) fn count_for_subject(&mut self, id: ConnId) -> Result<(), Refusal> {
        let held = self.conns.get(id).and_then(Connection::held_identity);
        let Some((gate, identity)) = held.map(|held| (held.gate, Rc::clone(&held.identity))) else {
            return Ok(());
        };
        let member = self.enter_subject(id, gate, &identity)?;
        let until = self.end_of(gate, &identity);
        match self.conns.get_mut(id).and_then(Connection::held_identity_mut) {
            Some(held) => (held.member, held.until) = (Some(member), until),
            None => self.subjects.leave(member),
        }
        self.watch_expiry(until);
        Ok(())
    }

    fn enter_subject(
        &mut self,
        id: ConnId,
        gate: GateId,
        identity: &Identity,
    ) -> Result<MemberId, Refusal> {
        let most = self.router.gate(gate).and_then(|settings| settings.connections_per_subject);
        let subject = identity.shared_subject();
        if let Some(member) = self.subjects.enter(gate, subject, id, most) {
            return Ok(member);
        }
        if self.enforces(id, Limit::SubjectFull) {
            return Err(Refusal::SubjectFull);
        }
        Ok(self.subjects.enter_surplus(gate, subject, id))
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
        let until = member.as_ref().map_or(Time::MAX, |_| self.end_of(gate, &identity));
        let offset = self.wall_clock.offset();
        let (identity, is_unreported) = (Rc::new(identity), false);
        let mut held = HeldIdentity { identity, gate, until, offset, member, is_unreported };
        let Some(conn) = self.conns.get_mut(id) else {
            if let Some(member) = held.member {
                self.subjects.leave(member);
            }
            return;
        };
        let cold = conn.cold();
        held.is_unreported = cold.identity.as_ref().is_some_and(|before| before.is_unreported);
        let before = cold.identity.replace(Box::new(held));
        if let Some(member) = before.and_then(|before| before.member) {
            self.subjects.leave(member);
        }
        self.watch_expiry(until);
    }

    /// When a connection with an identity is closed: its expiry, and the grace time of its gate.
    fn end_of(&self, gate: GateId, identity: &Identity) -> Time {
        let settings = self.router.gate(gate);
        let grace = settings.map_or(Duration::ZERO, |settings| settings.expired_grace);
        identity.expires.map_or(Time::MAX, |expires| expires + grace)
    }

    /// Compares the clocks from time to time, because a connection ends at `until`.
    fn watch_expiry(&mut self, until: Time) {
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
        if !is_same {
            self.move_to_subject(id);
        }
        self.observe_refreshed(id);
        self.arm(id);
        self.queue_report(id);
        Ok(())
    }

    /// Queues the call that informs the service of a replaced identity, once however often it is
    /// replaced until then: the queue holds a connection once.
    fn queue_report(&mut self, id: ConnId) {
        let held = self.conns.get_mut(id).and_then(|conn| conn.held_identity_mut());
        if let Some(held) = held.filter(|held| !held.is_unreported) {
            held.is_unreported = true;
            self.queues.decisions.push_back(Decided::Identity(id));
        }
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
        let count = self.connections_of(gate, subject).count();
        let left = Vec::new();
        let subject: Arc<str> = subject.into();
        self.sign_outs.add(gate, Arc::clone(&subject), self.now);
        let sign_out = SignOut { gate, subject, code, left, is_announced: false };
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
            if let Some(expires) = held.identity.expires {
                // In place: no handler reads it now.
                let identity = Rc::make_mut(&mut held.identity);
                identity.expires = Some(offset.moved(expires, held.offset));
            }
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
    /// Informs the service of a connection that its identity was replaced.
    pub(in crate::reactor) fn report_identity(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return;
        };
        if let Some(held) = conn.held_identity_mut() {
            held.is_unreported = false;
        }
        if conn.is_open() {
            let service = conn.service;
            self.call_for(id, service, |service, cx| service.on_identity(cx, id));
        }
    }

    /// Informs the gate of a sign-out, then closes the connections of the subject, some in each turn.
    pub(in crate::reactor) fn continue_sign_out(&mut self, mut sign_out: Box<SignOut>) {
        if !sign_out.is_announced {
            sign_out.is_announced = true;
            let subject = &*sign_out.subject;
            let _ = self.call_gate(sign_out.gate, |gate, cx| gate.on_signed_out(cx, subject));
            // With those that the gate has passed since the request.
            let of_subject = self.core.connections_of(sign_out.gate, subject);
            sign_out.left = of_subject.map(|(id, _)| id).collect();
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::protocol::Message;
    use crate::reactor::api::context::Context;
    use crate::reactor::api::gate::Gate;
    use crate::reactor::api::outcome::Verdict;
    use crate::reactor::api::request::GateRequest;
    use crate::reactor::api::service::Service;
    use crate::reactor::api::settings::{GateSettings, ListenSettings, RouteSettings, Settings};

    /// Passes each request with an identity that lasts for a minute.
    struct ForAMinute;

    impl Service for ForAMinute {
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }

    impl Gate for ForAMinute {
        fn on_gate(&mut self, cx: &mut Context<'_>, _: ConnId, _: &GateRequest<'_>) -> Verdict {
            let mut identity = Identity::new("ann").unwrap();
            let unix = cx.unix_time() + Duration::from_secs(60);
            identity.expires = Some(cx.time_at(unix));
            Verdict::Pass(Some(Box::new(identity)))
        }
    }

    /// Turns until a condition holds.
    fn turn_until(reactor: &mut Reactor, condition: impl Fn(&mut Reactor) -> bool) {
        for _ in 0..1000 {
            if condition(reactor) {
                return;
            }
            reactor.turn(Some(Duration::from_millis(20))).unwrap();
        }
        panic!("not within 20 s");
    }

    /// Sets the wall clock of a loop by this many seconds, as the timer would find it.
    fn set_wall_clock(reactor: &mut Reactor, seconds: i64) {
        let by = Duration::from_secs(seconds.unsigned_abs());
        let unix = if seconds > 0 { unix_time() + by } else { unix_time() - by };
        let core = &mut reactor.core;
        core.wall_clock.read(Time::ZERO + core.epoch.elapsed(), unix);
        core.follow_wall_clock();
    }

    const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// A loop with a gate, and a client that has sent nothing.
    fn with_client() -> (Reactor, GateId, TcpStream) {
        let mut reactor = Reactor::new(Settings::default()).unwrap();
        let gate = reactor.add_gate(ForAMinute, GateSettings::default()).unwrap();
        let route = RouteSettings::default().gate(gate);
        reactor.add_route("/", gate.service(), route).unwrap();
        let listen = ListenSettings::new(([127, 0, 0, 1], 0).into());
        let address = reactor.listen(&listen).unwrap();
        reactor.start().unwrap();
        (reactor, gate, TcpStream::connect(address).unwrap())
    }

    /// What a client has received when the loop has ended.
    fn received(reactor: Reactor, mut client: TcpStream) -> Vec<u8> {
        drop(reactor);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        received
    }

    #[test]
    fn a_sign_out_ends_a_connection_that_was_passed_before_the_gate_knew_of_it() {
        let (mut reactor, gate, mut client) = with_client();
        turn_until(&mut reactor, |reactor| reactor.core.conns.iter().count() == 1);
        client.write_all(UPGRADE).unwrap();
        assert_eq!(reactor.core.sign_out(gate, "ann", CloseCode::FORBIDDEN), 0);
        // In this turn, the client is passed first.
        turn_until(&mut reactor, |reactor| reactor.metrics().opened == 1);
        turn_until(&mut reactor, |reactor| reactor.core.queues.is_idle());
        let received = received(reactor, client);
        let close = b"\x88\x0c\x0b\xbbsigned out";
        assert!(received.ends_with(close), "{:?}", String::from_utf8_lossy(&received));
    }

    #[test]
    fn identities_follow_the_wall_clock_and_only_a_step_forward_ends_them() {
        let (mut reactor, _, mut client) = with_client();
        client.write_all(UPGRADE).unwrap();
        turn_until(&mut reactor, |reactor| reactor.metrics().opened == 1);
        let due = |reactor: &mut Reactor| {
            let (_, conn) = reactor.core.conns.iter().next().unwrap();
            assert_eq!(
                conn.identity().unwrap().expires,
                Some(conn.expires()),
                "they move together"
            );
            conn.expires().since(Time::ZERO + reactor.core.epoch.elapsed()).as_secs_f64()
        };
        assert!((55.0..=60.0).contains(&due(&mut reactor)));
        set_wall_clock(&mut reactor, -100);
        let later = due(&mut reactor);
        assert!((155.0..=160.0).contains(&later), "set back: {later} s");
        set_wall_clock(&mut reactor, 30);
        let sooner = due(&mut reactor);
        assert!((25.0..=30.0).contains(&sooner), "set forward: {sooner} s");
        reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(reactor.metrics().ends.len(), 0);
        set_wall_clock(&mut reactor, 61);
        turn_until(&mut reactor, |reactor| {
            reactor.core.conns.iter().all(|(_, conn)| !conn.is_open())
        });
        turn_until(&mut reactor, |reactor| reactor.core.queues.is_idle());
        let received = received(reactor, client);
        let close = b"\x88\x0f\x0b\xb8token expired";
        assert!(received.ends_with(close), "{:?}", String::from_utf8_lossy(&received));
    }
}
