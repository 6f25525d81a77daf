//! permessage-deflate on the loop: who may compress, what their windows cost, and the way through.
//!
//! The streams are the loop's, one to deflate and one to inflate; a connection without context takeover
//! is one byte of state. With it, it owns the windows that its messages may refer to: they grow with
//! use, what they may grow to is reserved when the connection opens, and past a cap on all of that new
//! connections do without. What we may refer to is forgotten after a while of silence, which costs the
//! peer nothing; what the peer may refer to has to stay.

use std::borrow::Cow;
use std::rc::Rc;

use crate::protocol::deflate::{Agreement, Compressed, Deflater, Effort, Inflater, Offer, Terms};
use crate::protocol::encoder::payload;
use crate::protocol::handshake::{ClientRequest, Upgrade};
use crate::protocol::{Decoder, Message, ProtocolError, Role, SharedFrame};
use crate::reactor::Reactor;
use crate::reactor::api::budget::{
    DEFLATED_BYTES_MAX, INFLATED_FROM_BYTES, INFLATED_TO_BYTES, SHARE_BYTES_MIN, WORK_BYTES,
};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::outcome::SendOutcome;
use crate::reactor::api::settings::{DeflateMode, RouteSettings, Settings};
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outbox::Pressure;
use crate::reactor::conn::windows::{WindowRoom, Windows};
use crate::reactor::core::Core;
use crate::reactor::parts::metrics::Metrics;
use crate::reactor::parts::shared::Bytes;

pub(crate) use crate::protocol::deflate::Unfinished;
pub(crate) use crate::reactor::conn::windows::WindowsBox;

/// The compression of one loop.
#[derive(Debug)]
pub(crate) struct Deflate {
    /// What compresses messages, from the first on that is to be.
    deflater: Option<Box<Deflater>>,
    /// What inflates them, from the first on that comes.
    inflater: Option<Box<Inflater>>,
    windows: WindowRoom,
    /// Messages from this size on may be compressed: more than any while nobody has agreed to that.
    bytes_min: usize,
    /// Messages compressed, or tried to be, until the last [`trim`](Deflate::trim).
    deflated: u64,
    /// Bytes of compressed messages received until then.
    inflated: u64,
}

impl Deflate {
    pub(crate) fn new() -> Deflate {
        Deflate {
            deflater: None,
            inflater: None,
            windows: WindowRoom::default(),
            bytes_min: usize::MAX,
            deflated: 0,
            inflated: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn bytes_min(&self) -> usize {
        self.bytes_min
    }

    /// Bytes that all windows hold.
    pub(crate) fn windows_held(&self) -> usize {
        self.windows.held.get()
    }

    /// Bytes that all windows may grow to.
    pub(crate) fn windows_reserved(&self) -> usize {
        self.windows.reserved.get()
    }

    /// Streams that unfinished messages have.
    pub(crate) fn streams_lent(&self) -> usize {
        self.inflater.as_ref().map_or(0, |inflater| inflater.streams_lent())
    }

    pub(crate) fn has_streams(&self) -> bool {
        self.deflater.is_some() || self.inflater.is_some()
    }

    /// Frees the streams that nobody has needed since the last call; returns how many those are.
    pub(crate) fn trim(&mut self, metrics: &Metrics) -> usize {
        let mut freed = 0;
        let deflated = metrics.messages_deflated + metrics.messages_not_deflated;
        if deflated == self.deflated {
            freed += usize::from(self.deflater.take().is_some());
        }
        self.deflated = deflated;
        let inflated = metrics.bytes_inflated_from;
        // While streams are lent, they must be counted.
        if inflated == self.inflated && self.streams_lent() == 0 {
            freed += usize::from(self.inflater.take().is_some());
        }
        self.inflated = inflated;
        freed
    }
}

/// What a server agrees to on this route.
pub(crate) fn negotiate(route: &RouteSettings, upgrade: &Upgrade<'_>) -> Option<Agreement> {
    let takeover = match route.deflate {
        DeflateMode::Off => return None,
        DeflateMode::Shared => false,
        DeflateMode::Dedicated => true,
    };
    upgrade.deflate(Terms { takeover, window_bits: route.deflate_window_bits })
}

impl Core {
    /// A request of ours, without context takeover if there is no room for its windows; and those windows.
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

    /// Whether there is room for windows of so many bytes.
    pub(crate) fn has_window_room(&mut self, bytes: usize) -> bool {
        let reserved = self.deflate.windows.reserved.get() + bytes;
        let fits = reserved <= self.settings.deflate_windows_bytes_max;
        self.metrics.deflate_windows_refused += u64::from(!fits);
        fits
    }

    /// From here on the connection takes compressed messages, and is sent them.
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
            self.deflate.bytes_min = self.deflate.bytes_min.min(limits.deflate_bytes_min);
        }
        self.metrics.deflate_agreed += 1;
        self.set_windows(id, Windows::new(agreement, role));
    }

