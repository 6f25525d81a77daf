//! The state of one side of a pipe: two connections of the table that are joined, a client and its
//! upstream.
//!
//! Both sides are in the phase `Piped`, or close. A side owns the state of its input, as
//! [`Flow`]: what it reads is passed to its partner. [`effects::pipe`](crate::reactor::effects::pipe)
//! moves the bytes, [`effects::pipe_ends`](crate::reactor::effects::pipe_ends) ends pipes. What
//! follows from the state for the connection is in [`piped`](super::piped).

use crate::protocol::passage::{Extensions, Passage, PassageLimits};
use crate::protocol::{CloseCode, CloseFrame, ProtocolError, Role};
use crate::reactor::api::id::ConnId;
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;
use crate::reactor::api::upstream::{ClientLost, PipeTraffic, TunnelSettings};
use crate::reactor::parts::relayed::Relayed;

/// How a connection stores its side of a pipe.
pub(crate) type PipeBox = Box<Pipe>;

/// One side of a pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// The other side. It may have ended.
    pub(crate) partner: ConnId,
    pub(crate) side: Side,
    pub(crate) flow: Flow,
    /// What the connection is counted with.
    pub(crate) relayed: Relayed,
}

/// Which of the two connections this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that was accepted.
    Client,
    /// The one that was dialled.
    Upstream,
}

/// What a side sends.
#[derive(Debug)]
pub(crate) enum Flow {
    /// Frames of a WebSocket.
    Frames(Tunnel),
}

/// One side of a WebSocket tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// The frames that this side sends.
    pub(crate) passage: Passage,
    pub(crate) ending: Ending,
    fragments: u32,
    pauses: u32,
    hold_bytes_max: u32,
    pub(crate) client_lost: ClientLost,
    /// Whether the heartbeat pings this side.
    pub(crate) pings: bool,
    /// Whether this side has not answered a ping of its partner yet. It serves as weir's, since a
    /// peer may answer only the latest ping (RFC 6455, 5.5.3).
    pub(crate) owes_pong: bool,
    /// Whether a ping of weir waits for the end of a long frame.
    pub(crate) is_ping_due: bool,
    /// Whether its client was closed, and may still send: this side gets its Close after that.
    pub(crate) is_following: bool,
    /// Whether frames of any length may be forwarded as they arrive.
    pub(crate) is_opaque: bool,
    /// Whether a write has reported that this side reset its connection.
    pub(crate) was_reset: bool,
}

/// How the end of a side has started while it is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has not.
    Open,
    /// The side got a Close at this time; it has to send its own.
    ClosePassed(Time),
    /// The client violated the protocol at this time. Its Close waits for the upstream's.
    Violated(Time, ProtocolError),
}

impl Pipe {
    pub(crate) fn tunnel(partner: ConnId, side: Side, settings: &TunnelSettings) -> Pipe {
        let reader = match side {
            Side::Client => Role::Server,
            Side::Upstream => Role::Client,
        };
        let flow = Flow::Frames(Tunnel {
            passage: Passage::new(reader, settings.extensions),
            ending: Ending::Open,
            fragments: 0,
            pauses: 0,
            hold_bytes_max: u32::try_from(settings.hold_bytes_max).unwrap_or(u32::MAX),
            client_lost: settings.client_lost,
            pings: settings.pings,
            owes_pong: false,
            is_ping_due: false,
            is_following: false,
            is_opaque: settings.extensions == Extensions::Unknown,
            was_reset: false,
        });
        Pipe { partner, side, flow, relayed: Relayed::default() }
    }

    pub(crate) fn held_bytes(&self) -> usize {
        let Flow::Frames(tunnel) = &self.flow;
        tunnel.passage.held_bytes()
    }

    pub(crate) fn tunnel_mut(&mut self) -> &mut Tunnel {
        let Flow::Frames(tunnel) = &mut self.flow;
        tunnel
    }

    /// The limits of what this side may send: those of the route apply to clients.
    pub(crate) fn limits(&self, route: &RouteSettings, frames_max: usize) -> PassageLimits {
        let Flow::Frames(tunnel) = &self.flow;
        let message_bytes_max = match self.side {
            Side::Client => route.message_bytes_max as u64,
            Side::Upstream => u64::MAX,
        };
        let hold_bytes_max = tunnel.hold_bytes_max as usize;
        PassageLimits { hold_bytes_max, message_bytes_max, frames_max }
    }

    /// The client and the upstream of the pipe, if `own` is the id of this side.
    pub(crate) fn pair(&self, own: ConnId) -> (ConnId, ConnId) {
        match self.side {
            Side::Client => (own, self.partner),
            Side::Upstream => (self.partner, own),
        }
    }
}

impl Tunnel {
    pub(crate) fn count_fragment(&mut self) {
        self.fragments = self.fragments.saturating_add(1);
    }

    pub(crate) fn count_pause(&mut self) {
        self.pauses = self.pauses.saturating_add(1);
    }

    /// What this side has passed, with its counts of messages and bytes.
    pub(crate) fn traffic(&self, messages: u64, bytes: u64) -> PipeTraffic {
        let (fragments, pauses) = (self.fragments.into(), self.pauses.into());
        PipeTraffic { messages, bytes, fragments, pauses }
    }

    /// Whether this side got a Close while it was joined.
    pub(crate) fn has_got_close(&self) -> bool {
        matches!(self.ending, Ending::ClosePassed(_))
    }

    /// The code of this side's Close: `None` if it has sent none, or one without a valid code.
    pub(crate) fn close_code(&self) -> Option<CloseCode> {
        let close = CloseFrame::parse(self.passage.close_payload()?).ok()??;
        Some(close.code)
    }
}
