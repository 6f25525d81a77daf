//! Events of identities, from a gate of the real binary.

use std::fs;

use serde_json::Value;

use super::{Audited, expect_valid, key_of, lines, log_of};
use crate::auth::tokens::{SECRET, claims, hs256, now};
use crate::binary::File;
use crate::nostr::relay::Directory;
use crate::support::{Client, Process, eventually, upgrade, weir};

/// A server whose echo has a gate, and whose log is in this directory.
fn gated(directory: &Directory) -> (Audited, File) {
    let secret = directory.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let (log, key) = (log_of(directory), key_of(directory));
    let file = File::new(&format!(
        "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nlevels = false\ntrace = true\n\
         audit = {log:?}\naudit_key = {key:?}\n\
         [[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = {secret:?}\n\
         leeway = '0s'\n\
         [[route]]\npath = '/'\nservice = 'echo'\nauth = 'users'\n\
         [[route]]\npath = '/refresh'\nservice = 'auth'\nauth = 'users'\n\
         [[route]]\npath = '/one'\nservice = 'echo'\nauth = 'users'\nconnections_max = 1\n\
         [[route]]\npath = '/rooms/{{name}}'\nservice = 'rooms'\nauth = 'users'\n\
         join = 'role=member'\n"
    ));
    (Audited::of(Process::spawn(&mut weir(["--config", file.path()]))), file)
}

/// Requests an upgrade with this token.
fn open(server: &Audited, token: &str) -> (String, Client) {
    open_at(server, "/", token)
}

fn open_at(server: &Audited, path: &str, token: &str) -> (String, Client) {
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade(path, &format!("Authorization: Bearer {token}\r\n")));
    (head, client)
}

/// The event, the subject and the reason of a line.
fn summary(line: &Value) -> [&str; 3] {
    ["event", "subject", "reason"].map(|key| line[key].as_str().unwrap_or("-"))
}

/// Waits until the log has as many lines.
fn await_lines(server: &Audited, count: u64) {
    eventually(|| server.count("sequence") == count, &format!("{count} lines"));
}

#[test]
fn identities_are_logged_from_the_gate_to_their_end() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let (server, _file) = gated(&directory);
    let valid = hs256(&claims("ann", ""));
    let (head, mut ann) = open(&server, &valid);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    await_lines(&server, 3);
    let refresh = format!(
        "POST /refresh HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {valid}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let head = Client::tcp(server.address).request(&refresh);
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    await_lines(&server, 4);
    let mut operator = Client::tcp(server.admin.address());
    operator.request("DELETE /auth/users/users/ann HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(ann.expect_close().0, 3003);
    drop(ann);
    await_lines(&server, 7);
    let short = hs256(&format!(r#"{{"sub":"bob","exp":{}}}"#, now() + 2));
    let (_, mut bob) = open(&server, &short);
    assert_eq!(bob.expect_close(), (3000, "token expired".to_owned()));
    drop(bob);
    await_lines(&server, 11);
    let (head, _) = open(&server, "none");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    server.stop();

    let lines = lines(&log);
    let expected = [
        ["config", "-", "started"],
        ["identity", "ann", "-"],
        ["connected", "ann", "-"],
        ["refreshed", "ann", "-"],
        ["admin", "-", "DELETE /auth/users/users/ann"],
        ["signed_out", "ann", "-"],
        ["closed", "ann", "signed_out"],
        ["identity", "bob", "-"],
        ["connected", "bob", "-"],
        ["expired", "bob", "-"],
        ["closed", "bob", "expired"],
        ["refused", "-", "unauthorized"],
        ["config", "-", "stopped"],
    ];
    assert_eq!(lines.iter().map(summary).collect::<Vec<_>>(), expected);
    for line in &lines[1..4] {
        assert_eq!((&line["route"], &line["conn"]), (&"/".into(), &lines[1]["conn"]));
        assert_eq!(line["trace"], lines[1]["trace"], "the trace of the upgrade");
    }
    assert_eq!((&lines[6]["code"], &lines[10]["code"]), (&3003.into(), &3000.into()));
    assert_eq!(lines[11]["route"], "/");
    assert_eq!(expect_valid(&directory, &[&log]), 13);
}

/// Neither by a limit nor by the service. The line of the refusal names the subject.
#[test]
fn an_upgrade_that_is_refused_after_its_gate_has_no_line_of_an_identity() {
    let directory = Directory::new();
    let log = log_of(&directory);
    let (server, _file) = gated(&directory);
    let (head, _ann) = open_at(&server, "/one", &hs256(&claims("ann", "")));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let bob = hs256(&claims("bob", ""));
    for (path, status) in [("/one", 503), ("/rooms/lobby", 403)] {
        let (head, _) = open_at(&server, path, &bob);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    await_lines(&server, 5);
    server.stop();
    let lines = lines(&log);
    let found: Vec<_> = lines.iter().map(summary).take(5).collect();
    let expected = [
        ["config", "-", "started"],
        ["identity", "ann", "-"],
        ["connected", "ann", "-"],
        ["refused", "bob", "route_full"],
        ["refused", "bob", "forbidden"],
    ];
    assert_eq!(found, expected);
    assert_eq!(expect_valid(&directory, &[&log]), lines.len() as u64);
}
