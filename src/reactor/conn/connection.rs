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

use super::cold::ColdState;
use super::handshake::{Handshake, TrustedProxy};
use super::heartbeat::HeartbeatState;
use super::outboxes::output::Output;
use super::pause::Pauses;
use super::phase::{AdmissionState, Phase, Registration};
use super::rates::FastRead;
use super::reading::Reading;
use crate::protocol::{Decoder, Message, Role};
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, RouteId, ServiceId};
use crate::reactor::api::record::{Peer, Traffic};
use crate::reactor::api::time::Time;
use crate::reactor::parts::admission::Quota;
use crate::reactor::parts::batch_id::BatchId;
use crate::reactor::parts::timer::TimerId;
use crate::reactor::parts::tls::SessionBox;
use crate::reactor::parts::topics::Memberships;

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
    pub(crate) reading: Reading,
    pub(super) admission: AdmissionState,
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
            reading: Reading::default(),
            admission: AdmissionState::new(Quota::Clients, Registration::Admitted),
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

    /// The cold state, to add to it.
    pub(crate) fn cold(&mut self) -> &mut ColdState {
        self.reading.set_fast(FastRead::No);
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

    /// Bytes that its service holds for it.
    pub(crate) fn service_bytes(&self) -> usize {
        let labels = self.cold.as_deref().and_then(|cold| cold.labels.as_deref());
        labels.map_or(0, |labels| labels.held_bytes)
    }
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
