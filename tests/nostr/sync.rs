//! `weir relay sync`: two relays of the real binary, and the command between them.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};

use super::author::{Author, id};
use super::relay::{Directory, NostrClient, Relay};
use super::scripted::{Scripted, url};
use crate::support::weir;

/// A relay without limits on rates.
const FREE: &str = "events_rate = 'off'\nevents_rate_per_address = 'off'\nrequests_rate = 'off'";

/// Runs the command; returns what it printed.
fn sync(arguments: &[&str]) -> Output {
    weir([&["relay", "sync"], arguments].concat()).output().unwrap()
}

/// Runs the command, which must succeed; returns its result.
fn synced(arguments: &[&str]) -> String {
    let output = sync(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Publishes all events, and waits for their OKs at the end.
fn publish<'a>(client: &mut NostrClient, events: impl Iterator<Item = &'a Value>) {
    let mut count = 0;
    for event in events {
        client.send(&json!(["EVENT", event]));
        count += 1;
    }
    for _ in 0..count {
        let ok = client.expect("OK");
        assert_eq!(ok[2], true, "{ok}");
    }
}

fn stop(relays: [Relay; 2]) {
    for relay in relays {
        relay.process.stop();
    }
}

/// The ids of all notes that a relay has.
fn notes(relay: &Relay) -> BTreeSet<String> {
    let mut client = relay.client();
    let events = client.find(json!({"kinds": [1], "limit": 5000}));
    events.iter().map(|event| id(event).to_owned()).collect()
}

fn ids<'a>(events: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    events.map(|event| id(event).to_owned()).collect()
}

/// Notes, one a second; some relays lack the `n`th of each hundred.
fn events(count: u64) -> Vec<Value> {
    let author = Author::new(1);
    let note =
        |number: u64| author.event_at(1_700_000_000 + number, 1, json!([]), &number.to_string());
    (0..count).map(note).collect()
}

fn without(events: &[Value], left_out: usize) -> impl Iterator<Item = &Value> {
    let numbered = events.iter().enumerate();
    numbered.filter(move |(number, _)| number % 100 != left_out).map(|(_, event)| event)
}

/// Two relays of `count` events, of which each lacks one in a hundred.
fn pair(events: &[Value]) -> [Relay; 2] {
    [3, 7].map(|left_out| {
        let relay = Relay::with(&format!("limit_max = 5000\nreq_events_max = 10000\n{FREE}"));
        publish(&mut relay.client(), without(events, left_out));
        relay
    })
}

#[test]
fn two_running_relays_get_the_same_events() {
    for count in [0, 1, 1000] {
        let events = events(count);
        let [here, there] = pair(&events);
        let (local, remote) = (url(here.address), url(there.address));
        let result = synced(&[&remote, "--local", &local]);
        let differing = count / 100;
        let expected = format!(
            "received: {differing} accepted, 0 refused, 0 missing\n\
             sent: {differing} accepted, 0 refused, 0 missing\n"
        );
        assert_eq!(result, expected);
        let all = ids(events.iter());
        assert_eq!((notes(&here), notes(&there)), (all.clone(), all));
        let again = synced(&[&remote, "--local", &local]);
        assert_eq!(again.matches(": 0 accepted, 0 refused").count(), 2, "{again}");
        stop([here, there]);
    }
}

#[test]
fn a_store_gets_events_from_a_relay_and_sends_its_own() {
    let events = events(1000);
    let [here, there] = pair(&events);
    let remote = url(there.address);
    // A store that a relay uses cannot be opened.
    let directory = here.stopped();
    let store = directory.events();
    let down = synced(&[&remote, "--data-dir", &store, "--dir", "down"]);
    assert!(down.starts_with("received: 10 accepted"), "{down}");
    assert_eq!(notes(&there), ids(without(&events, 7)), "nothing was sent");
    let up = synced(&[&remote, "--data-dir", &store, "--dir", "up"]);
    assert!(up.ends_with("sent: 10 accepted, 0 refused, 0 missing\n"), "{up}");
    let here =
        Relay::start(directory, &format!("limit_max = 5000\nreq_events_max = 10000\n{FREE}"));
    let all = ids(events.iter());
    assert_eq!((notes(&here), notes(&there)), (all.clone(), all));
    stop([here, there]);
}

#[test]
fn only_events_of_the_filter_are_copied() {
    let [author, other] = [Author::new(1), Author::new(2)];
    let (here, there) = (Relay::new(), Relay::new());
    let (wanted, unwanted) = (author.note("wanted"), other.note("unwanted"));
    publish(&mut there.client(), [&wanted, &unwanted].into_iter());
    let filter = json!({"authors": [author.key()], "kinds": [1]}).to_string();
    let (local, remote) = (url(here.address), url(there.address));
    synced(&[&remote, "--local", &local, "--filter", &filter]);
    assert_eq!(notes(&here), ids([&wanted].into_iter()));
    stop([here, there]);
}

#[test]
fn events_that_the_receiver_refuses_are_counted() {
    let author = Author::new(1);
    let (here, there) = (Relay::with("deny_kinds = [7]"), Relay::new());
    let events = [author.note("a"), author.event(7, json!([]), "+")];
    publish(&mut there.client(), events.iter());
    let output = sync(&[&url(there.address), "--local", &url(here.address)]);
    let result = String::from_utf8(output.stdout).unwrap();
    assert!(result.starts_with("received: 1 accepted, 1 refused, 0 missing\n"), "{result}");
    let log = String::from_utf8(output.stderr).unwrap();
    let refusal = format!("refuses {}: blocked: ", id(&events[1]));
    assert!(log.contains(&refusal) && !log.contains("shutting down"), "{log}");
    stop([here, there]);
}

