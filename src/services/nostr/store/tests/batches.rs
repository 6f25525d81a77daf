//! Batches: events that meet within one, and the work of deletion requests.

use std::ops::Range;

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

/// A request for the deletion of these events.
fn deletion_of(id: u64, events: Range<u64>) -> Draft {
    events.fold(deletion(id, 1, 2), |request, number| request.tag("e", &event_tag(number)))
}

fn notes(numbers: Range<u64>) -> Vec<Draft> {
    numbers.map(|number| at(number, 1, 1, 1)).collect()
}

/// Stores the next events of `drafts` in one transaction.
fn commit_some(writer: &mut Writer, drafts: &[Draft]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut events = drafts.iter().map(Draft::build).peekable();
    writer.commit_some(&mut events, &mut outcomes, NOW).unwrap();
    outcomes
}

#[test]
fn a_large_deletion_request_is_carried_out_in_transactions_of_500_targets() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &notes(0..1_200));
    // It goes alone: what follows it sees that its targets are gone.
    let batch = [at(2_000, 1, 1, 1), deletion_of(2_001, 0..1_200), at(2_002, 1, 1, 1)];
    assert_eq!(commit_some(&mut writer, &batch).len(), 1);
    assert_eq!(commit_some(&mut writer, &batch[1..]).len(), 1);
    // All tombstones come first.
    assert_eq!(writer.totals().events, 1_202);
    let tombstone = [id(1_199), author(1)].concat();
    assert!(store.snapshot().unwrap().contains(Table::Deleted, &tombstone).unwrap());
    for (removed, more) in [(500, true), (500, true), (200, false), (0, false)] {
        assert_eq!(writer.step_deletion().unwrap(), Swept { removed, more });
    }
    assert_eq!(everything(&store), [id(2_000), id(2_001)]);
    assert_consistent(&store);
}

#[test]
fn the_sweep_carries_out_what_a_crash_has_left_of_a_deletion_request() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &notes(0..1_200));
    commit_some(&mut writer, &[deletion_of(2_000, 0..1_200)]);
    writer.step_deletion().unwrap();
    drop((store, writer));
    let (store, mut writer) = directory.open();
    assert_eq!(writer.totals().events, 701);
    assert_eq!(commit(&mut writer, &[at(1_199, 1, 1, 1), at(1, 1, 1, 1)])[1], Outcome::Deleted);
    while writer.sweep(NOW).unwrap().more {}
    assert_eq!(everything(&store), [id(2_000)]);
    assert_consistent(&store);
    // Another large request before the sweep finishes the first one.
    commit(&mut writer, &notes(3_000..4_200));
    commit_some(&mut writer, &[deletion_of(5_000, 3_000..3_600)]);
    commit(&mut writer, &[deletion_of(5_001, 3_600..4_200)]);
    assert_eq!(everything(&store), [id(5_001), id(5_000), id(2_000)]);
}

#[test]
fn deletion_requests_of_one_batch_are_divided_among_transactions() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &notes(0..1_000));
    let request = |number: u64| deletion_of(2_000 + number, 200 * number..200 * (number + 1));
    let requests: Vec<Draft> = (0..5).map(request).collect();
    assert_eq!(commit_some(&mut writer, &requests).len(), 2);
    assert_eq!(commit(&mut writer, &requests[2..]).len(), 3);
    assert_eq!(everything(&store).len(), 5);
}

/// The caller has got no outcomes, so the events are returned by `reopen`.
#[test]
fn events_of_a_commit_that_failed_in_a_later_transaction_are_found() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &[at(1, 1, 1, 1)]);
    commit_some(&mut writer, &[at(2, 1, 1, 1)]);
    let found: Vec<(u64, EventId)> =
        writer.reopen().unwrap().iter().map(|(serial, event)| (*serial, *event.id())).collect();
    assert_eq!(found, [(2, id(2))]);
    assert_eq!(writer.reopen().unwrap(), []);
    drop(store);
}

#[test]
fn ten_thousand_events_are_deleted_by_one_request() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &notes(0..10_000));
    commit(&mut writer, &[deletion_of(20_000, 0..10_000)]);
    assert_eq!(everything(&store), [id(20_000)]);
    assert_eq!(writer.totals().events, 1);
}

#[test]
fn addresses_are_read_with_their_colons() {
    let parsed = Address::parse(&address(30_023, 1, "a:b")).unwrap();
    assert_eq!(parsed.identifier, "a:b");
}
