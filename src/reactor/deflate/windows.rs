//! The windows of connections with context takeover, and what all of them hold.
//!
//! Owns their sums of bytes. Which connection has windows, and for how long, is for
//! [`deflate`](super) to say.

use crate::protocol::Role;
use crate::protocol::deflate::{Agreement, Window};
use crate::reactor::Time;
use crate::reactor::ledger::Sum;
use crate::reactor::settings::RouteSettings;

/// Windows as a connection holds them.
pub(in crate::reactor) type WindowsBox = Box<Windows>;

/// What one connection with context takeover may refer to.
#[derive(Debug)]
pub(in crate::reactor) struct Windows {
    pub(super) outgoing: Option<Window>,
    pub(super) incoming: Option<Window>,
    /// When `outgoing` was last added to.
    used: Time,
}

impl Windows {
    /// The windows that an endpoint of this role needs, if it needs any. They are empty, and hold no
    /// memory.
    pub(super) fn new(agreement: &Agreement, role: Role) -> Option<WindowsBox> {
        let outgoing = agreement.outgoing(role);
        let outgoing = outgoing.window().filter(|_| outgoing.is_possible());
        let incoming = agreement.incoming(role).window();
        let needed = outgoing.is_some() || incoming.is_some();
        needed.then(|| Box::new(Windows { outgoing, incoming, used: Time::ZERO }))
    }

    fn both(&self) -> impl Iterator<Item = &Window> {
        self.outgoing.iter().chain(&self.incoming)
    }

    /// What they may grow to.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.both().map(|window| Window::bytes_max(window.bits())).sum()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.both().map(Window::held_bytes).sum()
    }

    /// When what we may refer to is to be forgotten, if there is anything.
    pub(in crate::reactor) fn idle_at(&self, route: &RouteSettings) -> Option<Time> {
        let outgoing = self.outgoing.as_ref()?;
        (outgoing.held_bytes() > 0).then(|| self.used + route.deflate_idle)
    }

    /// What our next message may refer to.
    pub(super) fn said(&self) -> &[u8] {
        self.outgoing.as_ref().map_or(&[], Window::as_bytes)
    }

    /// Notes a compressed message that we have sent.
    pub(super) fn note_sent(&mut self, message: &[u8], now: Time, room: &mut WindowRoom) {
        if let Some(outgoing) = &mut self.outgoing {
            let before = outgoing.held_bytes();
            outgoing.push(message);
            self.used = now;
            room.held.replace(before, outgoing.held_bytes());
        }
    }
}

/// The windows of all connections.
#[derive(Debug, Default)]
pub(super) struct WindowRoom {
    /// Bytes that they hold.
    pub(super) held: Sum,
    /// Bytes that they may grow to.
    pub(super) reserved: Sum,
}
