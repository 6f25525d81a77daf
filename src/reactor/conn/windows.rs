//! The compression windows of connections with context takeover (RFC 7692), and the sums of their
//! bytes.
//!
//! It does not decide which connection has windows, or when they are freed:
//! [`deflate`](crate::reactor::effects::deflate) does.

use crate::protocol::Role;
use crate::protocol::deflate::{Agreement, Window};
use crate::reactor::api::settings::RouteSettings;
use crate::reactor::api::time::Time;
use crate::reactor::parts::deflate::WindowRoom;

pub(crate) use crate::protocol::deflate::Unfinished;

/// How a connection stores its windows.
pub(crate) type WindowsBox = Box<Windows>;

/// The windows of one connection with context takeover.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) outgoing: Option<Window>,
    pub(crate) incoming: Option<Window>,
    /// When `outgoing` last grew.
    used: Time,
}

impl Windows {
    /// The windows that an endpoint of this role needs, if any. They are empty and hold no memory.
    pub(crate) fn new(agreement: &Agreement, role: Role) -> Option<WindowsBox> {
        let outgoing = agreement.outgoing(role);
        let outgoing = outgoing.window().filter(|_| outgoing.is_possible());
        let incoming = agreement.incoming(role).window();
        let needed = outgoing.is_some() || incoming.is_some();
        needed.then(|| Box::new(Windows { outgoing, incoming, used: Time::ZERO }))
    }

    fn iter(&self) -> impl Iterator<Item = &Window> {
        self.outgoing.iter().chain(&self.incoming)
    }

    /// Bytes that they may grow to.
    pub(crate) fn reserved_bytes(&self) -> usize {
        self.iter().map(|window| Window::bytes_max(window.bits())).sum()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.iter().map(Window::held_bytes).sum()
    }

    /// When the outgoing window is freed, if it is not empty.
    pub(crate) fn idle_at(&self, route: &RouteSettings) -> Option<Time> {
        let outgoing = self.outgoing.as_ref()?;
        (outgoing.held_bytes() > 0).then(|| self.used + route.deflate_idle)
    }

    /// Whether the outgoing window holds memory and has not grown since then.
    pub(crate) fn is_unused_since(&self, since: Time) -> bool {
        self.outgoing.as_ref().is_some_and(|window| window.held_bytes() > 0) && self.used <= since
    }

    /// The content of the outgoing window, which our next message may refer to.
    pub(crate) fn outgoing_bytes(&self) -> &[u8] {
        self.outgoing.as_ref().map_or(&[], Window::as_bytes)
    }

    /// Adds a compressed message that was sent.
    pub(crate) fn note_sent(&mut self, message: &[u8], now: Time, room: &mut WindowRoom) {
        if let Some(outgoing) = &mut self.outgoing {
            let before = outgoing.held_bytes();
            outgoing.push(message);
            self.used = now;
            room.held.replace(before, outgoing.held_bytes());
        }
    }
}
