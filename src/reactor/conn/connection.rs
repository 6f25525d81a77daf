//! One connection: its state, and what it waits for.
//!
//! State is an enum. The poll interest ([`interest`](super::interest)) and the next
//! [deadline](crate::reactor::conn::deadline) are functions of it, so that they cannot
//! contradict it. No I/O, and no effect on other state: `effects/` moves a connection from phase to
//! phase, reads and writes.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::rc::Rc;

use mio::Interest;
use mio::net::TcpStream;

use super::handshake::{Handshake, TrustedProxy};
use super::heartbeat::HeartbeatState;
use super::identity::HeldIdentity;
use super::outboxes::output::Output;
use super::pause::{PauseOwner, Pauses};
use super::phase::{AdmissionState, Input, Phase, Registration, Stage};
use super::pipe::PipeBox;
use super::rates::ConnRates;
use super::unread::Unread;
use super::windows::{Unfinished, WindowsBox};
use crate::protocol::{Decoder, Message, Role};
use crate::reactor::api::budget::LARGE_BYTES;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::metadata::Metadata;
use crate::reactor::api::priority::Priority;
use crate::reactor::api::record::{Peer, Traffic};
use crate::reactor::api::time::Time;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::batch_id::BatchId;
use crate::reactor::parts::timer::TimerId;
use crate::reactor::parts::tls::SessionBox;
use crate::reactor::parts::topics::Memberships;

/// Cold state: what most connections do not need most of the time. Allocated on first use.
#[derive(Debug, Default)]
pub(crate) struct ColdState {
    pub(crate) handshake: Option<Box<Handshake>>,
    pub(crate) unread: Option<Unread>,
    pub(crate) labels: Option<Box<Labels>>,
    /// The TLS session, for the whole life of a TLS connection.
    pub(crate) session: Option<SessionBox>,
    pub(crate) windows: Option<WindowsBox>,
    /// A compressed message of which some fragments were received.
    pub(crate) unfinished: Option<Unfinished>,
    /// Its side of a pipe: it is joined, or was until its end started.
    pub(crate) pipe: Option<PipeBox>,
    /// Who its peer is, as its gate has determined it.
    pub(crate) identity: Option<Box<HeldIdentity>>,
    /// If its route has any, from the handshake to the end.
    pub(crate) rates: Option<Box<ConnRates>>,
}

impl ColdState {
    /// Whether it has at most rates and an identity: no input is held there or passes there.
    #[inline]
    pub(crate) fn is_passive(&self) -> bool {
        self.handshake.is_none()
            && self.unread.is_none()
            && self.labels.is_none()
            && self.session.is_none()
            && self.windows.is_none()
            && self.unfinished.is_none()
            && self.pipe.is_none()
    }
}

/// What its service has set about a connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) metadata: Metadata,
    /// The agreed subprotocol, if the service does not list it.
    pub(crate) protocol: Option<Box<str>>,
    /// Bytes that its service holds for it.
    pub(crate) held_bytes: usize,
}

/// Route, service and path of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) route: RouteId,
    pub(crate) service: ServiceId,
    pub(crate) path: Rc<str>,
}

/// One connection, of either role.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) decoder: Decoder,
    pub(crate) traffic: Traffic,
    pub(crate) phase: Phase,
    pub(crate) path: Rc<str>,
    pub(crate) outbox: Output,
    pub(crate) cold: Option<Box<ColdState>>,
    pub(crate) opened: Time,
    pub(crate) last_heard: Time,
    pub(crate) last_data: Time,
    /// When the first fragment of the unfinished message arrived; [`Time::MAX`] without one.
    pub(crate) message_since: Time,
    pub(crate) heartbeat: HeartbeatState,
    pub(crate) timer: Option<TimerId>,
    pub(crate) serial: u32,
    pub(crate) socket: TcpStream,
    pub(crate) topics: Memberships,
    /// Bytes charged for input: unread bytes, and those of an unfinished message.
    pub(crate) input_bytes: u32,
    /// The client's address, for a server; behind a trusted proxy that of the last request.
    /// Invariant: it does not change while [`Quota::Clients`] counts it.
    pub(crate) peer: Peer,
    pub(crate) route: RouteId,
    pub(crate) service: ServiceId,
    /// The agreed subprotocol, counted from 1 in the service's list, so that an `Option` takes one
    /// byte. One that is not in the list is in [`Labels`].
    pub(crate) protocol: Option<NonZeroU8>,
    /// The batch that it is a member of. Invariant: it is open then, its outbox is empty, and it is
    /// in the flush queue.
    pub(crate) batch: Option<BatchId>,
    /// Window size of our compressed messages, as an exponent of 2; 0 if we send none.
    #[cfg(feature = "deflate")]
    pub(crate) deflate_bits: u8,
    /// The interest that is registered with the poll.
    pub(crate) interest: Option<Interest>,
    /// The kernel may have bytes for us: an event was reported, and no read has been short since.
    pub(crate) readable: bool,
    /// The poll has reported the end of the peer's side: a short read does not mean drained.
    pub(crate) read_closed: bool,
    /// The owners of pauses of reading.
    pub(crate) pauses: Pauses,
    admission: AdmissionState,
    /// Invariant: set exactly while it is in the read queue.
    pub(crate) in_read_queue: bool,
    /// Invariant: set exactly while it is in the flush queue.
    pub(crate) in_flush_queue: bool,
}

