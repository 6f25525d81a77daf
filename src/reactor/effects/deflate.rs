//! permessage-deflate (RFC 7692) on the loop: which messages are compressed, and the memory of
//! windows.
//!
//! The loop has two streams, one to compress and one to inflate. Without context takeover, a
//! connection needs one byte of state. With it, a connection owns the windows that its messages
//! refer to. They grow with use; their maximum is reserved when the connection opens, and beyond a
//! limit new connections get no context takeover. Our outgoing window is freed after some time
//! without sending, at no cost for the peer. The incoming window must be kept, since the peer may
//! refer to it.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::protocol::deflate::{
    Agreement, Compressed, Deflater, Effort, Inflater, Offer, Unfinished,
};
use crate::protocol::encoder::payload;
use crate::protocol::handshake::ClientRequest;
use crate::protocol::{Decoder, Message, Opcode, ProtocolError, Role, SharedFrame};
use crate::reactor::Reactor;
use crate::reactor::api::budget::{
    DEFLATED_BYTES_MAX, INFLATED_FROM_BYTES, INFLATED_TO_BYTES, SHARE_BYTES_MIN, WORK_BYTES,
};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::settings::Settings;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outbox::pressure::Pressure;
use crate::reactor::conn::windows::{Windows, WindowsBox};
use crate::reactor::core::Core;
use crate::reactor::parts::shared::Bytes;

