//! The scenarios of `nostr` on a relay: what it stores, sends and refuses, and the counts of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::number;
use crate::support::{Server, load, report, table};

/// A relay with its own directory, which is removed at the end.
struct Relay {
    server: Option<Server>,
    directory: PathBuf,
    url: String,
}

impl Relay {
    fn start(name: &str) -> Relay {
        let name = format!("weir-load-relay-{name}-{}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let server = Server::relay(directory.clone());
        let url = server.url("/rooms/relay");
        Relay { server: Some(server), directory, url }
    }

    /// Runs `nostr COMMAND` with these options: the total of the report.
    fn total(&self, command: &str, options: &str) -> Value {
        let line = format!("nostr {command} {} {options} --max-errors 0", self.url);
        let (report, code) = report(&line);
        assert_eq!(code, 0, "{line}: {report}");
        report["total"].clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server = None;
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn signed_events_are_published_once_and_the_run_ends_when_all_are_answered() {
    let relay = Relay::start("publish");
    let total = relay.total("publish", "-c 3 --depth 4 --count 300 --warmup 0s -d 1h");
    assert_eq!((number(&total["count"]), &total["unit"]), (300.0, &"event".into()));
    assert_eq!(number(&total["latency"]["count"]), 300.0);
    assert_eq!(total["notes"], serde_json::json!(["all 300 signed events were sent"]));
    // A second run has other events; stored ones are accepted as duplicates.
    let again = "-c 3 --depth 4 --count 300 --duplicates 1 --warmup 200ms -d 200ms";
    let notes = relay.total("publish", again)["notes"][0].clone();
    assert!(notes.as_str().unwrap().ends_with("accepted as duplicate:"), "{notes}");
}

#[test]
fn requests_end_with_eose_and_count_their_events() {
    let relay = Relay::start("request");
    relay.total("publish", "-c 3 --depth 8 --count 100 --warmup 0s -d 1h --authors 2 --seed 5");
    let short = "-c 2 --depth 2 --authors 2 --seed 5 --warmup 50ms -d 200ms";
    for (options, events) in [
        ("--by kind --limit 7", 7.0),
        ("--by author --limit 7", 7.0),
        ("--by author-kind --limit 60", 50.0),
        ("--by id --limit 3", 3.0),
        ("--by all --limit 200", 100.0),
    ] {
        let total = relay.total("request", &format!("{options} {short}"));
        let requests = number(&total["count"]);
        let each = number(&total["second"]["count"]) / requests;
        // Events of requests that began or ended outside of the measurement.
        assert!(
            requests > 4.0 && (each / events - 1.0).abs() < 8.0 / requests,
            "{options}: {total}"
        );
        assert!(number(&total["details"]["first_event"]["count"]) > 0.0, "{options}: {total}");
    }
    let total = relay.total("request", &format!("--limit 0 {short}"));
    assert!(number(&total["count"]) > 0.0, "{total}");
    assert_eq!((&total["second"], total["details"].get("first_event")), (&Value::Null, None));
}

#[test]
fn filters_of_a_file_are_used_in_rotation() {
    let relay = Relay::start("filters");
    relay.total("publish", "-c 1 --count 10 --warmup 0s -d 1h");
    let file = relay.directory.with_extension("jsonl");
    fs::write(&file, "{\"kinds\":[1],\"limit\":4}\n\n[{\"limit\":2},{\"kinds\":[7]}]\n").unwrap();
    let options = format!("--filters {} -c 1 --warmup 0s -d 200ms", file.display());
    let total = relay.total("request", &options);
    let each = number(&total["second"]["count"]) / number(&total["count"]);
    assert!((2.5..3.5).contains(&each), "{total}");
    fs::write(&file, "not a filter\n").unwrap();
    let (_, error, code) = load(&format!("nostr request {} {options}", relay.url));
    assert_eq!(code, 1);
    assert!(error.contains("jsonl:1: expected a filter"), "{error}");
    fs::remove_file(file).unwrap();
}

#[test]
fn live_events_reach_each_matching_subscriber_once() {
    let relay = Relay::start("live");
    let short = "--warmup 0s -d 500ms";
    for (options, matching) in [
        ("-c 10 --matching 0.4 --rate 100", 4.0),
        ("-c 10 --publishers 2 --depth 3 --count 40 --follows 20", 10.0),
        ("-c 3 --kind 20001 --deflate --count 20", 3.0),
    ] {
        let total = relay.total("live", &format!("{options} {short}"));
        let (deliveries, events) = (&total["latency"]["count"], &total["details"]["OK"]["count"]);
        assert!(number(events) > 0.0, "{options}: {total}");
        assert_eq!(number(deliveries), matching * number(events), "{options}: {total}");
        assert_eq!(total["details"]["last"]["count"], *events, "{options}: {total}");
    }
    // Without a match only OKs come.
    let total = relay.total("live", &format!("-c 5 --matching 0 --count 20 {short}"));
    assert_eq!((&total["latency"], &total["errors"]), (&Value::Null, &serde_json::json!({})));
}

#[test]
fn refused_events_make_the_run_invalid_and_are_counted_by_prefix() {
    let relay = Relay::start("refused");
    let line = format!("nostr publish {} -c 1 --count 5 --kind 13 --warmup 0s -d 1h", relay.url);
    let (report, code) = report(&line);
    assert_eq!(code, 3, "{report}");
    assert_eq!(number(&report["total"]["errors"]["refused, blocked:"]), 5.0, "{report}");
    let (out, code) = table(&line);
    assert!(code == 3 && out.contains("5 refused, blocked:"), "{out}");
}
