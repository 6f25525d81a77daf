//! Limits on rates, lists, plugins, HTTP, metrics, and the life of the process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::author::{Author, id};
use super::relay::{Directory, Relay};
use crate::support::{Client, Process, eventually, header, weir};

fn get(relay: &Relay, method: &str, accept: &str) -> (String, Vec<u8>) {
    let mut client = Client::tcp(relay.address);
    let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
    client.raw(request.as_bytes());
    client.answer()
}

#[test]
fn the_information_document_has_the_limits_and_may_be_read_by_every_page() {
    let relay = Relay::with("title = 'Weir'\nlimit_max = 7\nlimit_default = 7\npow_min = 3");
    let (head, body) = get(&relay, "GET", "application/nostr+json");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "Content-Type"), Some("application/nostr+json"));
    assert_eq!(header(&head, "Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(header(&head, "Cache-Control"), Some("max-age=60"));
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["name"], "Weir");
    assert_eq!(document["limitation"]["max_limit"], 7);
    assert_eq!(document["limitation"]["min_pow_difficulty"], 3);
    assert_eq!(document["limitation"]["max_message_length"], 512 * 1024);
    let nips = document["supported_nips"].as_array().unwrap();
    for nip in [1, 9, 11, 40, 42, 45, 62, 70] {
        assert!(nips.contains(&nip.into()), "{nip}");
    }
}

