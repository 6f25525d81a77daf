//! Stands in for `effects/secure.rs` without the feature `tls`: no connection has a session.

use crate::reactor::Reactor;
use crate::reactor::api::id::ConnId;
use crate::reactor::core::Core;

impl Reactor {
    pub(crate) fn read_secure(&mut self, _: ConnId) -> usize {
        0
    }

    pub(crate) fn read_refused_handshakes(&mut self) {}
}

impl Core {
    pub(crate) fn begin_handshake(&mut self, _: ConnId) {}

    pub(crate) fn write_close_notify(&mut self, _: ConnId) {}

    /// Queues a close_notify: never.
    pub(crate) fn queue_close_notify(&mut self, _: ConnId) -> bool {
        false
    }

    pub(crate) fn take_reloaded(&mut self) {}
}
