//! Lists of authors, kinds and ids: which events a relay accepts, and from whom.
//!
//! Rows 11, 16 and 17 of the checks. Pure: files are read, and lists kept, elsewhere. Verify threads
//! read one snapshot ([`SharedPolicy`]), which a reload or a call of an administrator replaces.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};

use super::event::Event;
use super::managed::ManagedLists;
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
pub(super) struct ListSettings {
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
    /// Whether only these keys may read, even if the list is empty.
    pub readers_only: bool,
    /// Keys that may manage the relay (NIP-86).
    pub administrators: Vec<PublicKey>,
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
            readers_only: false,
            administrators: Vec::new(),
        }
    }
}

/// All lists of a relay. A change of one half shares the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Policy {
    configured: Arc<Configured>,
    managed: Arc<ManagedLists>,
}

/// The lists of the configuration, for look-ups. Files of keys are large, so a thread makes it.
#[derive(Debug, Default)]
pub(super) struct Configured {
    denied_authors: HashSet<PublicKey>,
    allowed_authors: HashSet<PublicKey>,
    readers: HashSet<PublicKey>,
    administrators: HashSet<PublicKey>,
    /// Without the keys above.
    settings: ListSettings,
}

impl Configured {
    pub(super) fn new(mut settings: ListSettings) -> Configured {
        settings.allow_only |= !settings.allow_authors.is_empty();
        settings.readers_only |= !settings.allow_readers.is_empty();
        Configured {
            denied_authors: std::mem::take(&mut settings.deny_authors).into_iter().collect(),
            allowed_authors: std::mem::take(&mut settings.allow_authors).into_iter().collect(),
            readers: std::mem::take(&mut settings.allow_readers).into_iter().collect(),
            administrators: std::mem::take(&mut settings.administrators).into_iter().collect(),
            settings,
        }
    }
}

impl Policy {
    /// The lists of the configuration and of the administrators. An administrator's list of allowed
    /// authors or kinds does not close an open relay.
    pub(super) fn new(settings: ListSettings, managed: ManagedLists) -> Policy {
        Policy { configured: Arc::new(Configured::new(settings)), managed: Arc::new(managed) }
    }

    /// The administrators' lists.
    pub(super) fn managed(&self) -> &ManagedLists {
        &self.managed
    }

    /// Whether a key may manage the relay.
    pub(super) fn is_administrator(&self, key: &PublicKey) -> bool {
        self.configured.administrators.contains(key)
    }

    /// Whether the configuration denies an author, which no administrator can change.
    pub(super) fn denies_author(&self, author: &PublicKey) -> bool {
        self.configured.denied_authors.contains(author)
    }

    /// Whether the configuration denies a kind, which no administrator can change.
    pub(super) fn is_denied_kind(&self, kind: u16) -> bool {
        contains(&self.configured.settings.deny_kinds, kind)
    }

    /// The kinds that are accepted because a list names them. Empty without such a list.
    pub(super) fn listed_kinds(&self) -> BTreeSet<u16> {
        let allowed = self.configured.settings.allow_kinds.iter().cloned().flatten();
        let allowed = allowed.chain(self.managed.allowed_kinds.iter().copied());
        allowed.filter(|kind| self.accepts_kind(*kind)).collect()
    }

    /// Whether a client with these keys may read.
    ///
    /// # Errors
    /// Only listed keys may.
    pub(super) fn may_read(&self, keys: &[PublicKey]) -> Result<(), Refusal> {
        let Configured { readers, settings, .. } = &*self.configured;
        if !settings.readers_only || keys.iter().any(|key| readers.contains(key)) {
            return Ok(());
        }
        let prefix = if keys.is_empty() { Prefix::AuthRequired } else { Prefix::Restricted };
        Err(prefix.text("only listed keys may read here"))
    }

    fn is_banned(&self, author: &PublicKey) -> bool {
        self.denies_author(author) || self.managed.banned_authors.contains_key(author)
    }

    fn is_allowed(&self, author: &PublicKey) -> bool {
        self.configured.allowed_authors.contains(author)
            || self.managed.allowed_authors.contains_key(author)
    }

    fn is_open_to(&self, event: &Event) -> bool {
        let ListSettings { allow_only, allow_tagged, open_kinds, .. } = &self.configured.settings;
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
        let ManagedLists { allowed_kinds, denied_kinds, .. } = &*self.managed;
        if denied_kinds.contains(&kind) || self.is_denied_kind(kind) {
            return false;
        }
        let allow_kinds = &self.configured.settings.allow_kinds;
        allow_kinds.is_empty() || contains(allow_kinds, kind) || allowed_kinds.contains(&kind)
    }
}

fn contains(ranges: &[RangeInclusive<u16>], kind: u16) -> bool {
    ranges.iter().any(|range| range.contains(&kind))
}

impl Lists for Policy {
    fn denies_kind(&self, kind: u16) -> bool {
        self.is_denied_kind(kind)
    }

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
pub(super) struct SharedPolicy(Arc<RwLock<Arc<Policy>>>);

impl SharedPolicy {
    /// These lists.
    pub(super) fn new(policy: Policy) -> SharedPolicy {
        SharedPolicy(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The lists, for one event or a few.
    pub(super) fn load(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the lists of the configuration; those of the administrators stay.
    pub(super) fn reload(&self, configured: Configured) {
        let configured = Arc::new(configured);
        let mut policy = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *policy = Arc::new(Policy { configured, managed: Arc::clone(&policy.managed) });
    }

    /// Changes the lists of the administrators. There is one caller: the thread that writes them to the
    /// store.
    pub(super) fn change(&self, change: impl FnOnce(&mut ManagedLists)) {
        let mut managed = self.load().managed().clone();
        change(&mut managed);
        let mut policy = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let configured = Arc::clone(&policy.configured);
        *policy = Arc::new(Policy { configured, managed: Arc::new(managed) });
    }
}

/// Row 16: only the author may publish an event with the tag `["-"]` (NIP-70).
///
/// # Errors
/// None of the connection's keys is the author's.
pub(super) fn check_protected(
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
pub(super) fn check_repost(event: &Event) -> Result<(), Refusal> {
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
mod tests;
