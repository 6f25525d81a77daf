//! Stands in for `conn/exchanging.rs` without the feature `proxy`: no body is passed on.

use crate::reactor::conn::connection::Connection;

impl Connection {
    pub(crate) fn passes_body(&self) -> bool {
        false
    }

    pub(crate) fn is_streaming(&self) -> bool {
        false
    }

    pub(crate) fn answers_client(&self) -> bool {
        false
    }
}
