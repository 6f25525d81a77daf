//! Who sees what: restricted kinds (NIP-17, NIP-59), vanishing authors (NIP-62), export.

use super::*;

fn as_reader(keys: &[u8]) -> Visibility {
    let keys = keys.iter().map(|number| author(*number)).collect();
    Visibility { keys, restricted: [4, 1059].into() }
}

fn wrap(number: u64, to: u8, time: u64) -> Draft {
    Draft::new(number, 100 + to, 1059, NOW - 1_000 + time).tag("p", &hex_of(&author(to)))
}

#[test]
fn restricted_kinds_reach_author_and_recipient_only() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let message = Draft::new(1, 1, 4, NOW).tag("p", &hex_of(&author(2)));
    let note = Draft::new(2, 1, 1, NOW - 1);
    commit(&mut writer, &[message, note, wrap(3, 2, 1), wrap(4, 3, 1)]);
    for filters in ["{}", r#"{"kinds":[1,4,1059]}"#] {
        for (keys, expected) in [
            (&[][..], &[2][..]),
            (&[1], &[1, 2]),
            (&[2], &[1, 2, 3]),
            (&[3], &[2, 4]),
            (&[3, 2], &[1, 2, 3, 4]),
        ] {
            let expected: Vec<EventId> = expected.iter().map(|number| id(*number)).collect();
            assert_eq!(request(&store, &[filters], as_reader(keys)), expected, "{filters}");
            let counted = count(&store, &[filters], as_reader(keys));
            assert_eq!(counted.count, expected.len() as u64, "{filters}");
            let limits = CollectLimits::items(100);
            let mut collect = Collect::new(filter(filters), limits, as_reader(keys));
            let Collected::Items(items) = collect.slice(&store, generous(), NOW).unwrap() else {
                panic!("there are few");
            };
            let ids: Vec<EventId> = items.iter().map(|(_, id)| *id).collect();
            assert_eq!(ids, expected, "{filters}");
        }
    }
    assert_eq!(request(&store, &["{}"], Visibility::all()).len(), 4);
    let by_id = format!(r#"{{"ids":["{}"]}}"#, hex_of(&id(3)));
    assert!(request(&store, &[&by_id], as_reader(&[1])).is_empty());
}

/// Others' gift wraps are not even read: there may be millions.
#[test]
fn a_filter_for_gift_wraps_reads_the_own_ones() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let mut drafts: Vec<Draft> = (0..2_000).map(|number| wrap(number, 1, 1)).collect();
    drafts.push(wrap(5_000, 2, 0));
    commit(&mut writer, &drafts);
    let scan =
        Scan::new([filter(r#"{"kinds":[1059]}"#)].into(), ScanLimits::default(), as_reader(&[2]));
    let mut scan = scan;
    let mut ids = Vec::new();
    let mut sink = |record: &Record| {
        ids.push(record.head().id);
        ControlFlow::Continue(())
    };
    let slice = scan.slice(&store, generous(), NOW, &mut sink).unwrap();
    assert!(matches!(slice, Slice::End(End { completeness: Completeness::Finished, .. })));
    assert_eq!(ids, [id(5_000)]);
    assert!(scan.steps() < 100, "{}", scan.steps());
}

#[test]
fn events_of_a_vanishing_author_are_hidden_at_once() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let vanish = Draft::new(9, 1, 62, NOW - 990);
    commit(
        &mut writer,
        &[
            Draft::new(1, 1, 1, NOW - 995),
            Draft::new(2, 1, 1, NOW - 985),
            Draft::new(3, 2, 1, NOW - 995),
            wrap(4, 1, 5),
            wrap(5, 1, 15),
        ],
    );
    let vanishing = Outcome::Vanishing { author: author(1), until: NOW - 990 };
    assert_eq!(commit(&mut writer, &[vanish]), [vanishing]);
    let left: Vec<EventId> = [3, 5, 2].map(id).into();
    assert_eq!(everything(&store), left);
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.is_vanished(&author(1), NOW - 990).unwrap());
    assert!(!snapshot.is_vanished(&author(1), NOW - 989).unwrap());
    assert!(!snapshot.is_vanished(&author(2), 0).unwrap());
    assert_eq!(snapshot.known(&id(9)).unwrap(), Some([7; 64]));
    drop(snapshot);
    while writer.sweep(NOW).unwrap().more {}
    assert_eq!(writer.totals().events, 3);
    assert!(store.vanishing().is_empty());
    assert_eq!(everything(&store), left);
    // The removed wrap leaves a tombstone, and does not come back.
    let tombstone = key::deleted_key(&id(4), &author(1));
    assert!(store.snapshot().unwrap().contains(Table::Deleted, &tombstone).unwrap());
    assert_eq!(commit(&mut writer, &[wrap(4, 1, 5)]), [Outcome::Vanished]);
    assert_consistent(&store);
}

