//! Which stored events a connection may see (section 4.5).

use std::sync::Arc;

use super::index::recipients;
use super::record::Record;
use crate::services::nostr::event::{Fields as _, PublicKey};

/// The keys of a connection, and the kinds that only their owners see.
#[derive(Clone, Debug, Default)]
pub struct Visibility {
    /// Keys that the connection is authenticated for.
    pub keys: Vec<PublicKey>,
    /// Kinds that are sent only to their author and the keys in their `p` tags; sorted.
    pub restricted: Arc<[u16]>,
}

impl Visibility {
    /// Everything is visible: without authentication, and for the operator.
    pub fn all() -> Visibility {
        Visibility::default()
    }

    /// Whether events of this kind are visible to their owners only.
    pub fn is_restricted(&self, kind: u16) -> bool {
        self.restricted.binary_search(&kind).is_ok()
    }

    pub(super) fn allows(&self, record: &Record) -> bool {
        !self.is_restricted(record.kind())
            || self.keys.contains(record.pubkey())
            || recipients(record.tags()).any(|pubkey| self.keys.contains(&pubkey))
    }
}
