//! `POST /relay/NAME/export` on the admin address of a running relay.

use std::thread;

use serde_json::{Value, json};

use super::author::{Author, now};
use super::relay::{Directory, NostrClient, Relay};
use crate::support::{Client, eventually, header, weir};

/// Events of a store that is larger than what the kernel's buffers hold at any size.
const LARGE_EVENTS: usize = 400;
const LARGE_BYTES: usize = 60_000;

fn request(name: &str, lines: &str, filter: &str) -> String {
    format!(
        "POST /relay/{name}/export HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {}\r\n\r\n{filter}",
        filter.len()
    )
}

/// The data of all chunks up to the last one, which must be there.
fn body(client: &mut Client) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(char::from(client.bytes(1)[0]));
        }
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        whole.extend(client.bytes(size));
        assert_eq!(client.bytes(2), b"\r\n");
        if size == 0 {
            return whole;
        }
    }
}

/// The lines of an export, which must succeed.
fn export(relay: &Relay, filter: &str) -> Vec<Value> {
    let mut client = Client::tcp(relay.admin.address());
    let head = client.request(&request("main", "", filter));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(header(&head, "Content-Type"), Some("application/jsonl"));
    let body = String::from_utf8(body(&mut client)).unwrap();
    client.expect_end();
    body.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// What `weir relay export` writes.
fn exported_offline(directory: &Directory) -> Vec<Value> {
    let output = weir(["relay", "export", "--data-dir", &directory.events()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_of_a_running_relay_equals_that_of_the_stopped_one() {
    let (relay, author) = (Relay::new(), Author::new(1));
    let mut client = relay.client();
    assert_eq!(export(&relay, ""), [json!(null); 0], "an empty relay");
    let to = json!([["p", Author::new(2).key()]]);
    let start = now() - 1000;
    let mut events = vec![
        author.event_at(start, 0, json!([]), "{}"),
        author.event_at(start + 1, 4, to.clone(), "secret"),
        author.event_at(start + 2, 1059, to, "wrapped"),
        author.event_at(start + 3, 5, json!([["e", "00".repeat(32)]]), ""),
    ];
    events.extend((4..40).map(|age| author.event_at(start + age, 1, json!([]), "note")));
    // The order of arrival has no effect.
    events.iter().rev().for_each(|event| client.accept(event));
    assert!(client.publish(&author.event(20_001, json!([]), "not stored")).0);
    let expires = json!([["expiration", (now() + 1).to_string()]]);
    let expired = author.event(1, expires, "expires");
    client.accept(&expired);
    eventually(|| now() > expired["created_at"].as_u64().unwrap() + 1, "the event expires");
    assert_eq!(export(&relay, ""), events);
    assert_eq!(export(&relay, r#" {"kinds":[4,1059]} "#), events[1..3]);
    assert_eq!(export(&relay, r#"{"kinds":[1],"limit":3}"#), events[4..7]);
    assert_eq!(export(&relay, r#"{"limit":0}"#), [json!(null); 0]);
    let nobody = json!({"#p": ["00".repeat(32)]}).to_string();
    assert_eq!(export(&relay, &nobody), [json!(null); 0]);
    assert_eq!(exported_offline(&relay.stopped()), events);
}

#[test]
fn an_export_waits_for_its_reader_while_the_relay_works() {
    let (relay, author) = (Relay::new(), Author::new(1));
    let mut client = relay.client();
    let (start, content) = (now() - 1000, "x".repeat(LARGE_BYTES));
    let events: Vec<Value> = (0..LARGE_EVENTS)
        .map(|number| {
            let tags = json!([["n", number.to_string()]]);
            author.event_at(start + number as u64, 1, tags, &content)
        })
        .collect();
    events.iter().for_each(|event| client.accept(event));
    let mut reader = Client::narrow_tcp(relay.admin.address());
    let head = reader.request(&request("main", "", ""));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // The export has stopped when what is queued for its client stays the same.
    let mut last = (0.0, 0);
    eventually(
        || {
            let buffered = relay.admin.metric("weir_buffered_bytes", &[]);
            last = (buffered, if buffered == last.0 { last.1 + 1 } else { 0 });
            buffered > 0.0 && last.1 > 20
        },
        "the export stops",
    );
    assert!(last.0 < 600_000.0, "{} bytes are queued", last.0);
    // It holds up nobody, and does not end: a second export overtakes it.
    let late = author.event_at(start + 2 * LARGE_EVENTS as u64, 1, json!([]), "late");
    client.accept(&late);
    assert_eq!(export(&relay, r#"{"limit":2}"#), events[..2]);
    let whole = thread::spawn(move || body(&mut reader)).join().unwrap();
    let text = String::from_utf8(whole).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all: Vec<Value> = events.into_iter().chain([late]).collect();
    assert!(lines == all, "{} of {} events", lines.len(), all.len());
    eventually(|| relay.admin.metric("weir_buffered_bytes", &[]) < 10_000.0, "the queue is freed");
    let on_disk = || relay.admin.metric("weir_nostr_store_bytes", &["table=\"event\""]);
    eventually(|| on_disk() > LARGE_BYTES as f64, "the table of events is on disk");
}

#[test]
fn a_reader_that_leaves_ends_its_export_and_at_most_four_run() {
    let (mut relay, author) = (Relay::new(), Author::new(1));
    let mut client = relay.client();
    let content = "x".repeat(LARGE_BYTES);
    for number in 0..LARGE_EVENTS {
        client.accept(&author.event(1, json!([["n", number.to_string()]]), &content));
    }
    let open = |relay: &Relay| {
        let mut reader = Client::narrow_tcp(relay.admin.address());
        let head = reader.request(&request("main", "", ""));
        (reader, head)
    };
    let mut readers: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let (reader, head) = open(&relay);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        readers.push(reader);
    }
    let (_, head) = open(&relay);
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    readers.pop();
    relay.process.logged("export broken off by its client");
    assert!(open(&relay).1.starts_with("HTTP/1.1 200 OK\r\n"));
    // The others are cut by the end of the process: their clients see it.
    let cut = readers.pop().unwrap();
    relay.stopped();
    let mut cut = cut;
    cut.expect_gone();
}

#[test]
fn requests_that_are_no_export_are_refused() {
    let relay = Relay::new();
    let answer = |text: &str| {
        let mut client = Client::tcp(relay.admin.address());
        client.raw(text.as_bytes());
        let (head, body) = client.answer();
        (head[9..12].to_owned(), String::from_utf8(body).unwrap())
    };
    assert_eq!(answer(&request("other", "", "")).0, "404");
    assert_eq!(answer(&request("main", "", "").replace("POST", "GET")).0, "405");
    assert_eq!(answer(&request("main", "Origin: http://127.0.0.1\r\n", "")).0, "403");
    let rebound = request("main", "", "").replace("127.0.0.1", "evil.example");
    assert_eq!(answer(&rebound).0, "403", "a page that reaches the address by a name of its own");
    assert_eq!(answer(&request("main", "", "").replace("HTTP/1.1", "HTTP/1.0")).0, "505");
    for (filter, why) in [
        ("{", "filter: invalid: "),
        ("[]", "filter: invalid: a filter must be an object\n"),
        (r#"{"search":"x"}"#, "filter: unsupported: "),
        (r#"{"kinds":[-1]}"#, "filter: invalid: "),
    ] {
        let (status, body) = answer(&request("main", "", filter));
        assert_eq!(status, "400");
        assert!(body.starts_with(why), "{filter}: {body}");
    }
    // The address of clients does not serve it.
    let mut client = Client::tcp(relay.address);
    client.raw(request("main", "", "").as_bytes());
    assert!(client.answer().0.starts_with("HTTP/1.1 404 "));
    let _ = NostrClient::open(relay.address);
}
