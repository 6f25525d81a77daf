use std::collections::HashMap;

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
    let expected = [(1, None), (2, Some("blocked")), (3, Some("blocked")), (4, Some("restricted"))];
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
        let tags = format!(r#"[["t","x"],["p",{}],["p",{}]]"#, quoted_key(7), quoted_key(author));
        event(1, NOBODY, 1, 0, &tags)
    };
    for allow_tagged in [true, false] {
        let settings =
            ListSettings { allow_authors: vec![key(1)], allow_tagged, ..ListSettings::default() };
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
    shared.reload(Configured::new(closed));
    assert_eq!(refused(&before, 1, 1), None);
    assert_eq!(refused(&of_a_thread.load(), 1, 1), Some("restricted"));
    // Each half is changed without the other.
    shared.change(|managed| managed.allowed_authors = reasons(&[1]));
    assert_eq!(refused(&of_a_thread.load(), 1, 1), None);
    assert_eq!(refused(&of_a_thread.load(), 2, 1), Some("restricted"));
    let lists = ListSettings { deny_authors: vec![key(2)], ..ListSettings::default() };
    shared.reload(Configured::new(lists));
    assert_eq!(refused(&of_a_thread.load(), 2, 1), Some("blocked"));
    assert!(of_a_thread.load().managed().allowed_authors.contains_key(&key(1)));
}

#[test]
fn listed_kinds_are_those_that_are_accepted() {
    let settings = ListSettings {
        allow_kinds: vec![1..=4],
        deny_kinds: vec![3..=3],
        ..ListSettings::default()
    };
    let managed = ManagedLists {
        allowed_kinds: [7].into(),
        denied_kinds: [2].into(),
        ..ManagedLists::default()
    };
    let policy = Policy::new(settings, managed);
    assert_eq!(policy.listed_kinds(), [1, 4, 7].into());
    assert!(policy.is_denied_kind(3) && !policy.is_denied_kind(2));
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