impl Core {
    /// An outbound request, without context takeover if its windows do not fit; and these windows.
    pub(crate) fn offer<'a>(
        &mut self,
        request: &'a ClientRequest,
    ) -> (Cow<'a, ClientRequest>, Option<WindowsBox>) {
        if !request.offers_deflate().is_some_and(|offer| offer.takeover) {
            return (Cow::Borrowed(request), None);
        }
        if !self.has_window_room(Agreement::WIDEST.window_bytes_max()) {
            let offer = Offer { takeover: false };
            return (Cow::Owned(request.clone().deflate(offer)), None);
        }
        (Cow::Borrowed(request), Windows::new(&Agreement::WIDEST, Role::Client))
    }

    /// Whether windows of this many bytes fit into the limit.
    pub(crate) fn has_window_room(&mut self, bytes: usize) -> bool {
        let reserved = self.deflate.windows.reserved.get() + bytes;
        let fits = reserved <= self.settings.deflate_windows_bytes_max;
        self.metrics.deflate_windows_refused += u64::from(!fits);
        fits
    }

    /// Starts compression on a connection, in both directions.
    pub(crate) fn begin_deflate(&mut self, id: ConnId, agreement: &Agreement) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let role = conn.decoder.role();
        let limits = self.router.settings(conn.route);
        conn.decoder = Decoder::new(role).with_deflate();
        let outgoing = agreement.outgoing(role);
        if outgoing.is_possible() {
            conn.deflate_bits = outgoing.window_bits;
            self.deflate.allow_from(limits.deflate_bytes_min);
        }
        self.metrics.deflate_agreed += 1;
        self.set_windows(id, Windows::new(agreement, role));
    }

    /// Replaces a connection's windows, and reserves the bytes that they may grow to.
    pub(crate) fn set_windows(&mut self, id: ConnId, windows: Option<WindowsBox>) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let Some(before) = conn.cold.as_mut().and_then(|cold| cold.windows.take()) {
            self.deflate.windows.reserved.replace(before.reserved_bytes(), 0);
            self.deflate.windows.held.replace(before.held_bytes(), 0);
        }
        if let Some(windows) = windows {
            self.deflate.windows.reserved.replace(0, windows.reserved_bytes());
            conn.cold().windows = Some(windows);
        }
    }

    /// Frees the outgoing window, after some time without sending.
    pub(crate) fn free_window(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let windows = conn.cold.as_mut().and_then(|cold| cold.windows.as_mut());
        if let Some(outgoing) = windows.and_then(|windows| windows.outgoing.as_mut()) {
            let before = outgoing.held_bytes();
            outgoing.clear();
            self.deflate.windows.held.replace(before, outgoing.held_bytes());
            self.metrics.deflate_windows_freed += 1;
        }
    }

    /// Sends a message compressed; `None` if it must be sent uncompressed.
    pub(crate) fn send_deflated(
        &mut self,
        id: ConnId,
        message: Message<'_>,
    ) -> Option<SendOutcome> {
        self.send_through_window(id, message.opcode(), message.as_bytes())
    }

    /// Sends a message compressed, with references to the connection's window, if it has one.
    pub(crate) fn send_through_window(
        &mut self,
        id: ConnId,
        opcode: Opcode,
        message: &[u8],
    ) -> Option<SendOutcome> {
        let bits = self.deflates(id, message.len())?;
        let mut deflater = self.take_deflater();
        let conn = self.conns.get(id)?;
        let windows = conn.cold.as_ref().and_then(|cold| cold.windows.as_deref());
        let window = windows.map_or(&[][..], Windows::outgoing_bytes);
        self.work.spend_deflate(message.len() + window.len());
        let outcome = match deflater.deflate(message, bits, window) {
            Some(payload) => {
                let outcome = self.queue(id, payload.len(), false, |outbox, spares, mask| {
                    outbox.push_compressed(spares, opcode, payload, mask);
                });
                self.note_deflated(id, outcome, message, payload.len(), true);
                Some(outcome)
            }
            None => {
                self.metrics.messages_not_deflated += 1;
                None
            }
        };
        self.deflate.deflater = Some(deflater);
        outcome
    }

    /// Sends a shared frame compressed; `None` if it must be sent uncompressed.
    pub(crate) fn send_shared_deflated(
        &mut self,
        id: ConnId,
        frame: &SharedFrame,
    ) -> Option<SendOutcome> {
        let message = frame.payload();
        let bits = self.deflates(id, message.len())?;
        // The shared compressed form refers to nothing before it, but may refer as far back as its
        // own start.
        if frame.opcode().is_control() || message.len() > 1 << bits {
            return None;
        }
        let mut deflater = self.take_deflater();
        if !frame.was_compressed() {
            self.work.spend_deflate(message.len());
        }
        let compressed = frame.compressed(&mut deflater);
        self.deflate.deflater = Some(deflater);
        let Some(compressed) = compressed else {
            self.metrics.messages_not_deflated += 1;
            return None;
        };
        let len = payload(compressed).len();
        let is_large = compressed.len() >= SHARE_BYTES_MIN;
        let shared =
            is_large.then(|| self.outboxes.ledger.share(Bytes::Frame(Rc::clone(compressed))));
        let outcome = self.queue(id, len, false, |outbox, spares, mask| match (mask, shared) {
            (None, Some(shared)) => outbox.push_shared(spares, shared),
            (None, None) => outbox.push_frames(spares, compressed),
            (Some(_), _) => {
                outbox.push_compressed(spares, frame.opcode(), payload(compressed), mask);
            }
        });
        self.note_deflated(id, outcome, message, len, false);
        Some(outcome)
    }

    /// Inflates the next fragment of a connection's message, or continues with a gathered message.
    /// Returns the message if it is complete.
    fn inflate<'a>(
        &mut self,
        id: ConnId,
        fragment: Option<Compressed<'_>>,
        inflater: &'a mut Inflater,
    ) -> Result<Option<Message<'a>>, ProtocolError> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(None);
        };
        let limit = self.router.settings(conn.route).message_bytes_max;
        let mut unfinished = conn.cold.as_mut().and_then(|cold| cold.unfinished.take());
        let was_unfinished = unfinished.is_some();
        let mut incoming =
            conn.cold.as_mut().and_then(|cold| cold.windows.as_mut()?.incoming.as_mut());
        let before = incoming.as_ref().map_or(0, |window| window.held_bytes());
        let window = incoming.as_deref_mut();
        let inflated = match fragment {
            Some(fragment) => inflater.inflate(fragment, &mut unfinished, window, limit),
            None => inflater.resume(&mut unfinished, window, limit),
        };
        let after = incoming.map_or(0, |window| window.held_bytes());
        self.deflate.windows.held.replace(before, after);
        if let Some(message) = &unfinished {
            self.metrics.messages_gathered += u64::from(!was_unfinished && message.is_gathered());
            conn.cold().unfinished = unfinished;
        } else if was_unfinished {
            conn.free_empty_cold();
        }
        inflated
    }

    /// The window bits for compressing a message of this length for a connection, if it may be
    /// compressed.
    pub(crate) fn deflates(&self, id: ConnId, len: usize) -> Option<u8> {
        let conn = self.conns.get(id)?;
        let compresses = conn.deflate_bits > 0
            && !self.load.is_uncompressed
            && len >= self.router.settings(conn.route).deflate_bytes_min
            && len <= DEFLATED_BYTES_MAX
            && conn.is_open()
            // A message that will be shed need not be compressed.
            && conn.outbox.pressure() != Pressure::Shedding;
        compresses.then_some(conn.deflate_bits)
    }

    pub(crate) fn take_deflater(&mut self) -> Box<Deflater> {
        let Settings { deflate_level, deflate_mem_level, .. } = self.settings;
        let deflater = self.deflate.deflater.take();
        deflater.unwrap_or_else(|| Box::new(Deflater::new(deflate_level, deflate_mem_level)))
    }

    /// Counts a compressed message of `from` bytes; the queue has counted its `to` compressed bytes.
    pub(crate) fn count_deflated(&mut self, id: ConnId, from: usize, to: usize) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.traffic.bytes_out += (from - to) as u64;
        }
        self.metrics.messages_deflated += 1;
        self.metrics.bytes_deflated_from += from as u64;
        self.metrics.bytes_deflated_to += to as u64;
    }

    /// Counts a compressed message, and adds it to the outgoing window. A shared message refers to
    /// nothing and starts no window, but must be added to an existing one.
    fn note_deflated(
        &mut self,
        id: ConnId,
        outcome: SendOutcome,
        message: &[u8],
        len: usize,
        starts_window: bool,
    ) {
        if !outcome.is_queued() {
            return;
        }
        self.count_deflated(id, message.len(), len);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let windows = conn.cold.as_mut().and_then(|cold| cold.windows.as_mut());
        let Some(windows) = windows else {
            return;
        };
        let is_new = windows.outgoing_bytes().is_empty();
        if starts_window || !is_new {
            windows.note_sent(message, self.now, &mut self.deflate.windows);
        }
        if starts_window && is_new {
            self.arm(id);
        }
    }
}

