//! The input of a connection: whether it may be read and handled now, and the memory that it holds.

use super::cold::ColdState;
use super::connection::Connection;
use super::handshake::Handshake;
use super::pause::PauseOwner;
use super::phase::{Input, Phase};
use super::unread::Unread;
use super::windows::Unfinished;
use crate::protocol::Decoder;
use crate::reactor::api::budget::LARGE_BYTES;
use crate::reactor::api::time::Time;

impl Connection {
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
        !self.reading.is_queued() && (self.readable || self.has_unread()) && self.takes_input()
    }

    pub(crate) fn take_unread(&mut self) -> Option<Unread> {
        self.cold.as_mut()?.unread.take()
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
    #[inline]
    pub(crate) fn has_input(&self) -> bool {
        self.holds_input() || self.cold.as_ref().is_some_and(|cold| !cold.is_passive())
    }

    /// Like [`Connection::has_input`], if the cold state holds none.
    #[inline(always)]
    pub(crate) fn holds_input(&self) -> bool {
        self.readable || self.input_bytes > 0 || self.decoder.held_bytes() > 0
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
}

fn is_whole(cold: &ColdState) -> bool {
    cold.unfinished.as_ref().is_some_and(Unfinished::is_whole)
}
