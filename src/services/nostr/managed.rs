//! What administrators have set (NIP-86): lists of authors, events, kinds and addresses, and the
//! relay's name. It adds to the configuration, and is kept in the store.
//!
//! Pure, except that [`ManagedLists::load`] reads a snapshot. Calls of administrators are in `manage`.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::event::EventId;
use super::store::{Snapshot, StoreError};
use super::tags::PublicKey;

/// Entries of one list.
pub(super) const ENTRIES_MAX: usize = 100_000;

/// The lists that administrators keep, with their reasons. They add to those of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ManagedLists {
    /// Authors that may not write.
    pub banned_authors: HashMap<PublicKey, Box<str>>,
    /// Authors that may write.
    pub allowed_authors: HashMap<PublicKey, Box<str>>,
    /// Events that are not accepted.
    pub banned_ids: HashMap<EventId, Box<str>>,
    /// Kinds that are accepted.
    pub allowed_kinds: BTreeSet<u16>,
    /// Kinds that are not accepted.
    pub denied_kinds: BTreeSet<u16>,
    /// Addresses that may not connect, in canonical form.
    pub blocked_addresses: HashMap<IpAddr, Box<str>>,
    /// Texts of the information document, by member.
    pub texts: HashMap<InfoText, Box<str>>,
}

/// A member of the information document (NIP-11) that administrators can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum InfoText {
    /// `name`
    Name,
    /// `description`
    Description,
    /// `icon`
    Icon,
}

impl InfoText {
    const ALL: [InfoText; 3] = [InfoText::Name, InfoText::Description, InfoText::Icon];

    fn name(self) -> &'static str {
        match self {
            InfoText::Name => "name",
            InfoText::Description => "description",
            InfoText::Icon => "icon",
        }
    }
}

/// An entry of one of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// An author that may not write.
    BannedAuthor(PublicKey),
    /// An author that may write.
    AllowedAuthor(PublicKey),
    /// An event that is not accepted.
    BannedId(EventId),
    /// A kind that is accepted.
    AllowedKind(u16),
    /// A kind that is not accepted.
    DeniedKind(u16),
    /// An address that may not connect.
    BlockedAddress(IpAddr),
    /// A text of the information document.
    Text(InfoText),
}

/// The names of the lists in the store.
const LISTS: [&str; 7] = [
    "banned_authors",
    "allowed_authors",
    "banned_ids",
    "allowed_kinds",
    "denied_kinds",
    "blocked_addresses",
    "info",
];

impl Entry {
    /// The name of its list in the store.
    pub(super) fn list(&self) -> &'static str {
        let index = match self {
            Entry::BannedAuthor(_) => 0,
            Entry::AllowedAuthor(_) => 1,
            Entry::BannedId(_) => 2,
            Entry::AllowedKind(_) => 3,
            Entry::DeniedKind(_) => 4,
            Entry::BlockedAddress(_) => 5,
            Entry::Text(_) => 6,
        };
        LISTS[index]
    }

    /// Its form in the store.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Entry::BannedAuthor(key) | Entry::AllowedAuthor(key) => key.to_vec(),
            Entry::BannedId(id) => id.to_vec(),
            Entry::AllowedKind(kind) | Entry::DeniedKind(kind) => kind.to_be_bytes().to_vec(),
            Entry::BlockedAddress(address) => address.to_string().into_bytes(),
            Entry::Text(text) => text.name().into(),
        }
    }

    /// The entry of a list from its form in the store; `None` if a newer version wrote it.
    fn read(list: &str, bytes: &[u8]) -> Option<Entry> {
        let hash = || bytes.try_into().ok();
        let kind = || bytes.try_into().ok().map(u16::from_be_bytes);
        let text = || std::str::from_utf8(bytes).ok();
        match LISTS.iter().position(|name| *name == list)? {
            0 => hash().map(Entry::BannedAuthor),
            1 => hash().map(Entry::AllowedAuthor),
            2 => hash().map(Entry::BannedId),
            3 => kind().map(Entry::AllowedKind),
            4 => kind().map(Entry::DeniedKind),
            5 => text()?.parse().ok().map(Entry::BlockedAddress),
            _ => {
                let member =
                    InfoText::ALL.into_iter().find(|member| member.name().as_bytes() == bytes);
                member.map(Entry::Text)
            }
        }
    }
}

