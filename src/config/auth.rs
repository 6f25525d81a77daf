//! The gates: validates a `[[auth]]`. Which route has which gate is in `access.rs`.

use std::collections::HashSet;

use weir::reactor::settings::GateSettings;

use super::error::{AuthConfigError, ConfigError};
use super::keys::{Layer, place_of, read};
use super::options::{AuthTable, GateOptions};
use super::place::Place;

pub(crate) use super::options::AuthKind;

/// The required keys of a gate.
const REQUIRED: [&str; 2] = ["name", "kind"];

/// A gate, ready to be created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AuthConfig {
    pub(crate) name: String,
    pub(crate) kind: AuthKind,
    pub(crate) gate: GateSettings,
}

impl AuthConfig {
    /// Whether it accepts cookies. Then routes with it need a list of origins.
    pub(super) fn takes_cookies(&self) -> bool {
        match self.kind {
            AuthKind::Jwt | AuthKind::Http => false,
        }
    }
}

/// Reads `tables`, and checks them against each other.
pub(super) fn auths(tables: Vec<(Place, Layer)>) -> Result<Vec<AuthConfig>, ConfigError> {
    let mut names = HashSet::new();
    let mut auths = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let refused = |error: AuthConfigError| {
            let place = place_of(error.contradiction(), &[&table]).unwrap_or(place.clone());
            ConfigError::Auth { place, error }
        };
        let is_missing = |key: &&&str| table.get(**key).is_none_or(|given| given.values.is_empty());
        if let Some(key) = REQUIRED.iter().find(is_missing) {
            return Err(refused(AuthConfigError::Missing(key)));
        }
        let AuthTable { name, kind } = read(&table)?;
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(refused(AuthConfigError::Name(name)));
        }
        if !names.insert(name.clone()) {
            return Err(refused(AuthConfigError::Twice(name)));
        }
        auths.push(AuthConfig { name, kind, gate: read::<GateOptions>(&table)?.into() });
    }
    Ok(auths)
}
