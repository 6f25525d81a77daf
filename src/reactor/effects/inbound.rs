//! Input: one budgeted read per connection and turn, then events to the service.
//!
//! No other file reads sockets, except [`secure`](crate::reactor::effects::secure) for TLS, which
//! without the feature `tls` is a stub in `without/`, and
//! [`proxy_header`](crate::reactor::effects::proxy_header) for the bytes before both. Bytes are decoded where they were read, in the
//! loop's scratch buffer or in the decoder's own buffer. Bytes that cannot be handled now (the
//! budget is spent, or reading is paused) are copied to `unread`, and nothing more is read until
//! they are consumed.

use std::borrow::Cow;
use std::io::{self, IoSliceMut, Read};
use std::ops::ControlFlow;
use std::time::Instant;

#[cfg(feature = "proxy")]
use crate::protocol::handshake::ClientError;
use crate::protocol::{CloseFrame, Decoder, Event, Message, ProtocolError, Spares, Step};
use crate::reactor::Reactor;
use crate::reactor::api::budget::FRAME_WORK;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::{ConnId, ServiceId};
use crate::reactor::api::time::Time;
use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::phase::{Input, Phase};
use crate::reactor::conn::unread::Unread;
use crate::reactor::core::Core;
use crate::reactor::parts::metrics::Metrics;

/// The result of one read.
enum ReadResult {
    /// Bytes read into the decoder's own buffer, and into the scratch buffer.
    Bytes { direct: usize, scratch: usize },
    /// No bytes for now.
    Nothing,
    /// The end of the stream.
    End,
    /// The connection failed.
    Broken,
}