impl ManagedLists {
    /// Reads the lists from the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn load(snapshot: &Snapshot<'_>) -> Result<ManagedLists, StoreError> {
        let mut lists = ManagedLists::default();
        for list in LISTS {
            for (entry, reason) in snapshot.list(list)? {
                if let Some(entry) = Entry::read(list, &entry) {
                    lists.set(&entry, Some(&reason));
                }
            }
        }
        Ok(lists)
    }

    /// Adds an entry with its reason, or replaces its reason; `None` removes it.
    pub(super) fn set(&mut self, entry: &Entry, reason: Option<&str>) {
        match entry {
            Entry::BannedAuthor(key) => set(&mut self.banned_authors, *key, reason),
            Entry::AllowedAuthor(key) => set(&mut self.allowed_authors, *key, reason),
            Entry::BannedId(id) => set(&mut self.banned_ids, *id, reason),
            Entry::BlockedAddress(address) => set(&mut self.blocked_addresses, *address, reason),
            Entry::Text(member) => set(&mut self.texts, *member, reason),
            Entry::AllowedKind(kind) => set_kind(&mut self.allowed_kinds, *kind, reason.is_some()),
            Entry::DeniedKind(kind) => set_kind(&mut self.denied_kinds, *kind, reason.is_some()),
        }
    }

    /// Whether the entry's list has no room for it.
    pub(super) fn is_full_for(&self, entry: &Entry) -> bool {
        let (has, len) = match entry {
            Entry::BannedAuthor(key) => room(&self.banned_authors, key),
            Entry::AllowedAuthor(key) => room(&self.allowed_authors, key),
            Entry::BannedId(id) => room(&self.banned_ids, id),
            Entry::BlockedAddress(address) => room(&self.blocked_addresses, address),
            // There are few of them.
            Entry::AllowedKind(_) | Entry::DeniedKind(_) | Entry::Text(_) => return false,
        };
        !has && len >= ENTRIES_MAX
    }

    /// Whether clients of this address may not connect.
    pub(super) fn blocks(&self, address: IpAddr) -> bool {
        self.blocked_addresses.contains_key(&address.to_canonical())
    }
}

fn set<K: Eq + std::hash::Hash>(list: &mut HashMap<K, Box<str>>, entry: K, reason: Option<&str>) {
    match reason {
        Some(reason) => list.insert(entry, reason.into()),
        None => list.remove(&entry),
    };
}

fn set_kind(list: &mut BTreeSet<u16>, kind: u16, is_listed: bool) {
    match is_listed {
        true => list.insert(kind),
        false => list.remove(&kind),
    };
}

/// Whether the list has the entry, and how many it has.
fn room<K: Eq + std::hash::Hash>(list: &HashMap<K, Box<str>>, entry: &K) -> (bool, usize) {
    (list.contains_key(entry), list.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> [Entry; 8] {
        [
            Entry::BannedAuthor([1; 32]),
            Entry::AllowedAuthor([2; 32]),
            Entry::BannedId([3; 32]),
            Entry::AllowedKind(4),
            Entry::DeniedKind(0x1234),
            Entry::BlockedAddress("10.0.0.1".parse().unwrap()),
            Entry::BlockedAddress("2001:db8::1".parse().unwrap()),
            Entry::Text(InfoText::Icon),
        ]
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        for entry in entries() {
            assert_eq!(Entry::read(entry.list(), &entry.bytes()), Some(entry));
        }
        assert_eq!(Entry::read("banned_authors", &[1; 31]), None);
        assert_eq!(Entry::read("info", b"color"), None);
        assert_eq!(Entry::read("other", b""), None);
    }

    #[test]
    fn entries_are_added_and_removed() {
        let mut lists = ManagedLists::default();
        for entry in entries() {
            lists.set(&entry, Some("why"));
        }
        assert_eq!(lists.banned_authors[&[1; 32]], "why".into());
        assert!(lists.denied_kinds.contains(&0x1234));
        assert!(lists.blocks("::ffff:10.0.0.1".parse().unwrap()));
        assert_eq!(lists.texts[&InfoText::Icon], "why".into());
        for entry in entries() {
            lists.set(&entry, None);
        }
        assert_eq!(lists, ManagedLists::default());
    }

    #[test]
    fn a_full_list_takes_no_further_entry() {
        let mut lists = ManagedLists::default();
        let id = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Entry::BannedId(id)
        };
        for number in 0..ENTRIES_MAX {
            assert!(!lists.is_full_for(&id(number)));
            lists.set(&id(number), Some(""));
        }
        assert!(lists.is_full_for(&id(ENTRIES_MAX)));
        // A listed entry can get another reason.
        assert!(!lists.is_full_for(&id(0)));
        assert!(!lists.is_full_for(&Entry::BannedAuthor([0; 32])));
    }
}
