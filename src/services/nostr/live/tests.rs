use std::env;

use super::*;
use crate::services::nostr::testing::{
    Random, event, filter, filters, quoted_key, random_event, random_filter,
};

fn found<T: Clone>(index: &mut LiveIndex<T>, event: &Event) -> Vec<T> {
    let mut found = Vec::new();
    index.matching(event, |_, subscription| found.push(subscription.clone()));
    found
}

/// `WEIR_LIVE_EVENTS` is another number of events: 5,000 take 35 s in a debug build.
#[test]
fn random_filters_match_as_a_naive_scan_does() {
    const FILTERS: usize = 10_000;
    let events: usize = env::var("WEIR_LIVE_EVENTS").map_or(1_000, |count| count.parse().unwrap());
    let mut random = Random(1);
    let mut index = LiveIndex::new(LiveLimits::default());
    // Subscriptions of one to three filters, by their number.
    let mut open: Vec<(usize, LiveKey, Arc<[Filter]>)> = Vec::new();
    let mut opened = 0;
    let mut matches = 0;
    let mut add = |random: &mut Random, index: &mut LiveIndex<usize>| {
        let filters: Arc<[Filter]> =
            (0..1 + random.below(3)).map(|_| random_filter(random, events)).collect();
        opened += 1;
        let key = index.insert(opened, Arc::clone(&filters)).unwrap();
        (opened, key, filters)
    };
    for id in 0..events {
        while index.counts().filters < FILTERS {
            open.push(add(&mut random, &mut index));
        }
        let event = random_event(&mut random, id);
        let mut found = found(&mut index, &event);
        found.sort_unstable();
        let naive = open
            .iter()
            .filter(|(_, _, filters)| filters.iter().any(|filter| filter.matches(&event)));
        let mut naive: Vec<usize> = naive.map(|(number, ..)| *number).collect();
        naive.sort_unstable();
        assert_eq!(found, naive, "event {id}: {event:?}");
        matches += found.len();
        for _ in 0..random.below(50) {
            let (number, key, _) = open.swap_remove(random.below(open.len()));
            assert_eq!(index.remove(key), number);
        }
    }
    assert!(matches > 10 * events, "the filters match too few events: {matches}");
    for (_, key, _) in open {
        index.remove(key);
    }
    assert_eq!(index.counts(), LiveCounts::default());
    assert!(index.letters.iter().all(|count| *count == 0));
}

