//! `weir relay check`: every record against every index, both ways.

use super::error::StoreError;
use super::index::{for_each_entry, live_bytes, newest_key_of};
use super::key::{IdValue, NewestValue, Order, read_integer};
use super::record::Record;
use super::shared::{Snapshot, Store, Totals};
use super::tables::Table;

/// Problems that a report describes; the others are only counted.
const DESCRIBED_MAX: usize = 10;
/// Tables whose entries all belong to one record each.
const INDEXES: [Table; 8] = [
    Table::Id,
    Table::Time,
    Table::Author,
    Table::AuthorKind,
    Table::Kind,
    Table::Tag,
    Table::Newest,
    Table::Expires,
];

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records that were read.
    pub records: u64,
    /// Index entries that were read.
    pub entries: u64,
    /// Problems that were found.
    pub problems: u64,
    /// The first of them, one line each.
    pub described: Vec<String>,
}

impl CheckReport {
    fn add(&mut self, problem: String) {
        self.problems += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(problem);
        }
    }
}

/// Checks a store that nobody writes to. `verify` gets each record, and describes what is wrong with it: its
/// signature, for instance.
pub fn check(
    store: &Store,
    verify: &mut dyn FnMut(&Record) -> Option<String>,
) -> Result<CheckReport, StoreError> {
    let snapshot = store.snapshot()?;
    let mut report = CheckReport::default();
    let mut expected = [0; Table::ALL.len()];
    let mut totals = Totals { last: snapshot.last_serial()?, ..Totals::default() };
    for entry in snapshot.prefix(Table::Event, &[]) {
        let (key, value) = entry.into_inner()?;
        let serial = read_integer(&key);
        report.records += 1;
        let record = match Record::decode(serial, value) {
            Ok(record) => record,
            Err(error) => {
                report.add(format!("record {serial}: {error}"));
                continue;
            }
        };
        totals.events += 1;
        totals.live_bytes += live_bytes(&record);
        if let Some(problem) = verify(&record) {
            report.add(format!("record {serial}: {problem}"));
        }
        check_record(&snapshot, &record, &mut expected, &mut report)?;
    }
    for table in INDEXES {
        check_index(&snapshot, table, expected[table as usize], &mut report)?;
    }
    let stored = snapshot.totals()?;
    if stored != totals {
        report.add(format!("totals: {stored:?} are stored, {totals:?} expected"));
    }
    Ok(report)
}

/// Each entry of a record has to be there. Counts them.
fn check_record(
    snapshot: &Snapshot<'_>,
    record: &Record,
    expected: &mut [u64],
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let mut failed = Ok(());
    for_each_key(record, |table, key, value| {
        expected[table as usize] += 1;
        match snapshot.get(table, key) {
            Ok(stored) if stored.as_deref() == Some(value) => {}
            Ok(stored) => {
                let what = if stored.is_some() { "differs" } else { "is missing" };
                report.add(format!(
                    "record {}: its entry in {} {what}",
                    record.serial(),
                    table.name()
                ));
            }
            Err(error) => failed = Err(error),
        }
    });
    failed
}

/// All entries of a record, those of `id` and `newest` included.
fn for_each_key(record: &Record, mut each: impl FnMut(Table, &[u8], &[u8])) {
    let (head, serial, flags) = (record.head(), record.serial(), record.flags());
    let (created_at, kind, id) = (head.created_at, head.kind, head.id);
    each(Table::Id, &id, &IdValue { serial, created_at, kind, flags }.write());
    if let Some(key) = newest_key_of(record) {
        each(Table::Newest, &key, &NewestValue { serial, created_at, id, flags }.write());
    }
    for_each_entry(record, each);
}

/// If an index has as many entries as the records account for, all of them are theirs. Otherwise each is
/// compared with its record.
fn check_index(
    snapshot: &Snapshot<'_>,
    table: Table,
    expected: u64,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    let mut entries = 0;
    for entry in snapshot.prefix(table, &[]) {
        entry.key()?;
        entries += 1;
    }
    report.entries += entries;
    if entries == expected {
        return Ok(());
    }
    for entry in snapshot.prefix(table, &[]) {
        let (key, value) = entry.into_inner()?;
        let serial = match table {
            Table::Id => IdValue::read(&value)?.serial,
            Table::Newest => NewestValue::read(&value)?.serial,
            Table::Expires => read_integer(key.get(8..).unwrap_or_default()),
            _ => Order::of_key(&key)?.serial(),
        };
        let mut is_theirs = false;
        if let Some(record) = snapshot.record(serial)? {
            for_each_key(&record, |of, own, _| is_theirs |= of == table && own == &key[..]);
        }
        if !is_theirs {
            let name = table.name();
            report.add(format!(
                "{name}: an entry belongs to record {serial}, which does not have it"
            ));
        }
    }
    Ok(())
}
