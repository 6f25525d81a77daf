//! Stands in for `effects/pipe.rs` without the feature `proxy`: no connections are joined.

use crate::reactor::Reactor;
use crate::reactor::api::id::ConnId;

impl Reactor {
    pub(crate) fn drain_unopened(&mut self, _: ConnId) {}

    pub(crate) fn report_connected(&mut self, _: ConnId) {}
}
