//! The store of a Nostr relay: commits, and a scan. weir only.
//!
//! A commit includes fdatasync, so it depends on the disk of the temporary directory.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs, process};

use criterion::{Criterion, Throughput};
use sha2::{Digest as _, Sha256};
use weir::services::nostr::event::{Event, Head};
use weir::services::nostr::filter::{Filter, FilterLimits};
use weir::services::nostr::store::{
    Budget, Record, Scan, ScanLimits, Slice, Store, StoreSettings, Visibility, Writer, open,
};

const NOW: u64 = 1_700_000_000;
/// Events in the store before the scan.
const STORED: u64 = 20_000;

/// Removed with its value.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn all(criterion: &mut Criterion) {
    let directory = Directory(env::temp_dir().join(format!("weir-bench-{}", process::id())));
    let (store, mut writer) = open(&directory.0, StoreSettings::default()).expect("a new store");
    let mut next = 0;
    for _ in 0..STORED / 1_000 {
        commit(&mut writer, &mut next, 1_000);
    }
    let mut group = criterion.benchmark_group("store");
    for count in [1, 1_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("weir/commit of {count}"), |bencher| {
            bencher.iter(|| commit(&mut writer, &mut next, count));
        });
    }
    group.throughput(Throughput::Elements(500));
    group.bench_function("weir/newest 500 of a kind", |bencher| bencher.iter(|| scan(&store)));
    group.finish();
}

fn commit(writer: &mut Writer, next: &mut u64, count: u64) {
    let events = (*next..*next + count).map(event).collect();
    *next += count;
    black_box(writer.commit(events, NOW).expect("the disk has room"));
}

/// An event of about 580 bytes of JSON with 8 index entries. The signature is not checked by the store.
fn event(number: u64) -> Event {
    let id: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    let pubkey = Sha256::digest((number % 1_000).to_le_bytes()).into();
    let sig = [7; 64];
    let created_at = NOW - 10_000_000 + number;
    let kind = [1, 7][(number % 2) as usize];
    let digits = format!("{:064x}", number % 5_000);
    let tags = format!(r#"[["e","{digits}"],["p","{digits}"],["t","weir"]]"#);
    let content = format!("\"{}\"", "A note. ".repeat(6));
    Event::from_stored(Head { id, pubkey, sig, created_at, kind }, &tags, &content)
}

fn scan(store: &Store) {
    let filter = Filter::parse(r#"{"kinds":[1],"limit":500}"#, &FilterLimits::default());
    let filters: Arc<[Filter]> = [filter.expect("a valid filter")].into();
    let mut scan = Scan::new(filters, ScanLimits::default(), Visibility::all());
    let mut out = Vec::new();
    let mut sink = |record: &Record| {
        record.write_json(&mut out);
        ControlFlow::Continue(())
    };
    while !matches!(
        scan.slice(store, Budget::default(), NOW, &mut sink).expect("a readable store"),
        Slice::End(_)
    ) {}
    assert_eq!(scan.events(), 500);
    black_box(out);
}
