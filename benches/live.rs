//! The live index of a Nostr relay: what an event costs beside 10,000 home feeds that do not match it.
//!
//! Ten subscriptions match each event. A home feed has 500 authors and two kinds, and is filed under
//! its authors: an event of another author looks up a few values and compares nothing with it.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use weir::services::nostr::event::{Event, Head};
use weir::services::nostr::filter::{Filter, FilterLimits};
use weir::services::nostr::live::{LiveIndex, LiveLimits};

const FEEDS: [usize; 2] = [0, 10_000];
const FEED_AUTHORS: usize = 500;
const AUTHORS: usize = 100_000;
const SUBSCRIBERS: usize = 10;
/// Different events, so that their values are not in the CPU's caches.
const EVENTS: usize = 4096;

pub(crate) fn all(criterion: &mut Criterion) {
    let events: Vec<Event> = (0..EVENTS).map(event).collect();
    let mut group = criterion.benchmark_group("live");
    group.throughput(Throughput::Elements(1));
    for feeds in FEEDS {
        let mut index = index(feeds);
        let mut next = events.iter().cycle();
        group.bench_function(BenchmarkId::new("weir", format!("{feeds} feeds")), |bencher| {
            bencher.iter(|| {
                let mut found = 0;
                index.matching(black_box(next.next().expect("a cycle")), |_, ()| found += 1);
                assert_eq!(found, SUBSCRIBERS);
            });
        });
    }
    drop(group);
    let mut group = criterion.benchmark_group("live open and close");
    group.throughput(Throughput::Elements(FEED_AUTHORS as u64));
    for feeds in FEEDS {
        let mut index = index(feeds);
        let feed = feed(feeds);
        group.bench_function(BenchmarkId::new("weir", format!("{feeds} feeds")), |bencher| {
            bencher.iter(|| {
                let key = index.insert((), Arc::clone(&feed)).expect("below the limits");
                index.remove(black_box(key));
            });
        });
    }
}

fn index(feeds: usize) -> LiveIndex<()> {
    let mut index = LiveIndex::new(LiveLimits::default());
    for _ in 0..SUBSCRIBERS {
        index.insert((), filters(r##"{"#t":["weir"]}"##)).expect("below the limits");
    }
    for feed_number in 0..feeds {
        index.insert((), feed(feed_number)).expect("below the limits");
    }
    index
}

/// A home feed: authors from the first [`AUTHORS`].
fn feed(number: usize) -> Arc<[Filter]> {
    let mut json = String::from(r#"{"authors":["#);
    for author in 0..FEED_AUTHORS {
        let author = (number * FEED_AUTHORS + author).wrapping_mul(2_654_435_761) % AUTHORS;
        let separator = if json.ends_with('[') { "" } else { "," };
        let _ = write!(json, "{separator}\"{}\"", hex(author));
    }
    json.push_str(r#"],"kinds":[1,6]}"#);
    filters(&json)
}

fn filters(json: &str) -> Arc<[Filter]> {
    Arc::new([Filter::parse(json, &FilterLimits::default()).expect("a valid filter")])
}

/// A note of an author that no home feed has, with two `e`, two `p` and a `t` tag.
fn event(number: usize) -> Event {
    let other = |offset| hex(AUTHORS + 10 * number + offset);
    let tags = format!(
        r#"[["e","{}"],["e","{}"],["p","{}"],["p","{}"],["t","weir"]]"#,
        other(1),
        other(2),
        other(3),
        other(4)
    );
    let (id, pubkey) = (key(AUTHORS + 10 * number), key(AUTHORS + 10 * number + 5));
    let head = Head { id, pubkey, sig: [0; 64], created_at: 1_700_000_000, kind: 1 };
    Event::from_stored(head, &tags, "\"\"")
}

fn key(number: usize) -> [u8; 32] {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    key
}

fn hex(number: usize) -> String {
    key(number).iter().map(|byte| format!("{byte:02x}")).collect()
}
