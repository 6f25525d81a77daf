//! For unit tests: random numbers that repeat, and random events and filters that match each other
//! often.

use std::fmt::Write;
use std::sync::Arc;

use super::event::{Event, Head};
use super::filter::{Filter, FilterLimits};

/// Numbers from a seed (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Key or id number `number`.
pub(super) fn key(number: usize) -> [u8; 32] {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    key
}

/// The same in hex, in quotes.
pub(super) fn quoted_key(number: usize) -> String {
    format!("\"{}\"", hex::encode(key(number)))
}

/// An event without content.
pub(super) fn event(id: usize, author: usize, kind: u16, created_at: u64, tags: &str) -> Event {
    let head = Head { id: key(id), pubkey: key(author), sig: [0; 64], created_at, kind };
    Event::from_stored(head, tags, "\"\"")
}

/// A filter from its JSON.
pub(super) fn filter(json: &str) -> Filter {
    Filter::parse(json, &FilterLimits::default()).unwrap()
}

/// One filter of a subscription.
pub(super) fn filters(json: &str) -> Arc<[Filter]> {
    Arc::new([filter(json)])
}

/// An event of one of 20 authors, with up to 5 tags.
pub(super) fn random_event(random: &mut Random, id: usize) -> Event {
    let mut tags = String::from("[");
    for _ in 0..random.below(6) {
        let separator = if tags.len() > 1 { "," } else { "" };
        let letter = ["e", "p", "t", "T", "title"][random.below(5)];
        let _ = write!(tags, "{separator}[\"{letter}\",{}]", random_tag_value(random));
    }
    tags.push(']');
    let kind = [0, 1, 7, 1984, 30_023][random.below(5)];
    let (author, created_at) = (random.below(20), 1000 + random.below(20) as u64);
    event(id, author, kind, created_at, &tags)
}

fn random_tag_value(random: &mut Random) -> String {
    if random.one_in(2) {
        quoted_key(random.below(20))
    } else {
        format!("\"topic {}\"", random.below(20))
    }
}

/// A filter with up to six members, some of them empty lists. Ids are below `ids`.
pub(super) fn random_filter(random: &mut Random, ids: usize) -> Filter {
    let mut members = Vec::new();
    if random.one_in(6) {
        members.push(list("ids", random, 4, |random| quoted_key(random.below(ids))));
    }
    if random.one_in(2) {
        members.push(list("authors", random, 6, |random| quoted_key(random.below(20))));
    }
    if random.one_in(2) {
        let kinds = ["0", "1", "7", "1984", "30023"];
        members.push(list("kinds", random, 3, |random| kinds[random.below(5)].to_owned()));
    }
    if random.one_in(3) {
        let name = ["#t", "#T"][random.below(2)];
        members.push(list(name, random, 5, random_tag_value));
    }
    if random.one_in(3) {
        let name = ["#e", "#p"][random.below(2)];
        members.push(list(name, random, 5, |random| quoted_key(random.below(20))));
    }
    if random.one_in(6) {
        members.push(format!("\"since\":{}", 1000 + random.below(20)));
    }
    if random.one_in(6) {
        members.push(format!("\"until\":{}", 1000 + random.below(20)));
    }
    filter(&format!("{{{}}}", members.join(",")))
}

fn list(
    name: &str,
    random: &mut Random,
    len_max: usize,
    value: impl Fn(&mut Random) -> String,
) -> String {
    let len = if random.one_in(30) { 0 } else { 1 + random.below(len_max) };
    let values: Vec<String> = (0..len).map(|_| value(random)).collect();
    format!("\"{name}\":[{}]", values.join(","))
}
