//! Management by administrators over HTTP (NIP-86), authorized by NIP-98.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::author::{Author, id, now};
use super::relay::{Directory, Relay};
use crate::support::{Client, eventually, header};

/// The number of the administrator.
const ADMINISTRATOR: u32 = 100;

fn administrator() -> Author {
    Author::new(ADMINISTRATOR)
}

/// A relay with an administrator, and these lines in its `[[relay]]` table.
fn managed(settings: &str) -> Relay {
    let administrators = format!("administrators = ['{}']", administrator().key());
    Relay::with(&format!("{settings}\n{administrators}"))
}

/// The tags of an authorization of this body.
fn tags(relay: &Relay, body: &str) -> Value {
    let payload = hex::encode(Sha256::digest(body));
    json!([["u", format!("http://{}/", relay.address)], ["method", "POST"], ["payload", payload]])
}

fn authorization(event: &Value) -> String {
    format!("Nostr {}", STANDARD.encode(event.to_string()))
}

/// Sends a request with these lines in its head; returns status, head and body.
fn post(relay: &Relay, lines: &str, body: &str) -> (u16, String, String) {
    let mut client = Client::tcp(relay.address);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/nostr+json+rpc\r\n\
         Content-Length: {}\r\n{lines}\r\n{body}",
        relay.address,
        body.len()
    );
    client.raw(request.as_bytes());
    let (head, body) = client.answer();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, String::from_utf8(body).unwrap())
}

/// Sends a request that this event authorizes; returns the status and the parsed body.
fn post_with(relay: &Relay, event: &Value, body: &str) -> (u16, Value) {
    let lines = format!("Authorization: {}\r\n", authorization(event));
    let (status, _, answer) = post(relay, &lines, body);
    (status, serde_json::from_str(&answer).expect(&answer))
}

