//! [`Metadata`]: strings about a connection or an identity, for filters, records and requirements.

use std::fmt;
use std::sync::Arc;

use super::budget::{METADATA_BYTES_MAX, METADATA_ENTRIES_MAX};

/// Strings that a service attaches to a connection, or a gate to an identity: user, tags, roles.
///
/// Bounded by [`METADATA_ENTRIES_MAX`] and [`METADATA_BYTES_MAX`]. Clones share the strings until one of
/// them is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(
    /// Invariant: not empty.
    Option<Arc<Vec<Entry>>>,
);

/// A key and one of its values.
type Entry = (Box<str>, Box<str>);

/// Why a metadata entry was not set. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The entry would exceed [`METADATA_ENTRIES_MAX`] or [`METADATA_BYTES_MAX`].
    Full,
    /// The connection has ended.
    Gone,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MetadataError::Full => "the connection's metadata is full",
            MetadataError::Gone => "the connection has ended",
        })
    }
}

impl std::error::Error for MetadataError {}

impl Metadata {
    pub(in crate::reactor) const EMPTY: &'static Metadata = &Metadata(None);

    fn entries(&self) -> &[Entry] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// The entries of this one alone, to be changed.
    fn own_entries(&mut self) -> &mut Vec<Entry> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.entries().iter().find(|(name, _)| &**name == key);
        found.map(|(_, value)| &**value)
    }

    /// All keys with their values, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries().iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether one of the values of `key` equals `value`.
    pub fn holds(&self, key: &str, value: &str) -> bool {
        self.iter().any(|(name, other)| name == key && other == value)
    }

    /// Adds a further value of `key`.
    ///
    /// # Errors
    /// [`MetadataError::Full`].
    pub fn add(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        let is_full = self.entries().len() >= METADATA_ENTRIES_MAX;
        if is_full || self.bytes() + key.len() + value.len() > METADATA_BYTES_MAX {
            return Err(MetadataError::Full);
        }
        self.own_entries().push((key.into(), value.into()));
        Ok(())
    }

    /// Replaces the first value of `key`, or adds it.
    ///
    /// # Errors
    /// [`MetadataError::Full`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), MetadataError> {
        let Some(at) = self.entries().iter().position(|(name, _)| &**name == key) else {
            return self.add(key, value);
        };
        if self.bytes() - self.entries()[at].1.len() + value.len() > METADATA_BYTES_MAX {
            return Err(MetadataError::Full);
        }
        self.own_entries()[at].1 = value.into();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub(in crate::reactor) fn remove(&mut self, key: &str) {
        if self.get(key).is_some() {
            self.own_entries().retain(|(name, _)| &**name != key);
            self.0.take_if(|entries| entries.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_bounded() {
        let mut metadata = Metadata::default();
        for i in 0..METADATA_ENTRIES_MAX {
            metadata.set(&format!("k{i}"), "v").unwrap();
        }
        assert_eq!(metadata.set("one more", "v"), Err(MetadataError::Full));
        metadata.set("k3", "other").unwrap();
        assert_eq!(metadata.get("k3"), Some("other"));
        assert_eq!(metadata.set("k3", &"x".repeat(METADATA_BYTES_MAX)), Err(MetadataError::Full));
        metadata.remove("k3");
        assert_eq!(metadata.get("k3"), None);
    }

    #[test]
    fn a_key_may_have_several_values() {
        let mut metadata = Metadata::default();
        metadata.add("role", "editor").unwrap();
        metadata.add("role", "admin").unwrap();
        assert_eq!(metadata.get("role"), Some("editor"));
        assert!(metadata.holds("role", "admin") && !metadata.holds("role", "owner"));
        metadata.set("role", "owner").unwrap();
        assert_eq!(metadata.iter().collect::<Vec<_>>(), [("role", "owner"), ("role", "admin")]);
        assert_eq!(metadata.add("x", &"y".repeat(METADATA_BYTES_MAX)), Err(MetadataError::Full));
        let shared = metadata.clone();
        metadata.remove("role");
        assert_eq!(metadata, Metadata::default());
        assert_eq!(shared.get("role"), Some("owner"), "a clone keeps what it had");
    }
}
