//! How the bytes of a read pass: whole frames as one run, an incomplete frame part by part.

use std::ops::{ControlFlow, Range};

use super::flight::{Flight, Stage, Start};
use super::header::{First, Header, whole_message};
use super::passed::{Output, PassageEvent, Passed};
use super::settings::{Extensions, PassageLimits};
use super::state::{Close, Conduct, MARKER_BYTES, Passage, Position, unmask};
use crate::protocol::error::ProtocolError;
use crate::protocol::frame::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Opcode};

/// Consecutive whole frames of an input.
struct Run {
    /// The end of those to forward.
    output_end: usize,
    /// The end of all.
    end: usize,
    frames: usize,
    messages: usize,
    event: Option<PassageEvent>,
    /// The violation behind them.
    error: Option<ProtocolError>,
}

impl Passage {
    /// Passes a prefix of `input`: all whole frames up to the first control frame, or a part of a
    /// frame. Call again with the rest until the input is used up.
    ///
    /// # Errors
    /// The sender's connection must be failed (7.1.7). Frames before the violation have passed; a
    /// frame with a violation is never forwarded, not even in part. Pass nothing after an error.
    #[inline(always)]
    pub fn pass(&mut self, input: &[u8], limits: &PassageLimits) -> Result<Passed, ProtocolError> {
        if matches!(self.position, Position::Boundary)
            && !self.in_message
            && self.conduct != Conduct::Discard
            && self.whole_message(input, limits.message_bytes_max) == Some(input.len())
        {
            let (consumed, output) = (input.len(), Output::Input(0..input.len()));
            return Ok(Passed { consumed, output, frames: 1, messages: 1, event: None });
        }
        self.pass_any(input, limits)
    }

    /// Passes any input that the fast path does not cover.
    #[inline(never)]
    fn pass_any(&mut self, input: &[u8], limits: &PassageLimits) -> Result<Passed, ProtocolError> {
        if let Position::Boundary = self.position {
            return self.pass_frames(input, limits);
        }
        match std::mem::replace(&mut self.position, Position::Boundary) {
            Position::Boundary => self.pass_frames(input, limits),
            Position::Frame(flight) if flight.stage == Stage::Header => {
                self.pass_header(flight, input, limits)
            }
            Position::Frame(flight) => Ok(self.pass_payload(flight, input, 0, limits)),
            closed @ Position::Closed(_) => {
                self.position = closed;
                Ok(Passed::none(input.len()))
            }
        }
    }

    /// At a boundary: passes whole frames, or the start of an incomplete one.
    fn pass_frames(
        &mut self,
        input: &[u8],
        limits: &PassageLimits,
    ) -> Result<Passed, ProtocolError> {
        let run = self.run(input, 0, limits.message_bytes_max, limits.frames_max.max(1));
        if run.frames > 0 {
            let output = self.forward(None, 0..run.output_end);
            return Ok(run.passed(output));
        }
        match run.error {
            Some(error) => Err(error),
            None if input.is_empty() => Ok(Passed::none(0)),
            None => self.pass_header(Box::new(Flight::of_partial_header()), input, limits),
        }
    }

    /// Completes a header, and passes what follows it.
    fn pass_header(
        &mut self,
        mut flight: Box<Flight>,
        input: &[u8],
        limits: &PassageLimits,
    ) -> Result<Passed, ProtocolError> {
        let have = flight.bytes.len();
        let most = input.len().min(HEADER_BYTES_MAX - have);
        flight.bytes.extend_from_slice(&input[..most]);
        let Some(header) = Header::parse(&flight.bytes, self.reader, self.extensions)? else {
            self.position = Position::Frame(flight);
            return Ok(Passed::none(input.len()));
        };
        self.admit(&header, limits.message_bytes_max)?;
        flight.bytes.truncate(header.len);
        flight.begin(&header, self.stage(&header, limits.hold_bytes_max));
        if self.conduct == Conduct::Discard && !header.first.is_control() {
            flight.drop_rest();
        }
        Ok(self.pass_payload(flight, input, header.len - have, limits))
    }

    /// How to handle the payload of a frame that is not complete in its first read.
    fn stage(&self, header: &Header, hold_bytes_max: usize) -> Stage {
        if header.first.is_control() || header.payload_len <= hold_bytes_max as u64 {
            Stage::Whole
        } else if self.extensions == Extensions::Unknown {
            Stage::Open
        } else {
            Stage::Long
        }
    }

