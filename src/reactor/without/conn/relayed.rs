//! Stands in for `conn/relayed.rs` without the feature `proxy`: no connection has an upstream.

use crate::reactor::conn::connection::Connection;
use crate::reactor::conn::outboxes::Outboxes;

impl Outboxes {
    pub(crate) fn count_relayed(&mut self, _: &mut Connection) {}

    pub(crate) fn forget_relayed(&mut self, _: &mut Connection) {}
}
