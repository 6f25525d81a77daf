//! Tests of the store through its public functions, and what they share.

mod batches;
mod crash;
mod random;
mod retention;
mod room;
mod scans;
mod vectors;
mod visible;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use super::*;
use crate::services::nostr::event::{Event, EventId, Head, PublicKey};
use crate::services::nostr::filter::{Filter, FilterLimits};
use crate::services::nostr::tags::Address;

/// The time at which tests run.
const NOW: u64 = 1_700_000_000;

/// A directory that is removed with its value.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // In memory, where there is such a place: fdatasync on a busy disk takes most of the time otherwise.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        Directory::within(&parent, number)
    }

    fn on_disk() -> Directory {
        Directory::within(&env::temp_dir(), u32::MAX)
    }

    fn within(parent: &Path, number: u32) -> Directory {
        let path = parent.join(format!("weir-store-{}-{number}", process::id()));
        let _ = fs::remove_dir_all(&path);
        Directory(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn open(&self) -> (Store, Writer) {
        open(&self.0, StoreSettings::default()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The public key of a numbered author.
fn author(number: u8) -> PublicKey {
    [number; 32]
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// An event under construction. Its signature is not valid: the store does not check it.
#[derive(Clone)]
struct Draft {
    head: Head,
    tags: Vec<Vec<String>>,
    content: String,
}

impl Draft {
    /// With the id made of this number.
    fn new(id: u64, by: u8, kind: u16, created_at: u64) -> Draft {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&id.to_be_bytes());
        let head = Head { id: bytes, pubkey: author(by), sig: [7; 64], created_at, kind };
        Draft { head, tags: Vec::new(), content: format!("event {id}") }
    }

    fn tag(mut self, name: &str, value: &str) -> Draft {
        self.tags.push(vec![name.into(), value.into()]);
        self
    }

    fn build(&self) -> Event {
        let tags = serde_json::to_string(&self.tags).unwrap();
        Event::from_stored(self.head, &tags, &serde_json::to_string(&self.content).unwrap())
    }
}

/// The id made of this number.
fn id(number: u64) -> EventId {
    Draft::new(number, 0, 0, 0).head.id
}

fn commit(writer: &mut Writer, drafts: &[Draft]) -> Vec<Outcome> {
    let events: Vec<Event> = drafts.iter().map(Draft::build).collect();
    writer.commit(events, NOW).unwrap().outcomes
}

fn filter(json: &str) -> Filter {
    Filter::parse(json, &FilterLimits::default()).unwrap()
}

/// The records of a scan, with slices of this budget.
fn scan_with(store: &Store, mut scan: Scan, budget: impl FnMut() -> Budget) -> (Vec<Record>, End) {
    let mut budget = budget;
    let mut records = Vec::new();
    loop {
        let mut sink = |record: &Record| {
            records.push(record.clone());
            ControlFlow::Continue(())
        };
        match scan.slice(store, budget(), NOW, &mut sink).unwrap() {
            Slice::OutOfBudget | Slice::Full => {}
            Slice::End(end) => return (records, end),
        }
    }
}

fn generous() -> Budget {
    Budget { steps: usize::MAX, time: Duration::from_secs(60) }
}

/// The ids that a REQ returns, in order.
fn request(store: &Store, filters: &[&str], visibility: Visibility) -> Vec<EventId> {
    let filters: Arc<[Filter]> = filters.iter().map(|json| filter(json)).collect();
    let scan = Scan::new(filters, ScanLimits::default(), visibility);
    let (records, _) = scan_with(store, scan, generous);
    records.iter().map(|record| record.head().id).collect()
}

/// All ids in the store, oldest first.
fn everything(store: &Store) -> Vec<EventId> {
    let mut ids = request(store, &["{}"], Visibility::all());
    ids.reverse();
    ids
}

fn count(store: &Store, filters: &[&str], visibility: Visibility) -> Counted {
    let filters: Arc<[Filter]> = filters.iter().map(|json| filter(json)).collect();
    let mut count = Count::new(filters, CountLimits::default(), visibility);
    loop {
        if let Some(counted) = count.slice(store, Budget::default(), NOW).unwrap() {
            return counted;
        }
    }
}

/// Every record has its entries, and every entry its record.
fn assert_consistent(store: &Store) {
    let report = check(store, &mut |_| None).unwrap();
    assert_eq!(report.described, Vec::<String>::new());
}

#[test]
fn a_store_is_locked_while_it_is_open() {
    let directory = Directory::new();
    let opened = directory.open();
    let error = open(directory.path(), StoreSettings::default()).err().unwrap();
    assert!(matches!(error, OpenError::Locked(_)));
    let text = error.to_string();
    assert!(
        text.ends_with("another process is using this store") && !text.contains('\n'),
        "{text}"
    );
    drop(opened);
    directory.open();
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error_of_one_line() {
    let directory = Directory::new();
    fs::write(directory.path(), "").unwrap();
    let error = open(directory.path(), StoreSettings::default()).err().unwrap();
    assert!(matches!(error, OpenError::Directory(..)));
    assert!(!error.to_string().contains('\n'));
    fs::remove_file(directory.path()).unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = Directory::new();
    {
        let (store, _writer) = directory.open();
        let snapshot = store.snapshot().unwrap();
        let mut transaction = tables::Transaction::new(snapshot.tables(), true);
        transaction.insert(Table::Meta, b"schema", &9_u32.to_be_bytes());
        transaction.commit().unwrap();
    }
    let error = open(directory.path(), StoreSettings::default()).err().unwrap();
    assert!(matches!(error, OpenError::NewerSchema(_, 9)), "{error}");
}

#[test]
fn events_come_back_as_they_were_stored() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let draft = Draft {
        content: "a \"quoted\" line\n\u{1}\u{10ffff}\u{7f}/".into(),
        ..Draft::new(5, 1, 1, NOW).tag("e", &hex_of(&id(9))).tag("-", "")
    };
    let event = draft.build();
    let outcomes = commit(&mut writer, &[draft.clone(), draft]);
    let stored = Outcome::Stored { serial: 1, event: Arc::new(event.clone()) };
    assert_eq!(outcomes, [stored, Outcome::Duplicate]);
    drop((store, writer));
    let (store, _writer) = directory.open();
    let snapshot = store.snapshot().unwrap();
    let record = snapshot.by_id(&id(5)).unwrap().unwrap();
    assert_eq!(record.to_event(), event);
    let (mut sent, mut parsed) = (Vec::new(), Vec::new());
    record.write_json(&mut sent);
    event.write_json(&mut parsed);
    assert_eq!(sent, parsed);
    assert_eq!(snapshot.known(&id(5)).unwrap(), Some([7; 64]));
    assert_eq!(snapshot.known(&id(6)).unwrap(), None);
    assert_eq!(snapshot.last_serial().unwrap(), 1);
}

#[test]
fn serials_are_not_given_again_after_the_last_event_is_removed() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    commit(&mut writer, &[Draft::new(1, 1, 1, NOW), Draft::new(2, 1, 1, NOW)]);
    let mut delete = Delete::new(Filter::default());
    assert_eq!(writer.delete(&mut delete).unwrap(), Swept { removed: 2, more: false });
    drop((store, writer));
    let (_store, mut writer) = directory.open();
    let outcomes = commit(&mut writer, &[Draft::new(3, 1, 1, NOW)]);
    assert!(matches!(outcomes[0], Outcome::Stored { serial: 3, .. }), "{outcomes:?}");
}

#[test]
fn a_list_keeps_its_entries() {
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    writer.set_list_entry("ban", &[2; 32], Some("spam")).unwrap();
    writer.set_list_entry("ban", &[1; 32], Some("")).unwrap();
    writer.set_list_entry("bank", &[3; 32], Some("another list")).unwrap();
    let list = |store: &Store| store.snapshot().unwrap().list("ban").unwrap();
    assert_eq!(list(&store), [(vec![1; 32], String::new()), (vec![2; 32], "spam".into())]);
    writer.set_list_entry("ban", &[2; 32], None).unwrap();
    assert_eq!(list(&store), [(vec![1; 32], String::new())]);
}