#[test]
fn a_subscription_gets_an_event_once_whichever_filters_and_tags_match() {
    let mut index = LiveIndex::new(LiveLimits::default());
    let both: Arc<[Filter]> =
        Arc::new([filter(r#"{"kinds":[1]}"#), filter(r##"{"#t":["a","b"]}"##), filter("{}")]);
    index.insert("both", both).unwrap();
    let tagged = event(1, 1, 1, 0, r#"[["t","a"],["t","b"],["t","a"]]"#);
    assert_eq!(found(&mut index, &tagged), ["both"]);
    assert_eq!(found(&mut index, &tagged), ["both"]);
}

#[test]
fn a_tag_that_an_event_repeats_is_looked_up_once() {
    let mut index = LiveIndex::new(LiveLimits::default());
    index.insert("t", filters(r##"{"#t":["a"],"#p":[]}"##)).unwrap();
    index.insert("a", filters(r##"{"#t":["a"]}"##)).unwrap();
    index.insert("b", filters(r##"{"#t":["b"]}"##)).unwrap();
    let tags = format!("[{}]", [r#"["t","a"],["r","a"],["t","b"]"#; 100].join(","));
    assert_eq!(found(&mut index, &event(1, 1, 1, 0, &tags)).len(), 2);
    assert_eq!(index.tags.len(), 2);
}

#[test]
fn a_filter_with_an_empty_list_matches_nothing_and_is_filed_nowhere() {
    let mut index = LiveIndex::new(LiveLimits::default());
    for member in ["ids", "authors", "kinds", "#t"] {
        let json = format!(r#"{{"{member}":[],"since":1}}"#);
        index.insert(member, filters(&json)).unwrap();
        let json = format!(r##"{{"{member}":[],"#e":[{}]}}"##, quoted_key(3));
        index.insert(member, filters(&json)).unwrap();
    }
    let tags = format!(r#"[["e",{}],["t",""]]"#, quoted_key(3));
    assert!(found(&mut index, &event(1, 1, 1, 5, &tags)).is_empty());
    assert_eq!(index.postings.len(), 0);
    assert_eq!(index.counts().subscriptions, 8);
}

#[test]
fn a_filter_is_filed_under_its_most_selective_member() {
    let keys = |count: usize| (0..count).map(quoted_key).collect::<Vec<_>>().join(",");
    let place = |json: &str| format!("{:?}", Place::of(&filter(json)));
    let all =
        format!(r##"{{"ids":[{}],"authors":[{}],"#t":["a"],"kinds":[1]}}"##, keys(5), keys(1));
    assert!(place(&all).starts_with("Ids"));
    assert!(
        place(&format!(r##"{{"authors":[{}],"kinds":[1]}}"##, keys(500))).starts_with("Authors")
    );
    assert!(
        place(&format!(r##"{{"authors":[{}],"#t":["a","b"]}}"##, keys(3))).starts_with("Tag(116")
    );
    assert!(
        place(&format!(r##"{{"authors":[{}],"#t":["a","b"]}}"##, keys(1))).starts_with("Authors")
    );
    assert!(place(r##"{"#t":["a","b"],"#d":["c"],"kinds":[1]}"##).starts_with("Tag(100"));
    assert!(place(r#"{"kinds":[1,2],"since":5}"#).starts_with("Kinds"));
    assert!(place(r#"{"since":5}"#).starts_with("All"));
}

#[test]
fn text_that_is_almost_a_key_stays_text() {
    let mut index = LiveIndex::new(LiveLimits::default());
    let (lower, upper) = (hex::encode([0xab; 32]), hex::encode_upper([0xab; 32]));
    index.insert("lower", filters(&format!(r##"{{"#t":["{lower}"]}}"##))).unwrap();
    index.insert("upper", filters(&format!(r##"{{"#t":["{upper}"]}}"##))).unwrap();
    let tagged = |value: &str| event(1, 1, 1, 0, &format!(r#"[["t","{value}"]]"#));
    assert_eq!(found(&mut index, &tagged(&lower)), ["lower"]);
    assert_eq!(found(&mut index, &tagged(&upper)), ["upper"]);
}

#[test]
fn at_a_limit_nothing_changes() {
    let mut index = LiveIndex::new(LiveLimits { subscriptions_max: 2, values_max: 5 });
    let first = index.insert(1, filters(r#"{"kinds":[1,2],"since":3}"#)).unwrap();
    let before = index.counts();
    assert_eq!(before, LiveCounts { subscriptions: 1, filters: 1, values: 2 });
    let four = format!(r#"{{"authors":[{}],"kinds":[1,2,3]}}"#, quoted_key(1));
    assert_eq!(index.insert(2, filters(&four)), Err(LiveFull::Values(5)));
    // A text of 128 bytes counts as three values.
    let long = "x".repeat(128);
    assert_eq!(
        index.insert(2, filters(&format!(r##"{{"#t":["{long}","a"]}}"##))),
        Err(LiveFull::Values(5))
    );
    assert_eq!(index.counts(), before);
    // An empty filter counts as a value, too.
    index.insert(3, filters("{}")).unwrap();
    assert_eq!(index.counts().values, 3);
    assert_eq!(index.insert(4, filters("{}")), Err(LiveFull::Subscriptions(2)));
    assert_eq!(found(&mut index, &event(1, 1, 2, 3, "[]")), [3, 1]);
    index.remove(first);
    index.insert(5, filters(r#"{"kinds":[2]}"#)).unwrap();
    assert_eq!(found(&mut index, &event(1, 1, 2, 3, "[]")), [3, 5]);
}

#[test]
fn memory_returns_when_subscriptions_end() {
    let mut random = Random(2);
    let mut index = LiveIndex::new(LiveLimits::default());
    let feed = |random: &mut Random| {
        let authors: Vec<String> = (0..100).map(|_| quoted_key(random.below(50_000))).collect();
        filters(&format!(r#"{{"authors":[{}],"kinds":[1,6]}}"#, authors.join(",")))
    };
    let mut open = Vec::new();
    for round in 0..3 {
        while open.len() < 1_000 {
            open.push(index.insert((), feed(&mut random)).unwrap());
        }
        let full = index.postings.capacity();
        while open.len() > 20 {
            index.remove(open.swap_remove(random.below(open.len())));
        }
        let left = index.postings.capacity();
        assert!(
            left < full / 8,
            "round {round}: {left} of {full} places are kept for 2,000 postings"
        );
    }
    for key in open {
        index.remove(key);
    }
    assert_eq!(index.postings.len(), 0);
    assert!(index.postings.capacity() <= 256 * 32);
}

#[test]
fn slots_are_released_after_a_peak() {
    let mut index = LiveIndex::new(LiveLimits::default());
    let keys: Vec<LiveKey> =
        (0..10_000).map(|number| index.insert(number, filters("{}")).unwrap()).collect();
    for key in &keys[1..] {
        index.remove(*key);
    }
    // The first subscriptions to be opened take free slots, below those that are released.
    for _ in 0..5_000 {
        let key = index.insert(1, filters("{}")).unwrap();
        index.remove(key);
    }
    assert!(index.subscriptions.capacity() < 100, "{} slots", index.subscriptions.capacity());
    assert_eq!(found(&mut index, &event(1, 1, 1, 1, "[]")), [0]);
}

#[test]
fn home_feeds_cost_an_event_of_another_author_no_comparison() {
    let mut index = LiveIndex::new(LiveLimits::default());
    for feed in 0..50 {
        let authors: Vec<String> = (0..20).map(|author| quoted_key(feed + author)).collect();
        let json = format!(r#"{{"authors":[{}],"kinds":[1,6]}}"#, authors.join(","));
        index.insert(feed, filters(&json)).unwrap();
    }
    let mut compared = |author: usize| {
        found(&mut index, &event(1, author, 1, 0, "[]"));
        let filed = index.subscriptions.iter().flat_map(|(_, entry)| entry.filed.iter());
        filed.filter(|filed| filed.compared == index.event).count()
    };
    assert_eq!(compared(500), 0);
    assert_eq!(compared(0), 1);
    assert_eq!(compared(30), 20);
}
