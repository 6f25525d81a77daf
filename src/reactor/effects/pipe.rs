//! Pipes: two connections of the table that are joined. What one side sends is passed to the other.
//!
//! `protocol/passage.rs` decides which bytes of a tunnel to forward. Here they are written to the
//! receiver's socket, or queued in its outbox, in one piece each. While the receiver's outbox is
//! above its soft limit, reading from the sender is paused; nothing is dropped. How pipes end is in
//! [`pipe_ends`](crate::reactor::effects::pipe_ends).

use std::io::{self, IoSlice, Write};

use log::debug;

use crate::protocol::ProtocolError;
use crate::protocol::passage::{Output, PassageEvent};
use crate::reactor::Reactor;
use crate::reactor::api::budget::FRAME_WORK;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId};
use crate::reactor::api::time::Time;
use crate::reactor::api::upstream::TunnelSettings;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::due::Due;
use crate::reactor::conn::outbox::pressure::Pressure;
use crate::reactor::conn::pause::PauseOwner;
use crate::reactor::conn::phase::Phase;
use crate::reactor::conn::pipe::{Pipe, Side};
use crate::reactor::core::Core;

/// What became of forwarded bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// Written or queued; also if the receiver is ending.
    Sent,
    /// Queued, above the receiver's soft limit.
    Congested,
    /// Not queued: the memory limit is reached.
    NoMemory,
}

impl Core {
    /// Joins an upstream with the client of its request. `head` is the 101 for the client.
    pub(crate) fn join(&mut self, upstream: ConnId, head: Vec<u8>, settings: &TunnelSettings) {
        let Some((client, route)) = self.waiting_client(upstream) else {
            return self.drop_connection(upstream, CloseReason::Aborted);
        };
        self.queue_head(client, head);
        let now = self.now;
        let handshake = self.conns.get_mut(client).and_then(|conn| conn.handshake());
        let started = handshake.map_or(now, |handshake| handshake.since);
        self.metrics.opened += 1;
        self.metrics.handshakes_took.count(now.since(started));
        self.observe_connected(client);
        self.enter(client, Pipe::tunnel(upstream, Side::Client, settings), route);
        self.begin_rates(client);
        self.enter(upstream, Pipe::tunnel(client, Side::Upstream, settings), route);
        self.log_opened(client);
    }

    /// The client whose deferred upgrade this upstream responds to, and its route.
    fn waiting_client(&mut self, upstream: ConnId) -> Option<(ConnId, RouteId)> {
        let conn = self.conns.get_mut(upstream)?;
        let service = conn.service;
        let client = conn.handshake()?.dialed.as_ref()?.request.as_ref()?.client?;
        let conn = self.conns.owned_mut(service, client);
        let conn = conn.filter(|conn| conn.phase == Phase::Deferred)?;
        let route = conn.route;
        conn.handshake()?.deferred.as_ref()?;
        Some((client, route))
    }

