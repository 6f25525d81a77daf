//! What is logged, and what is not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::{Audited, KEY, expect_valid, key_of, lines, log_of};
use crate::binary::{File, outcome};
use crate::nostr::relay::Directory;
use crate::support::{Client, eventually, upgrade, weir};

/// The events with this name.
fn named<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn the_events_of_connections_operators_and_configuration_are_lines() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::new(&directory, &["--trace"]);
    let mut client = Client::tcp(server.address);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let lines_of_request = format!("traceparent: {parent}\r\nAuthorization: Bearer SECRET\r\n");
    client.raw(upgrade("/rooms/lobby?token=SECRET", &lines_of_request).as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    let address = client.stream.local_addr().unwrap().to_string();
    client.text("SECRET");
    client.close(3001, "SECRET");
    client.expect_close();
    client.expect_gone();
    drop(client);
    eventually(|| server.count("sequence") == 3, "its end is logged");
    let head = Client::tcp(server.address).request(&upgrade("/nowhere?SECRET", ""));
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let operator = |request: &str| {
        let request = format!("{request} HTTP/1.1\r\nHost: test\r\n\r\n");
        Client::tcp(server.admin.address()).request(&request)
    };
    operator("GET /metrics");
    operator("HEAD /readyz");
    operator("GET /healthz?by=me");
    server.process.signal(Signal::HUP);
    eventually(|| server.count("sequence") == 5, "five events are logged");
    server.stop();

    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("SECRET"), "{text}");
    let lines = lines(&log);
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let expected = ["config", "connected", "closed", "refused", "admin", "config"];
    assert_eq!(names, expected, "{text}");
    for (line, sequence) in lines.iter().zip(1..) {
        assert_eq!(line["sequence"], sequence);
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
    }
    let [started, connected, closed, refused, admin, stopped] = &lines[..] else { panic!() };
    assert_eq!((&started["reason"], &stopped["reason"]), (&"started".into(), &"stopped".into()));
    for line in [connected, closed] {
        assert_eq!(line["conn"], connected["conn"]);
        assert_eq!(line["client"], address.as_str());
        assert_eq!(line["route"], "/rooms/{name}");
        assert_eq!(line["trace"], &parent[3..35]);
        assert!(line.get("peer").is_none(), "no proxy: {line}");
    }
    assert_eq!((&closed["reason"], &closed["code"]), (&"peer_closed".into(), &3001.into()));
    assert_eq!((&refused["reason"], &refused["status"]), (&"not_found".into(), &404.into()));
    assert!(refused.get("route").is_none(), "{refused}");
    assert_ne!(refused["trace"], connected["trace"], "a new trace");
    assert_eq!(admin["reason"], "GET /healthz?by=me");
    assert_eq!(expect_valid(&directory, &[&log]), 6);
}

#[test]
fn refusals_are_limited_for_each_reason_and_the_others_summed() {
    const REFUSED: usize = 300;
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::new(&directory, &["--origins", "https://a.example"]);
    let other = upgrade("/", "Origin: https://b.example\r\n");
    let mut clients: Vec<Client> = (0..REFUSED).map(|_| Client::tcp(server.address)).collect();
    clients.iter_mut().for_each(|client| client.raw(other.as_bytes()));
    for mut client in clients {
        assert!(client.head().starts_with("HTTP/1.1 403 "));
    }
    Client::tcp(server.address).request(&upgrade("/nowhere", ""));
    server.stop();
    let lines = lines(&log);
    let refused = named(&lines, "refused");
    let of = |reason: &str| -> Vec<&Value> {
        refused.iter().copied().filter(|line| line["reason"] == reason).collect()
    };
    let count = |line: &Value| line["count"].as_u64().unwrap_or(1);
    let origin = of("origin");
    assert_eq!(origin.iter().map(|line| count(line)).sum::<u64>(), REFUSED as u64);
    let sums = origin.iter().filter(|line| line.get("conn").is_none()).count();
    assert!(sums > 0 && origin.len() < REFUSED / 2, "{} lines, {sums} sums", origin.len());
    assert_eq!(of("not_found").len(), 1, "each reason has its own limit");
}

