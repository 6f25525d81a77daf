//! Settings that an operator may change, as plain structs: the loop's [`Settings`] and each route's
//! [`RouteSettings`].
//!
//! It parses no configuration, and has no constants of protocol or budget: those are in
//! [`budget`](crate::reactor::budget). Only [`SettingsError`] names configuration keys.
//! [`Settings::check`] and [`RouteSettings::check`] check the relations between numbers. [`Rate`],
//! [`Prefix`] and [`HostPattern`] parse and format their own notation.

mod check;
mod host;
mod listen;
mod notation;
mod reactor;
mod route;
#[cfg(feature = "tls")]
mod tls;
mod tls_version;

pub use self::check::{HEAD_BYTES_RANGE, MESSAGE_BYTES_RANGE, SettingsError};
pub use self::host::HostPattern;
pub use self::listen::ListenSettings;
pub use self::notation::{NotationError, Prefix, Rate};
pub use self::reactor::{Heartbeat, PER_ADDRESS_DEFAULT, Settings};
pub use self::route::{DeflateMode, RouteSettings, SlowPolicy};
#[cfg(feature = "tls")]
pub use self::tls::{CertificateFiles, ClientCertificates, TlsSettings};
pub use self::tls_version::TlsVersion;
