//! Random filters against a naive scan: content, order, counts, collections, in random slices.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::*;
use crate::services::nostr::event::Class;
use crate::services::nostr::filter::TagValue;

const KINDS: [u16; 9] = [0, 1, 4, 7, 1059, 10_002, 30_000, 30_023, 5_000];
const RESTRICTED: [u16; 2] = [4, 1059];

/// Random events: few authors, kinds and times, so that filters meet them. One in four has an id whose first
/// 8 bytes are shared.
fn random_events(random: &mut StdRng, count: u64) -> Vec<Draft> {
    (0..count)
        .map(|number| {
            let kind = KINDS[random.random_range(0..KINDS.len())];
            let created_at = NOW - random.random_range(0..2_000_u64);
            let mut draft = Draft::new(number, random.random_range(1..12), kind, created_at);
            random.fill_bytes(&mut draft.head.id);
            if random.random_bool(0.25) {
                draft.head.id[..8].fill(random.random_range(0..3));
            }
            if Class::of(kind) == Class::Addressable {
                draft = draft.tag("d", &random.random_range(0..40_u32).to_string());
            }
            for _ in 0..random.random_range(0..4_u32) {
                let (letter, value) = random_tag(random);
                draft = draft.tag(&char::from(letter).to_string(), &value);
            }
            match random.random_range(0..20_u32) {
                0 => draft.tag("expiration", &(NOW + 1).to_string()),
                1 => draft.tag("expiration", &NOW.to_string()),
                _ => draft,
            }
        })
        .collect()
}

fn random_tag(random: &mut StdRng) -> (u8, String) {
    match random.random_range(0..3_u32) {
        0 => (b'p', hex_of(&author(random.random_range(1..12)))),
        1 => (b'e', hex_of(&id(random.random_range(0..30_u64)))),
        _ => {
            let value = random.random_range(0..20_usize);
            // Some of them are longer than an index key may be.
            (b't', "tag".repeat(value * 2) + &value.to_string())
        }
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Box<[T]> {
    values.sort_unstable();
    values.dedup();
    values.into()
}

fn random_filter(random: &mut StdRng, stored: &[Known]) -> Filter {
    let mut filter = Filter::default();
    let some = |random: &mut StdRng| random.random_range(1..6_usize);
    if random.random_bool(0.15) {
        let ids = (0..some(random)).map(|_| stored[random.random_range(0..stored.len())].head.id);
        filter.ids = Some(sorted(ids.collect()));
    }
    if random.random_bool(0.4) {
        let authors = (0..some(random)).map(|_| author(random.random_range(1..14)));
        filter.authors = Some(sorted(authors.collect()));
    }
    if random.random_bool(0.5) {
        let kinds = (0..some(random)).map(|_| KINDS[random.random_range(0..KINDS.len())]);
        filter.kinds = Some(sorted(kinds.collect()));
    }
    let mut tags = Vec::new();
    for letter in *b"ept" {
        if random.random_bool(0.15) {
            let values = (0..some(random)).filter_map(|_| {
                let (of, value) = random_tag(random);
                (of == letter).then(|| TagValue::of(&value))
            });
            tags.push((letter, sorted(values.collect())));
        }
    }
    filter.tags = tags.into();
    let time = |random: &mut StdRng| NOW - random.random_range(0..2_100_u64);
    filter.since = random.random_bool(0.3).then(|| time(random));
    filter.until = random.random_bool(0.3).then(|| time(random));
    filter.limit = random.random_bool(0.7).then(|| random.random_range(0..60));
    filter
}

fn random_visibility(random: &mut StdRng) -> Visibility {
    match random.random_range(0..3_u32) {
        0 => Visibility::all(),
        1 => Visibility { keys: Vec::new(), restricted: RESTRICTED.into() },
        _ => {
            let keys = (0..2).map(|_| author(random.random_range(1..12))).collect();
            Visibility { keys, restricted: RESTRICTED.into() }
        }
    }
}

/// A stored event, with what the naive scan compares.
struct Known {
    serial: u64,
    head: Head,
    tags: Vec<(u8, TagValue)>,
    expiration: Option<u64>,
    address: Option<Address>,
}

impl Known {
    fn new(serial: u64, event: &Event) -> Known {
        let letters = event.tags().letters();
        let tags = letters.map(|(letter, value)| (letter, TagValue::of(&value))).collect();
        let (head, address) = (*event.head(), event.address());
        Known { serial, head, tags, expiration: event.expiration(), address }
    }

    fn is_visible(&self, visibility: &Visibility) -> bool {
        let names = |key: &PublicKey| self.tags.contains(&(b'p', TagValue::Hex(*key)));
        let is_mine = |key: &PublicKey| self.head.pubkey == *key || names(key);
        self.expiration.is_none_or(|time| time > NOW)
            && (!visibility.restricted.contains(&self.head.kind)
                || visibility.keys.iter().any(is_mine))
    }

    fn matches(&self, filter: &Filter) -> bool {
        let has = |(letter, values): &(u8, Box<[TagValue]>)| {
            self.tags.iter().any(|(of, value)| of == letter && values.contains(value))
        };
        filter.since.is_none_or(|since| self.head.created_at >= since)
            && filter.until.is_none_or(|until| self.head.created_at <= until)
            && filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&self.head.kind))
            && filter.authors.as_ref().is_none_or(|authors| authors.contains(&self.head.pubkey))
            && filter.ids.as_ref().is_none_or(|ids| ids.contains(&self.head.id))
            && filter.tags.iter().all(has)
    }
}