    fn enter(&mut self, id: ConnId, pipe: Pipe, route: RouteId) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.phase = Phase::Piped;
        conn.route = route;
        conn.last_heard = now;
        conn.last_data = now;
        let relayed = conn.relayed();
        let cold = conn.cold();
        cold.handshake = None;
        cold.pipe = Some(Box::new(Pipe { relayed, ..pipe }));
        self.charge_input_or_close(id);
        self.arm(id);
        self.enqueue_flush(id);
        self.enqueue_read(id);
    }

    /// Passes input of one side to the other, until it is used up, the budget is spent, or reading
    /// is paused; returns the number of bytes consumed.
    pub(crate) fn pass(&mut self, id: ConnId, input: &[u8]) -> usize {
        let now = self.now;
        let mut consumed = 0;
        while consumed < input.len() && !self.work.is_spent() {
            let conn = self.conns.get_mut(id).filter(|conn| conn.passes_frames());
            let Some(Connection {
                cold: Some(cold), traffic, last_data, message_since, route, ..
            }) = conn
            else {
                break;
            };
            let Some(pipe) = &mut cold.pipe else {
                break;
            };
            let partner = pipe.partner;
            let limits = pipe.limits(self.router.settings(*route), self.work.left());
            let tunnel = pipe.tunnel_mut();
            let rest = &input[consumed..];
            let passed = match tunnel.passage.pass(rest, &limits) {
                Ok(passed) => passed,
                Err(error) => {
                    self.fail_side(id, CloseReason::Protocol(error));
                    return input.len();
                }
            };
            consumed += passed.consumed;
            let bytes = slices(&passed.output, rest);
            let len = bytes[0].len() + bytes[1].len();
            let is_data = passed.messages > 0 || passed.event.is_none() && len > 0;
            self.work.spend(passed.frames * FRAME_WORK);
            self.metrics.messages_in += passed.messages as u64;
            traffic.messages_in += passed.messages as u64;
            traffic.bytes_in += len as u64;
            if is_data {
                *last_data = now;
            }
            if let Output::Start(start, _) = &passed.output
                && start.is_fragment()
            {
                tunnel.count_fragment();
            }
            let is_opaque = tunnel.is_opaque;
            let is_holding = tunnel.passage.is_holding();
            let was_holding = *message_since != Time::MAX;
            if is_holding != was_holding {
                *message_since = if is_holding { now } else { Time::MAX };
                if is_holding {
                    self.arm(id);
                }
            }
            if len > 0 {
                match self.forward(partner, bytes, passed.messages, is_data) {
                    Forwarded::Sent if is_opaque => self.place_ping(partner),
                    Forwarded::Sent => {}
                    Forwarded::Congested => self.pause_for_partner(id),
                    Forwarded::NoMemory => {
                        self.metrics.buffered_refused += 1;
                        self.fail_side(id, CloseReason::Overloaded);
                        return input.len();
                    }
                }
            }
            match passed.event {
                None => {}
                Some(event) => {
                    self.metrics.controls_in += 1;
                    if let Some(conn) = self.conns.get_mut(id) {
                        conn.note_control();
                    }
                    match event {
                        PassageEvent::Close => self.note_close(id),
                        event => self.note_ping_or_pong(id, partner, event),
                    }
                }
            }
        }
        consumed
    }

    /// Sends bytes to one side of a pipe: straight to its socket if nothing is queued, else through
    /// its outbox.
    #[inline]
    pub(crate) fn forward(
        &mut self,
        to: ConnId,
        bytes: [&[u8]; 2],
        messages: usize,
        is_data: bool,
    ) -> Forwarded {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(to).filter(|conn| conn.takes_forwarded()) else {
            return Forwarded::Sent;
        };
        let len = bytes[0].len() + bytes[1].len();
        // A started frame must not be refused: the limit is checked before the first byte.
        let fits = self.outboxes.surely_fits_common(len)
            || self.outboxes.fits_common(len)
            || self.outboxes.fits_share(to, conn, len);
        if !fits {
            return Forwarded::NoMemory;
        }
        self.metrics.messages_out += messages as u64;
        conn.traffic.messages_out += messages as u64;
        conn.traffic.bytes_out += len as u64;
        if is_data {
            conn.last_data = now;
        }
        let is_direct = conn.outbox.is_empty() && !conn.is_secure();
        let mut written = 0;
        if is_direct {
            written = match write_once(&mut conn.socket, bytes) {
                Ok(written) => written,
                Err(error) => {
                    debug!("{to}: write failed: {error}");
                    self.fail_write(to, &error);
                    return Forwarded::Sent;
                }
            };
            self.metrics.bytes_written += written as u64;
        }
        if written == len {
            return Forwarded::Sent;
        }
        self.queue_forwarded(to, bytes, written, is_direct)
    }

    /// Queues the bytes that were not written. If the socket was tried, it is full.
    #[inline(never)]
    fn queue_forwarded(
        &mut self,
        to: ConnId,
        [head, rest]: [&[u8]; 2],
        written: usize,
        is_blocked: bool,
    ) -> Forwarded {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(to) else {
            return Forwarded::Sent;
        };
        let soft = self.router.settings(conn.route).outbox_soft_bytes;
        let of_head = written.min(head.len());
        let (head, rest) = (&head[of_head..], &rest[written - of_head..]);
        self.outboxes.change(to, conn, |open| {
            for bytes in [head, rest] {
                open.outbox.push_raw(open.spares, bytes);
            }
            if is_blocked {
                open.outbox.mark_blocked(now);
            }
        });
        self.outboxes.count_relayed(conn);
        let is_congested = conn.outbox.bytes() > soft;
        if is_blocked {
            self.sync_interest(to);
            self.arm(to);
        } else {
            self.enqueue_flush(to);
        }
        if is_congested {
            self.metrics.congested += 1;
            self.mark_above_soft(to, Pressure::Congested);
            return Forwarded::Congested;
        }
        Forwarded::Sent
    }

    /// Pauses reading from a side until its partner has read.
    pub(crate) fn pause_for_partner(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.pauses.add(PauseOwner::Partner) {
            self.enqueue_flush(id);
        }
        if let Some(tunnel) = self.conns.get_mut(id).and_then(|conn| conn.tunnel_mut()) {
            tunnel.count_pause();
        }
    }

    /// Handles a ping or pong that one side has sent.
    fn note_ping_or_pong(&mut self, id: ConnId, partner: ConnId, event: PassageEvent) {
        let now = self.now;
        if event == PassageEvent::Ping {
            if let Some(conn) = self.conns.get_mut(partner) {
                let awaits_answer = conn.heartbeat.awaits_answer(conn.last_heard);
                let Some(tunnel) = conn.tunnel_mut() else {
                    return;
                };
                // Further pings do not prolong the wait for an answer to the first.
                let is_waiting = std::mem::replace(&mut tunnel.owes_pong, true) && awaits_answer;
                if !is_waiting {
                    conn.heartbeat.forwarded(now);
                }
                self.arm(partner);
            }
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let PassageEvent::OwnPong(sequence) = event {
            if let Some(round_trip) = conn.heartbeat.pong_of_side(now, sequence) {
                self.metrics.pongs_matched += 1;
                self.metrics.round_trips.count(round_trip);
            }
        } else if let Some(tunnel) = conn.tunnel_mut() {
            tunnel.owes_pong = false;
        }
    }

    /// Acts on a deadline of a joined connection.
    pub(crate) fn fire_piped(&mut self, id: ConnId, due: Due) {
        match due {
            Due::Ping => self.ping_side(id),
            Due::Pong => self.miss_pong_of_side(id),
            Due::Fragment => {
                self.close(id, CloseReason::Protocol(ProtocolError::FragmentTimeout));
            }
            Due::Idle => self.close(id, CloseReason::IdleTimeout),
            Due::Write => self.close(id, CloseReason::WriteTimeout),
            Due::Close => self.give_up_answer(id),
            Due::Expiry => self.expire(id),
            Due::Refill => self.refill(id),
            Due::Handshake | Due::Body | Due::Grace | Due::Linger | Due::Window => {}
        }
        self.arm(id);
    }

    /// Sends a ping to a silent side, unless one of its partner is unanswered. Inside a long frame
    /// it waits for the end of that.
    fn ping_side(&mut self, id: ConnId) {
        let now = self.now;
        let is_at_boundary = self.is_at_boundary(id);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let role = conn.decoder.role();
        let Some(tunnel) = conn.tunnel_mut() else {
            return;
        };
        if tunnel.owes_pong {
            return conn.heartbeat.forwarded(now);
        }
        tunnel.is_ping_due = !is_at_boundary;
        if !is_at_boundary {
            return;
        }
        let marker = tunnel.passage.ping_marker(|| self.masks.marker());
        let sequence = conn.heartbeat.ping_side(now).to_be_bytes();
        let payload = [&marker[..], &sequence].concat();
        self.metrics.pings_sent += 1;
        let mask = self.masks.for_frame_of(role);
        self.outboxes.change(id, conn, |open| open.outbox.push_ping(open.spares, &payload, mask));
        self.enqueue_flush(id);
    }

    /// Sends the ping that may wait for the end of a long frame to this side.
    fn place_ping(&mut self, partner: ConnId) {
        let tunnel = self.conns.get(partner).and_then(|conn| conn.tunnel());
        if tunnel.is_some_and(|tunnel| tunnel.is_ping_due) {
            self.ping_side(partner);
        }
    }

    fn miss_pong_of_side(&mut self, id: ConnId) {
        if self.pings_again(id) {
            self.ping_side(id);
        }
    }

    /// Whether a connection is one side of a pipe, even if it is ending.
    pub(crate) fn has_pipe(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(|conn| conn.pipe().is_some())
    }

    /// Whether a frame of ours may follow the output to this side.
    pub(crate) fn is_at_boundary(&self, id: ConnId) -> bool {
        let partner = self.conns.get(id).and_then(|conn| conn.pipe()).map(|pipe| pipe.partner);
        let partner = partner.and_then(|partner| self.conns.get(partner));
        let tunnel = partner.and_then(|partner| partner.tunnel());
        tunnel.is_none_or(|tunnel| tunnel.passage.is_at_boundary())
    }
}

