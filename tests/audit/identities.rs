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
         [[route]]\npath = '/refresh'\nservice = 'auth'\nauth = 'users'\n"
    ));
    (Audited::of(Process::spawn(&mut weir(["--config", file.path()]))), file)
}

/// Requests an upgrade with this token.
fn open(server: &Audited, token: &str) -> (String, Client) {
    let mut client = Client::tcp(server.address);
    let head = client.request(&upgrade("/", &format!("Authorization: Bearer {token}\r\n")));
    (head, client)
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
    let of = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        (text("event"), text("subject"), text("reason"))
    };
    let found: Vec<_> = lines.iter().map(of).collect();
    let expected = [
        ("config", "-", "started"),
        ("identity", "ann", "-"),
        ("connected", "ann", "-"),
        ("refreshed", "ann", "-"),
        ("admin", "-", "DELETE /auth/users/users/ann"),
        ("signed_out", "ann", "-"),
        ("closed", "ann", "signed_out"),
        ("identity", "bob", "-"),
        ("connected", "bob", "-"),
        ("expired", "bob", "-"),
        ("closed", "bob", "expired"),
        ("refused", "-", "unauthorized"),
        ("config", "-", "stopped"),
    ];
    let expected: Vec<_> =
        expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())).into();
    assert_eq!(found, expected);
    for line in &lines[1..4] {
        assert_eq!((&line["route"], &line["conn"]), (&"/".into(), &lines[1]["conn"]));
        assert_eq!(line["trace"], lines[1]["trace"], "the trace of the upgrade");
    }
    assert_eq!((&lines[6]["code"], &lines[10]["code"]), (&3003.into(), &3000.into()));
    assert_eq!(lines[11]["route"], "/");
    assert_eq!(expect_valid(&directory, &[&log]), 13);
}
