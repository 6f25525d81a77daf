//! Removal: expiry, retention by rules and size, deletion by filter.

use super::*;

fn swept(writer: &mut Writer, now: u64) -> usize {
    let mut removed = 0;
    loop {
        let swept = writer.sweep(now).unwrap();
        assert!(swept.removed <= SWEEP_STEPS, "{swept:?}");
        removed += swept.removed;
        if !swept.more {
            return removed;
        }
    }
}

#[test]
fn expired_events_are_hidden_and_removed() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let expires =
        |number: u64, time: u64| Draft::new(number, 1, 1, NOW).tag("expiration", &time.to_string());
    let events = (0..1_200).map(|number| expires(number, NOW).build());
    let others = [expires(5_000, NOW + 1).build(), Draft::new(5_001, 1, 1, NOW).build()];
    writer.commit(events.chain(others).collect(), NOW - 1).unwrap();
    assert_eq!(everything(&store), [id(5_001), id(5_000)]);
    assert_eq!(count(&store, &["{}"], Visibility::all()).count, 2);
    assert_eq!(writer.totals().events, 1_202);
    assert_eq!(swept(&mut writer, NOW), 1_200);
    assert_eq!(writer.totals().events, 2);
    assert_consistent(&store);
    assert_eq!(swept(&mut writer, NOW + 1), 1);
    assert_eq!(everything(&store), [id(5_001)]);
}

fn with_rules(directory: &Directory, retention: Vec<RetentionRule>) -> (Store, Writer) {
    let settings = StoreSettings { retention, ..StoreSettings::default() };
    open(directory.path(), settings).unwrap()
}

#[test]
fn rules_remove_old_events_of_their_kinds_and_authors() {
    let directory = Directory::new();
    let rules = vec![
        RetentionRule { kinds: vec![7..=7, 1_000..=2_000], authors: Vec::new(), age: 100 },
        RetentionRule { kinds: Vec::new(), authors: vec![author(2), author(3)], age: 200 },
        RetentionRule { kinds: vec![0..=1], authors: vec![author(4)], age: 50 },
    ];
    let (store, mut writer) = with_rules(&directory, rules);
    let at = |id, by, kind, age| Draft::new(id, by, kind, NOW - age);
    commit(
        &mut writer,
        &[
            at(1, 1, 7, 100),
            at(2, 1, 7, 99),
            at(3, 1, 1_000, 500),
            at(4, 1, 1_500, 101),
            at(5, 1, 2_000, 5),
            at(6, 1, 2_001, 500),
            at(7, 2, 1, 199),
            at(8, 2, 1, 200),
            at(9, 3, 2_500, 300),
            at(10, 4, 1, 60),
            at(11, 4, 2, 60),
            at(12, 4, 1, 40),
            // Deletion requests stay.
            at(13, 2, 5, 900),
        ],
    );
    assert_eq!(swept(&mut writer, NOW), 6);
    let mut left = everything(&store);
    left.sort_unstable();
    assert_eq!(left, [2, 5, 6, 7, 11, 12, 13].map(id));
    assert_consistent(&store);
}

#[test]
fn a_rule_for_everything_is_applied_in_steps() {
    let directory = Directory::new();
    let rules = vec![RetentionRule { kinds: Vec::new(), authors: Vec::new(), age: 10 }];
    let (store, mut writer) = with_rules(&directory, rules);
    let drafts: Vec<Draft> = (0..1_700)
        .map(|number| Draft::new(number, 1, (number % 50) as u16 + 100, NOW - number % 20))
        .collect();
    commit(&mut writer, &drafts);
    assert_eq!(swept(&mut writer, NOW), 850);
    assert_eq!(writer.totals().events, 850);
    assert_consistent(&store);
    // The next round starts a minute later.
    commit(&mut writer, &[Draft::new(9_000, 1, 1, NOW - 50)]);
    assert_eq!(swept(&mut writer, NOW + 5), 0);
    assert_eq!(swept(&mut writer, NOW + 60), 851);
}

