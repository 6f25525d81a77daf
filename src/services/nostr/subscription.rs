//! A subscription from its stored to its live events, without a gap.
