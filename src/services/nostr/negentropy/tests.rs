//! Sessions over a store, driven as the loop and its threads do.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process};

use negentropy::{Id, Negentropy, NegentropyStorageVector};

use super::job::{REPLY_BYTES_MAX, reply};
use super::*;
use crate::reactor::Time;
use crate::services::nostr::message::SubscriptionId;
use crate::services::nostr::refusal::Prefix;
use crate::services::nostr::store::{
    Budget, Collect, CollectLimits, Store, StoreSettings, Visibility, Writer, open,
};
use crate::services::nostr::testing::{Random, event, filter, key};

const NOW: u64 = 1_700_000_000;

/// A store of its own, removed at the end.
struct Shelf {
    store: Store,
    _writer: Writer,
    _directory: Directory,
}

/// Removed when it is dropped, after the store.
struct Directory(PathBuf);

impl Shelf {
    /// A store with these events; each is a number, also its time.
    fn with(name: &str, numbers: impl Iterator<Item = usize>) -> Shelf {
        let directory = env::temp_dir().join(format!("weir-negentropy-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        let (store, mut writer) = open(&directory, StoreSettings::default()).unwrap();
        let events: Vec<_> =
            numbers.map(|number| event(number, 1, 1, number as u64, "[]")).collect();
        for batch in events.chunks(500) {
            writer.commit(batch.to_vec(), NOW).unwrap();
        }
        Shelf { store, _writer: writer, _directory: Directory(directory) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sub(name: &str) -> SubscriptionId {
    SubscriptionId::of(name)
}

fn collect(items_max: usize) -> Collect {
    let limits = CollectLimits::items(items_max);
    Collect::new(filter("{\"kinds\":[1]}"), limits, Visibility::all())
}

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// Runs a job to its end, in slices of a few steps.
fn run(mut job: NegentropyJob, store: &Store) -> (NegentropyDone, usize) {
    let mut slices = 1;
    loop {
        assert!(job.lease().strong_count() > 0);
        if let Some(done) = job.run(store, Budget { steps: 50, ..Budget::default() }, NOW) {
            return (done, slices);
        }
        slices += 1;
    }
}

/// The binary message in `["NEG-MSG","a","hex"]`.
fn message(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let hex = text.strip_prefix("[\"NEG-MSG\",\"a\",\"").expect(text).strip_suffix("\"]").unwrap();
    hex::decode(hex).unwrap()
}

fn client(numbers: impl Iterator<Item = usize>) -> NegentropyStorageVector {
    let mut items = NegentropyStorageVector::new();
    for number in numbers {
        items.insert(number as u64, Id::from_byte_array(key(number))).unwrap();
    }
    items.seal().unwrap();
    items
}

/// A first message of a client without events.
fn first() -> Vec<u8> {
    let items = client(std::iter::empty());
    Negentropy::borrowed(&items, 0).unwrap().initiate().unwrap()
}

/// The numbers of events.
fn numbers(mut ids: Vec<Id>) -> Vec<usize> {
    ids.sort_unstable();
    ids.iter()
        .map(|id| u64::from_be_bytes(id.as_bytes()[..8].try_into().unwrap()) as usize)
        .collect()
}

#[test]
fn a_client_finds_exactly_the_differences() {
    let missing_here = |number: &usize| number % 100 != 7;
    let missing_there = |number: &usize| number % 100 != 3;
    for count in [0, 1, 20, 3000] {
        let shelf = Shelf::with(&format!("found-{count}"), (0..count).filter(missing_here));
        let mut sessions = Sessions::new(NegentropyLimits::default());
        let items = client((0..count).filter(missing_there));
        let mut state = Negentropy::borrowed(&items, 4096).unwrap();
        let mut sent = Some(state.initiate().unwrap());
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let mut rounds = 0;
        while let Some(message_sent) = sent {
            let job = match rounds {
                0 => sessions.open(1, sub("a"), collect(5000), message_sent).unwrap(),
                _ => sessions.message(1, &sub("a"), message_sent).unwrap(),
            };
            let (done, slices) = run(job, &shelf.store);
            assert!(slices == 1 || rounds == 0, "the list is collected once");
            assert!(count < 3000 || rounds > 0 || slices > 10, "{slices} slices");
            let reply = sessions.finish(done, at(rounds)).unwrap();
            assert_eq!((reply.conn, reply.error), (1, None));
            let received = message(&reply.text);
            assert!(received.len() <= REPLY_BYTES_MAX);
            sent = state.reconcile_with_ids(&received, &mut have, &mut need).unwrap();
            rounds += 1;
            assert!(rounds < 50, "no end");
        }
        let expected = |wanted: usize| (0..count).filter(move |number| number % 100 == wanted);
        assert_eq!(numbers(have), expected(7).collect::<Vec<_>>());
        assert_eq!(numbers(need), expected(3).collect::<Vec<_>>());
        let kept = (0..count).filter(missing_here).count();
        assert_eq!((sessions.len(), sessions.held_bytes()), (1, 40 * kept));
        sessions.close(1, &sub("a"));
        assert_eq!((sessions.len(), sessions.held_bytes()), (0, 0));
    }
}

#[test]
fn a_reply_fits_into_a_message_of_128_kib() {
    let shelf = Shelf::with("large", 0..5000);
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let (mut sent, mut need, mut rounds) = (Some(first()), Vec::new(), 0);
    let items = client(std::iter::empty());
    let mut state = Negentropy::borrowed(&items, 0).unwrap();
    state.set_initiator();
    while let Some(message_sent) = sent {
        let job = match rounds {
            0 => sessions.open(1, sub("a"), collect(5000), message_sent).unwrap(),
            _ => sessions.message(1, &sub("a"), message_sent).unwrap(),
        };
        let reply = sessions.finish(run(job, &shelf.store).0, at(0)).unwrap();
        assert!(reply.text.len() + 14 < 128 * 1024, "{} bytes", reply.text.len());
        sent = state.reconcile_with_ids(&message(&reply.text), &mut Vec::new(), &mut need).unwrap();
        rounds += 1;
    }
    assert!(rounds > 2, "all ids came in {rounds} messages");
    assert_eq!(numbers(need), (0..5000).collect::<Vec<_>>());
}

#[test]
fn an_open_id_is_replaced_and_its_job_ends() {
    let shelf = Shelf::with("replaced", 0..10);
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let old = sessions.open(1, sub("a"), collect(100), first()).unwrap();
    let new = sessions.open(1, sub("a"), collect(100), first()).unwrap();
    assert_eq!(sessions.len(), 1);
    assert!(old.lease().upgrade().is_none());
    let (done, _) = run(new, &shelf.store);
    // A session that ends while its job runs gets no reply.
    let newest = sessions.open(1, sub("a"), collect(100), first()).unwrap();
    assert_eq!(sessions.finish(done, at(0)), None);
    assert_eq!(sessions.held_bytes(), 0);
    sessions.forget(1);
    assert!(newest.lease().upgrade().is_none());
    assert!(sessions.is_empty());
}

#[test]
fn sessions_of_a_connection_are_limited() {
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let mut open = |conn: u32, name: usize| {
        sessions.open(conn, sub(&name.to_string()), collect(1), first()).map(drop)
    };
    for name in 0..8 {
        assert_eq!(open(1, name), Ok(()));
    }
    let error = open(1, 8).unwrap_err();
    assert_eq!(error.to_string(), "blocked: 8 sessions are open, the maximum of a connection");
    assert_eq!((open(1, 7), open(2, 8)), (Ok(()), Ok(())));
    assert_eq!((sessions.count(1), sessions.count(2)), (8, 1));
    sessions.forget(1);
    assert_eq!((sessions.count(1), sessions.len()), (0, 1));
}

#[test]
fn messages_without_a_session_too_early_or_malformed_get_an_error() {
    let shelf = Shelf::with("errors", 0..10);
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let error = sessions.message(1, &sub("a"), first()).unwrap_err();
    assert_eq!(error.to_string(), "closed: no session has this id");

    let job = sessions.open(1, sub("a"), collect(100), first()).unwrap();
    let error = sessions.message(1, &sub("a"), first()).unwrap_err();
    assert_eq!(error.prefix(), Some(Prefix::Invalid));
    assert_eq!(sessions.count(1), 0, "the session has ended");
    drop(job);

    for bad in [&b""[..], b"\x51", b"\x61\x00\x00\x09", b"\x61\x01\x20"] {
        let job = sessions.open(1, sub("a"), collect(100), bad.to_vec()).unwrap();
        let reply = sessions.finish(run(job, &shelf.store).0, at(0)).unwrap();
        assert_eq!(reply.error, Some(SessionError::Malformed), "{bad:?}");
        let text = "[\"NEG-ERR\",\"a\",\"invalid: the message is not negentropy version 1\"]";
        assert_eq!(std::str::from_utf8(&reply.text), Ok(text));
        assert!(sessions.is_empty());
    }
    // The reply to another version states ours.
    let job = sessions.open(1, sub("a"), collect(100), vec![0x62]).unwrap();
    let reply = sessions.finish(run(job, &shelf.store).0, at(0)).unwrap();
    assert_eq!(message(&reply.text), [0x61]);
}

#[test]
fn a_session_without_a_message_for_60_s_ends() {
    let shelf = Shelf::with("idle", 0..10);
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let job = sessions.open(1, sub("a"), collect(100), first()).unwrap();
    // While a thread works on it, it does not wait.
    assert_eq!(sessions.expire(at(1000)), None);
    sessions.finish(run(job, &shelf.store).0, at(1000)).unwrap();
    assert_eq!(sessions.expire(at(1059)), None);
    let job = sessions.message(1, &sub("a"), vec![0x61]).unwrap();
    sessions.finish(run(job, &shelf.store).0, at(1059)).unwrap();
    assert_eq!(sessions.expire(at(1118)), None, "a message restarts the time");
    let reply = sessions.expire(at(1119)).unwrap();
    assert_eq!(reply.text, b"[\"NEG-ERR\",\"a\",\"closed: no message for 60 s\"]");
    assert_eq!(sessions.expire(at(1119)), None);
    assert_eq!((sessions.len(), sessions.held_bytes()), (0, 0));
}

#[test]
fn events_and_memory_of_lists_are_limited() {
    let shelf = Shelf::with("limits", 0..1000);
    let limits =
        NegentropyLimits { items_max: 2000, bytes_max: 120_000, ..NegentropyLimits::default() };
    let mut sessions = Sessions::new(limits);
    let mut open = |name: &str, items_max| {
        let job = sessions.open(1, sub(name), collect(items_max), first()).unwrap();
        let reply = sessions.finish(run(job, &shelf.store).0, at(0)).unwrap();
        reply.error.map(|error| error.to_string())
    };
    let error = open("a", 999).unwrap();
    assert_eq!(error, "blocked: more than 2000 events match, the maximum of a session");
    assert_eq!(open("a", 2000), None);
    let error = open("b", 2000);
    assert_eq!(open("c", 10).map(|error| error.contains("events match")), Some(true));
    let most = "blocked: the sessions of all clients hold 120000 bytes, the maximum; try later";
    // Twice 40 bytes of 1,000 events fit, but not while the second list grows.
    assert!(error.is_none() || error.as_deref() == Some(most), "{error:?}");
    let error = open("d", 2000).unwrap();
    assert_eq!(error, most);
    sessions.forget(1);
    assert_eq!(sessions.held_bytes(), 0);
}

#[test]
fn a_search_that_takes_too_long_ends_the_session() {
    let shelf = Shelf::with("long", 0..10);
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let unknown: Vec<String> =
        (1000..1200).map(|id| format!("\"{}\"", hex::encode(key(id)))).collect();
    let unknown = filter(&format!("{{\"ids\":[{}]}}", unknown.join(",")));
    let mut open = |scan_steps_max| {
        let limits = CollectLimits { scan_steps_max, ..CollectLimits::items(1) };
        let collect = Collect::new(unknown.clone(), limits, Visibility::all());
        let job = sessions.open(1, sub("a"), collect, first()).unwrap();
        let (done, slices) = run(job, &shelf.store);
        (sessions.finish(done, at(0)).unwrap(), slices)
    };
    let (reply, slices) = open(500);
    let text = "[\"NEG-ERR\",\"a\",\"error: the query takes too long\"]";
    assert_eq!(std::str::from_utf8(&reply.text), Ok(text));
    assert!(slices <= 10, "{slices} slices of 50 steps");
    assert_eq!(open(1000).0.error, None);
}

#[test]
fn no_message_makes_a_reply_panic_or_grow() {
    let shelf = Shelf::with("random", 0..300);
    let mut sessions = Sessions::new(NegentropyLimits::default());
    let job = sessions.open(1, sub("a"), collect(1000), first()).unwrap();
    let (done, _) = run(job, &shelf.store);
    let items = done.outcome.unwrap().items;
    let numbers: Vec<usize> = (0..200).step_by(3).collect();
    let own = client(numbers.into_iter());
    let valid = Negentropy::borrowed(&own, 0).unwrap().initiate().unwrap();
    let mut random = Random(7);
    for _ in 0..5000 {
        let mut message = valid.clone();
        for _ in 0..1 + random.below(8) {
            let at = 1 + random.below(message.len() - 1);
            match random.below(3) {
                0 => message[at] = random.next() as u8,
                1 => message[at] = [0x80, 0xFF, 0, 1, 2][random.below(5)],
                _ => message.truncate(at + 1),
            }
            if message.len() < 2 {
                break;
            }
        }
        if let Ok(reply) = reply(&items, &message) {
            assert!(reply.len() <= REPLY_BYTES_MAX);
        }
    }
}