/// Size of a connection, and so of its slot in the table. With debug assertions mio also stores the
/// poll with each socket, to detect mistakes.
const CONNECTION_BYTES_MAX: usize = if cfg!(debug_assertions) { 240 } else { 224 };

// Not only a test: tests have debug assertions.
const _: () = assert!(size_of::<Option<Connection>>() <= CONNECTION_BYTES_MAX);

impl Connection {
    /// A new connection, on a socket that is not registered with the poll yet.
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
        let cold = ColdState { handshake: Some(Box::new(handshake)), ..ColdState::default() };
        Connection {
            decoder,
            traffic: Traffic::default(),
            phase,
            path: place.path,
            outbox: Output::empty(),
            cold: Some(Box::new(cold)),
            opened: now,
            last_heard: now,
            last_data: now,
            message_since: Time::MAX,
            heartbeat: HeartbeatState::default(),
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
            admission: AdmissionState::new(Quota::Clients, Registration::Admitted),
            in_read_queue: false,
            in_flush_queue: false,
        }
    }

    /// The path for log lines; "outbound" for outbound connections, whose path may contain a key.
    pub(crate) fn logged_path(&self) -> &str {
        match self.decoder.role() {
            Role::Client => "outbound",
            Role::Server => &self.path,
        }
    }

    /// The quota that it counts against, unless it waits for its refusal.
    pub(crate) fn quota(&self) -> Quota {
        self.admission.quota()
    }

    pub(crate) fn registration(&self) -> Registration {
        self.admission.registration()
    }

    pub(crate) fn set_registration(&mut self, registration: Registration) {
        self.admission = self.admission.with_registration(registration);
    }

    pub(crate) fn register(&mut self, quota: Quota, registration: Registration) {
        self.admission = self.admission.with_quota(quota).with_registration(registration);
    }

    /// Whether a client has opened it, or a proxy for a client.
    pub(crate) fn is_client(&self) -> bool {
        matches!(self.quota(), Quota::Clients | Quota::Surplus | Quota::Proxies)
    }

    /// Whether it is a client's WebSocket, or tunnel, whose end has not started.
    pub(crate) fn is_open_client(&self) -> bool {
        self.is_client() && (self.is_open() || self.is_piped())
    }

    /// The priority as its route and gate have set it; connections of operators and of our own have
    /// the highest one.
    pub(crate) fn priority(&self) -> Priority {
        if self.is_client() { self.admission.priority() } else { Priority::Critical }
    }

    /// Whether it was admitted in the reserve, and its priority has not been decided on.
    pub(crate) fn is_provisional(&self) -> bool {
        self.admission.stage() == Stage::Provisional
    }

    pub(crate) fn set_provisional(&mut self, is_provisional: bool) {
        let stage = if is_provisional { Stage::Provisional } else { Stage::Plain };
        self.admission = self.admission.with_stage(stage);
    }

    /// Counts it towards the connections of its route, once its priority is known.
    pub(crate) fn count_for_route(&mut self) {
        debug_assert_eq!(self.admission.stage(), Stage::Plain);
        self.admission = self.admission.with_stage(Stage::OfRoute);
    }

    /// Uncounts it for its route; true if it did count.
    pub(crate) fn uncount_for_route(&mut self) -> bool {
        let did_count = self.admission.stage() == Stage::OfRoute;
        if did_count {
            self.admission = self.admission.with_stage(Stage::Plain);
        }
        did_count
    }

    /// Only the table of connections calls it, since it counts priorities.
    pub(super) fn set_priority(&mut self, priority: Priority) {
        self.admission = self.admission.with_priority(priority);
    }

    /// Whether it was accepted at a listener for operators.
    pub(crate) fn is_operator(&self) -> bool {
        self.quota() == Quota::Operators
    }

    /// Whether its service knows it, and gets `on_close`.
    pub(crate) fn is_announced(&self) -> bool {
        matches!(self.registration(), Registration::Announced | Registration::Dismissed)
    }

    /// Whether admission does not count it: it waits for its refusal, or for the end of it.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.registration(), Registration::Refused | Registration::Dismissed)
    }

    /// Whether its upgrade was refused by a Close, and the peer's is awaited.
    pub(crate) fn awaits_refused(&self) -> bool {
        let is_awaited = matches!(self.phase, Phase::Closing { input: Input::AwaitClose, .. });
        is_awaited && self.is_refused()
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether its service sends to it: messages, or parts of a response.
    pub(crate) fn is_sent_to(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Responding)
    }

    /// Whether it has ended: its service gets only `on_close` from now on.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Gone(_))
    }

    /// The agreed subprotocol, as an index into the service's list.
    pub(crate) fn protocol(&self) -> Option<usize> {
        self.protocol.map(|counted| usize::from(counted.get()) - 1)
    }

    /// Whether it may join a batch: the batch's frames, unmasked, would be its next output.
    #[inline]
    pub(crate) fn can_join_batch(&self) -> bool {
        self.is_open()
            && self.outbox.is_empty()
            && self.batch.is_none()
            && self.decoder.role() == Role::Server
    }

    /// Why it ends, if its end has started.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closing { reason, .. }
            | Phase::Lingering { reason, .. }
            | Phase::Gone(reason) => Some(reason),
            #[cfg(feature = "proxy")]
            Phase::Piped => self.violation().map(CloseReason::Protocol),
            _ => None,
        }
    }

    /// Whether input, from the socket or `unread`, may be handled now.
    #[inline(always)]
    pub(crate) fn takes_input(&self) -> bool {
        match self.phase {
            Phase::Open => !self.pauses.is_any(),
            _ => self.takes_input_unopened(),
        }
    }

    /// Like [`Connection::takes_input`], for a connection that is not open.
    #[inline(never)]
    fn takes_input_unopened(&self) -> bool {
        match self.phase {
            // The next request waits until the response to the last one was written.
            Phase::Handshake if self.outbox.is_empty() => true,
            // An upstream may respond before it has read the whole request.
            #[cfg(feature = "proxy")]
            Phase::Handshake => self.awaits_response(),
            #[cfg(not(feature = "proxy"))]
            Phase::Handshake => false,
            #[cfg(feature = "proxy")]
            Phase::Piped => !self.pauses.is_any(),
            #[cfg(feature = "proxy")]
            Phase::Idle => true,
            #[cfg(feature = "proxy")]
            Phase::Streaming => self.has_left() || self.passes_body(),
            Phase::Deferred => self.has_left() || self.passes_body(),
            Phase::Connecting | Phase::Open | Phase::Responding | Phase::Gone(_) => false,
            Phase::Closing { .. } => !self.pauses.has(PauseOwner::Partner),
            Phase::Lingering { .. } => true,
        }
    }

    /// Whether it must be put on the read queue: input may be there and may be handled.
    pub(crate) fn should_read(&self) -> bool {
        !self.in_read_queue && (self.readable || self.has_unread()) && self.takes_input()
    }

    pub(crate) fn cold(&mut self) -> &mut ColdState {
        self.cold.get_or_insert_default()
    }

    pub(crate) fn handshake(&mut self) -> Option<&mut Handshake> {
        self.cold.as_mut()?.handshake.as_deref_mut()
    }

    /// The TLS session; `None` without TLS.
    pub(crate) fn session(&mut self) -> Option<&mut SessionBox> {
        self.cold.as_mut()?.session.as_mut()
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.session.is_some())
    }

    /// Whether its PROXY header must still come.
    pub(crate) fn awaits_proxy_header(&self) -> bool {
        let handshake = self.cold.as_ref().and_then(|cold| cold.handshake.as_ref());
        handshake.is_some_and(|handshake| handshake.proxy_header.is_some())
    }

    /// What the trusted proxy that it came through states about the client.
    pub(crate) fn proxy(&self) -> Option<&TrustedProxy> {
        self.cold.as_ref()?.handshake.as_ref()?.proxy.as_ref()
    }

    /// Whether the client's own connection is encrypted, by TLS to us or as a trusted proxy states.
    pub(crate) fn is_client_secure(&self) -> bool {
        self.proxy().and_then(|proxy| proxy.is_client_secure).unwrap_or(self.is_secure())
    }

    pub(crate) fn take_unread(&mut self) -> Option<Unread> {
        self.cold.as_mut()?.unread.take()
    }

    /// Counts a message received from the peer; returns the service that gets it.
    #[inline(always)]
    pub(crate) fn note_message(&mut self, message: Message<'_>, now: Time) -> ServiceId {
        self.last_data = now;
        self.traffic.messages_in += 1;
        self.traffic.bytes_in += message.len() as u64;
        self.service
    }

    /// Frees the cold state if nothing is left in it.
    pub(crate) fn free_empty_cold(&mut self) {
        let is_empty =
            |cold: &ColdState| cold.rates.is_none() && cold.identity.is_none() && cold.is_passive();
        self.cold.take_if(|cold| is_empty(cold));
    }

    /// Drops the unfinished message, for a peer whose input is discarded from now on.
    pub(crate) fn forget_message(&mut self) {
        self.forget_unfinished();
        self.decoder = Decoder::new(self.decoder.role());
        self.message_since = Time::MAX;
    }

    /// Drops the unfinished compressed message.
    pub(crate) fn forget_unfinished(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.unfinished = None;
        }
    }

    /// Whether the next frame may be decoded.
    pub(crate) fn wants_frames(&self) -> bool {
        match self.phase {
            Phase::Open => !self.pauses.is_any(),
            Phase::Closing { input, .. } => input == Input::AwaitClose,
            _ => false,
        }
    }

    /// Whether input is decoded at all.
    pub(crate) fn decodes(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing { input: Input::AwaitClose, .. })
    }

    /// Whether input is read only to be discarded.
    #[cfg(feature = "tls")]
    pub(crate) fn discards_input(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closing { input: Input::Discard, .. } | Phase::Lingering { .. } | Phase::Gone(_)
        )
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.unread.is_some() || is_whole(cold))
    }

    /// Whether a complete compressed message is being inflated, before further input is handled.
    #[inline]
    pub(crate) fn is_inflating(&self) -> bool {
        self.cold.as_deref().is_some_and(is_whole)
    }

    /// Whether the message in receipt is large already.
    pub(crate) fn receives_large(&self) -> bool {
        let unfinished = self.unfinished().map_or(0, Unfinished::held_bytes);
        unfinished.max(self.decoder.held_bytes()) >= LARGE_BYTES
    }

    /// The unfinished compressed message.
    pub(crate) fn unfinished(&self) -> Option<&Unfinished> {
        self.cold.as_ref()?.unfinished.as_ref()
    }

    /// Whether input is held, was held when it was last counted, or may be readable.
    pub(crate) fn has_input(&self) -> bool {
        self.readable
            || self.input_bytes > 0
            || self.cold.as_ref().is_some_and(|cold| !cold.is_passive())
            || self.decoder.held_bytes() > 0
    }

    /// Memory that input holds now.
    pub(crate) fn measure_input(&self) -> usize {
        let cold = self.cold.as_deref();
        let unread = cold.and_then(|cold| cold.unread.as_ref());
        let head = cold.and_then(|cold| cold.handshake.as_deref());
        let session = cold.and_then(|cold| cold.session.as_ref());
        let unfinished = cold.and_then(|cold| cold.unfinished.as_ref());
        let pipe = cold.and_then(|cold| cold.pipe.as_ref());
        self.decoder.held_bytes()
            + session.map_or(0, |session| session.held_bytes())
            + unfinished.map_or(0, Unfinished::held_bytes)
            + unread.map_or(0, Unread::held_bytes)
            + head.map_or(0, Handshake::held_bytes)
            + pipe.map_or(0, |pipe| pipe.held_bytes())
            + self.service_bytes()
    }

    /// Bytes that its service holds for it.
    pub(crate) fn service_bytes(&self) -> usize {
        let labels = self.cold.as_deref().and_then(|cold| cold.labels.as_deref());
        labels.map_or(0, |labels| labels.held_bytes)
    }
}

fn is_whole(cold: &ColdState) -> bool {
    cold.unfinished.as_ref().is_some_and(Unfinished::is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle open connection costs its slot in the table and its timer.
    #[test]
    fn an_idle_connection_is_small() {
        // The wheel's memory for a key of 8 bytes, as asserted in `timer.rs`.
        const TIMER_BYTES: usize = 24;
        assert!(size_of::<Option<Connection>>() <= CONNECTION_BYTES_MAX);
        assert!(size_of::<Option<Connection>>() + TIMER_BYTES <= 264);
    }
}
