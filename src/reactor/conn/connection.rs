//! One connection: its state, and what it waits for.
//!
//! State is an enum, and what the poll is asked for is a function of it, like the next
//! [deadline](crate::reactor::effects::deadlines), so that neither can disagree with it. No I/O here, and no effect on
//! anything else: the core moves a connection from phase to phase, the turn reads and writes.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::rc::Rc;

use mio::Interest;
use mio::net::TcpStream;

use super::handshake::Handshake;
use super::heartbeat::Pulse;
use super::outboxes::output::Output;
use super::pause::Pauses;
use super::phase::{Input, Phase, Standing};
use super::unread::Unread;
use super::windows::{Unfinished, WindowsBox};
use crate::protocol::{Decoder, Message, Role};
use crate::reactor::api::budget::LARGE_BYTES;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::record::{Metadata, Peer, Traffic};
use crate::reactor::api::time::Time;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::batch_id::BatchId;
use crate::reactor::parts::timer::TimerId;
use crate::reactor::parts::tls::SessionBox;
use crate::reactor::parts::topics::Memberships;

/// What most connections do without most of the time.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) handshake: Option<Box<Handshake>>,
    pub(crate) unread: Option<Unread>,
    pub(crate) metadata: Option<Box<Metadata>>,
    /// The TLS of a secure connection, for as long as it lives.
    pub(crate) session: Option<SessionBox>,
    pub(crate) windows: Option<WindowsBox>,
    /// A compressed message of which pieces have come.
    pub(crate) unfinished: Option<Unfinished>,
}

/// Where a connection belongs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) route: RouteId,
    pub(crate) service: ServiceId,
    pub(crate) path: Rc<str>,
}

/// One connection of either role.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) decoder: Decoder,
    pub(crate) traffic: Traffic,
    pub(crate) phase: Phase,
    pub(crate) path: Rc<str>,
    pub(crate) outbox: Output,
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) opened: Time,
    pub(crate) last_heard: Time,
    pub(crate) last_data: Time,
    /// When the unfinished message began, [`Time::MAX`] if there is none.
    pub(crate) message_since: Time,
    pub(crate) pulse: Pulse,
    pub(crate) timer: Option<TimerId>,
    pub(crate) serial: u32,
    pub(crate) socket: TcpStream,
    pub(crate) topics: Memberships,
    /// Bytes held by input: unread, or of an unfinished message.
    pub(crate) input_bytes: u32,
    pub(crate) peer: Peer,
    pub(crate) route: RouteId,
    pub(crate) service: ServiceId,
    /// The agreed subprotocol, counted from 1 in the service's list: a byte for it, and for none.
    pub(crate) protocol: Option<NonZeroU8>,
    /// The batch that it rides on: only while it is open, its outbox empty, and it stands in the queue
    /// of connections to flush.
    pub(crate) batch: Option<BatchId>,
    /// How far back a compressed message of ours may refer, as an exponent of 2; 0 if we send none.
    #[cfg(feature = "deflate")]
    pub(crate) deflate_bits: u8,
    /// What the poll was last asked for.
    pub(crate) interest: Option<Interest>,
    /// The kernel may hold bytes for us: an edge came, and no read has come up short since.
    pub(crate) readable: bool,
    /// The poll has told that the peer's side is shut: a short read does not mean drained.
    pub(crate) read_closed: bool,
    /// What keeps messages from being read for now.
    pub(crate) pauses: Pauses,
    pub(crate) standing: Standing,
    /// The limit that it counts against, unless it waits for its refusal.
    pub(crate) quota: Quota,
    /// Stands in the queue of connections to read.
    pub(crate) queued: bool,
    /// Stands in the queue of connections to flush.
    pub(crate) dirty: bool,
}

impl Connection {
    /// A connection at its beginning, on a socket that the poll does not know yet.
    pub(crate) fn new(
        id: ConnId,
        socket: TcpStream,
        peer: SocketAddr,
        decoder: Decoder,
        phase: Phase,
        handshake: Handshake,
        place: Place,
    ) -> Connection {
        let now = handshake.since;
        let rare = Rare { handshake: Some(Box::new(handshake)), ..Rare::default() };
        Connection {
            decoder,
            traffic: Traffic::default(),
            phase,
            path: place.path,
            outbox: Output::empty(),
            rare: Some(Box::new(rare)),
            opened: now,
            last_heard: now,
            last_data: now,
            message_since: Time::MAX,
            pulse: Pulse::default(),
            timer: None,
            serial: id.serial(),
            socket,
            topics: Memberships::default(),
            input_bytes: 0,
            peer: peer.into(),
            route: place.route,
            service: place.service,
            protocol: None,
            batch: None,
            #[cfg(feature = "deflate")]
            deflate_bits: 0,
            interest: None,
            readable: false,
            read_closed: false,
            pauses: Pauses::default(),
            standing: Standing::Admitted,
            quota: Quota::Clients,
            queued: false,
            dirty: false,
        }
    }

    /// The path for log lines; "outbound" for a connection of ours, whose path may hold a key.
    pub(crate) fn logged_path(&self) -> &str {
        match self.decoder.role() {
            Role::Client => "outbound",
            Role::Server => &self.path,
        }
    }

    /// Whether it was accepted at a listener for operators.
    pub(crate) fn is_operator(&self) -> bool {
        self.quota == Quota::Operators
    }