#[test]
fn browsers_get_a_page_and_others_404() {
    let relay = Relay::new();
    let (head, body) = get(&relay, "GET", "text/html,*/*");
    assert!(header(&head, "Content-Security-Policy").unwrap().starts_with("default-src 'none'"));
    assert!(String::from_utf8(body).unwrap().contains("Nostr relay"));
    assert!(get(&relay, "GET", "image/png").0.starts_with("HTTP/1.1 404 "));
    let mut client = Client::tcp(relay.address);
    let head = client.request("OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(header(&head, "Access-Control-Allow-Origin"), Some("*"));
    let head = client.request("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
}

#[test]
fn rates_of_events_and_requests_are_limited() {
    let relay = Relay::with("events_rate = '1/h burst 2'\nrequests_rate = '1/h burst 2'");
    let (mut client, author) = (relay.client(), Author::new(1));
    client.accept(&author.note("1"));
    client.accept(&author.note("2"));
    let (accepted, text) = client.publish(&author.note("3"));
    assert!(!accepted && text.starts_with("rate-limited: "), "{text}");
    for _ in 0..2 {
        client.send(&json!(["REQ", "a", {"limit": 0}]));
        client.expect("EOSE");
    }
    client.send(&json!(["REQ", "a", {"limit": 0}]));
    assert!(client.closed("a").starts_with("rate-limited: "));
    // Another connection has its own.
    relay.client().accept(&author.note("4"));
}

#[test]
fn the_rate_of_an_author_counts_valid_events_only() {
    let relay = Relay::with("events_rate_per_author = '1/h burst 1'");
    let (mut client, author) = (relay.client(), Author::new(1));
    let mut forged = author.note("forged");
    forged["sig"] = author.note("another")["sig"].clone();
    assert!(client.publish(&forged).1.starts_with("invalid: "));
    client.accept(&author.note("1"));
    let (accepted, text) = client.publish(&author.note("2"));
    assert!(!accepted && text.starts_with("rate-limited: "), "{text}");
    client.accept(&Author::new(2).note("1"));
}

#[test]
fn lists_of_authors_and_kinds_apply() {
    let (allowed, denied, other) = (Author::new(1), Author::new(2), Author::new(3));
    let relay = Relay::with(&format!(
        "allow_authors = ['{}', '{}']\ndeny_authors = ['{}']\nallow_kinds = ['0-9', '10002']",
        allowed.key(),
        denied.key(),
        denied.key()
    ));
    let mut client = relay.client();
    client.accept(&allowed.note("hello"));
    for (event, prefix) in [
        (denied.note("hello"), "blocked: "),
        (other.note("hello"), "restricted: "),
        (allowed.event(10, json!([]), ""), "blocked: "),
    ] {
        let (accepted, text) = client.publish(&event);
        assert!(!accepted && text.starts_with(prefix), "{event}: {text}");
    }
    client.accept(&other.event(10_002, json!([]), ""));
}

#[test]
fn only_listed_readers_may_read() {
    let reader = Author::new(1);
    let relay = Relay::with(&format!("allow_readers = ['{}']", reader.key()));
    let mut client = relay.client();
    client.send(&json!(["REQ", "a", {}]));
    assert!(client.closed("a").starts_with("auth-required: "));
    assert!(client.authenticate(&Author::new(2)).0);
    client.send(&json!(["REQ", "a", {}]));
    assert!(client.closed("a").starts_with("restricted: "));
    assert!(client.authenticate(&reader).0);
    client.request("a", &[json!({})]);
}

#[test]
fn protected_events_are_for_their_author() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let protected = author.event(1, json!([["-"]]), "mine");
    let (accepted, text) = client.publish(&protected);
    assert!(!accepted && text.starts_with("auth-required: "), "{text}");
    assert!(client.authenticate(&Author::new(2)).0);
    let (accepted, text) = client.publish(&protected);
    assert!(!accepted && text.starts_with("restricted: "), "{text}");
    let repost = author.event(6, json!([]), &protected.to_string());
    assert!(client.publish(&repost).1.starts_with("blocked: "));
    assert!(client.authenticate(&author).0);
    client.accept(&protected);
}

/// A plugin of strfry's protocol that rejects, hides or delays events by their content.
const PLUGIN: &str = r#"#!/usr/bin/env python3
import json, sys
held = None
for line in sys.stdin:
    event = json.loads(line)["event"]
    action = {"spam": "reject", "hidden": "shadowReject"}.get(event["content"], "accept")
    answer = {"id": event["id"], "action": action, "msg": "blocked: spam"}
    if event["content"] == "late":
        held = answer
        continue
    print(json.dumps(answer), flush=True)
    if held:
        print(json.dumps(held), flush=True)
        held = None
"#;

#[test]
fn a_plugin_judges_events_and_their_oks_keep_their_order() {
    let directory = Directory::new();
    let path = directory.path().join("policy.py");
    fs::write(&path, PLUGIN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let relay = Relay::start(directory, &format!("plugin = {path:?}"));
    let (mut client, author) = (relay.client(), Author::new(1));
    client.accept(&author.note("good"));
    assert_eq!(client.publish(&author.note("spam")), (false, "blocked: spam".to_owned()));
    client.accept(&author.note("hidden"));
    let (late, next) = (author.note("late"), author.note("next"));
    client.send(&json!(["EVENT", late]));
    client.send(&json!(["EVENT", next]));
    assert!(client.ok(id(&late)).0, "judged after the other one, but acknowledged before it");
    assert!(client.ok(id(&next)).0);
    let mut found: Vec<_> =
        client.find(json!({})).iter().map(|note| note["content"].clone()).collect();
    found.sort_by_key(Value::to_string);
    assert_eq!(found, ["good", "late", "next"]);
    client.request("live", &[json!({"limit": 0})]);
    client.accept(&author.event(20_001, json!([]), "hidden"));
    client.expect_silence();
}

#[test]
fn a_relay_counts_what_it_does() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let note = author.note("hello");
    client.request("a", &[json!({})]);
    client.accept(&note);
    client.live("a");
    client.publish(&note);
    let metric = |name: &str, labels: &[&str]| relay.admin.metric(name, labels) as u64;
    assert_eq!(metric("weir_nostr_events_total", &["stored"]), 1);
    assert_eq!(metric("weir_nostr_events_total", &["duplicate"]), 1);
    assert_eq!(metric("weir_nostr_messages_total", &["\"EVENT\"", "received"]), 2);
    assert_eq!(metric("weir_nostr_messages_total", &["\"OK\"", "sent"]), 2);
    assert_eq!(metric("weir_nostr_refused_total", &["duplicate"]), 1);
    assert_eq!(metric("weir_nostr_deliveries_total", &["live"]), 1);
    assert_eq!(metric("weir_nostr_subscriptions", &[]), 1);
    let histogram =
        |name: &str| (metric(&format!("{name}_sum"), &[]), metric(&format!("{name}_count"), &[]));
    assert_eq!(histogram("weir_nostr_recipients"), (1, 1));
    assert_eq!(histogram("weir_nostr_batch_events"), (1, 1));
    let (steps, scans) = histogram("weir_nostr_scan_steps");
    assert!(steps > 0 && scans == 1, "{steps} steps of {scans} scans");
    eventually(|| metric("weir_nostr_live_seconds_count", &[]) == 1, "the delivery is measured");
    for table in ["event", "author_kind", "meta"] {
        relay.admin.metric("weir_nostr_store_bytes", &[&format!("table=\"{table}\"")]);
    }
    client.leave();
    eventually(|| metric("weir_nostr_subscriptions", &[]) == 0, "the subscription ends");
}

#[test]
fn a_slow_search_is_logged_with_its_plan_and_without_its_filters() {
    let mut relay = Relay::with("slow_scan = '1us'");
    let (mut client, author) = (relay.client(), Author::new(1));
    client.accept(&author.event(1, json!([["t", "whisper"]]), "hello"));
    client.request("secret", &[json!({"#t": ["whisper"], "kinds": [1]}), json!({"limit": 1})]);
    let line = relay.process.logged("a request took long to search");
    assert!(line.contains("2 filters: tag t x1, time x1"), "{line}");
    client.send(&json!(["COUNT", "secret", {"authors": [author.key()]}]));
    client.expect("COUNT");
    let line = relay.process.logged("a request took long to search");
    assert!(line.contains("1 filters: author x1"), "{line}");
    let log = relay.process.log();
    for value in ["whisper", "secret", &author.key()] {
        assert!(!log.contains(value), "{log}");
    }
}

#[test]
fn two_processes_cannot_use_one_directory() {
    let relay = Relay::new();
    let directory = relay.directory();
    let arguments = ["relay", "--listen", "127.0.0.1:0", "--data-dir", &directory];
    let mut second = Process::spawn(&mut weir(arguments));
    assert_eq!(second.wait(), Some(1));
    let log = second.whole_log();
    assert!(log.contains("another process is using this store"), "{log}");
    relay.client().accept(&Author::new(1).note("still there"));
}

#[test]
fn without_a_file_a_relay_is_served_from_the_given_directory() {
    let directory = Directory::new();
    let events = directory.events();
    let process =
        Process::spawn(&mut weir(["relay", "--listen", "127.0.0.1:0", "--data-dir", &events]));
    let mut client = super::relay::NostrClient::open(process.address());
    client.accept(&Author::new(1).note("hello"));
    client.send(&json!(["REQ", "a", {}]));
    client.expect("EVENT");
    assert_eq!(client.receive(), json!(["EOSE", "a", ["finish"]]));
    let log = process.stop();
    assert!(log.contains("stopped: "), "{log}");
}

#[test]
fn a_shutdown_closes_connections_after_their_events_are_acknowledged() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let notes: Vec<Value> = (0..50).map(|number| author.note(&number.to_string())).collect();
    for note in &notes {
        client.send(&json!(["EVENT", note]));
    }
    client.ok(id(&notes[0]));
    let relay = relay.restarted();
    let mut acknowledged = 1;
    loop {
        let frame = client.client.frame();
        if frame.opcode == crate::support::CLOSE {
            assert_eq!(frame.payload[..2], 1001_u16.to_be_bytes());
            break;
        }
        acknowledged += 1;
    }
    let found = relay.client().find(json!({"limit": 100})).len();
    assert!(found >= acknowledged, "{found} of {acknowledged} acknowledged events are stored");
}