impl Reactor {
    /// Reads from one connection and handles the input.
    #[inline(always)]
    pub(crate) fn read(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return;
        };
        conn.reading.leave_queue();
        if !conn.takes_input() {
            return;
        }
        let mut most = self.share.bytes;
        if conn.cold.is_some() {
            match conn.start_fast_read(self.core.now) {
                Some(bytes) => most = most.min(bytes),
                None => return self.read_with_cold_state(id),
            }
            self.core.rated_serial = id.serial();
        }
        let read = read_once(conn, &mut self.scratch[..most], self.share.bytes_max, self.core.now);
        let bytes = self.handle_read(id, read);
        self.core.after_socket_read(id, bytes);
    }

    /// Reads from a connection with cold state: rates, unread input, a compressed message, or TLS.
    #[inline(never)]
    fn read_with_cold_state(&mut self, id: ConnId) {
        if self.core.conns.get(id).is_some_and(Connection::is_rated) {
            return self.read_rated(id);
        }
        self.read_cold(id);
    }

    /// Like [`Reactor::read_with_cold_state`], whatever the rates. Returns the bytes that were read
    /// from the socket, decrypted.
    #[inline(always)]
    pub(crate) fn read_cold(&mut self, id: ConnId) -> usize {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return 0;
        };
        if conn.is_inflating() {
            self.continue_inflating(id);
            return 0;
        }
        #[cfg(feature = "proxy")]
        if conn.is_piped() && !conn.is_secure() && !conn.has_unread() {
            return self.read_piped(id);
        }
        if conn.has_left() {
            self.core.drop_connection(id, CloseReason::PeerGone);
            return 0;
        }
        let mut bytes = 0;
        match conn.take_unread() {
            Some(mut unread) => {
                let consumed = self.consume(id, unread.rest());
                unread.consume(consumed);
                self.keep_unread(id, unread);
            }
            None if conn.is_secure() => bytes = self.read_secure(id),
            None if conn.awaits_proxy_header() => self.core.read_proxy_header(id),
            None => bytes = self.read_socket(id),
        }
        self.core.after_read(id);
        bytes
    }

    /// Reads from one side of a pipe, and passes the input to the other.
    #[cfg(feature = "proxy")]
    #[inline(always)]
    fn read_piped(&mut self, id: ConnId) -> usize {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return 0;
        };
        let mut bytes = 0;
        let scratch = &mut self.scratch[..self.share.bytes];
        // `&conn.socket`: see `secure.rs`.
        match (&conn.socket).read(scratch) {
            Ok(0) => {
                self.core.end_input(id, CloseReason::PeerGone);
                return 0;
            }
            Ok(len) => {
                bytes = len;
                conn.readable = len == scratch.len() || conn.read_closed;
                conn.last_heard = self.core.now;
                conn.heartbeat.received();
                self.core.metrics.bytes_read += len as u64;
                let consumed = self.core.pass(id, &scratch[..len]);
                if consumed < len {
                    let unread = Unread::new(scratch[consumed..len].to_vec(), 0);
                    self.keep_unread(id, unread);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                self.core.end_by_reset(id);
                return 0;
            }
        }
        let holds_input = self.core.conns.get(id).is_some_and(|conn| {
            conn.readable || conn.input_bytes > 0 || conn.has_unread() || conn.holds_frame()
        });
        if holds_input {
            self.core.after_read(id);
        }
        bytes
    }

    /// Continues to inflate a complete compressed message. The bytes after it wait for the next
    /// turn.
    #[cold]
    fn continue_inflating(&mut self, id: ConnId) {
        if let Err(error) = self.finish_gathered(id) {
            self.fail(id, error, None);
        }
        self.core.after_read(id);
    }

    /// Returns the bytes that were read.
    #[inline(always)]
    fn read_socket(&mut self, id: ConnId) -> usize {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return 0;
        };
        let scratch = &mut self.scratch[..self.share.bytes];
        let read = read_once(conn, scratch, self.share.bytes_max, self.core.now);
        self.handle_read(id, read)
    }

    /// Handles the result of a read; returns the bytes that were read.
    #[inline(always)]
    fn handle_read(&mut self, id: ConnId, read: ReadResult) -> usize {
        match read {
            ReadResult::Nothing => 0,
            ReadResult::End => {
                self.core.end_input(id, CloseReason::PeerGone);
                0
            }
            ReadResult::Broken => {
                self.core.drop_connection(id, CloseReason::PeerReset);
                0
            }
            ReadResult::Bytes { direct, scratch: len } => {
                self.core.metrics.bytes_read += (direct + len) as u64;
                if direct > 0 {
                    self.decode_filled(id, direct);
                }
                let mut scratch = std::mem::take(&mut self.scratch);
                let consumed = self.consume(id, &mut scratch[..len]);
                if consumed < len {
                    let unread = Unread::new(scratch[consumed..len].to_vec(), 0);
                    self.keep_unread(id, unread);
                }
                self.scratch = scratch;
                direct + len
            }
        }
    }

    pub(crate) fn keep_unread(&mut self, id: ConnId, unread: Unread) {
        let Some(conn) = self.core.conns.get_mut(id) else {
            return;
        };
        if unread.is_empty() {
            conn.free_empty_cold();
        } else {
            conn.cold().unread = Some(unread);
        }
    }

    /// Passes input to the handler for the connection's phase; returns the number of bytes
    /// consumed.
    #[inline]
    pub(crate) fn consume(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        match self.core.conns.get(id).map(|conn| conn.phase) {
            Some(Phase::Open) => self.decode_frames(id, input),
            Some(phase) => self.consume_unopened(id, phase, input),
            None => input.len(),
        }
    }

    /// Like [`Reactor::consume`], for a connection that is not open.
    #[inline(never)]
    fn consume_unopened(&mut self, id: ConnId, phase: Phase, input: &mut [u8]) -> usize {
        match phase {
            Phase::Handshake => {
                let consumed = self.handle_head(id, input);
                // A client may send its first frames directly after the head.
                let conn = self.core.conns.get(id);
                // With rates, they wait for a read that counts them.
                let is_open = conn.is_some_and(|conn| conn.is_open() && !conn.is_rated());
                if is_open && consumed < input.len() {
                    return consumed + self.decode_frames(id, &mut input[consumed..]);
                }
                #[cfg(feature = "proxy")]
                if self.core.conns.get(id).is_some_and(Connection::is_streaming) {
                    return consumed + self.pass_body(id, &input[consumed..]);
                }
                consumed
            }
            #[cfg(feature = "proxy")]
            Phase::Deferred | Phase::Streaming => self.pass_body(id, input),
            #[cfg(feature = "proxy")]
            Phase::Piped => self.core.pass(id, input),
            #[cfg(feature = "proxy")]
            Phase::Closing { input: Input::AwaitClose, .. } if self.core.has_pipe(id) => {
                self.core.pass(id, input)
            }
            #[cfg(feature = "proxy")]
            Phase::Idle => {
                let unexpected = CloseReason::UpgradeFailed(ClientError::Malformed);
                self.core.drop_connection(id, unexpected);
                input.len()
            }
            Phase::Open | Phase::Closing { input: Input::AwaitClose, .. } => {
                self.decode_frames(id, input)
            }
            Phase::Closing { .. } | Phase::Lingering { .. } | Phase::Gone(_) => input.len(),
            Phase::Connecting | Phase::Responding => 0,
            #[cfg(not(feature = "proxy"))]
            Phase::Deferred => 0,
        }
    }

    /// Decodes frames until the input or the budget is used up, or the service pauses reading.
    fn decode_frames(&mut self, id: ConnId, input: &mut [u8]) -> usize {
        let now = self.core.now;
        let mut consumed = 0;
        let Some((mut decoder, mut since, limit)) = self.borrow_decoder(id) else {
            return consumed;
        };
        let was_mid_message = since != Time::MAX;
        let mut budget = self.share.frames;
        while consumed < input.len() && budget > 0 && !self.core.work.is_spent() {
            // Checked before each frame: a handler, `on_open` included, may have paused or closed
            // it.
            let conn = self.core.conns.get_mut(id);
            let Some(conn) = conn.filter(|conn| conn.wants_frames()) else {
                break;
            };
            let rest = &mut input[consumed..];
            let (spares, metrics) = (&mut self.core.spares, &self.core.metrics);
            let decoded = if metrics.samples_next() {
                decode_timed(&mut decoder, rest, limit, spares, metrics)
            } else {
                decoder.decode(rest, limit, spares)
            };
            match decoded {
                Ok(step) => {
                    consumed += step.consumed;
                    match step.event {
                        // Fast path: a message needs no second lookup in the table.
                        Some(Event::Message(message)) if conn.is_open() => {
                            let service = conn.note_message(message, now);
                            self.core.metrics.count_message(message);
                            self.handle_message(id, service, message);
                            budget -= 1;
                            since = Time::MAX;
                        }
                        Some(event) => {
                            budget = budget.saturating_sub(self.handle_event(id, event));
                            if !decoder.is_mid_message() {
                                since = Time::MAX;
                            }
                        }
                        None => {
                            self.core.metrics.fragments_in += 1;
                            self.core.work.spend(FRAME_WORK);
                            budget -= usize::from(!self.take_fragment());
                        }
                    }
                }
                Err(error) => {
                    self.fail(id, error, Some(&decoder));
                    break;
                }
            }
        }
        // Between messages the decoder is equal to the one that was left in the table.
        if was_mid_message || !decoder.is_between_messages() {
            self.return_decoder(id, decoder, since);
        }
        consumed
    }

    /// Takes from the frames that a read with few tokens may handle besides its messages; false if there
    /// are none. In the share, not beside the budget: a further local costs each message eight
    /// instructions.
    #[inline(never)]
    fn take_fragment(&mut self) -> bool {
        let has_one = self.share.fragments > 0;
        self.share.fragments -= usize::from(has_one);
        has_one
    }

    /// Decodes bytes that were read into the decoder's own buffer.
    fn decode_filled(&mut self, id: ConnId, len: usize) {
        let Some((mut decoder, mut since, _)) = self.borrow_decoder(id) else {
            return;
        };
        let began = self.core.metrics.samples_next().then(Instant::now);
        let decoded = decoder.decode_filled(len);
        if let Some(began) = began {
            self.core.metrics.count_decode(began);
        }
        match decoded {
            Ok(None) => {}
            Ok(Some(event)) => {
                let _ = self.handle_event(id, event);
                since = Time::MAX;
            }
            Err(error) => self.fail(id, error, Some(&decoder)),
        }
        self.return_decoder(id, decoder, since);
    }

    /// Takes the decoder out of the table: its event borrows it while the service, which may do
    /// anything to any connection, handles the event. Meanwhile a decoder of the same role stays
    /// there, because the role decides on masking. Also returns the start of the unfinished
    /// message, and the size limit.
    fn borrow_decoder(&mut self, id: ConnId) -> Option<(Decoder, Time, usize)> {
        let conn = self.core.conns.get_mut(id)?;
        let limit = self.core.router.settings(conn.route).message_bytes_max;
        Some((conn.decoder.detach(), conn.message_since, limit))
    }

    /// Puts the decoder back, and stores the start of the unfinished message.
    #[inline(never)]
    fn return_decoder(&mut self, id: ConnId, mut decoder: Decoder, mut since: Time) {
        decoder.release(&mut self.core.spares);
        let is_new = decoder.is_mid_message() && since == Time::MAX;
        if is_new {
            since = self.core.now;
        }
        let conn = self.core.conns.get_mut(id);
        if let Some(conn) = conn.filter(|conn| conn.decodes()) {
            conn.decoder = decoder;
            conn.message_since = since;
        }
        if is_new {
            self.core.arm(id);
        }
    }

    #[inline(always)]
    fn handle_message(&mut self, id: ConnId, service: ServiceId, message: Message<'_>) {
        self.call_for(id, service, |service, cx| service.on_message(cx, id, message));
    }

    /// Handles an event; returns how much of the budget of messages it takes.
    fn handle_event(&mut self, id: ConnId, event: Event<'_>) -> usize {
        let now = self.core.now;
        let Some(conn) = self.core.conns.get_mut(id) else {
            return 1;
        };
        if !conn.is_open() {
            // After our Close, only the peer's Close matters (RFC 6455, 1.4 and 5.5.1).
            if let Event::Close(_) = event {
                self.core.finish_close(id);
            }
            return 1;
        }
        match event {
            Event::Message(message) => {
                let service = conn.note_message(message, now);
                self.core.metrics.count_message(message);
                self.handle_message(id, service, message);
            }
            Event::Compressed(message) => match self.handle_compressed(id, message) {
                Ok(ControlFlow::Continue(())) if !message.is_last() && self.take_fragment() => {
                    return 0;
                }
                Ok(ControlFlow::Continue(())) => {}
                // A gathered message is completed before the next frame is decoded.
                Ok(ControlFlow::Break(())) => return usize::MAX,
                Err(error) => self.fail(id, error, None),
            },
            Event::Ping(payload) => {
                self.core.metrics.controls_in += 1;
                conn.note_control();
                // A pong that does not fit is dropped: the peer does not read.
                let _ = self.core.send_pong(id, payload);
            }
            Event::Pong(payload) => {
                self.core.metrics.controls_in += 1;
                conn.note_control();
                if let Some(round_trip) = conn.heartbeat.pong(now, payload) {
                    self.core.metrics.pongs_matched += 1;
                    self.core.metrics.round_trips.count(round_trip);
                }
            }
            Event::Close(close) => {
                self.core.metrics.controls_in += 1;
                conn.note_control();
                let reason = CloseReason::PeerClosed(close.map(|close| close.code));
                let text = close.map_or("", |CloseFrame { reason, .. }| reason);
                self.core.begin_close(id, reason, text);
            }
        }
        1
    }

    /// Fails the connection (7.1.7); messages before the violation were handled already. `decoder`
    /// is the one that found the violation, unless it was found while inflating.
    fn fail(&mut self, id: ConnId, error: ProtocolError, decoder: Option<&Decoder>) {
        let Some(conn) = self.core.conns.get(id) else {
            return;
        };
        if !conn.is_open() {
            return self.core.finish_close(id);
        }
        let limit = self.core.router.settings(conn.route).message_bytes_max;
        let text: Cow<'_, str> = match (error, decoder) {
            (ProtocolError::MessageTooBig, Some(decoder)) => {
                format!("{error}: {} bytes, limit {limit}", decoder.refused_bytes()).into()
            }
            (ProtocolError::MessageTooBig, None) => {
                format!("{error}: inflates to more than {limit} bytes").into()
            }
            _ => error.as_str().into(),
        };
        self.core.begin_close(id, CloseReason::Protocol(error), &text);
    }
}

