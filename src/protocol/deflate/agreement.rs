//! What the two ends have agreed on (RFC 7692, 7.1), and how a server says so.

use std::fmt;

use super::{NAME, WINDOW_BITS_MAX, WINDOW_BITS_MIN, Window};
use crate::protocol::Role;

/// One direction of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Whether a message may refer to those before it.
    pub takeover: bool,
    /// How far back, as an exponent of 2: 8 to 15.
    pub window_bits: u8,
}

impl Direction {
    /// Whether its sender can compress at all: see [`WINDOW_BITS_MIN`].
    pub fn is_possible(self) -> bool {
        self.window_bits >= WINDOW_BITS_MIN
    }

    /// The window that is carried from message to message, if one is.
    pub fn window(self) -> Option<Window> {
        self.takeover.then(|| Window::new(self.window_bits))
    }

    /// Bytes that this window may come to hold.
    pub fn window_bytes_max(self) -> usize {
        if self.takeover { Window::bytes_max(self.window_bits) } else { 0 }
    }
}

/// The parameters of permessage-deflate on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// What the server sends.
    pub server: Direction,
    /// What the client sends.
    pub client: Direction,
    /// Whether the client has asked for `server_max_window_bits`: then the answer must name it (7.1.2.1).
    pub(super) names_server_bits: bool,
}

impl Agreement {
    /// Whatever may come of an offer of context takeover: references to all messages before, as far back
    /// as DEFLATE reaches.
    pub const WIDEST: Agreement = {
        let widest = Direction { takeover: true, window_bits: WINDOW_BITS_MAX };
        Agreement { server: widest, client: widest, names_server_bits: false }
    };

    /// What an endpoint of this role sends.
    pub fn outgoing(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }

    /// What an endpoint of this role receives.
    pub fn incoming(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.client,
            Role::Client => self.server,
        }
    }

    /// The same without context takeover in either direction, which a server may always answer (7.1.1).
    pub fn without_takeover(self) -> Agreement {
        let without = |direction| Direction { takeover: false, ..direction };
        Agreement { server: without(self.server), client: without(self.client), ..self }
    }

    /// Bytes that the windows of both directions may come to hold.
    pub fn window_bytes_max(&self) -> usize {
        self.server.window_bytes_max() + self.client.window_bytes_max()
    }
}

/// The server's answer, for `Sec-WebSocket-Extensions`.
impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if !self.server.takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if !self.client.takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if self.names_server_bits || self.server.window_bits < WINDOW_BITS_MAX {
            write!(f, "; server_max_window_bits={}", self.server.window_bits)?;
        }
        if self.client.window_bits < WINDOW_BITS_MAX {
            write!(f, "; client_max_window_bits={}", self.client.window_bits)?;
        }
        Ok(())
    }
}
