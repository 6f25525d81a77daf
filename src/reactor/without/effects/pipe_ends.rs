//! Stands in for `effects/pipe_ends.rs` without the feature `proxy`: no connections are joined.

use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;
#[cfg(feature = "tls")]
use crate::reactor::core::Core;

#[cfg(feature = "tls")]
impl Core {
    pub(crate) fn end_by_reset(&mut self, id: ConnId) {
        self.drop_connection(id, CloseReason::PeerReset);
    }
}

impl Reactor {
    pub(crate) fn end_pipe(&mut self, _: ConnId, _: CloseReason) {}
}