/// What is left of the events by NIP-01, in the order of section 5.2.
fn stored(writer: &mut Writer, drafts: &[Draft]) -> Vec<Known> {
    let mut all = Vec::new();
    for (chunk, drafts) in drafts.chunks(700).enumerate() {
        let now = NOW - 10_000 + chunk as u64;
        let events: Vec<Event> = drafts.iter().map(Draft::build).collect();
        for outcome in writer.commit(events, now).unwrap().outcomes {
            if let Outcome::Stored { serial, event } = outcome {
                all.push(Known::new(serial, &event));
            }
        }
    }
    let age = |known: &Known| (known.head.created_at, std::cmp::Reverse(known.head.id));
    let mut newest: HashMap<Address, (u64, std::cmp::Reverse<EventId>)> = HashMap::new();
    for known in &all {
        if let Some(address) = &known.address {
            let newest = newest.entry(address.clone()).or_insert(age(known));
            *newest = age(known).max(*newest);
        }
    }
    all.retain(|known| known.address.as_ref().is_none_or(|of| newest[of] == age(known)));
    all.sort_by_key(|known| {
        let first: [u8; 8] = known.head.id[..8].try_into().unwrap();
        (std::cmp::Reverse(known.head.created_at), first, known.serial)
    });
    all
}

/// The serials that a request must return.
fn naive(stored: &[Known], filters: &[Filter], visibility: &Visibility) -> Vec<u64> {
    let limits = ScanLimits::default();
    let mut left: Vec<usize> =
        filters.iter().map(|filter| filter.limit.unwrap_or(limits.limit_default)).collect();
    let mut sent = Vec::new();
    for known in stored {
        let mut is_sent = false;
        for (filter, left) in filters.iter().zip(&mut left) {
            if *left > 0 && known.matches(filter) && known.is_visible(visibility) {
                *left -= 1;
                is_sent = true;
            }
        }
        if is_sent {
            sent.push(known.serial);
        }
    }
    sent
}

fn naive_matches<'a>(
    stored: &'a [Known],
    filters: &[Filter],
    visibility: &Visibility,
) -> Vec<&'a Known> {
    let matches = |known: &Known| {
        filters.iter().any(|filter| known.matches(filter)) && known.is_visible(visibility)
    };
    stored.iter().filter(|known| matches(known)).collect()
}

fn random_budget(random: &mut StdRng) -> Budget {
    let steps = match random.random_range(0..3_u32) {
        0 => 1,
        1 => random.random_range(1..50),
        _ => random.random_range(50..5_000),
    };
    Budget { steps, time: Duration::from_secs(60) }
}

/// Runs a scan with random slices, pages and parking.
pub(super) fn random_scan(random: &mut StdRng, store: &Store, mut scan: Scan) -> Vec<u64> {
    let mut serials = Vec::new();
    loop {
        let page = random.random_range(1..40_usize);
        let start = serials.len();
        let mut sink = |record: &Record| {
            serials.push(record.serial());
            if serials.len() - start < page {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let budget = random_budget(random);
        match scan.slice(store, budget, NOW, &mut sink).unwrap() {
            Slice::OutOfBudget | Slice::Full => {}
            Slice::End(_) => return serials,
        }
        if random.random_bool(0.1) {
            scan.park();
        }
    }
}

/// `WEIR_STORE_ROUNDS` is another number of requests: 10,000 take a minute in a release build.
#[test]
fn random_filters_return_what_a_naive_scan_returns() {
    let mut random = StdRng::seed_from_u64(2_022);
    let directory = Directory::new();
    let (store, mut writer) = directory.open();
    let drafts = random_events(&mut random, 5_000);
    let stored = stored(&mut writer, &drafts);
    assert_consistent(&store);
    let rounds: u64 = env::var("WEIR_STORE_ROUNDS").map_or(1_000, |rounds| rounds.parse().unwrap());
    let mut events = 0;
    for round in 0..rounds {
        let filters: Vec<Filter> = (0..random.random_range(1..4_usize))
            .map(|_| random_filter(&mut random, &stored))
            .collect();
        let visibility = random_visibility(&mut random);
        let expected = naive(&stored, &filters, &visibility);
        let shared: Arc<[Filter]> = filters.clone().into();
        let scan = Scan::new(Arc::clone(&shared), ScanLimits::default(), visibility.clone());
        let got = random_scan(&mut random, &store, scan);
        assert_eq!(got, expected, "round {round}: {filters:?} {visibility:?}");
        events += got.len() as u64;
        if round % 4 == 0 {
            assert_counted(&mut random, &store, &stored, shared, &visibility);
        }
    }
    assert!(events > rounds * 5, "{events} events: the filters meet few of them");
}

fn assert_counted(
    random: &mut StdRng,
    store: &Store,
    stored: &[Known],
    filters: Arc<[Filter]>,
    visibility: &Visibility,
) {
    let expected = naive_matches(stored, &filters, visibility).len() as u64;
    let mut count = Count::new(Arc::clone(&filters), CountLimits::default(), visibility.clone());
    let counted = loop {
        if let Some(counted) = count.slice(store, random_budget(random), NOW).unwrap() {
            break counted;
        }
    };
    assert_eq!((counted.count, counted.is_approximate), (expected, false), "{filters:?}");
    let expected: Vec<(u64, EventId)> = naive_matches(stored, &filters[..1], visibility)
        .iter()
        .map(|known| (known.head.created_at, known.head.id))
        .collect();
    let limits = CollectLimits::items(1_000_000);
    let mut collect = Collect::new(filters[0].clone(), limits, visibility.clone());
    let collected = loop {
        match collect.slice(store, random_budget(random), NOW).unwrap() {
            Collected::OutOfBudget => {}
            Collected::Items(items) => break items,
            Collected::TooMany | Collected::TooLong => panic!("the limits are large"),
        }
    };
    assert_eq!(collected, expected, "{filters:?}");
}
