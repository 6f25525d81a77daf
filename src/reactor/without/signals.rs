//! Stands in for `signals.rs` without the feature `signals`: the loop handles no signal.

use crate::reactor::Reactor;

/// Has no value: no signal is registered.
#[derive(Debug)]
pub(crate) enum Obeyed {}

impl Reactor {
    pub(crate) fn take_signals(&mut self) {
        if let Some(signals) = &self.obeyed {
            match *signals {}
        }
    }
}