#[test]
fn above_store_max_the_oldest_regular_events_go() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts: Vec<Draft> =
        (0..1_000).map(|number| Draft::new(number, 1, 1, NOW - number)).collect();
    commit(&mut writer, &drafts);
    let kept = [
        Draft::new(5_000, 1, 0, NOW - 5_000),
        Draft::new(5_001, 1, 5, NOW - 5_000),
        Draft::new(5_002, 1, 30_000, NOW - 5_000),
    ];
    commit(&mut writer, &kept);
    let full = writer.totals().live_bytes;
    drop((store, writer));
    let settings = StoreSettings { store_max: Some(full * 92 / 100), ..StoreSettings::default() };
    let (store, mut writer) = open(directory.path(), settings).unwrap();
    // A twentieth a round.
    assert_eq!(swept(&mut writer, NOW), 50);
    assert_eq!(swept(&mut writer, NOW + 30), 0);
    let second = swept(&mut writer, NOW + 60);
    assert!((20..48).contains(&second), "{second}");
    assert_eq!(swept(&mut writer, NOW + 120), 0);
    assert!(writer.totals().live_bytes <= full * 92 / 100);
    let is_left = |number| store.snapshot().unwrap().by_id(&id(number)).unwrap().is_some();
    assert!(is_left(5_000) && is_left(5_001) && is_left(5_002));
    assert!(is_left(0) && !is_left(999) && !is_left(930));
    assert_consistent(&store);
}

#[test]
fn a_deletion_by_filter_goes_on_in_steps() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts: Vec<Draft> = (0..1_500)
        .map(|number| Draft::new(number, 1, [1, 2, 7][number as usize % 3], NOW - number))
        .collect();
    commit(&mut writer, &drafts);
    let mut delete = Delete::new(filter(r#"{"kinds":[1,7]}"#));
    let mut removed = 0;
    loop {
        let swept = writer.delete(&mut delete).unwrap();
        removed += swept.removed;
        if !swept.more {
            break;
        }
    }
    assert_eq!(removed, 1_000);
    assert_eq!(store.events_by_kind().unwrap().into_iter().collect::<Vec<_>>(), [(2, 500)]);
    assert_consistent(&store);
    // No tombstone stays.
    assert!(matches!(commit(&mut writer, &drafts[..1])[..], [Outcome::Stored { .. }]));
}

#[test]
fn a_check_finds_missing_and_foreign_entries() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &[Draft::new(1, 1, 1, NOW).tag("t", "x"), Draft::new(2, 1, 0, NOW)]);
    let key_of = |table: Table| {
        let snapshot = store.snapshot().unwrap();
        snapshot.prefix(table, &[]).next().unwrap().key().unwrap().to_vec()
    };
    let change = |change: &dyn Fn(&mut tables::Transaction<'_>)| {
        let snapshot = store.snapshot().unwrap();
        let mut transaction = tables::Transaction::new(snapshot.tables(), false);
        change(&mut transaction);
        transaction.commit().unwrap();
        drop(snapshot);
        check(&store, &mut |_| None).unwrap()
    };
    let tag = key_of(Table::Tag);
    let report = change(&|transaction| transaction.remove(Table::Tag, &tag));
    assert_eq!(report.described, ["record 1: its entry in tag is missing"]);
    change(&|transaction| transaction.insert(Table::Tag, &tag, &[0, 1, 0]));
    let mut foreign = tag.clone();
    foreign[0] = b'u';
    let report = change(&|transaction| transaction.insert(Table::Tag, &foreign, &[0, 1, 0]));
    assert_eq!(report.described, ["tag: an entry belongs to record 1, which does not have it"]);
    change(&|transaction| transaction.remove(Table::Tag, &foreign));
    let time = key_of(Table::Time);
    let report = change(&|transaction| transaction.insert(Table::Time, &time, &[0; 35]));
    assert_eq!(report.described, ["record 1: its entry in time differs"]);
    assert_eq!((report.records, report.problems), (2, 1));
    let report =
        check(&store, &mut |record| (record.serial() == 2).then(|| "forged".into())).unwrap();
    assert!(report.described.contains(&"record 2: forged".to_owned()), "{report:?}");
}
