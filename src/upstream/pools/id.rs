//! The ids of pools and upstreams. They stay valid until what they name is gone, and are checked on
//! use, since tunnels outlive a reload.

/// The id of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PoolId {
    pub(super) index: usize,
    pub(super) serial: u32,
}

/// The id of an upstream: of one address, if a DNS name has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UpstreamId {
    pub(super) index: usize,
    pub(super) serial: u32,
}
