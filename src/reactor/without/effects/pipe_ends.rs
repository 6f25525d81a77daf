//! Stands in for `effects/pipe_ends.rs` without the feature `proxy`: no connections are joined.

use crate::reactor::Reactor;
use crate::reactor::api::close_reason::CloseReason;
use crate::reactor::api::id::ConnId;

impl Reactor {
    pub(crate) fn end_pipe(&mut self, _: ConnId, _: CloseReason) {}
}