impl Reactor {
    /// Handles a connection of the drain phase that is not open: the output of one side of a pipe
    /// has fallen to low water, or a connection to an upstream is established.
    pub(crate) fn drain_unopened(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id).filter(|conn| !conn.has_ended()) else {
            return;
        };
        if let Some(partner) = conn.pipe().map(|pipe| pipe.partner) {
            return self.core.resume(partner, PauseOwner::Partner);
        }
        if let Some(partner) = conn.exchange_partner() {
            self.core.resume(partner, PauseOwner::Partner);
        }
        self.report_connected(id);
    }

    /// Reports once that a connection to an upstream was established, at the latest before its end.
    pub(crate) fn report_connected(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return;
        };
        let service = conn.service;
        let dialed = conn.handshake().and_then(|handshake| handshake.dialed.as_mut());
        let dialed = dialed.filter(|dialed| dialed.is_connected && !dialed.is_reported);
        if let Some(dialed) = dialed {
            dialed.is_reported = true;
            let called = self.call_weighed(service, |service, cx| service.on_connect(cx, id));
            self.end_after_panic(id, called);
        }
    }
}

/// The bytes to forward, in order.
#[inline(always)]
fn slices<'a>(output: &'a Output, input: &'a [u8]) -> [&'a [u8]; 2] {
    match output {
        Output::Nothing => [&[], &[]],
        Output::Input(range) => [&[], &input[range.clone()]],
        Output::Start(start, range) => [start.as_bytes(), &input[range.clone()]],
    }
}

/// Writes once. A full send buffer counts as 0 bytes.
fn write_once(socket: &mut impl Write, [head, rest]: [&[u8]; 2]) -> io::Result<usize> {
    let result = if head.is_empty() {
        socket.write(rest)
    } else {
        socket.write_vectored(&[IoSlice::new(head), IoSlice::new(rest)])
    };
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
        {
            Ok(0)
        }
        result => result,
    }
}
