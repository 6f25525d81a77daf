//! Lists of authors, kinds and ids: which events a relay accepts, and from whom.
//!
//! Rows 11, 16 and 17 of the checks. Pure: files are read, and lists kept, elsewhere. Verify threads
//! read one snapshot ([`SharedPolicy`]), which a reload or a call of an administrator replaces.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};

use super::event::{Event, EventId};
use super::parse;
use super::refusal::{Prefix, Refusal};
use super::tags::{PublicKey, hex_32};
use super::verify::Lists;

/// Repost, and generic repost (NIP-18).
const KIND_REPOST: u16 = 6;
const KIND_GENERIC_REPOST: u16 = 16;
/// Relay lists (NIP-65), and relays for direct messages (NIP-17): others look for these everywhere.
const OPEN_KINDS: [u16; 2] = [10_002, 10_050];

/// The lists of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSettings {
    /// Authors that may write. Not empty: the others may not.
    pub allow_authors: Vec<PublicKey>,
    /// Authors that may not write.
    pub deny_authors: Vec<PublicKey>,
    /// Kinds that are accepted. Not empty: the others are not.
    pub allow_kinds: Vec<RangeInclusive<u16>>,
    /// Kinds that are not accepted.
    pub deny_kinds: Vec<RangeInclusive<u16>>,
    /// Whether only allowed authors may write, even if the list is empty.
    pub allow_only: bool,
    /// Whether anybody may write an event with a `p` tag of an allowed author.
    pub allow_tagged: bool,
    /// Kinds that anybody may write who is not banned.
    pub open_kinds: Vec<u16>,
    /// Keys that may read. Not empty: the others may not.
    pub allow_readers: Vec<PublicKey>,
}

impl Default for ListSettings {
    fn default() -> ListSettings {
        ListSettings {
            allow_authors: Vec::new(),
            deny_authors: Vec::new(),
            allow_kinds: Vec::new(),
            deny_kinds: Vec::new(),
            allow_only: false,
            allow_tagged: false,
            open_kinds: OPEN_KINDS.to_vec(),
            allow_readers: Vec::new(),
        }
    }
}

/// The lists that administrators keep (NIP-86), with their reasons. They add to those of the
/// configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManagedLists {
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
}

/// All lists of a relay.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    denied_authors: HashSet<PublicKey>,
    allowed_authors: HashSet<PublicKey>,
    readers: HashSet<PublicKey>,
    settings: ListSettings,
    managed: ManagedLists,
}

impl Policy {
    /// The lists of the configuration and of the administrators. An administrator's list of allowed
    /// authors or kinds does not close an open relay.
    pub fn new(mut settings: ListSettings, managed: ManagedLists) -> Policy {
        settings.allow_only |= !settings.allow_authors.is_empty();
        Policy {
            denied_authors: std::mem::take(&mut settings.deny_authors).into_iter().collect(),
            allowed_authors: std::mem::take(&mut settings.allow_authors).into_iter().collect(),
            readers: std::mem::take(&mut settings.allow_readers).into_iter().collect(),
            settings,
            managed,
        }
    }

    /// The administrators' lists.
    pub fn managed(&self) -> &ManagedLists {
        &self.managed
    }

    /// Whether only some authors may write, for the information document.
    pub fn restricts_writes(&self) -> bool {
        self.settings.allow_only
    }

    /// Whether a client with these keys may read.
    ///
    /// # Errors
    /// Only listed keys may.
    pub fn may_read(&self, keys: &[PublicKey]) -> Result<(), Refusal> {
        if self.readers.is_empty() || keys.iter().any(|key| self.readers.contains(key)) {
            return Ok(());
        }
        let prefix = if keys.is_empty() { Prefix::AuthRequired } else { Prefix::Restricted };
        Err(prefix.text("only listed keys may read here"))
    }

    fn is_banned(&self, author: &PublicKey) -> bool {
        self.denied_authors.contains(author) || self.managed.banned_authors.contains_key(author)
    }

    fn is_allowed(&self, author: &PublicKey) -> bool {
        self.allowed_authors.contains(author) || self.managed.allowed_authors.contains_key(author)
    }

    fn is_open_to(&self, event: &Event) -> bool {
        let ListSettings { allow_only, allow_tagged, open_kinds, .. } = &self.settings;
        !allow_only
            || self.is_allowed(event.pubkey())
            || open_kinds.contains(&event.kind())
            || *allow_tagged && self.tags_allowed(event)
    }

    fn tags_allowed(&self, event: &Event) -> bool {
        let mut tagged = event.tags().letters().filter(|(letter, _)| *letter == b'p');
        tagged.any(|(_, value)| hex_32(&value).is_some_and(|key| self.is_allowed(&key)))
    }

