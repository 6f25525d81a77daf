//! Stands in for `conn/piped.rs` without the feature `proxy`: no connection is joined.

use crate::reactor::api::id::ConnId;
use crate::reactor::conn::connection::Connection;

impl Connection {
    pub(crate) fn is_piped(&self) -> bool {
        false
    }

    pub(crate) fn partner(&self) -> Option<ConnId> {
        None
    }

    pub(crate) fn has_left(&self) -> bool {
        false
    }

    pub(crate) fn awaits_upstream_end(&self) -> bool {
        false
    }
}