    /// Gives a connection its windows, or none, and reserves what they may grow to.
    pub(crate) fn set_windows(&mut self, id: ConnId, windows: Option<WindowsBox>) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if let Some(before) = conn.rare.as_mut().and_then(|rare| rare.windows.take()) {
            self.deflate.windows.reserved.replace(before.reserved_bytes(), 0);
            self.deflate.windows.held.replace(before.held_bytes(), 0);
        }
        if let Some(windows) = windows {
            self.deflate.windows.reserved.replace(0, windows.reserved_bytes());
            conn.rare().windows = Some(windows);
        }
    }

    /// Forgets what we may refer to: nobody has been sent anything for a while.
    pub(crate) fn free_window(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let windows = conn.rare.as_mut().and_then(|rare| rare.windows.as_mut());
        if let Some(outgoing) = windows.and_then(|windows| windows.outgoing.as_mut()) {
            let before = outgoing.held_bytes();
            outgoing.clear();
            self.deflate.windows.held.replace(before, outgoing.held_bytes());
            self.metrics.deflate_windows_freed += 1;
        }
    }

    /// Sends a message in compressed form; `None` if it has to go as it is.
    pub(crate) fn send_deflated(
        &mut self,
        id: ConnId,
        message: Message<'_>,
    ) -> Option<SendOutcome> {
        let bits = self.deflates(id, message.len())?;
        let mut deflater = self.take_deflater();
        let conn = self.conns.get(id)?;
        let windows = conn.rare.as_ref().and_then(|rare| rare.windows.as_deref());
        let said = windows.map_or(&[][..], Windows::said);
        self.work.spend_deflate(message.len() + said.len());
        let outcome = match deflater.deflate(message.as_bytes(), bits, said) {
            Some(payload) => {
                let outcome = self.queue(id, payload.len(), false, |outbox, spares, mask| {
                    outbox.push_compressed(spares, message.opcode(), payload, mask);
                });
                self.note_deflated(id, outcome, message.as_bytes(), payload.len(), true);
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

    /// Sends a frame that others are sent, too, in its compressed form; `None` if it has to go as it is.
    pub(crate) fn send_shared_deflated(
        &mut self,
        id: ConnId,
        frame: &SharedFrame,
    ) -> Option<SendOutcome> {
        let message = frame.payload();
        let bits = self.deflates(id, message.len())?;
        // The form that all share reaches no further back than its own beginning.
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

    /// Inflates the next piece of a connection's message, or goes on with one that is gathered; the
    /// message, if that was its last.
    fn inflate<'a>(
        &mut self,
        id: ConnId,
        piece: Option<Compressed<'_>>,
        inflater: &'a mut Inflater,
    ) -> Result<Option<Message<'a>>, ProtocolError> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(None);
        };
        let limit = self.router.settings(conn.route).message_bytes_max;
        let mut unfinished = conn.rare.as_mut().and_then(|rare| rare.unfinished.take());
        let was_unfinished = unfinished.is_some();
        let mut incoming =
            conn.rare.as_mut().and_then(|rare| rare.windows.as_mut()?.incoming.as_mut());
        let before = incoming.as_ref().map_or(0, |window| window.held_bytes());
        let window = incoming.as_deref_mut();
        let inflated = match piece {
            Some(piece) => inflater.inflate(piece, &mut unfinished, window, limit),
            None => inflater.resume(&mut unfinished, window, limit),
        };
        let after = incoming.map_or(0, |window| window.held_bytes());
        self.deflate.windows.held.replace(before, after);
        if let Some(begun) = &unfinished {
            self.metrics.messages_gathered += u64::from(!was_unfinished && begun.is_gathered());
            conn.rare().unfinished = unfinished;
        } else if was_unfinished {
            conn.tidy();
        }
        inflated
    }

    /// The window of a connection whose peer may be sent so many bytes compressed, if it may.
    fn deflates(&self, id: ConnId, len: usize) -> Option<u8> {
        let conn = self.conns.get(id)?;
        let compresses = conn.deflate_bits > 0
            && len >= self.router.settings(conn.route).deflate_bytes_min
            && len <= DEFLATED_BYTES_MAX
            && conn.is_open()
            // What will be refused need not be compressed.
            && conn.outbox.pressure() != Pressure::Shedding;
        compresses.then_some(conn.deflate_bits)
    }

    fn take_deflater(&mut self) -> Box<Deflater> {
        let Settings { deflate_level, deflate_mem_level, .. } = self.settings;
        let deflater = self.deflate.deflater.take();
        deflater.unwrap_or_else(|| Box::new(Deflater::new(deflate_level, deflate_mem_level)))
    }

    /// Counts a compressed message, and adds it to what later ones may refer to. One that others are
    /// sent, too, refers to nothing and begins no window, but has its place in one that is there.
    fn note_deflated(
        &mut self,
        id: ConnId,
        outcome: SendOutcome,
        message: &[u8],
        len: usize,
        begins: bool,
    ) {
        if !matches!(outcome, SendOutcome::Queued | SendOutcome::Congested) {
            return;
        }
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        // The queue has counted what goes over the wire.
        conn.traffic.bytes_out += (message.len() - len) as u64;
        self.metrics.messages_deflated += 1;
        self.metrics.bytes_deflated_from += message.len() as u64;
        self.metrics.bytes_deflated_to += len as u64;
        let windows = conn.rare.as_mut().and_then(|rare| rare.windows.as_mut());
        let Some(windows) = windows else {
            return;
        };
        let is_new = windows.said().is_empty();
        if begins || !is_new {
            windows.note_sent(message, self.now, &mut self.deflate.windows);
        }
        if begins && is_new {
            self.arm(id);
        }
    }
}

