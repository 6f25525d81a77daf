//! Plugins that fail, or work against the relay.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::readers::resident;
use super::*;
use crate::support::eventually;

/// A plugin that answers, unless the content of an event names an attack.
const PLUGIN: &str = r#"#!/usr/bin/env python3
import json, os, sys, time

def answer(id, action="accept"):
    print(json.dumps({"id": id, "action": action, "msg": "blocked: by the plugin"}), flush=True)

for line in sys.stdin:
    event = json.loads(line)["event"]
    attack = event["content"].split(" ")[0]
    if attack == "hang":
        time.sleep(1000)
    elif attack == "die":
        os._exit(3)
    elif attack == "flood":
        for _ in range(100):
            os.write(1, b"x" * (1 << 20))
    elif attack == "lines":
        for _ in range(100):
            os.write(1, b"nonsense\n" * (1 << 17))
    elif attack == "lie":
        for text in ["", "{}", "null", "[1]", '{"id":1,"action":"accept"}', '{"id":"%s"}' % event["id"],
                     '{"id":"%s","action":"perhaps"}' % event["id"],
                     '{"id":"%s","action":"accept","msg":7}' % event["id"], "{" * 10000, '"\\ud800"']:
            print(text, flush=True)
        os.write(1, b"\xff\xfe\n")
        answer("0" * 64)
        answer(event["tags"][0][1], "reject")
        answer(event["id"], "reject")
        answer(event["id"], "accept")
    else:
        answer(event["id"])
"#;

/// A relay with the plugin and these further lines.
fn relay(settings: &str) -> Relay {
    let directory = Directory::new();
    let path = directory.path().join("plugin.py");
    fs::write(&path, PLUGIN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Relay::start(directory, &format!("{WITHOUT_RATES}plugin = {path:?}\n{settings}"))
}

/// Asserts that the relay serves others, and that the plugin judges again.
fn expect_recovery(relay: &Relay, author: &Author) {
    let mut client = relay.client();
    client.expect_silence();
    let is_judged = || {
        let note = author.note(&format!("note {:?}", std::time::Instant::now()));
        client.publish(&note) == (true, String::new())
    };
    eventually(is_judged, "events are judged again");
}

#[test]
fn events_of_a_plugin_that_hangs_or_dies_fail_and_the_next_ones_do_not() {
    for attack in ["hang", "die"] {
        let relay = relay("plugin_timeout = '3s'");
        let (mut client, author) = (relay.client(), Author::new(1));
        client.accept(&author.note("the plugin has started"));
        let note = author.note(attack);
        let text = refused(&mut client, &note);
        assert!(text.starts_with("error: "), "{attack}: {text}");
        assert_eq!(client.find(json!({"ids": [id(&note)]})), [Value::Null; 0]);
        expect_recovery(&relay, &author);
    }
}

#[test]
fn a_plugin_that_fails_may_be_set_to_accept() {
    let relay = relay("plugin_timeout = '3s'\nplugin_failure = 'accept'");
    let mut client = relay.client();
    client.accept(&Author::new(1).note("hang"));
    client.accept(&Author::new(1).note("die"));
    assert_eq!(client.find(json!({})).len(), 2);
}

#[test]
fn a_plugin_that_lies_judges_no_other_event() {
    let relay = relay("");
    let (mut client, author) = (relay.client(), Author::new(1));
    let stored = author.note("stored before");
    client.accept(&stored);
    // The first valid answer counts; answers for events that it does not have do not.
    let lie = author.event(1, json!([["e", id(&stored)]]), "lie");
    assert_eq!(client.publish(&lie), (false, "blocked: by the plugin".to_owned()));
    assert_eq!(client.find(json!({})), std::slice::from_ref(&stored));
    expect_recovery(&relay, &author);
}

#[test]
fn a_plugin_that_writes_100_mb_is_ended_and_costs_no_memory() {
    for attack in ["flood", "lines"] {
        let relay = relay("plugin_timeout = '10s'");
        let (mut client, author) = (relay.client(), Author::new(1));
        client.accept(&author.note("the plugin has started"));
        let before = resident(&relay);
        let text = refused(&mut client, &author.note(attack));
        assert!(text.starts_with("error: "), "{attack}: {text}");
        expect_recovery(&relay, &author);
        let grown = resident(&relay).saturating_sub(before);
        assert!(grown < 16 << 20, "{attack}: {grown} bytes more");
    }
}
