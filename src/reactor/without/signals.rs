//! Stands in for `signals.rs` without the feature `signals`: the loop handles no signal.

use super::Reactor;

/// Has no value: no signal is registered.
#[derive(Debug)]
pub(super) enum Obeyed {}

impl Reactor {
    pub(super) fn take_signals(&mut self) {
        if let Some(signals) = &self.obeyed {
            match *signals {}
        }
    }
}
