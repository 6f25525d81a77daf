//! Stands in for `effects/exchange_ends.rs` without the feature `proxy`: no requests are forwarded.

use std::io;

use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
use crate::reactor::core::Core;

impl Core {
    pub(crate) fn abandon_exchange(&mut self, _: ConnId) -> bool {
        true
    }

    pub(crate) fn fail_write(&mut self, id: ConnId, _: &io::Error) {
        self.drop_connection(id, CloseReason::PeerReset);
    }
}

impl Reactor {
    pub(crate) fn end_exchange(&mut self, _: ConnId, _: CloseReason) {}
}
