//! The parameters that both ends agreed on (RFC 7692, 7.1), and the server's answer that states
//! them.

use std::fmt;

use super::window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN, Window};
use crate::protocol::frame::Role;

/// How the messages of one direction are compressed (RFC 7692, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction {
    /// Whether a message may refer to earlier messages (context takeover).
    pub takeover: bool,
    /// The size of the window, as an exponent of 2: 8 to 15.
    pub window_bits: u8,
}

impl Direction {
    /// Whether the sender can compress: see [`WINDOW_BITS_MIN`].
    pub fn is_possible(self) -> bool {
        self.window_bits >= WINDOW_BITS_MIN
    }

    /// An empty window, if one is carried from message to message.
    pub fn window(self) -> Option<Window> {
        self.takeover.then(|| Window::new(self.window_bits))
    }

    /// Maximum size of this window in bytes.
    pub fn window_bytes_max(self) -> usize {
        if self.takeover { Window::bytes_max(self.window_bits) } else { 0 }
    }
}

/// The parameters of permessage-deflate on one connection (RFC 7692, 7.1). [`Display`](fmt::Display)
/// writes the server's answer, a value of `Sec-WebSocket-Extensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// Messages from the server.
    pub server: Direction,
    /// Messages from the client.
    pub client: Direction,
    /// Whether the client named `server_max_window_bits`: then the answer must name it, too
    /// (7.1.2.1).
    pub(super) names_server_bits: bool,
}

impl Agreement {
    /// The largest agreement that can follow from an offer with context takeover: both windows, of
    /// the largest size.
    pub const WIDEST: Agreement = {
        let widest = Direction { takeover: true, window_bits: WINDOW_BITS_MAX };
        Agreement { server: widest, client: widest, names_server_bits: false }
    };

    /// The direction in which an endpoint of this role sends.
    pub fn outgoing(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }

    /// The direction in which an endpoint of this role receives.
    pub fn incoming(&self, role: Role) -> Direction {
        match role {
            Role::Server => self.client,
            Role::Client => self.server,
        }
    }

    /// This agreement without context takeover. A server may always answer with it (7.1.1).
    pub fn without_takeover(self) -> Agreement {
        let without = |direction| Direction { takeover: false, ..direction };
        Agreement { server: without(self.server), client: without(self.client), ..self }
    }

    /// Maximum size in bytes of the windows of both directions.
    pub fn window_bytes_max(&self) -> usize {
        self.server.window_bytes_max() + self.client.window_bytes_max()
    }
}

/// The server's answer, the value of `Sec-WebSocket-Extensions`.
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

/// The name of the extension (RFC 7692, 7).
pub const NAME: &str = "permessage-deflate";