    /// Passes payload of the incomplete frame, which continues at `from` of the input. If that
    /// completes the frame, the whole frames behind it pass, too.
    fn pass_payload(
        &mut self,
        mut flight: Box<Flight>,
        input: &[u8],
        from: usize,
        limits: &PassageLimits,
    ) -> Passed {
        let rest = &input[from..];
        let is_whole = flight.remaining <= rest.len() as u64;
        let taken = if is_whole { flight.remaining as usize } else { rest.len() };
        let end = from + taken;
        flight.remaining -= taken as u64;
        if flight.first.is_control() {
            flight.hold(&rest[..taken], CONTROL_BYTES_MAX);
            return self.pass_control(flight, end);
        }
        if is_whole {
            return self.finish_frame(&mut flight, input, from..end, limits);
        }
        let least = limits.hold_bytes_max.max(1);
        let output = match flight.stage {
            Stage::Dropped => Output::Nothing,
            Stage::Open => self.forward(flight.take_any(), from..end),
            Stage::Long | Stage::Split if flight.held() + taken >= least => {
                self.forward(Some(flight.take_fragment(taken, false)), from..end)
            }
            _ => {
                flight.hold(&rest[..taken], limits.hold_bytes_max);
                Output::Nothing
            }
        };
        self.position = Position::Frame(flight);
        Passed { output, ..Passed::none(end) }
    }

    /// Passes a control frame that is held, if it is complete.
    fn pass_control(&mut self, mut flight: Box<Flight>, end: usize) -> Passed {
        if flight.remaining > 0 {
            self.position = Position::Frame(flight);
            return Passed::none(end);
        }
        let (event, is_forwarded) = self.control(flight.first, flight.key, flight.payload());
        let output =
            if is_forwarded { self.forward(flight.take_any(), end..end) } else { Output::Nothing };
        Passed { output, frames: 1, event, ..Passed::none(end) }
    }

    /// Passes the last part of a data frame, and the whole frames behind it. An error behind it is
    /// found again by the next call.
    fn finish_frame(
        &mut self,
        flight: &mut Flight,
        input: &[u8],
        part: Range<usize>,
        limits: &PassageLimits,
    ) -> Passed {
        let start = match flight.stage {
            Stage::Split => Some(flight.take_fragment(part.len(), true)),
            _ => flight.take_any(),
        };
        let frames_max = limits.frames_max.saturating_sub(1);
        let run = self.run(input, part.end, limits.message_bytes_max, frames_max);
        let output = self.forward(start, part.start..run.output_end);
        let messages = run.messages + usize::from(flight.first.is_fin());
        Passed { frames: run.frames + 1, messages, ..run.passed(output) }
    }

    /// The whole frames from byte `from` of the input on, up to the first control frame.
    fn run(&mut self, input: &[u8], from: usize, message_bytes_max: u64, frames_max: usize) -> Run {
        let mut run = Run::at(from);
        while run.frames < frames_max && run.end < input.len() {
            if !self.in_message && self.run_messages(&mut run, input, message_bytes_max, frames_max)
            {
                continue;
            }
            if self.run_any(&mut run, input, message_bytes_max).is_break() {
                break;
            }
        }
        run
    }

    /// Adds whole messages to the run, as many as follow each other; whether there is one.
    #[inline(always)]
    fn run_messages(
        &self,
        run: &mut Run,
        input: &[u8],
        message_bytes_max: u64,
        frames_max: usize,
    ) -> bool {
        // Local, so that they stay in registers.
        let (mut end, mut more) = (run.end, 0);
        while run.frames + more < frames_max
            && let Some(len) = self.whole_message(&input[end..], message_bytes_max)
        {
            end += len;
            more += 1;
        }
        if more > 0 {
            run.end = end;
            run.output_end = end;
            run.frames += more;
            run.messages += more;
        }
        more > 0
    }