#[test]
fn long_messages_and_escaped_types_are_understood() {
    let relay = Relay::new();
    let (mut client, author) = (relay.client(), Author::new(1));
    let padding = "x".repeat(40_000);
    client.request("a", &[json!({"limit": 0})]);
    client.client.text(&format!(r#"["CLOSE","a","{padding}"]"#));
    let keys: Vec<String> = (0..1000).map(|number| format!("{number:064x}")).collect();
    client.send(&json!(["REQ", "b", {"authors": keys}]));
    client.expect("EOSE");
    client.client.text(r#"["R\u0045Q","c",{"limit":0}]"#);
    client.expect("EOSE");
    let note = author.note(&padding);
    client.client.text(&format!(r#"["\u0045VENT",{}]"#, author.note("short")));
    assert!(client.expect("OK")[2] == true);
    assert_eq!(client.live("c")["content"], "short");
    client.accept(&note);
    assert_eq!(client.live("c"), note);
    client.expect_silence();
}

#[test]
fn a_slow_reader_is_told_of_dropped_events_and_gets_later_ones() {
    const EVENTS: usize = 150;
    let relay =
        Relay::with("slow_readers = 'drop'\nevents_rate = 'off'\nevents_rate_per_address = 'off'");
    let (mut writer, author) = (relay.client(), Author::new(1));
    let mut reader = super::relay::NostrClient::narrow(relay.address);
    reader.request("a", &[json!({"limit": 0})]);
    for number in 0..EVENTS {
        writer.accept(&author.note(&format!("{number} {}", "x".repeat(60_000))));
    }
    let dropped = relay.admin.metric("weir_nostr_dropped_total", &[]) as usize;
    assert!(dropped > 0, "the socket's buffers took all");
    let mut received = 0;
    while received + dropped < EVENTS {
        assert_eq!(reader.live("a")["kind"], 1);
        received += 1;
    }
    assert!(reader.notice().starts_with("rate-limited: "));
    let last = author.note("after the reader has caught up");
    eventually(
        || {
            writer.accept(&author.event(1, json!([]), &format!("{:?}", std::time::Instant::now())));
            relay.admin.metric("weir_nostr_dropped_total", &[]) as usize == dropped
        },
        "the connection has drained",
    );
    writer.accept(&last);
    while reader.live("a") != last {}
}

#[test]
fn a_disk_without_room_refuses_events_and_the_relay_is_not_ready() {
    let relay = Relay::with("disk_free_min = '8000000 GiB'");
    let mut client = relay.client();
    let (accepted, text) = client.publish(&Author::new(1).note("hello"));
    assert_eq!((accepted, &*text), (false, "error: the disk is full"));
    assert_eq!(client.find(json!({})), [json!(null); 0]);
    let ready = || {
        let mut client = Client::tcp(relay.admin.address());
        client.raw(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n");
        let (head, body) = client.answer();
        (head, String::from_utf8(body).unwrap())
    };
    eventually(|| ready().0.starts_with("HTTP/1.1 503 "), "the relay is not ready");
    assert!(ready().1.starts_with("relay main: the disk has "), "{}", ready().1);
}