impl Reactor {
    /// Inflates a message, or its next fragment, and passes a complete message to the service.
    /// `Break` if the next frame must wait.
    ///
    /// # Errors
    /// The connection must be failed.
    #[inline(never)]
    pub(crate) fn handle_compressed(
        &mut self,
        id: ConnId,
        fragment: Compressed<'_>,
    ) -> Result<ControlFlow<()>, ProtocolError> {
        self.inflate_fragment(id, Some(fragment))?;
        self.finish_gathered(id)
    }

    /// Continues with a complete gathered message, within the connection's share of the turn.
    /// `Continue` if it is finished.
    ///
    /// # Errors
    /// The connection must be failed.
    pub(crate) fn finish_gathered(&mut self, id: ConnId) -> Result<ControlFlow<()>, ProtocolError> {
        while self.core.conns.get(id).is_some_and(Connection::is_inflating) {
            if self.core.work.is_spent() {
                return Ok(ControlFlow::Break(()));
            }
            self.inflate_fragment(id, None)?;
            let conn = self.core.conns.get(id);
            let unfinished = conn.and_then(Connection::unfinished);
            if unfinished.is_some_and(Unfinished::awaits_stream) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn inflate_fragment(
        &mut self,
        id: ConnId,
        fragment: Option<Compressed<'_>>,
    ) -> Result<(), ProtocolError> {
        // Taken out while the service, which may do anything, uses the message in its buffer.
        let mut inflater = self.core.deflate.inflater.take().unwrap_or_default();
        let before = inflater.effort();
        let outcome = match self.core.inflate(id, fragment, &mut inflater) {
            Ok(Some(message)) => {
                self.handle_inflated(id, message);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let Effort { from, to, primed } = inflater.effort();
        let (from, to, primed) = (from - before.from, to - before.to, primed - before.primed);
        self.core.metrics.bytes_inflated_from += from;
        self.core.metrics.bytes_inflated_to += to;
        let units = from as usize / INFLATED_FROM_BYTES
            + to as usize / INFLATED_TO_BYTES
            + primed as usize / WORK_BYTES;
        self.core.work.spend(units);
        self.core.deflate.inflater = Some(inflater);
        outcome
    }

    fn handle_inflated(&mut self, id: ConnId, message: Message<'_>) {
        self.core.metrics.messages_inflated += 1;
        self.core.metrics.count_message(message);
        if let Some(conn) = self.core.conns.get_mut(id) {
            let service = conn.note_message(message, self.core.now);
            self.call_for(id, service, |service, cx| service.on_message(cx, id, message));
        }
    }
}