    /// Adds the next frame to the run, whatever it is. Breaks if none is whole, or if the run ends
    /// with it.
    #[inline(never)]
    fn run_any(&mut self, run: &mut Run, input: &[u8], message_bytes_max: u64) -> ControlFlow<()> {
        let rest = &input[run.end..];
        let header = match Header::parse(rest, self.reader, self.extensions) {
            Ok(Some(header)) => header,
            Ok(None) => return ControlFlow::Break(()),
            Err(error) => return run.refuse(error),
        };
        // The limits of a frame that is incomplete are checked when it is held.
        let Some(frame_len) = header.frame_len_within(rest.len()) else {
            return ControlFlow::Break(());
        };
        if let Err(error) = self.admit(&header, message_bytes_max) {
            return run.refuse(error);
        }
        if header.first.is_control() {
            let payload = &rest[header.len..frame_len];
            let (event, is_forwarded) = self.control(header.first, header.key, payload);
            run.add(frame_len, is_forwarded);
            run.event = event;
            let ends = event.is_some();
            return if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        run.add(frame_len, true);
        run.messages += usize::from(header.first.is_fin());
        ControlFlow::Continue(())
    }

    /// The length of the frame at the start of `bytes`, if it is whole, a message of its own, and
    /// its payload at most `payload_bytes_max`.
    #[inline(always)]
    fn whole_message(&self, bytes: &[u8], payload_bytes_max: u64) -> Option<usize> {
        whole_message(bytes, self.reader, self.extensions, payload_bytes_max)
    }

    /// Checks a data frame's place in its message, and the message's size, by their headers.
    fn admit(&mut self, header: &Header, message_bytes_max: u64) -> Result<(), ProtocolError> {
        let first = header.first;
        if first.is_control() {
            return Ok(());
        }
        let continues = first.is(Opcode::Continuation);
        // 5.4: a fragmented message is a first frame, then continuations, and "the fragments of one
        // message MUST NOT be interleaved between the fragments of another".
        if continues && !self.in_message {
            return Err(ProtocolError::UnexpectedContinuation);
        }
        if first.begins_message() && self.in_message {
            return Err(ProtocolError::ExpectedContinuation);
        }
        let before = if continues { self.message_bytes } else { 0 };
        let message_bytes = before.saturating_add(header.payload_len);
        // 10.4: limits on "frame size and total message size after reassembly".
        if message_bytes > message_bytes_max && self.conduct != Conduct::Discard {
            return Err(ProtocolError::MessageTooBig);
        }
        if continues || first.begins_message() {
            self.in_message = !first.is_fin();
            self.message_bytes = message_bytes;
        }
        Ok(())
    }

    /// Handles a complete control frame; returns the event, and whether the frame is forwarded.
    fn control(
        &mut self,
        first: First,
        key: Option<[u8; 4]>,
        payload: &[u8],
    ) -> (Option<PassageEvent>, bool) {
        if first.is(Opcode::Close) {
            self.position = Position::Closed(Box::new(Close::new(key, payload)));
            return (Some(PassageEvent::Close), self.conduct == Conduct::Forward);
        }
        if self.conduct == Conduct::Discard {
            return (None, false);
        }
        if first.is(Opcode::Ping) {
            return (Some(PassageEvent::Ping), true);
        }
        // An opcode that only an unknown extension defines is no event.
        if !first.is(Opcode::Pong) {
            return (None, true);
        }
        match self.own_pong(key, payload) {
            Some(sequence) => (Some(PassageEvent::OwnPong(sequence)), false),
            None => (Some(PassageEvent::Pong), true),
        }
    }

    /// The sequence number of our ping that a pong answers. 5.5.3: it "must have identical
    /// Application data".
    fn own_pong(&self, key: Option<[u8; 4]>, payload: &[u8]) -> Option<u32> {
        let marker = self.marker?;
        let mut payload = <[u8; MARKER_BYTES + 4]>::try_from(payload).ok()?;
        unmask(key, &mut payload);
        let sequence = payload.strip_prefix(&marker)?.first_chunk()?;
        Some(u32::from_be_bytes(*sequence))
    }

    /// The output of these bytes, unless everything is discarded.
    fn forward(&self, start: Option<Start>, input: Range<usize>) -> Output {
        match start {
            _ if self.conduct == Conduct::Discard => Output::Nothing,
            Some(start) => Output::Start(start, input),
            None if input.is_empty() => Output::Nothing,
            None => Output::Input(input),
        }
    }
}

impl Run {
    fn at(from: usize) -> Run {
        Run { output_end: from, end: from, frames: 0, messages: 0, event: None, error: None }
    }

    fn add(&mut self, frame_len: usize, is_forwarded: bool) {
        self.frames += 1;
        self.end += frame_len;
        if is_forwarded {
            self.output_end = self.end;
        }
    }

    fn refuse(&mut self, error: ProtocolError) -> ControlFlow<()> {
        self.error = Some(error);
        ControlFlow::Break(())
    }

    fn passed(self, output: Output) -> Passed {
        let Run { end: consumed, frames, messages, event, .. } = self;
        Passed { consumed, output, frames, messages, event }
    }
}
