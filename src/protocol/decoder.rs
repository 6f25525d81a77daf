//! Decodes bytes into events: framing, fragmentation and the checks of RFC 6455, 5.
//!
//! Input may be split anywhere; the result does not depend on the splits. A frame that is complete
//! in the input is unmasked and returned in place; anything else is collected in an
//! [assembly](super::assembly) buffer. A frame whose header is illegal or announces too much is
//! refused before its payload arrives. Between messages a decoder owns no memory.
//!
//! A compressed message (RFC 7692) is returned in the parts that it arrives in, each at most
//! [`PIECE_BYTES_MAX`], so that the caller can stop between two parts. The inflater joins them.

use super::assembly::{Assembly, InFlight, Spares};
use super::close::CloseFrame;
use super::deflate::compressed::{Compressed, PIECE_BYTES_MAX, compressed_bytes_max};
use super::error::ProtocolError;
use super::frame::{FrameHeader, HEADER_BYTES_MAX, Opcode, Role, short_message};
use super::mask;
use super::message::{Event, Message};

/// The result of one call of [`Decoder::decode`].
#[derive(Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the input that were consumed; at least one, unless the input was empty.
    pub consumed: usize,
    /// The event, if these bytes completed one.
    pub event: Option<Event<'a>>,
}

/// Decodes the bytes that one peer sends (RFC 6455, 5.2). A decoder between two messages owns no
/// memory beyond this struct.
#[derive(Debug)]
pub struct Decoder {
    assembly: Option<Box<Assembly>>,
    partial: [u8; HEADER_BYTES_MAX - 1],
    partial_len: u8,
    role: Role,
    deflate: bool,
}

const _: () = assert!(size_of::<Decoder>() <= 24, "every connection holds one");

impl Decoder {
    /// A decoder at the start of the stream, for an endpoint with this role.
    pub fn new(role: Role) -> Decoder {
        Decoder {
            assembly: None,
            partial: [0; HEADER_BYTES_MAX - 1],
            partial_len: 0,
            role,
            deflate: false,
        }
    }

    /// Enables permessage-deflate: compressed messages are returned as [`Event::Compressed`] and
    /// are errors otherwise. Feature `deflate`.
    #[cfg(feature = "deflate")]
    pub fn with_deflate(self) -> Decoder {
        Decoder { deflate: true, ..self }
    }

    /// Moves the state of an unfinished message to a new decoder. Leaves a decoder that is between
    /// messages, with the same role and extension.
    #[inline(always)]
    pub(crate) fn detach(&mut self) -> Decoder {
        Decoder {
            assembly: self.assembly.take(),
            partial: self.partial,
            partial_len: std::mem::take(&mut self.partial_len),
            role: self.role,
            deflate: self.deflate,
        }
    }

    /// Whether the first reserved bit marks a compressed message; it is an error otherwise.
    fn takes_compressed(&self) -> bool {
        cfg!(feature = "deflate") && self.deflate
    }

