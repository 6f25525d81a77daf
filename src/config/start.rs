//! What a server got at its start, and a reload cannot change.

/// What a server got at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// The service of proxy routes.
    pub(super) has_proxy: bool,
    /// An `outbound_max` that follows from routes and pools.
    pub(super) has_default_outbound_max: bool,
}