/// Calls a method as the administrator.
fn call(relay: &Relay, method: &str, params: Value) -> Value {
    let body = json!({"method": method, "params": params}).to_string();
    // The content makes each event another one.
    let event = administrator().event(27235, tags(relay, &body), &unique());
    let (status, answer) = post_with(relay, &event, &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Calls a method that must succeed.
fn set(relay: &Relay, method: &str, params: Value) {
    assert_eq!(call(relay, method, params), json!({"result": true}), "{method}");
}

/// The result of a method without parameters.
fn list(relay: &Relay, method: &str) -> Value {
    call(relay, method, json!([]))["result"].take()
}

fn document(relay: &Relay) -> Value {
    let mut client = Client::tcp(relay.address);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nAccept: application/nostr+json\r\n\r\n",
        relay.address
    );
    client.raw(request.as_bytes());
    serde_json::from_slice(&client.answer().1).unwrap()
}

#[test]
fn a_banned_author_is_refused_and_its_events_are_removed() {
    let relay = managed("");
    let (mut client, author, other) = (relay.client(), Author::new(1), Author::new(2));
    let (note, kept) = (author.note("spam"), other.note("kept"));
    client.accept(&note);
    client.accept(&kept);
    set(&relay, "banpubkey", json!([author.key(), "spam"]));
    let (accepted, text) = client.publish(&author.note("more"));
    assert!(!accepted && text == "blocked: the author is banned", "{text}");
    assert_eq!(client.find(json!({})), std::slice::from_ref(&kept));
    let banned = json!([{"pubkey": author.key(), "reason": "spam"}]);
    assert_eq!(list(&relay, "listbannedpubkeys"), banned);
    set(&relay, "unbanpubkey", json!([author.key()]));
    assert_eq!(list(&relay, "listbannedpubkeys"), json!([]));
    // No tombstone has stayed.
    client.accept(&note);
}

#[test]
fn the_events_of_a_ban_are_removed_beyond_one_step() {
    let relay = managed(
        "events_rate = 'off'\nevents_rate_per_address = 'off'\nrequests_rate = 'off'\nsync = 'interval'",
    );
    let (mut client, author) = (relay.client(), Author::new(1));
    let start = now() - 2000;
    for number in 0..1200 {
        client.send(&json!(["EVENT", author.event_at(start + number, 1, json!([]), "")]));
        if number % 100 == 99 {
            (0..100).for_each(|_| assert_eq!(client.expect("OK")[2], true));
        }
    }
    set(&relay, "banpubkey", json!([author.key()]));
    eventually(|| client.find(json!({"limit": 1})).is_empty(), "all events are removed");
}

#[test]
fn an_allow_lifts_a_ban_and_does_not_close_the_relay() {
    let relay = managed("");
    let (mut client, author) = (relay.client(), Author::new(1));
    set(&relay, "banpubkey", json!([author.key()]));
    set(&relay, "allowpubkey", json!([author.key(), "a friend"]));
    assert_eq!(list(&relay, "listbannedpubkeys"), json!([]));
    let allowed = json!([{"pubkey": author.key(), "reason": "a friend"}]);
    assert_eq!(list(&relay, "listallowedpubkeys"), allowed);
    client.accept(&author.note("again"));
    client.accept(&Author::new(2).note("of another"));
    set(&relay, "unallowpubkey", json!([author.key()]));
    assert_eq!(list(&relay, "listallowedpubkeys"), json!([]));
}

#[test]
fn an_allowed_author_writes_to_a_closed_relay() {
    let relay = managed("allow_only = true");
    let (mut client, author) = (relay.client(), Author::new(1));
    assert!(!client.publish(&author.note("early")).0);
    set(&relay, "allowpubkey", json!([author.key()]));
    client.accept(&author.note("late"));
    set(&relay, "unallowpubkey", json!([author.key()]));
    let (accepted, text) = client.publish(&author.note("too late"));
    assert!(!accepted && text.starts_with("restricted: "), "{text}");
}

#[test]
fn a_banned_event_is_removed_and_refused() {
    let relay = managed("");
    let (mut client, note) = (relay.client(), Author::new(1).note("unwanted"));
    client.accept(&note);
    set(&relay, "banevent", json!([id(&note), "illegal"]));
    assert_eq!(client.find(json!({})), [json!(null); 0]);
    let (accepted, text) = client.publish(&note);
    assert!(!accepted && text == "blocked: the event is banned", "{text}");
    let banned = json!([{"id": id(&note), "reason": "illegal"}]);
    assert_eq!(list(&relay, "listbannedevents"), banned);
    set(&relay, "allowevent", json!([id(&note)]));
    assert_eq!(list(&relay, "listbannedevents"), json!([]));
    client.accept(&note);
}

#[test]
fn kinds_are_allowed_and_disallowed() {
    let relay = managed("allow_kinds = ['1']\ndeny_kinds = ['4']");
    let (mut client, author) = (relay.client(), Author::new(1));
    assert!(!client.publish(&author.event(7, json!([]), "+")).0);
    set(&relay, "allowkind", json!([7]));
    assert_eq!(list(&relay, "listallowedkinds"), json!([1, 7]));
    client.accept(&author.event(7, json!([]), "+"));
    set(&relay, "disallowkind", json!([1]));
    assert_eq!(list(&relay, "listallowedkinds"), json!([7]));
    let (accepted, text) = client.publish(&author.note("late"));
    assert!(!accepted && text == "blocked: kind 1 is not accepted here", "{text}");
    let denied = call(&relay, "allowkind", json!([4]));
    assert_eq!(denied, json!({"error": "the configuration of the relay denies this kind"}));
}

#[test]
fn clients_of_a_blocked_address_are_closed_and_refused() {
    let relay = managed("");
    let mut client = relay.client();
    set(&relay, "blockip", json!(["127.0.0.1", "flood"]));
    assert_eq!(client.expect_close(), (1008, "the address is blocked".to_owned()));
    let head = Client::tcp(relay.address).request(&crate::support::upgrade("/", ""));
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    // Administrators are not locked out.
    let blocked = json!([{"ip": "127.0.0.1", "reason": "flood"}]);
    assert_eq!(list(&relay, "listblockedips"), blocked);
    set(&relay, "unblockip", json!(["127.0.0.1"]));
    assert_eq!(list(&relay, "listblockedips"), json!([]));
    relay.client();
}

#[test]
fn changed_texts_are_in_the_information_document() {
    let relay = managed("title = 'Old'\ndescription = 'configured'");
    let nips = document(&relay)["supported_nips"].as_array().unwrap().clone();
    assert!(nips.contains(&json!(86)), "{nips:?}");
    set(&relay, "changerelayname", json!(["Harbour"]));
    set(&relay, "changerelaydescription", json!(["A relay"]));
    set(&relay, "changerelayicon", json!(["https://example.org/icon.png"]));
    let expect = |relay: &Relay, name: &str, description: &str| {
        let document = document(relay);
        assert_eq!(document["name"], name);
        assert_eq!(document["description"], description);
        assert_eq!(document["icon"], "https://example.org/icon.png");
    };
    expect(&relay, "Harbour", "A relay");
    set(&relay, "changerelaydescription", json!([""]));
    expect(&relay, "Harbour", "configured");
    expect(&relay.restarted(), "Harbour", "configured");
}

#[test]
fn lists_are_kept_by_a_restart() {
    let mut relay = managed("");
    let (author, note) = (Author::new(1), Author::new(2).note("unwanted"));
    set(&relay, "banpubkey", json!([author.key(), "spam"]));
    set(&relay, "banevent", json!([id(&note)]));
    set(&relay, "disallowkind", json!([7]));
    set(&relay, "blockip", json!(["192.0.2.1"]));
    for _ in 0..2 {
        relay = relay.killed();
        let mut client = relay.client();
        let refused = [author.note("x"), note.clone(), Author::new(3).event(7, json!([]), "+")];
        for event in refused {
            let (accepted, text) = client.publish(&event);
            assert!(!accepted && text.starts_with("blocked: "), "{text}");
        }
        assert_eq!(list(&relay, "listblockedips"), json!([{"ip": "192.0.2.1", "reason": ""}]));
    }
}

#[test]
fn supported_methods_are_those_that_are_called() {
    let relay = managed("");
    let methods = list(&relay, "supportedmethods");
    let methods = methods.as_array().unwrap();
    assert_eq!(methods.len(), 19, "{methods:?}");
    for method in methods {
        let answer = call(&relay, method.as_str().unwrap(), json!([]));
        assert_ne!(answer["error"], "unknown method: see supportedmethods", "{method}");
    }
    let error = json!({"error": "unknown method: see supportedmethods"});
    assert_eq!(call(&relay, "stats", json!([])), error);
    let error = json!({"error": "banevent: expected an event id of 64 lower-case hex digits"});
    assert_eq!(call(&relay, "banevent", json!(["7"])), error);
}

#[test]
fn a_call_without_a_valid_authorization_is_refused() {
    let relay = managed("");
    let author = Author::new(1);
    let body = json!({"method": "banpubkey", "params": [author.key()]}).to_string();
    let valid = tags(&relay, &body);
    let with = |index: usize, value: &str| {
        let mut tags = valid.clone();
        tags[index][1] = value.into();
        administrator().event(27235, tags, "")
    };
    let without_payload = json!([valid[0], valid[1]]);
    let mut forged = administrator().event(27235, valid.clone(), "forged");
    forged["sig"] = Author::new(2).event(27235, valid.clone(), "forged")["sig"].clone();
    let at = |time| administrator().event_at(time, 27235, valid.clone(), "");
    let refused = [
        (author.event(27235, valid.clone(), ""), "not an administrator"),
        (administrator().event(22242, valid.clone(), ""), "the kind"),
        (with(0, &format!("http://{}/other", relay.address)), "the u tag"),
        (with(0, "https://relay.example.org/"), "the u tag"),
        (with(1, "GET"), "the method tag"),
        (with(2, &"0".repeat(64)), "the payload tag"),
        (administrator().event(27235, without_payload, ""), "the payload tag"),
        (at(now() - 90), "created_at"),
        (at(now() + 90), "created_at"),
        (forged, "the signature"),
    ];
    for (event, reason) in refused {
        let (status, answer) = post_with(&relay, &event, &body);
        let error = answer["error"].as_str().unwrap();
        assert!(status == 401 && error.contains(reason), "{reason}: {status} {error}");
    }
    for lines in ["", "Authorization: Basic YTpi\r\n", "Authorization: Nostr !\r\n"] {
        let (status, head, answer) = post(&relay, lines, &body);
        assert_eq!(status, 401, "{answer}");
        assert_eq!(header(&head, "WWW-Authenticate"), Some("Nostr"), "{head}");
        assert!(answer.contains("auth-required: "), "{answer}");
    }
    relay.client().accept(&author.note("not banned"));
}

#[test]
fn a_replayed_call_is_refused() {
    let relay = managed("");
    let body = r#"{"method":"listbannedpubkeys","params":[]}"#;
    let event = administrator().event(27235, tags(&relay, body), "");
    assert_eq!(post_with(&relay, &event, body), (200, json!({"result": []})));
    let (status, answer) = post_with(&relay, &event, body);
    assert_eq!(status, 401);
    assert_eq!(answer, json!({"error": "invalid: the HTTP authorization was used before"}));
}

#[test]
fn malformed_and_long_bodies_are_refused() {
    let relay = managed("");
    let post = |body: &str| {
        let event = administrator().event(27235, tags(&relay, body), &unique());
        post_with(&relay, &event, body)
    };
    for body in ["", "{", "[]", r#"{"params":[]}"#, r#"{"method":"banpubkey","params":{}}"#] {
        let (status, answer) = post(body);
        assert_eq!(status, 400, "{body}: {answer}");
    }
    let long = format!(r#"{{"method":"{}"}}"#, "x".repeat(16 * 1024));
    assert_eq!(post(&long), (413, json!({"error": "a request has at most 16 KiB"})));
}

#[test]
fn another_media_type_is_not_a_call() {
    let relay = managed("");
    let mut client = Client::tcp(relay.address);
    client.raw(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    assert!(client.head().starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_relay_without_administrators_takes_no_post() {
    let relay = Relay::new();
    let (status, head, _) = post(&relay, "", "{}");
    assert_eq!(status, 405, "{head}");
    let nips = document(&relay)["supported_nips"].as_array().unwrap().clone();
    assert!(!nips.contains(&json!(86)), "{nips:?}");
}

#[test]
fn a_file_of_administrators_is_read_again_on_sighup() {
    let directory = Directory::new();
    let keys = directory.path().join("administrators");
    fs::write(&keys, Author::new(1).key()).unwrap();
    let relay = Relay::start(directory, "administrators = ['administrators']");
    let is_administrator = |author: &Author| {
        let body = r#"{"method":"supportedmethods","params":[]}"#;
        let event = author.event(27235, tags(&relay, body), &unique());
        match post_with(&relay, &event, body) {
            (200, _) => true,
            (401, _) => false,
            other => panic!("{other:?}"),
        }
    };
    let [one, two] = [1, 2].map(Author::new);
    assert!(is_administrator(&one) && !is_administrator(&two));
    fs::write(&keys, two.key()).unwrap();
    relay.process.signal(Signal::HUP);
    eventually(|| is_administrator(&two), "the second one is an administrator");
    assert!(!is_administrator(&one));
}

#[test]
fn pages_of_listed_origins_may_call_and_no_others() {
    let settings = "origins = ['https://admin.example']\n---\n";
    let relay = managed(settings);
    let body = r#"{"method":"supportedmethods","params":[]}"#;
    let call = |origin: &str| {
        let event = administrator().event(27235, tags(&relay, body), &unique());
        let lines = format!("Origin: {origin}\r\nAuthorization: {}\r\n", authorization(&event));
        post(&relay, &lines, body)
    };
    let (status, head, _) = call("https://admin.example");
    assert_eq!(status, 200, "{head}");
    let allowed: Vec<&str> =
        head.lines().filter(|line| line.starts_with("Access-Control-Allow-Origin")).collect();
    assert_eq!(allowed, ["Access-Control-Allow-Origin: https://admin.example"]);
    assert_eq!(call("https://other.example").0, 403);
}