#[test]
fn a_vanish_goes_on_after_a_restart() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts: Vec<Draft> =
        (0..1_300).map(|number| Draft::new(number, 1, 1, NOW - 1_000)).collect();
    commit(&mut writer, &drafts);
    let wraps: Vec<Draft> = (2_000..2_600).map(|number| wrap(number, 1, 0)).collect();
    commit(&mut writer, &wraps);
    commit(&mut writer, &[Draft::new(9_000, 2, 1, NOW), Draft::new(9_001, 1, 62, NOW - 900)]);
    assert_eq!(writer.sweep(NOW).unwrap(), Swept { removed: 500, more: true });
    drop((store, writer));
    let (store, mut writer) = directory.open();
    assert_eq!(store.vanishing().get(&author(1)), Some(&(NOW - 900)));
    assert_eq!(everything(&store), [id(9_000)]);
    let mut sweeps = 0;
    while writer.sweep(NOW).unwrap().more {
        sweeps += 1;
        assert!(sweeps < 20);
    }
    assert_eq!(writer.totals().events, 1);
    let known = |number| store.snapshot().unwrap().by_id(&id(number)).unwrap().is_some();
    assert!(!known(1_299) && !known(2_599) && known(9_000));
    assert_consistent(&store);
}

#[test]
fn a_later_request_to_vanish_starts_the_removal_again() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let vanish = |number, time| Draft::new(number, 1, 62, NOW - 1_000 + time);
    commit(&mut writer, &[vanish(1, 5)]);
    while writer.sweep(NOW).unwrap().more {}
    commit(&mut writer, &[Draft::new(2, 1, 1, NOW - 1_000 + 7)]);
    assert_eq!(everything(&store), [id(2)]);
    commit(&mut writer, &[vanish(3, 8)]);
    while writer.sweep(NOW).unwrap().more {}
    assert_eq!(writer.totals().events, 0);
}

fn export(store: &Store, filter: Filter, newest_first: bool, steps: usize) -> Vec<EventId> {
    let mut export = Export::new(filter, newest_first);
    let mut ids = Vec::new();
    let mut sink = |record: &Record| {
        ids.push(record.head().id);
        // Each third event ends its slice, too.
        if record.serial().is_multiple_of(3) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let budget = Budget { steps, time: Duration::from_secs(60) };
    while export.slice(store, budget, NOW, &mut sink).unwrap() {}
    ids
}

#[test]
fn an_export_has_all_served_events_oldest_first() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let mut drafts: Vec<Draft> = (0..40)
        .map(|number| Draft::new(number, 1, [1, 2, 7][number as usize % 3], NOW - number))
        .collect();
    drafts.push(Draft::new(100, 1, 5, NOW - 100).tag("e", &hex_of(&id(3))));
    drafts.push(wrap(101, 2, 0));
    drafts.push(Draft::new(102, 1, 1, NOW).tag("expiration", &(NOW - 5).to_string()));
    let events: Vec<Event> = drafts.iter().map(Draft::build).collect();
    writer.commit(events, NOW - 10).unwrap();
    let mut expected: Vec<EventId> = (0..40).filter(|number| *number != 3).map(id).collect();
    expected.extend([id(100), id(101)]);
    for steps in [1, 7, 1_000] {
        assert_eq!(export(&store, Filter::default(), true, steps), expected);
        let mut oldest_first = export(&store, Filter::default(), false, steps);
        oldest_first.reverse();
        assert_eq!(oldest_first, expected);
    }
    let part = format!(r#"{{"kinds":[2],"since":{},"until":{}}}"#, NOW - 7, NOW - 2);
    assert_eq!(export(&store, filter(&part), false, 3), [id(7), id(4)]);
}
