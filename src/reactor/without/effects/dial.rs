//! Stands in for `effects/dial.rs` without the feature `proxy`: no service dials.

use crate::reactor::Reactor;
use crate::reactor::api::id::ConnId;
use crate::reactor::core::Core;

impl Core {
    pub(crate) fn send_preface(&mut self, _: ConnId) {}

    pub(crate) fn finish_dial(&mut self, _: ConnId) {}

    pub(crate) fn refuse_late_upstream(&mut self, _: ConnId) -> bool {
        false
    }
}

impl Reactor {
    pub(crate) fn handle_response(&mut self, _: ConnId, _: &[u8]) {}
}