impl Reactor {
    /// Inflates a message, or the next piece of one, and hands what is whole to the service; whether the
    /// next frame may be looked at.
    ///
    /// # Errors
    /// The connection must be failed.
    #[inline(never)]
    pub(crate) fn take_compressed(
        &mut self,
        id: ConnId,
        piece: Compressed<'_>,
    ) -> Result<bool, ProtocolError> {
        self.take_piece(id, Some(piece))?;
        self.finish_gathered(id)
    }

    /// Goes on with a message that was gathered and is whole, as far as the connection's share of the
    /// turn reaches; whether nothing of it is left.
    ///
    /// # Errors
    /// The connection must be failed.
    pub(crate) fn finish_gathered(&mut self, id: ConnId) -> Result<bool, ProtocolError> {
        while self.core.conns.get(id).is_some_and(Connection::is_inflating) {
            if self.core.work.is_spent() {
                return Ok(false);
            }
            self.take_piece(id, None)?;
            let conn = self.core.conns.get(id);
            let unfinished = conn.and_then(Connection::unfinished);
            if unfinished.is_some_and(Unfinished::awaits_stream) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_piece(
        &mut self,
        id: ConnId,
        piece: Option<Compressed<'_>>,
    ) -> Result<(), ProtocolError> {
        // Lifted out while the service, which may do anything, looks at what is in it.
        let mut inflater = self.core.deflate.inflater.take().unwrap_or_default();
        let before = inflater.effort();
        let outcome = match self.core.inflate(id, piece, &mut inflater) {
            Ok(Some(message)) => {
                self.take_inflated(id, message);
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

    fn take_inflated(&mut self, id: ConnId, message: Message<'_>) {
        self.core.metrics.messages_inflated += 1;
        self.core.metrics.count_message(message);
        if let Some(conn) = self.core.conns.get_mut(id) {
            let service = conn.note_message(message, self.core.now);
            self.call_for(id, service, |service, cx| service.on_message(cx, id, message));
        }
    }
}
