//! Settings that an operator may change, as plain structs: the loop's [`Settings`] and each route's
//! [`RouteSettings`].
//!
//! The structs get new fields as settings are added. So a program takes `default()` or `new(..)`,
//! and changes fields by setters of the same names. A literal does not compile outside this crate:
//!
//! ```compile_fail,E0639
//! # use weir::reactor::settings::Settings;
//! let settings = Settings { log_access: true, ..Settings::default() };
//! ```
//!
//! It parses no configuration, and has no constants of protocol or budget: those are in
//! [`budget`](crate::reactor::budget). Only [`SettingsError`] names configuration keys.
//! [`Settings::check`] and [`RouteSettings::check`] check the relations between numbers. [`Rate`],
//! [`Prefix`] and [`HostPattern`] parse and format their own notation.

mod check;
mod client_address;
mod gate;
mod host;
mod limit;
mod listen;
mod load;
mod notation;
mod reactor;
mod route;
mod setters;
#[cfg(feature = "tls")]
mod tls;
mod tls_version;

pub use self::check::{HEAD_BYTES_RANGE, MESSAGE_BYTES_RANGE, SettingsError};
pub use self::client_address::ClientAddressFrom;
pub use self::gate::GateSettings;
pub use self::host::HostPattern;
pub use self::limit::Limit;
pub use self::listen::ListenSettings;
pub use self::load::MemoryMax;
pub use self::notation::{NotationError, Prefix, Rate};
pub use self::reactor::{Heartbeat, PER_ADDRESS_DEFAULT, Settings};
pub use self::route::{DeflateMode, OverRate, RefuseBy, RouteHeartbeat, RouteSettings, SlowPolicy};
pub(crate) use self::setters::with_setters;
#[cfg(feature = "tls")]
pub use self::tls::{CertificateFiles, ClientCertificates, TlsSettings};
pub use self::tls_version::TlsVersion;
