//! How full an outbox is, by its route's limits. `outboxes.rs` checks the limits, `send.rs` applies
//! the slow consumer policy.

/// How full an outbox is, by its route's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Pressure {
    /// Not above the soft limit since it was last below low water.
    #[default]
    Normal,
    /// Was above the soft limit. `on_drain` is called when it falls below low water.
    Congested,
    /// As `Congested`, and messages are dropped until then.
    Shedding,
}