    fn accepts_kind(&self, kind: u16) -> bool {
        let ListSettings { allow_kinds, deny_kinds, .. } = &self.settings;
        let ManagedLists { allowed_kinds, denied_kinds, .. } = &self.managed;
        let contains =
            |ranges: &[RangeInclusive<u16>]| ranges.iter().any(|range| range.contains(&kind));
        if denied_kinds.contains(&kind) || contains(deny_kinds) {
            return false;
        }
        allow_kinds.is_empty() || contains(allow_kinds) || allowed_kinds.contains(&kind)
    }
}

/// Row 11.
impl Lists for Policy {
    fn refusal(&self, event: &Event) -> Option<Refusal> {
        if self.managed.banned_ids.contains_key(event.id()) {
            return Some(Prefix::Blocked.text("the event is banned"));
        }
        // A ban beats an allow.
        if self.is_banned(event.pubkey()) {
            return Some(Prefix::Blocked.text("the author is banned"));
        }
        let kind = event.kind();
        if !self.accepts_kind(kind) {
            return Some(Prefix::Blocked.text(format!("kind {kind} is not accepted here")));
        }
        let refusal = || Prefix::Restricted.text("only listed authors may write here");
        (!self.is_open_to(event)).then(refusal)
    }
}

/// The lists that apply now.
#[derive(Debug, Clone, Default)]
pub struct SharedPolicy(Arc<RwLock<Arc<Policy>>>);

