//! The gates: validates a `[[auth]]`. Which route has which gate is in `access.rs`.

use std::collections::HashSet;
use std::path::Path;

use weir::reactor::settings::{GateSettings, Settings};
use weir::services::auth::settings::TokenPlace;
use weir::services::auth::{AuthError, Hook, HookSettings, Jwt, JwtSettings};

use super::error::{AuthConfigError, ConfigError};
use super::keys::{Keys, Layer, place_of, read};
use super::options::{AuthKind, AuthTable, GateFiles, GateOptions, HookOptions, JwtOptions};
use super::place::Place;

/// The required keys of a gate.
const REQUIRED: [&str; 2] = ["name", "kind"];

/// A gate, ready to be created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AuthConfig {
    pub(crate) name: String,
    pub(crate) kind: GateKind,
    pub(crate) gate: GateSettings,
}

/// What a gate does, with its settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GateKind {
    Jwt(JwtSettings),
    Http(HookSettings),
}

impl GateKind {
    pub(super) fn name(&self) -> AuthKind {
        match self {
            GateKind::Jwt(_) => AuthKind::Jwt,
            GateKind::Http(_) => AuthKind::Http,
        }
    }

    /// The same with no settings but those that have no default.
    pub(super) fn usual(&self) -> GateKind {
        match self {
            GateKind::Jwt(jwt) => GateKind::Jwt(JwtSettings::new(jwt.algorithms.clone())),
            GateKind::Http(hook) => GateKind::Http(HookSettings::new(hook.url.clone())),
        }
    }
}

impl AuthConfig {
    /// Whether it accepts cookies. Then routes with it need a list of origins.
    pub(super) fn takes_cookies(&self) -> bool {
        match &self.kind {
            GateKind::Jwt(jwt) => {
                jwt.token_from.iter().any(|place| matches!(place, TokenPlace::Cookie(_)))
            }
            GateKind::Http(hook) => hook.headers.iter().any(|name| name.to_string() == "cookie"),
        }
    }

    pub(super) fn secret_file(&self) -> Option<&Path> {
        match &self.kind {
            GateKind::Jwt(jwt) => jwt.secret_file.as_deref(),
            GateKind::Http(_) => None,
        }
    }

    /// Checks that its files can be used.
    pub(super) fn check_files(&self) -> Result<(), AuthError> {
        match &self.kind {
            GateKind::Jwt(jwt) => Jwt::new(&self.name, jwt).map(drop),
            GateKind::Http(hook) => {
                Hook::new(&self.name, hook.clone()).map(drop).map_err(AuthError::from)
            }
        }
    }
}

/// Reads `tables`, and checks them against each other and the server's `settings`.
pub(super) fn auths(
    tables: Vec<(Place, Layer)>,
    settings: &Settings,
) -> Result<Vec<AuthConfig>, ConfigError> {
    let mut names = HashSet::new();
    let mut auths = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let refused = |error: AuthConfigError| {
            let place = place_of(&error.contradiction(), &[&table]).unwrap_or(place.clone());
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
        check_keys(kind, &table).map_err(refused)?;
        let files: GateFiles = read(&table)?;
        let kind = match kind {
            AuthKind::Jwt => GateKind::Jwt(read::<JwtOptions>(&table)?.settings(files)),
            AuthKind::Http => GateKind::Http(read::<HookOptions>(&table)?.settings(files)),
        };
        let checked = match &kind {
            GateKind::Jwt(jwt) => jwt.check(),
            GateKind::Http(hook) => hook.check(settings.handshake_timeout),
        };
        checked.map_err(|error| refused(AuthConfigError::Settings(error)))?;
        auths.push(AuthConfig { name, kind, gate: read::<GateOptions>(&table)?.into() });
    }
    Ok(auths)
}

/// Checks that a table has the required key of its kind, and no key of the other one.
fn check_keys(kind: AuthKind, table: &Layer) -> Result<(), AuthConfigError> {
    let (required, other, others) = match kind {
        AuthKind::Jwt => ("algorithms", "http", Keys::of::<HookOptions>()),
        AuthKind::Http => ("url", "jwt", Keys::of::<JwtOptions>()),
    };
    if let Some(key) = others.names().find(|&key| table.contains_key(key)) {
        return Err(AuthConfigError::OtherKind { key: key.to_owned(), kind: other });
    }
    match table.contains_key(required) {
        true => Ok(()),
        false => Err(AuthConfigError::Missing(required)),
    }
}
