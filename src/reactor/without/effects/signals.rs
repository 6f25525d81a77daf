//! Stands in for `effects/signals.rs` without the feature `signals`.

use crate::reactor::Reactor;

impl Reactor {
    pub(crate) fn take_signals(&mut self) {
        if let Some(signals) = &self.signal_handler {
            match *signals {}
        }
    }
}
