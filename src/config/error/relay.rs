//! Why a `[[relay]]` is rejected.

use std::fmt;
use std::path::PathBuf;

use weir::services::nostr::settings::RelaySettingsError;

/// Why a relay was rejected.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RelayError {
    Missing(&'static str),
    Name(String),
    Twice(String),
    /// Two relays have the same directory.
    DirectoryTwice(PathBuf),
    Settings(RelaySettingsError),
    /// A file of keys cannot be read: the setting, and why.
    Keys(String),
}

impl RelayError {
    /// The keys that contradict each other, as a text; empty if the error concerns the relay itself.
    pub(in crate::config) fn contradiction(&self) -> String {
        match self {
            RelayError::Missing(_) => String::new(),
            RelayError::Name(_) | RelayError::Twice(_) => "name".to_owned(),
            RelayError::DirectoryTwice(_) => "data_dir".to_owned(),
            RelayError::Settings(error) => error.to_string(),
            RelayError::Keys(why) => why.split(':').next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RelayError::Missing(key) => write!(f, "a [[relay]] needs {key}"),
            RelayError::Name(name) => {
                write!(f, "name = {name:?}: expected letters, digits, '-', '_' and '.'")
            }
            RelayError::Twice(name) => write!(f, "relay {name:?} is defined twice"),
            RelayError::DirectoryTwice(dir) => {
                let dir = dir.display();
                write!(f, "data_dir = {dir}: another relay uses it: each needs its own")
            }
            RelayError::Keys(why) => f.write_str(why),
            RelayError::Settings(error) => error.fmt(f),
        }
    }
}
