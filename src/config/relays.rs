//! The Nostr relays: validates a `[[relay]]`, and what `weir relay` serves without one.
//!
//! `routes.rs` checks that the relays that routes name exist.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use weir::services::nostr::settings::RelaySettings;

use super::error::{ConfigError, RelayError};
use super::file::File;
use super::keys::{Given, Layer, place_of, read};
use super::options::{RelayOptions, RelayTable};
use super::place::Place;
use super::routes::is_of_relay;

/// The required keys of a relay.
const REQUIRED: [&str; 2] = ["name", "data_dir"];
/// The listener of `weir relay` without a setting.
pub(crate) const RELAY_LISTEN: &str = "127.0.0.1:7777";
/// The directory of `weir relay` without a setting, and the name of its relay.
const RELAY: &str = "relay";

/// A relay, ready to open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RelayConfig {
    pub(crate) name: String,
    pub(crate) settings: RelaySettings,
}

/// What `weir relay` adds to a configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct RelayDefaults {
    /// The value of `--data-dir`.
    pub(crate) data_dir: Option<PathBuf>,
}

impl RelayDefaults {
    /// Adds what a file does not have: a listener, a relay, and a route to the first relay.
    ///
    /// # Errors
    /// `--data-dir` was given beside a file with several relays.
    pub(super) fn complete(&self, file: &mut File) -> Result<(), ConfigError> {
        file.settings.entry("listen".to_owned()).or_insert_with(|| given(RELAY_LISTEN));
        if file.relays.is_empty() {
            let table = [("name", RELAY.to_owned()), ("data_dir", absolute(Path::new(RELAY)))];
            let table = table.into_iter().map(|(key, value)| (key.to_owned(), given(&value)));
            file.relays.push((Place::BuiltIn, table.collect()));
        }
        if let Some(dir) = &self.data_dir {
            let [(_, table)] = &mut file.relays[..] else {
                let why = "--data-dir needs a file with one [[relay]]".to_owned();
                return Err(ConfigError::Contradiction { place: Some(Place::CommandLine), why });
            };
            let values = vec![absolute(dir)];
            table.insert("data_dir".to_owned(), Given { place: Place::CommandLine, values });
        }
        let routes = file.routes.get_or_insert_default();
        if !routes.iter().any(|(_, table)| is_of_relay(table))
            && let Some((_, relay)) = file.relays.first()
            && let Some(name) = relay.get("name").and_then(|given| given.values.first())
        {
            let route = [("path", "/"), ("service", "nostr"), ("relay", name)];
            let route = route.into_iter().map(|(key, value)| (key.to_owned(), given(value)));
            routes.push((Place::BuiltIn, route.collect()));
        }
        Ok(())
    }
}

fn given(value: &str) -> Given {
    Given { place: Place::BuiltIn, values: vec![value.to_owned()] }
}

fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

/// Reads `tables`, and checks them against each other.
pub(super) fn relays(tables: Vec<(Place, Layer)>) -> Result<Vec<RelayConfig>, ConfigError> {
    let (mut names, mut dirs) = (HashSet::new(), HashSet::new());
    let mut relays = Vec::with_capacity(tables.len());
    for (place, table) in tables {
        let refused = |error: RelayError| {
            let place = place_of(&error.contradiction(), &[&table]).unwrap_or(place.clone());
            ConfigError::Relay { place, error }
        };
        let is_missing = |key: &&&str| table.get(**key).is_none_or(|given| given.values.is_empty());
        if let Some(key) = REQUIRED.iter().find(is_missing) {
            return Err(refused(RelayError::Missing(key)));
        }
        let RelayTable { name, data_dir } = read(&table)?;
        let settings = read::<RelayOptions>(&table)?.settings(data_dir);
        check(&name, &settings).map_err(refused)?;
        if !names.insert(name.clone()) {
            return Err(refused(RelayError::Twice(name)));
        }
        if !dirs.insert(settings.data_dir.clone()) {
            return Err(refused(RelayError::DirectoryTwice(settings.data_dir)));
        }
        relays.push(RelayConfig { name, settings });
    }
    Ok(relays)
}

/// Checks the files of keys that relays name; `tables` are their tables, in the same order.
pub(super) fn check_files(
    relays: &[RelayConfig],
    tables: &[(Place, Layer)],
) -> Result<(), ConfigError> {
    for (relay, (place, table)) in relays.iter().zip(tables) {
        relay.settings.check_files().map_err(|why| {
            let error = RelayError::Keys(why);
            let place = place_of(&error.contradiction(), &[table]).unwrap_or(place.clone());
            ConfigError::Relay { place, error }
        })?;
    }
    Ok(())
}

fn check(name: &str, settings: &RelaySettings) -> Result<(), RelayError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(RelayError::Name(name.to_owned()));
    }
    settings.check().map_err(RelayError::Settings)
}
