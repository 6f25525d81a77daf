//! What is looked up, and how much of the result is used.

/// A host, as a name or an IP address without brackets, and a port.
pub(crate) type HostPort = (String, u16);

/// Addresses of one host that are used; further ones are ignored.
#[cfg(any(feature = "proxy", feature = "rpc"))]
pub(super) const ADDRESSES_MAX: usize = 16;
