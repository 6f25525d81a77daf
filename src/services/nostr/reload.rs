//! New lists for a running relay.

use super::policy::Configured;
use super::settings::RelaySettings;

/// The lists of a configuration that was read again: authors, kinds, readers and administrators. The
/// lists that administrators keep are not part of it.
#[derive(Debug)]
pub struct RelayReload {
    /// Only its lists are used.
    settings: RelaySettings,
    lists: Configured,
}

impl RelayReload {
    /// Reads the files of keys that the settings name. Blocks.
    ///
    /// # Errors
    /// A file cannot be read or has a malformed line: one line that names the setting and the file.
    pub fn read(settings: RelaySettings) -> Result<RelayReload, String> {
        let lists = Configured::new(settings.lists()?);
        Ok(RelayReload { settings, lists })
    }

    /// The lists, and `old` with the settings that name them.
    pub(super) fn apply(self, old: &RelaySettings) -> (Configured, RelaySettings) {
        let RelayReload { settings: new, lists } = self;
        let settings = old
            .clone()
            .allow_authors(new.allow_authors)
            .deny_authors(new.deny_authors)
            .allow_kinds(new.allow_kinds)
            .deny_kinds(new.deny_kinds)
            .allow_only(new.allow_only)
            .allow_tagged(new.allow_tagged)
            .open_kinds(new.open_kinds)
            .allow_readers(new.allow_readers);
        (lists, settings)
    }
}
