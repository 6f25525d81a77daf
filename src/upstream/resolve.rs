//! The addresses of a host. Lookups block, so they are made on threads.
//!
//! `attempts`: one lookup for one connection, whose addresses are tried in turn. `lookup`: the names
//! of pools, which are looked up again and again.

#[cfg(feature = "rpc")]
mod attempts;
#[cfg(feature = "proxy")]
mod lookup;

#[cfg(feature = "rpc")]
pub(crate) use self::attempts::Addresses;
#[cfg(feature = "rpc")]
pub(super) use self::attempts::look_up;
#[cfg(feature = "proxy")]
pub(super) use self::lookup::LOOKUPS_MAX;
#[cfg(feature = "proxy")]
pub(crate) use self::lookup::{Lookup, resolver_settings};

/// A host, as a name or an IP address without brackets, and a port.
pub(crate) type HostPort = (String, u16);

/// Addresses of one host that are used; further ones are ignored.
const ADDRESSES_MAX: usize = 16;