#[test]
fn the_peer_is_logged_beside_the_client_that_it_states() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let server = Audited::new(&directory, &["--trusted-proxies", "127.0.0.1"]);
    let mut client = Client::tcp(server.address);
    let proxy = client.stream.local_addr().unwrap().to_string();
    client.raw(upgrade("/", "X-Forwarded-For: 203.0.113.7\r\n").as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    drop(client);
    server.stop();
    let lines = lines(&log);
    let (connected, closed) = (named(&lines, "connected")[0], named(&lines, "closed")[0]);
    let expected = (&"203.0.113.7".into(), &proxy.as_str().into());
    assert_eq!((&connected["client"], &connected["peer"]), expected);
    assert_eq!((&closed["client"], closed.get("peer")), (&"203.0.113.7".into(), None));
}

#[test]
fn connections_without_an_audit_log_are_not_observed() {
    let server = Audited::with(&[]);
    drop(Client::open(server.address, "/"));
    assert!(!server.admin.metrics().contains("weir_audit"), "no audit log, no metric");
    assert!(!server.stop().contains("audit"));
}

#[test]
fn the_log_is_private_and_a_public_key_is_a_warning() {
    let directory = Directory::new();
    let (log, key) = (log_of(&directory), key_of(&directory));
    let set_mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o604);
    let warning = format!("audit_key: other users can read {}", key.display());
    let flags = ["--audit", log.to_str().unwrap(), "--audit-key", key.to_str().unwrap()];
    let (code, _, stderr) = outcome(weir(["check"].iter().chain(&flags)));
    assert!(code == Some(0) && stderr.starts_with(&format!("warning: {warning}")), "{stderr}");
    assert!(!log.exists(), "a check writes nothing");
    let stderr = Audited::with(&flags).stop();
    assert!(stderr.contains("WARN") && stderr.contains(&warning), "{stderr}");
    assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o600);
    set_mode(0o640);
    assert!(!outcome(weir(["check"].iter().chain(&flags))).2.contains("warning"));
}

#[test]
fn unusable_files_are_errors_that_name_the_setting() {
    let directory = Directory::new();
    let (log, key) = (log_of(&directory), key_of(&directory));
    let short = File::new("31 bytes are less than an HMAC\n");
    let name = log.to_str().unwrap();
    let file = File::new(&format!("audit = '{name}'\naudit_key = '{}'\n", short.path()));
    for (flags, code, words) in [
        (
            &["--audit-key", key.to_str().unwrap()][..],
            2,
            &["audit_key is set, but audit is off"][..],
        ),
        (
            &["--audit", name, "--audit-key", "/nowhere"],
            2,
            &["--audit-key: /nowhere: No such file"],
        ),
        (&["--config", file.path()], 2, &["toml:2: audit_key", "the key has 30 bytes"]),
        (&["--audit", "/nowhere/log"], 1, &["audit: /nowhere/log: No such file"]),
        (&["--audit", directory.path().to_str().unwrap()], 1, &["Is a directory"]),
    ] {
        let (found, stdout, stderr) =
            outcome(weir(["--listen", "127.0.0.1:0"].iter().chain(flags)));
        assert_eq!((found, &*stdout), (Some(code), ""), "{flags:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word} is not in: {stderr}");
        }
    }
    fs::write(&log, "a line of another file\n").unwrap();
    let (code, _, stderr) = outcome(weir(["--listen", "127.0.0.1:0", "--audit", name]));
    assert!(code == Some(1) && stderr.contains("not one of an audit log"), "{stderr}");
    fs::remove_file(&log).unwrap();

    let server = Audited::new(&directory, &[]);
    let (code, _, stderr) = outcome(weir(["--listen", "127.0.0.1:0", "--audit", name]));
    assert!(code == Some(1) && stderr.contains("another process writes this file"), "{stderr}");
    server.stop();

    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (code, _, stderr) = outcome(weir(["--audit", fifo.to_str().unwrap()]));
    assert!(code == Some(1) && stderr.contains("No such device"), "nobody reads it: {stderr}");
    assert_eq!(KEY.len(), 33);
}
