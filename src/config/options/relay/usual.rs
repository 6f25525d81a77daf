//! The defaults of a relay's options.

use weir::services::nostr::settings::RelaySettings;

/// The settings of a relay without options.
pub(super) fn usual() -> RelaySettings {
    RelaySettings::new("relay".into())
}
