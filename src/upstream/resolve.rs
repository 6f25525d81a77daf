//! The addresses of a host. Lookups block, so they are made on threads.
//!
//! `attempts`: one lookup for one connection, whose addresses are tried in turn. `lookup`: the names
//! of pools, which are looked up again and again.

#[cfg(feature = "rpc")]
mod attempts;
mod host;
#[cfg(feature = "proxy")]
mod lookup;

#[cfg(feature = "rpc")]
pub(crate) use self::attempts::Addresses;
#[cfg(feature = "rpc")]
pub(super) use self::attempts::look_up;
pub(crate) use self::host::HostPort;
#[cfg(feature = "proxy")]
pub(super) use self::lookup::LOOKUPS_MAX;
#[cfg(feature = "proxy")]
pub use self::lookup::Lookup;
#[cfg(feature = "proxy")]
pub(crate) use self::lookup::resolver_settings;
