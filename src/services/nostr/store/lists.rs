//! Lists that management calls change (NIP-86): bans, allowed keys, names of the relay.

use super::error::StoreError;
use super::shared::Snapshot;
use super::tables::{Table, Transaction};
use super::writer::Writer;

/// Ends a list's name in a key; no name contains it.
const SEPARATOR: u8 = 0;

fn key(list: &str, entry: &[u8]) -> Vec<u8> {
    [list.as_bytes(), &[SEPARATOR], entry].concat()
}

impl Writer {
    /// Adds an entry with its reason to a list, or replaces its reason; `None` removes it.
    pub fn set_list_entry(
        &mut self,
        list: &str,
        entry: &[u8],
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut transaction = Transaction::new(snapshot.tables(), true);
        match reason {
            Some(reason) => {
                transaction.insert(Table::List, &key(list, entry), reason.as_bytes());
            }
            None => transaction.remove(Table::List, &key(list, entry)),
        }
        let committed = transaction.commit()?;
        self.growth.rotate(&committed, snapshot.tables());
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Entries of a list with their reasons, in the order of the entries.
    pub fn list(&self, list: &str) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
        let prefix = key(list, &[]);
        self.prefix(Table::List, &prefix)
            .map(|entry| {
                let (key, reason) = entry.into_inner()?;
                let reason = String::from_utf8_lossy(&reason).into_owned();
                Ok((key[prefix.len()..].to_vec(), reason))
            })
            .collect()
    }
}