    /// Whether its service knows it, and is owed `on_close`.
    pub(crate) fn is_announced(&self) -> bool {
        self.standing == Standing::Announced
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether only `on_close` is owed to its service.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Gone(_))
    }

    /// The agreed subprotocol, as an index into the service's list.
    pub(crate) fn protocol(&self) -> Option<usize> {
        self.protocol.map(|counted| usize::from(counted.get()) - 1)
    }

    /// Whether a batch's frames are what it may be sent next, as they are.
    #[inline]
    pub(crate) fn can_join_batch(&self) -> bool {
        self.is_open()
            && self.outbox.is_empty()
            && self.batch.is_none()
            && self.decoder.role() == Role::Server
    }

    /// Why it ends, once that has begun.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closing { reason, .. }
            | Phase::Lingering { reason, .. }
            | Phase::Gone(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether bytes that arrive, or wait in `unread`, may be taken now.
    pub(crate) fn takes_input(&self) -> bool {
        match self.phase {
            Phase::Open => !self.pauses.is_any(),
            // The next request waits until the answer to the last one is on its way.
            Phase::Handshake => self.outbox.is_empty(),
            Phase::Connecting | Phase::Deferred | Phase::Gone(_) => false,
            Phase::Closing { .. } | Phase::Lingering { .. } => true,
        }
    }

    /// Whether there is, or may be, input to be taken now, and nobody knows of it yet.
    pub(crate) fn should_run(&self) -> bool {
        !self.queued && (self.readable || self.has_unread()) && self.takes_input()
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn handshake(&mut self) -> Option<&mut Handshake> {
        self.rare.as_mut()?.handshake.as_deref_mut()
    }

    /// Its TLS; `None` for one in the clear.
    pub(crate) fn session(&mut self) -> Option<&mut SessionBox> {
        self.rare.as_mut()?.session.as_mut()
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.session.is_some())
    }

    pub(crate) fn take_unread(&mut self) -> Option<Unread> {
        self.rare.as_mut()?.unread.take()
    }

    /// Notes a message that the peer has sent; returns the service that it is for.
    #[inline(always)]
    pub(crate) fn note_message(&mut self, message: Message<'_>, now: Time) -> ServiceId {
        self.last_data = now;
        self.traffic.messages_in += 1;
        self.traffic.bytes_in += message.len() as u64;
        self.service
    }

    /// Gives back what is not needed any more.
    pub(crate) fn tidy(&mut self) {
        let idle = |rare: &mut Box<Rare>| {
            rare.handshake.is_none()
                && rare.unread.is_none()
                && rare.metadata.is_none()
                && rare.session.is_none()
                && rare.windows.is_none()
                && rare.unfinished.is_none()
        };
        self.rare.take_if(idle);
    }

    /// Drops the message that is being put together: nothing the peer sends counts any more.
    pub(crate) fn forget_message(&mut self) {
        self.forget_unfinished();
        self.decoder = Decoder::new(self.decoder.role());
        self.message_since = Time::MAX;
    }

    /// Drops what a compressed message has come to: no service will see it.
    pub(crate) fn forget_unfinished(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.unfinished = None;
        }
    }

    /// Whether the next frame may be looked at.
    pub(crate) fn wants_frames(&self) -> bool {
        match self.phase {
            Phase::Open => !self.pauses.is_any(),
            Phase::Closing { input, .. } => input == Input::AwaitClose,
            _ => false,
        }
    }

    /// Whether what the peer sends is looked at.
    pub(crate) fn decodes(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing { input: Input::AwaitClose, .. })
    }

    /// Whether what the peer sends is read only so that it can be thrown away.
    #[cfg(feature = "tls")]
    pub(crate) fn discards_input(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closing { input: Input::Discard, .. } | Phase::Lingering { .. } | Phase::Gone(_)
        )
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.unread.is_some() || is_whole(rare))
    }

    /// Whether a compressed message that is whole is inflated before the next bytes are looked at.
    #[inline]
    pub(crate) fn is_inflating(&self) -> bool {
        self.rare.as_deref().is_some_and(is_whole)
    }

    /// Whether the message that it is receiving is large already.
    pub(crate) fn receives_large(&self) -> bool {
        let unfinished = self.unfinished().map_or(0, Unfinished::held_bytes);
        unfinished.max(self.decoder.held_bytes()) >= LARGE_BYTES
    }

    /// The compressed message of which pieces have come.
    pub(crate) fn unfinished(&self) -> Option<&Unfinished> {
        self.rare.as_ref()?.unfinished.as_ref()
    }

    /// Whether input is held, was held when it was last counted, or may be there to be read.
    pub(crate) fn has_input(&self) -> bool {
        self.readable
            || self.input_bytes > 0
            || self.rare.is_some()
            || self.decoder.held_bytes() > 0
    }

    /// Memory that input holds just now.
    pub(crate) fn measure_input(&self) -> usize {
        let rare = self.rare.as_deref();
        let unread = rare.and_then(|rare| rare.unread.as_ref());
        let head = rare.and_then(|rare| rare.handshake.as_deref());
        let session = rare.and_then(|rare| rare.session.as_ref());
        let unfinished = rare.and_then(|rare| rare.unfinished.as_ref());
        self.decoder.held_bytes()
            + session.map_or(0, |session| session.held_bytes())
            + unfinished.map_or(0, Unfinished::held_bytes)
            + unread.map_or(0, Unread::held_bytes)
            + head.map_or(0, Handshake::held_bytes)
    }
}

fn is_whole(rare: &Rare) -> bool {
    rare.unfinished.as_ref().is_some_and(Unfinished::is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle open connection costs us: its place in the table and that of its timer.
    #[test]
    fn an_idle_connection_is_small() {
        // What the wheel keeps for a key of 8 bytes, as it asserts itself.
        const TIMER_BYTES: usize = 24;
        // With debug assertions a socket also knows its poll, so that mio can find mistakes.
        let most = if cfg!(debug_assertions) { 240 } else { 224 };
        assert!(size_of::<Option<Connection>>() <= most);
        assert!(most + TIMER_BYTES <= 264);
    }
}