impl SharedPolicy {
    /// These lists.
    pub fn new(policy: Policy) -> SharedPolicy {
        SharedPolicy(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The lists, for one event or a few.
    pub fn load(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the lists.
    pub fn store(&self, policy: Policy) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

/// Row 16: only the author may publish an event with the tag `["-"]` (NIP-70).
///
/// # Errors
/// None of the connection's keys is the author's.
pub fn check_protected(
    event: &Event,
    keys: &[PublicKey],
    offers_auth: bool,
) -> Result<(), Refusal> {
    if !event.is_protected() || keys.contains(event.pubkey()) {
        return Ok(());
    }
    const TEXT: &str = "only its author may publish a protected event";
    let prefix = match keys {
        _ if !offers_auth => Prefix::Blocked,
        [] => Prefix::AuthRequired,
        _ => Prefix::Restricted,
    };
    Err(prefix.text(TEXT))
}

/// Row 17: a repost does not spread a protected event (NIP-70).
///
/// # Errors
/// The content is a protected event.
pub fn check_repost(event: &Event) -> Result<(), Refusal> {
    if !matches!(event.kind(), KIND_REPOST | KIND_GENERIC_REPOST) {
        return Ok(());
    }
    match parse::parse(&event.content()) {
        Ok((inner, _)) if inner.is_protected() => {
            Err(Prefix::Blocked.text("the repost contains a protected event"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::nostr::testing::{event, key, quoted_key};

    const NOBODY: usize = 9;

    /// The prefix of the refusal of an event of this author and kind.
    fn refused(policy: &Policy, author: usize, kind: u16) -> Option<&'static str> {
        policy.refusal(&event(1, author, kind, 0, "[]")).map(|refusal| refusal.prefix.name())
    }

    fn reasons(keys: &[usize]) -> HashMap<[u8; 32], Box<str>> {
        keys.iter().map(|number| (key(*number), "why".into())).collect()
    }

    #[test]
    fn without_lists_everything_is_accepted() {
        let policy = Policy::default();
        assert_eq!(refused(&policy, NOBODY, 1), None);
        assert_eq!(policy.may_read(&[]), Ok(()));
        assert!(!policy.restricts_writes());
    }

    #[test]
    fn a_ban_beats_an_allow() {
        let settings = ListSettings {
            allow_authors: vec![key(1), key(2), key(3)],
            deny_authors: vec![key(2)],
            ..ListSettings::default()
        };
        let managed = ManagedLists { banned_authors: reasons(&[3]), ..ManagedLists::default() };
        let policy = Policy::new(settings, managed);
        let expected =
            [(1, None), (2, Some("blocked")), (3, Some("blocked")), (4, Some("restricted"))];
        for (author, prefix) in expected {
            assert_eq!(refused(&policy, author, 1), prefix, "author {author}");
        }
        // Open kinds are open to all but the banned.
        assert_eq!(refused(&policy, 4, 10_002), None);
        assert_eq!(refused(&policy, 2, 10_002), Some("blocked"));
    }

    #[test]
    fn an_administrators_allow_does_not_close_an_open_relay() {
        let managed = ManagedLists {
            allowed_authors: reasons(&[1]),
            allowed_kinds: [1].into(),
            ..ManagedLists::default()
        };
        let policy = Policy::new(ListSettings::default(), managed.clone());
        assert_eq!(refused(&policy, NOBODY, 7), None);
        let closed =
            ListSettings { allow_only: true, allow_kinds: vec![5..=6], ..ListSettings::default() };
        let policy = Policy::new(closed, managed);
        assert_eq!(refused(&policy, 1, 1), None);
        assert_eq!(refused(&policy, 1, 6), None);
        assert_eq!(refused(&policy, 1, 7), Some("blocked"));
        assert_eq!(refused(&policy, NOBODY, 1), Some("restricted"));
        assert!(policy.restricts_writes());
    }

    #[test]
    fn denied_kinds_beat_allowed_ones() {
        let settings = ListSettings {
            allow_kinds: vec![0..=10, 30_000..=39_999],
            deny_kinds: vec![4..=4],
            ..ListSettings::default()
        };
        let managed = ManagedLists {
            allowed_kinds: [4, 1984].into(),
            denied_kinds: [7].into(),
            ..ManagedLists::default()
        };
        let policy = Policy::new(settings, managed);
        let accepted = |kind: &u16| refused(&policy, 1, *kind).is_none();
        let kinds: Vec<u16> =
            [1, 4, 7, 10, 11, 1984, 30_023, 40_000].into_iter().filter(accepted).collect();
        assert_eq!(kinds, [1, 10, 1984, 30_023]);
    }

    #[test]
    fn anybody_may_write_to_an_allowed_author_if_that_is_set() {
        let to = |author| {
            let tags =
                format!(r#"[["t","x"],["p",{}],["p",{}]]"#, quoted_key(7), quoted_key(author));
            event(1, NOBODY, 1, 0, &tags)
        };
        for allow_tagged in [true, false] {
            let settings = ListSettings {
                allow_authors: vec![key(1)],
                allow_tagged,
                ..ListSettings::default()
            };
            let policy = Policy::new(settings, ManagedLists::default());
            assert_eq!(policy.refusal(&to(1)).is_none(), allow_tagged);
            assert!(policy.refusal(&to(2)).is_some());
        }
    }

    #[test]
    fn banned_events_are_refused() {
        let managed = ManagedLists { banned_ids: reasons(&[5]), ..ManagedLists::default() };
        let policy = Policy::new(ListSettings::default(), managed);
        assert!(policy.refusal(&event(5, 1, 1, 0, "[]")).is_some());
        assert!(policy.refusal(&event(6, 1, 1, 0, "[]")).is_none());
    }

    #[test]
    fn listed_readers_read() {
        let settings = ListSettings { allow_readers: vec![key(1)], ..ListSettings::default() };
        let policy = Policy::new(settings, ManagedLists::default());
        let prefix = |keys: &[PublicKey]| policy.may_read(keys).err().map(|refusal| refusal.prefix);
        assert_eq!(prefix(&[]), Some(Prefix::AuthRequired));
        assert_eq!(prefix(&[key(2)]), Some(Prefix::Restricted));
        assert_eq!(prefix(&[key(2), key(1)]), None);
    }

    #[test]
    fn a_reload_replaces_the_lists_of_all_threads() {
        let shared = SharedPolicy::default();
        let of_a_thread = shared.clone();
        let before = of_a_thread.load();
        let closed = ListSettings { allow_only: true, ..ListSettings::default() };
        shared.store(Policy::new(closed, ManagedLists::default()));
        assert_eq!(refused(&before, 1, 1), None);
        assert_eq!(refused(&of_a_thread.load(), 1, 1), Some("restricted"));
    }

    #[test]
    fn only_its_author_publishes_a_protected_event() {
        let protected = event(1, 1, 1, 0, r#"[["-"]]"#);
        let prefix = |keys: &[PublicKey], offers_auth| {
            check_protected(&protected, keys, offers_auth).err().map(|refusal| refusal.prefix)
        };
        assert_eq!(prefix(&[], true), Some(Prefix::AuthRequired));
        assert_eq!(prefix(&[key(2)], true), Some(Prefix::Restricted));
        assert_eq!(prefix(&[key(2), key(1)], true), None);
        assert_eq!(prefix(&[], false), Some(Prefix::Blocked));
        assert_eq!(check_protected(&event(1, 1, 1, 0, "[]"), &[], true), Ok(()));
    }

    #[test]
    fn a_repost_of_a_protected_event_is_refused() {
        let repost = |kind, inner: &str| {
            let content = serde_json::to_string(inner).unwrap();
            let head = *event(1, 1, kind, 0, "[]").head();
            check_repost(&Event::from_stored(head, "[]", &content))
        };
        let json = |tags| {
            let mut json = Vec::new();
            event(2, 2, 1, 0, tags).write_json(&mut json);
            String::from_utf8(json).unwrap()
        };
        let (protected, other) = (json(r#"[["t","-"],["-"]]"#), json(r#"[["t","-"]]"#));
        for kind in [6, 16] {
            assert!(repost(kind, &protected).is_err());
            assert_eq!(repost(kind, &other), Ok(()));
            assert_eq!(repost(kind, ""), Ok(()));
        }
        assert_eq!(repost(1, &protected), Ok(()));
    }
}
