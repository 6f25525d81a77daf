//! The state of one direction, and what follows from it without any input.

use super::flight::{Flight, Stage};
use super::settings::Extensions;
use crate::protocol::frame::{CONTROL_BYTES_MAX, Role};
use crate::protocol::mask;

/// Bytes at the start of our pings' payloads that tell them from pings of the other endpoint.
pub(super) const MARKER_BYTES: usize = 8;

/// Which frames are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    /// All of them.
    Forward,
    /// All but the Close.
    WithholdClose,
    /// None. The Close is still reported.
    Discard,
}

/// The position in the stream.
#[derive(Debug)]
pub(super) enum Position {
    /// The next byte starts a frame.
    Boundary,
    /// A frame is incomplete.
    Frame(Box<Flight>),
    /// Behind a Close.
    Closed(Box<Close>),
}

/// The unmasked payload of a Close.
#[derive(Debug)]
pub(super) struct Close {
    payload: [u8; CONTROL_BYTES_MAX],
    len: usize,
}

/// One direction of a tunnel: the frames that one endpoint sends to the other.
#[derive(Debug)]
pub struct Passage {
    pub(super) position: Position,
    /// Payload bytes of the unfinished message; meaningless unless `in_message`.
    pub(super) message_bytes: u64,
    /// How the payloads of our pings start; `None` before the first.
    pub(super) marker: Option<[u8; MARKER_BYTES]>,
    /// Whether a fragmented message is unfinished.
    pub(super) in_message: bool,
    /// Whether the output ends within a frame of which no more is forwarded.
    pub(super) is_cut: bool,
    pub(super) reader: Role,
    pub(super) extensions: Extensions,
    pub(super) conduct: Conduct,
}

const _: () = assert!(size_of::<Passage>() <= 48, "every tunnel holds two");

impl Passage {
    /// The start of a stream. `reader` is our role at the connection that it arrives on: `Server`
    /// for the frames of a client, which are masked.
    pub fn new(reader: Role, extensions: Extensions) -> Passage {
        Passage {
            position: Position::Boundary,
            message_bytes: 0,
            marker: None,
            in_message: false,
            is_cut: false,
            reader,
            extensions,
            conduct: Conduct::Forward,
        }
    }

    /// Whether a control frame may follow the output: it ends between two frames, or between two
    /// fragments of ours.
    pub fn is_at_boundary(&self) -> bool {
        !self.is_cut && !matches!(&self.position, Position::Frame(f) if f.stage == Stage::Open)
    }

    /// Whether bytes of an incomplete frame wait for more of it.
    pub fn is_holding(&self) -> bool {
        matches!(&self.position, Position::Frame(flight) if !flight.bytes.is_empty())
    }

    /// Whether a Close has passed or was withheld.
    pub fn has_closed(&self) -> bool {
        matches!(self.position, Position::Closed(_))
    }

    /// The unmasked payload of the Close, unchecked, for
    /// [`CloseFrame::parse`](crate::protocol::CloseFrame::parse).
    pub fn close_payload(&self) -> Option<&[u8]> {
        match &self.position {
            Position::Closed(close) => Some(&close.payload[..close.len]),
            _ => None,
        }
    }

    /// Memory held beyond this struct.
    pub fn held_bytes(&self) -> usize {
        match &self.position {
            Position::Boundary => 0,
            Position::Frame(flight) => size_of::<Flight>() + flight.bytes.capacity(),
            Position::Closed(_) => size_of::<Close>(),
        }
    }

    /// How the payload of a ping of ours to this endpoint starts; a sequence number of 4 bytes
    /// follows. `fresh` chooses it at the first ping. Pongs with it are reported and not forwarded,
    /// however late they are.
    pub fn ping_marker(
        &mut self,
        fresh: impl FnOnce() -> [u8; MARKER_BYTES],
    ) -> [u8; MARKER_BYTES] {
        *self.marker.get_or_insert_with(fresh)
    }

    /// Forwards all frames but the Close: the other endpoint has already got ours.
    pub fn withhold_close(&mut self) {
        if self.conduct == Conduct::Forward {
            self.conduct = Conduct::WithholdClose;
        }
    }

    /// Forwards nothing from now on, and frees the held bytes: the other endpoint has got our Close.
    /// Frames are followed until this one's Close.
    pub fn discard(&mut self) {
        self.conduct = Conduct::Discard;
        if let Position::Frame(flight) = &mut self.position
            && flight.stage != Stage::Header
            && !flight.first.is_control()
        {
            self.is_cut |= flight.stage == Stage::Open;
            flight.drop_rest();
        }
    }
}

impl Close {
    pub(super) fn new(key: Option<[u8; 4]>, payload: &[u8]) -> Close {
        let mut close = Close { payload: [0; CONTROL_BYTES_MAX], len: payload.len() };
        close.payload[..payload.len()].copy_from_slice(payload);
        unmask(key, &mut close.payload[..payload.len()]);
        close
    }
}

pub(super) fn unmask(key: Option<[u8; 4]>, payload: &mut [u8]) {
    if let Some(key) = key {
        mask::apply(key, 0, payload);
    }
}