    /// The role of this endpoint.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Decodes a prefix of `input`, unmasks it in place, and returns at most one event.
    ///
    /// The event borrows from `input` if the message is complete there, else from this decoder.
    /// Call again with the rest until the input is used up. `message_bytes_max` bounds the
    /// announced payload of a frame and the assembled size of a message; values above 4 GiB - 1
    /// have no effect. It is a parameter because many decoders share one limit.
    ///
    /// # Errors
    /// The connection must be failed (7.1.7). After an error or an [`Event::Close`], do not decode
    /// any further input.
    #[inline(always)]
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut [u8],
        message_bytes_max: usize,
        spares: &mut Spares,
    ) -> Result<Step<'a>, ProtocolError> {
        if self.is_between_messages()
            && let Some(short) = short_message(input, self.role)
            && short.payload_len <= message_bytes_max
        {
            let consumed = short.payload_start + short.payload_len;
            let payload = &mut input[short.payload_start..consumed];
            if let Some(key) = short.key {
                mask::apply(key, 0, payload);
            }
            return Ok(Step { consumed, event: Some(event(short.opcode, payload)?) });
        }
        // Destructured so that the fast path above needs no place in memory for its result.
        let Step { consumed, event } = self.decode_any(input, message_bytes_max, spares)?;
        Ok(Step { consumed, event })
    }

    /// Decodes any input that the fast path does not cover.
    #[inline(never)]
    fn decode_any<'a>(
        &'a mut self,
        input: &'a mut [u8],
        message_bytes_max: usize,
        spares: &mut Spares,
    ) -> Result<Step<'a>, ProtocolError> {
        self.release(spares);
        if self.frame_in_flight() {
            return self.decode_payload(0, input);
        }
        let Some((header, header_len)) = self.decode_header(input)? else {
            return Ok(Step { consumed: input.len(), event: None });
        };
        let payload_len = self.admit(&header, message_bytes_max)?;
        let payload = &mut input[header_len..];
        let is_piecemeal = header.compressed && payload_len > PIECE_BYTES_MAX;
        let is_whole = payload.len() >= payload_len && !is_piecemeal;
        let stands_alone =
            header.opcode.is_control() || header.fin && header.opcode != Opcode::Continuation;
        if is_whole && stands_alone {
            let payload = &mut payload[..payload_len];
            if let Some(key) = header.mask {
                mask::apply(key, 0, payload);
            }
            return Ok(Step {
                consumed: header_len + payload_len,
                event: Some(match header.compressed {
                    true => compressed(header.opcode, payload, true),
                    false => event(header.opcode, payload)?,
                }),
            });
        }
        self.assembly
            .get_or_insert_with(|| spares.lend())
            .begin(InFlight::new(&header, payload_len));
        self.decode_payload(header_len, payload)
    }

    /// Room for the next bytes of a large frame in flight. Read into it without a copy, then call
    /// [`Decoder::decode_filled`]. `None` if a copy is cheaper.
    #[inline]
    pub fn room(&mut self) -> Option<&mut [u8]> {
        self.assembly.as_mut()?.room()
    }

    /// Decodes `len` bytes that were read into the start of [`Decoder::room`].
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_filled(&mut self, len: usize) -> Result<Option<Event<'_>>, ProtocolError> {
        if let Some(assembly) = &mut self.assembly {
            assembly.filled(len)?;
        }
        self.finish_frame()
    }

    /// Returns the buffer of a finished message to `spares`. Call it after the last event was
    /// handled, so that an idle connection owns no buffer; [`Decoder::decode`] does it, too.
    pub fn release(&mut self, spares: &mut Spares) {
        let Some(assembly) = &mut self.assembly else {
            return;
        };
        if assembly.is_idle() {
            if let Some(assembly) = self.assembly.take() {
                spares.give_back(assembly);
            }
        } else if assembly.frame.is_none() {
            assembly.forget_control();
        }
    }

    /// Whether a message was started and is incomplete: fragments or a part of a frame have
    /// arrived.
    pub fn is_mid_message(&self) -> bool {
        self.partial_len > 0 || self.assembly.as_ref().is_some_and(|a| !a.is_idle())
    }

    /// Size of the message that was refused with [`ProtocolError::MessageTooBig`], as far as its
    /// headers announced it. Meaningless after any other error. Apart from the error, which each
    /// connection stores as its close reason: a size in it would cost eight bytes for each.
    pub(crate) fn refused_bytes(&self) -> u64 {
        // After an error there is no partial header, so its bytes hold this number.
        let [a, b, c, d, e, f, g, h, ..] = self.partial;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Memory held beyond this struct by an unfinished message.
    pub fn held_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |a| a.held_bytes())
    }

    /// Whether the next byte starts a message.
    #[inline(always)]
    pub(crate) fn is_between_messages(&self) -> bool {
        self.assembly.is_none() && self.partial_len == 0
    }

    fn frame_in_flight(&self) -> bool {
        self.assembly.as_ref().is_some_and(|a| a.frame.is_some())
    }

    /// The header at the start of `input`, and the offset in `input` at which it ends. A partial
    /// header is kept until the rest arrives.
    fn decode_header(
        &mut self,
        input: &[u8],
    ) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let have = usize::from(self.partial_len);
        if have == 0 {
            let found = FrameHeader::parse(input, self.role, self.takes_compressed())?;
            if found.is_none() {
                self.keep_partial(0, input);
            }
            return Ok(found);
        }
        let mut bytes = [0; HEADER_BYTES_MAX];
        let taken = input.len().min(HEADER_BYTES_MAX - have);
        let bytes = &mut bytes[..have + taken];
        bytes[..have].copy_from_slice(&self.partial[..have]);
        bytes[have..].copy_from_slice(&input[..taken]);
        let found = FrameHeader::parse(bytes, self.role, self.takes_compressed())?;
        match &found {
            Some(_) => self.partial_len = 0,
            None => self.keep_partial(have, &input[..taken]),
        }
        Ok(found.map(|(header, end)| (header, end - have)))
    }

    fn keep_partial(&mut self, have: usize, bytes: &[u8]) {
        let end = have + bytes.len();
        self.partial[have..end].copy_from_slice(bytes);
        self.partial_len = end as u8;
    }

    /// Checks a frame's place in the stream and its length before its payload arrives.
    fn admit(
        &mut self,
        header: &FrameHeader,
        message_bytes_max: usize,
    ) -> Result<usize, ProtocolError> {
        let unfinished = self.assembly.as_ref().filter(|a| a.message.is_some());
        let (assembled, compressed) = match (header.opcode, unfinished) {
            (opcode, _) if opcode.is_control() => (0, false),
            // 5.4: a fragmented message is a first frame, then continuations, and "the fragments
            // of one message MUST NOT be interleaved between the fragments of another".
            (Opcode::Continuation, None) => return Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(ProtocolError::ExpectedContinuation);
            }
            (_, Some(unfinished)) => (unfinished.message_bytes(), unfinished.compressed),
            (_, None) => (0, header.compressed),
        };
        let bytes_max = message_bytes_max.min(u32::MAX as usize);
        let bytes_max = if compressed { compressed_bytes_max(bytes_max) } else { bytes_max };
        // 10.4: limits on "frame size and total message size after reassembly".
        match usize::try_from(header.payload_len) {
            Ok(len) if header.opcode.is_control() => Ok(len),
            Ok(len) if len <= bytes_max.saturating_sub(assembled) => Ok(len),
            _ => {
                let refused = header.payload_len.saturating_add(assembled as u64);
                self.partial[..8].copy_from_slice(&refused.to_be_bytes());
                Err(ProtocolError::MessageTooBig)
            }
        }
    }

    /// Moves the input's part of the frame in flight into the assembly, or returns it as a
    /// compressed part.
    fn decode_payload<'a>(
        &'a mut self,
        header_len: usize,
        input: &'a mut [u8],
    ) -> Result<Step<'a>, ProtocolError> {
        let Some(assembly) = &mut self.assembly else {
            return Ok(Step { consumed: header_len, event: None });
        };
        let hands_on = assembly.hands_on();
        let most = if hands_on { PIECE_BYTES_MAX } else { usize::MAX };
        let len = input.len().min(most);
        let taken = assembly.push(&mut input[..len])?;
        let event = if hands_on { self.hand_on(&input[..taken]) } else { self.finish_frame()? };
        Ok(Step { consumed: header_len + taken, event })
    }

    /// The next part of a compressed message: the received bytes of the frame in flight.
    fn hand_on<'a>(&mut self, piece: &'a [u8]) -> Option<Event<'a>> {
        let assembly = self.assembly.as_mut()?;
        let frame = assembly.frame.take_if(|frame| frame.is_whole());
        let is_last = frame.is_some_and(|frame| frame.fin);
        let kind = if is_last { assembly.message.take() } else { assembly.message };
        (is_last || !piece.is_empty()).then_some(compressed(kind?, piece, is_last))
    }

    /// Returns the event that the frame in flight completes, if the frame is complete.
    fn finish_frame(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        let Some(assembly) = &mut self.assembly else {
            return Ok(None);
        };
        let Some(frame) = assembly.frame.take_if(|frame| frame.is_whole()) else {
            return Ok(None);
        };
        if frame.is_control() {
            return event(frame.opcode(), assembly.control()).map(Some);
        }
        match assembly.message {
            Some(kind) if frame.fin => {
                assembly.finish()?;
                event(kind, assembly.data()).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The event for a part of a compressed message of this kind.
#[inline]
fn compressed(opcode: Opcode, payload: &[u8], is_last: bool) -> Event<'_> {
    Event::Compressed(Compressed { opcode, payload, is_last })
}

/// The event for a complete frame, or for a complete message of this kind.
#[inline]
fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => Event::Close(CloseFrame::parse(payload)?),
        Opcode::Binary => Event::Message(Message::Binary(payload)),
        // 8.1: text that is not UTF-8 fails the connection. Text that arrived in parts was checked
        // on arrival and is checked again here: without `unsafe` there is no unchecked `str`.
        Opcode::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(text) => Event::Message(Message::Text(text)),
            Err(_) => return Err(ProtocolError::InvalidUtf8),
        },
        Opcode::Continuation => return Err(ProtocolError::UnexpectedContinuation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_decoder_continues_and_leaves_one_between_messages() {
        let spares = &mut Spares::default();
        // A first fragment, and one byte of the next header.
        let (mut start, mut rest) = (*b"\x01\x02He\x80", *b"\x01y");
        let mut decoder = Decoder::new(Role::Client);
        decoder.deflate = true;
        let mut consumed = 0;
        while consumed < start.len() {
            consumed += decoder.decode(&mut start[consumed..], 10, spares).unwrap().consumed;
        }
        let mut detached = decoder.detach();
        assert!(decoder.is_between_messages() && detached.is_mid_message());
        assert_eq!((decoder.role, decoder.deflate), (detached.role, detached.deflate));
        let event = detached.decode(&mut rest, 10, spares).unwrap().event;
        assert_eq!(event, Some(Event::Message(Message::Text("Hey"))));
        let event = decoder.decode(&mut b"\x81\x01x".clone(), 10, spares).unwrap().event.is_some();
        assert!(event);
    }
}
