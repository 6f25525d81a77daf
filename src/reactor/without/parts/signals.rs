//! Stands in for `parts/signals.rs` without the feature `signals`: the loop handles no signal.

/// Has no value: no signal is registered.
#[derive(Debug)]
pub(crate) enum SignalHandler {}