impl Core {
    /// Charges the memory of input; closes the connection if it exceeds the memory limit.
    pub(crate) fn charge_input_or_close(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let is_operator = conn.is_operator();
        let is_more = self.outboxes.charge_input(conn);
        if is_more && !is_operator && !self.outboxes.allows(self.outboxes.held_by(conn), 0) {
            self.metrics.buffered_refused += 1;
            self.close(id, CloseReason::Overloaded);
            // If it was closing already, its input is discarded from now on.
            self.finish_close(id);
        }
    }

    /// Like [`Core::after_read`], after so many bytes from the socket.
    #[inline(always)]
    fn after_socket_read(&mut self, id: ConnId, bytes: usize) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.cold.is_some() {
            self.rated_serial = 0;
            if !conn.end_fast_read(bytes) {
                self.finish_rated_read(id, bytes);
            }
        } else if conn.holds_input() {
            self.charge_input_or_close(id);
            self.enqueue_read(id);
        }
    }

    /// Charges the memory of input, and queues the connection again if there may be more.
    #[inline(always)]
    pub(crate) fn after_read(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(Connection::has_input) {
            self.charge_input_or_close(id);
            self.enqueue_read(id);
        }
    }
}

/// Reads once, into the decoder's buffer for a large frame, if any, and into the scratch buffer. At most
/// `direct_max` bytes complete the large frame.
#[inline(always)]
fn read_once(
    conn: &mut Connection,
    scratch: &mut [u8],
    direct_max: usize,
    now: Time,
) -> ReadResult {
    let wanted;
    let (room, result) = match conn.decoder.room() {
        Some(room) if matches!(conn.phase, Phase::Open | Phase::Closing { .. }) => {
            let len = room.len().min(direct_max);
            // What follows the large frame is read only behind all of it.
            let scratch = if len < room.len() { &mut [] } else { scratch };
            let room = &mut room[..len];
            wanted = len + scratch.len();
            let mut slices = [IoSliceMut::new(room), IoSliceMut::new(scratch)];
            (len, conn.socket.read_vectored(&mut slices))
        }
        _ => {
            wanted = scratch.len();
            (0, conn.socket.read(scratch))
        }
    };
    match result {
        Ok(0) => ReadResult::End,
        Ok(len) => {
            // A short read means that the socket is drained, unless the read side is closed: if the
            // end came with the data, no further event follows.
            conn.readable = len == wanted || conn.read_closed;
            conn.last_heard = now;
            conn.heartbeat.received();
            let direct = len.min(room);
            ReadResult::Bytes { direct, scratch: len - direct }
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            conn.readable = false;
            ReadResult::Nothing
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => ReadResult::Nothing,
        Err(_) => ReadResult::Broken,
    }
}

/// Like [`Decoder::decode`], but also records the time that it took. Cold, so that other messages
/// pay only for the check whether a sample is due.
#[cold]
#[inline(never)]
fn decode_timed<'a>(
    decoder: &'a mut Decoder,
    input: &'a mut [u8],
    limit: usize,
    spares: &mut Spares,
    metrics: &Metrics,
) -> Result<Step<'a>, ProtocolError> {
    let began = Instant::now();
    let decoded = decoder.decode(input, limit, spares);
    metrics.count_decode(began);
    decoded
}
