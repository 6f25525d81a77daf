//! Batches: events that meet within one, and the work of deletion requests.

use super::vectors::{address, at, deletion, event_tag};
use super::*;

#[test]
fn an_event_that_goes_within_its_batch_has_no_serial() {
    let directory = Directory::new();
    let (_store, mut writer) = directory.open();
    let outcomes = commit(
        &mut writer,
        &[
            at(1, 1, 0, 1),
            at(2, 1, 1, 1),
            at(3, 1, 0, 2),
            deletion(4, 1, 3).tag("e", &event_tag(2)),
        ],
    );
    assert_eq!(outcomes[0], Outcome::Superseded);
    assert_eq!(outcomes[1], Outcome::Superseded);
    assert!(matches!(outcomes[2], Outcome::Stored { serial: 1, .. }), "{outcomes:?}");
    assert!(matches!(outcomes[3], Outcome::Stored { serial: 2, .. }), "{outcomes:?}");
    assert_eq!(writer.totals().events, 2);
}

#[test]
fn a_version_that_replaces_a_stored_one_and_is_deleted_in_the_same_batch_leaves_neither() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &[at(1, 1, 0, 1)]);
    let remove = deletion(3, 1, 3).tag("a", &address(0, 1, ""));
    commit(&mut writer, &[at(2, 1, 0, 2), remove, at(4, 1, 0, 4)]);
    assert_eq!(everything(&store), [id(3), id(4)]);
    assert_consistent(&store);
}

#[test]
fn an_expired_event_is_refused() {
    let directory = Directory::new();
    let (_store, mut writer) = directory.open();
    let expires = |id, time: u64| at(id, 1, 1, 1).tag("expiration", &time.to_string());
    let outcomes = commit(&mut writer, &[expires(1, NOW), expires(2, NOW + 1)]);
    assert!(matches!(outcomes[..], [Outcome::Invalid(_), Outcome::Stored { .. }]), "{outcomes:?}");
}

#[test]
fn a_deletion_request_counts_by_its_tags_in_a_batch() {
    let mut request = deletion(1, 1, 1);
    for number in 0..120 {
        request = request.tag(if number % 2 == 0 { "e" } else { "a" }, &event_tag(number));
    }
    assert_eq!(batch_weight(&request.build()), 3);
    assert_eq!(
        batch_weight(&Draft { head: Head { kind: 1, ..request.head }, ..request }.build()),
        1
    );
}

/// A deletion request of 10,000 tags: the work of one batch, and all of it is done.
#[test]
fn ten_thousand_events_are_deleted_by_one_request() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts: Vec<Draft> = (0..10_000).map(|number| at(number, 1, 1, 1)).collect();
    commit(&mut writer, &drafts);
    let request = (0..10_000)
        .fold(deletion(20_000, 1, 2), |request, number| request.tag("e", &event_tag(number)));
    commit(&mut writer, &[request]);
    assert_eq!(everything(&store), [id(20_000)]);
    assert_eq!(writer.totals().events, 1);
}

#[test]
fn addresses_are_read_with_their_colons() {
    let parsed = Address::parse(&address(30_023, 1, "a:b")).unwrap();
    assert_eq!(parsed.identifier, "a:b");
}