#[test]
fn failures_exit_with_one_and_wrong_usage_with_two() {
    let failed = |arguments: &[&str], code: i32, text: &str| {
        let output = sync(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(text), "{error}");
        assert!(output.stdout.is_empty());
    };
    let directory = Directory::new();
    let store = directory.events();
    failed(&[], 2, "<URL>");
    failed(&["http://127.0.0.1:1/"], 2, "expected a URL such as wss://relay.example.org");
    failed(&["ws://127.0.0.1:1/", "--filter", "{\"kinds\":1}"], 2, "--filter");
    failed(&["ws://127.0.0.1:1/", "--data-dir", &store], 1, "ws://127.0.0.1:1/: ");
    let off = Relay::with("neg_items_max = 0");
    let remote = url(off.address);
    failed(&[&remote, "--data-dir", &store], 1, "refuses negentropy (NIP-77)");
    let used = Relay::new();
    let events = used.directory();
    failed(&[&remote, "--data-dir", &events], 1, "error: ");
    stop([off, used]);
}

/// The answer to a REQ: these events and EOSE. Nothing to other messages.
fn answer(message: &Value, events: &[Value]) -> Vec<Value> {
    if message[0] != "REQ" {
        return Vec::new();
    }
    let events = events.iter().map(|event| json!(["EVENT", message[1], event]));
    events.chain([json!(["EOSE", message[1]])]).collect()
}

#[test]
fn events_that_are_forged_or_were_not_requested_are_not_stored() {
    let author = Author::new(1);
    let [good, gone, other] = ["good", "gone", "not requested"].map(|text| author.note(text));
    let mut forged = author.note("forged");
    let listed = [&good, &gone, &forged].map(Value::clone);
    forged["sig"] = good["sig"].clone();
    let sent = vec![good.clone(), other, forged, good.clone()];
    let relay = Scripted::start(&listed.each_ref(), move |message| answer(message, &sent));
    let directory = Directory::new();
    let store = directory.events();
    let result = synced(&[&url(relay.address), "--data-dir", &store]);
    assert_eq!(
        result,
        "received: 1 accepted, 1 refused, 1 missing\nsent: 0 accepted, 0 refused, 0 missing\n"
    );
    let here = Relay::start(directory, FREE);
    assert_eq!(notes(&here), ids([&good].into_iter()));
    here.process.stop();
}

#[test]
fn events_that_come_too_fast_for_the_receiver_are_sent_again() {
    let author = Author::new(1);
    let here = Relay::new();
    let events: Vec<Value> = (0..20).map(|number| author.note(&number.to_string())).collect();
    publish(&mut here.client(), events.iter());
    let mut seen = BTreeSet::new();
    let relay = Scripted::start(&[], move |message| match message[0].as_str() {
        Some("EVENT") => {
            let id = id(&message[1]).to_owned();
            let is_second = !seen.insert(id.clone());
            // Half of them are accepted at once, and one never.
            let accepted = is_second || seen.len() % 2 == 0;
            let text = if accepted { "" } else { "rate-limited: 10 events a second" };
            match &message[1]["content"] == "7" {
                true => vec![json!(["OK", id, false, "blocked: not this one"])],
                false => vec![
                    json!(["OK", "00".repeat(32), true, ""]),
                    json!(["OK", id, accepted, text]),
                ],
            }
        }
        _ => Vec::new(),
    });
    let result = synced(&[&url(relay.address), "--local", &url(here.address)]);
    assert!(result.ends_with("sent: 19 accepted, 1 refused, 0 missing\n"), "{result}");
    here.process.stop();
}

#[test]
fn a_relay_that_sends_too_much_or_ends_the_connection_is_reported() {
    let author = Author::new(1);
    let note = author.note("again and again");
    let failure = |relay: &str| {
        let directory = Directory::new();
        let output = sync(&[relay, "--data-dir", &directory.events()]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let sent = note.clone();
    let relay = Scripted::start(&[&note], move |message| match message[0] == "REQ" {
        true => vec![json!(["EVENT", message[1], sent]); 5001],
        false => Vec::new(),
    });
    let error = failure(&url(relay.address));
    assert!(error.contains("sends more events than were requested"), "{error}");
    let relay = Scripted::start(&[&note], |message| match message[0] == "REQ" {
        true => vec![Value::Null],
        false => Vec::new(),
    });
    let error = failure(&url(relay.address));
    assert!(error.contains("the connection has ended"), "{error}");
    let relay = Scripted::start(&[&note], |message| match message[0] == "REQ" {
        true => vec![json!(["CLOSED", message[1], "restricted: members only"])],
        false => Vec::new(),
    });
    let error = failure(&url(relay.address));
    assert!(error.contains("refuses a request: restricted: members only"), "{error}");
}

#[test]
fn a_store_is_created_only_to_take_events() {
    let (directory, relay) = (Directory::new(), Relay::new());
    relay.client().accept(&Author::new(1).note("hello"));
    let (remote, store) = (url(relay.address), directory.events());
    let failed = |arguments: &[&str]| {
        let output = sync(&[arguments, &["--data-dir", &store]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!directory.path().join("events").exists());
        String::from_utf8(output.stderr).unwrap()
    };
    let error = failed(&[&remote, "--dir", "up"]);
    assert!(error.contains("events: no store of events"), "{error}");
    // Nobody listens on this port.
    failed(&["ws://127.0.0.1:1/", "--dir", "down"]);
    let output = sync(&[&remote, "--dir", "down", "--data-dir", &store]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("events: a new store was created"), "{error}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().lines().next(),
        Some("received: 1 accepted, 0 refused, 0 missing")
    );
    let output = sync(&[&remote, "--data-dir", &store]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !error.contains("created"), "{error}");
    // The directory may stand before the command.
    let output = weir(["relay", "--data-dir", &store, "export"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}
