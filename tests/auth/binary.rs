//! Gates of the real binary: configuration, metrics, sign-out, refresh.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir::reactor::budget::HTTP_REQUESTS_MAX;

use super::gated::{TestFile, status_of};
use super::tokens::{SECRET, claims, hs256, now, valid};
use crate::binary::File;
use crate::support::{Admin, Client, Process, TEXT, upgrade, weir};

/// A server with an echo behind a gate, and the route that refreshes its identities.
struct Gated {
    process: Process,
    address: std::net::SocketAddr,
    admin: Admin,
    _files: (File, TestFile),
}

impl Gated {
    fn new() -> Gated {
        Gated::with("", "")
    }

    /// A server with further lines of its own, and of its gate.
    fn with(server: &str, gate: &str) -> Gated {
        let secret = TestFile::new(SECRET);
        let file = File::new(&format!(
            "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nlevels = false\n{server}\n\
             [[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = {:?}\n\
             claims = ['role']\nleeway = '2s'\n{gate}\n\
             [[route]]\npath = '/'\nservice = 'echo'\nauth = 'users'\nrequire = ['role=user']\n\
             [[route]]\npath = '/auth/refresh'\nservice = 'auth'\nauth = 'users'\n",
            secret.0
        ));
        let process = Process::spawn(&mut weir(["--config", file.path()]));
        let address = process.address();
        let admin = Admin::of(&process);
        Gated { process, address, admin, _files: (file, secret) }
    }

    fn open(&self, token: &str) -> (u16, Client) {
        let mut client = Client::tcp(self.address);
        let head = client.request(&upgrade("/", &format!("Authorization: Bearer {token}\r\n")));
        (status_of(&head), client)
    }

    fn refresh(&self, token: &str) -> u16 {
        let mut client = Client::tcp(self.address);
        let head = client.request(&format!(
            "POST /auth/refresh HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 0\r\n\r\n"
        ));
        status_of(&head)
    }

    /// Requests with this outcome.
    fn count(&self, outcome: &str) -> f64 {
        let outcome = format!("outcome=\"{outcome}\"");
        self.admin.metric("weir_auth_total", &["gate=\"users\"", &outcome])
    }
}

fn user(more: &str) -> String {
    hs256(&claims("ann", &format!(r#","role":"user"{more}"#)))
}

#[test]
fn outcomes_and_the_cache_are_counted() {
    let gated = Gated::new();
    let token = user("");
    assert_eq!(gated.open(&token).0, 101);
    assert_eq!(gated.open(&token).0, 101);
    assert_eq!(gated.open(&valid("ann")).0, 403);
    assert_eq!(gated.open("x").0, 401);
    assert_eq!(gated.open(&user(r#","aud":"x""#)).0, 401);
    let counts = ["ok", "require", "malformed", "audience", "signature"].map(|it| gated.count(it));
    assert_eq!(counts, [3.0, 1.0, 1.0, 1.0, 0.0]);
    let cache = |hit: &str| gated.admin.metric("weir_auth_cache_total", &[hit]);
    // Of the others, one is malformed and one for another audience: neither costs a signature.
    assert_eq!((cache("hit=\"true\""), cache("hit=\"false\"")), (1.0, 2.0));
    assert_eq!(gated.admin.metric("weir_auth_seconds_count", &["gate=\"users\""]), 5.0);
    // Verdicts within the turn take time, too: three of these compute an HMAC.
    assert!(gated.admin.metric("weir_auth_seconds_sum", &["gate=\"users\""]) > 3e-6);
    let short = gated.admin.metric("weir_auth_seconds_bucket", &["gate=\"users\"", "le=\"1e-06\""]);
    assert!(short <= 2.0, "{short} verdicts within 1 µs");
    assert_eq!(gated.admin.metric("weir_auth_keys_total", &["outcome=\"failure\""]), 0.0);
    let log = gated.process.stop();
    assert!(log.contains("token refused: aud is missing, or does not name"), "{log}");
}

#[test]
fn connections_with_an_identity_are_counted_and_logged_with_their_subject() {
    let gated = Gated::new();
    let mut clients = [user(""), user(r#","jti":"2""#)].map(|token| gated.open(&token).1);
    let identities = |number| gated.admin.await_metric("weir_identities", &[], number);
    identities(2.0);
    clients[0].raw(b"\xff");
    assert_eq!(clients[0].expect_close().0, 1002);
    drop(clients);
    identities(0.0);
    let log = gated.process.stop();
    let line = log.lines().find(|line| line.contains("ended: protocol 1002")).expect(&log);
    assert!(line.contains("subject=ann"), "{line}");
}

/// The gate admits an expired token within `leeway`, and so does the end of a connection.
#[test]
fn a_connection_ends_with_its_token_and_the_leeway() {
    let gated = Gated::new();
    let exp = now() + 1;
    let token = hs256(&format!(r#"{{"sub":"ann","role":"user","exp":{exp}}}"#));
    let (status, mut client) = gated.open(&token);
    assert_eq!(status, 101);
    assert_eq!(client.expect_close(), (3000, "token expired".to_owned()));
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(ended >= Duration::from_secs(exp + 2), "{ended:?} is before {exp} and 2 s");
}

/// A claim wishes a priority; the route's `priority_max` is high.
#[test]
fn a_token_sets_the_priority_of_its_connection_up_to_that_of_the_route() {
    let gated = Gated::new();
    let wish = |priority: &str| gated.open(&user(&format!(r#","priority":"{priority}""#))).1;
    let _clients = [wish("low"), wish("critical"), wish("urgent"), wish("high")];
    for (priority, number) in [("low", 1.0), ("normal", 1.0), ("high", 2.0), ("critical", 0.0)] {
        let label = format!("priority=\"{priority}\"");
        assert_eq!(gated.admin.metric("weir_priority_connections", &[&label]), number, "{label}");
    }
}

#[test]
fn a_refresh_that_is_not_enough_for_the_route_closes_with_3003() {
    let gated = Gated::new();
    let (_, mut client) = gated.open(&user(""));
    assert_eq!(gated.refresh(&user("")), 204);
    client.text("a");
    client.expect(TEXT, b"a");
    assert_eq!(gated.refresh(&valid("ann")), 204);
    assert_eq!(client.expect_close().0, 3003);
    assert_eq!(gated.refresh("x"), 401);
}

#[test]
fn older_tokens_of_a_subject_that_was_signed_out_are_refused() {
    let gated = Gated::new();
    let old = user(&format!(r#","iat":{}"#, now() - 1));
    let (status, mut client) = gated.open(&old);
    assert_eq!(status, 101);
    let mut operator = Client::tcp(gated.admin.address());
    operator.raw(b"DELETE /auth/users/users/ann HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = operator.answer();
    assert_eq!((status_of(&head), &body[..]), (202, &b"{\"closed\":1}\n"[..]), "{head}");
    assert_eq!(client.expect_close(), (3003, "signed out".to_owned()));
    // The cached one, one with the same age, and one that does not say when it was issued.
    for token in [&old, &user(&format!(r#","iat":{},"jti":"2""#, now() - 1)), &user("")] {
        assert_eq!(gated.open(token).0, 401);
        assert_eq!(gated.refresh(token), 401);
    }
    assert!(gated.count("signed_out") >= 3.0);
    assert_eq!(gated.open(&user(&format!(r#","iat":{}"#, now() + 2))).0, 101);
    let other = hs256(&claims("bob", r#","role":"user""#));
    assert_eq!(gated.open(&other).0, 101, "another subject");
}

#[test]
fn routes_and_networks_have_the_gates_that_they_name() {
    let secret = TestFile::new(SECRET);
    let gate = |name: &str| {
        format!(
            "[[auth]]\nname = '{name}'\nkind = 'jwt'\nalgorithms = ['HS256']\n\
             secret_file = {:?}\naudience = ['{name}']\n",
            secret.0
        )
    };
    let route =
        |name: &str| format!("[[route]]\npath = '/{name}'\nservice = 'echo'\nauth = '{name}'\n");
    let file = File::new(&format!(
        "listen = '127.0.0.1:0'\nlevels = false\n{}{}{}{}\
         [[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://127.0.0.1:9']\nauth = 'b'\n",
        gate("a"),
        gate("b"),
        route("a"),
        route("b"),
    ));
    let process = Process::spawn(&mut weir(["--config", file.path()]));
    let address = process.address();
    for (path, gate) in [("/a", "a"), ("/b", "b"), ("/main/evm/1", "b")] {
        for audience in ["a", "b"] {
            let token = hs256(&claims("ann", &format!(r#","aud":"{audience}""#)));
            let request = upgrade(path, &format!("Authorization: Bearer {token}\r\n"));
            let status = status_of(&Client::tcp(address).request(&request));
            let expected = if audience == gate { 101 } else { 401 };
            assert_eq!(status, expected, "{path} with a token for {audience}");
        }
        assert_eq!(status_of(&Client::tcp(address).request(&upgrade(path, ""))), 401);
    }
    process.stop();
}

/// 4,096 subjects are known.
#[test]
fn the_subject_that_was_signed_out_first_is_dropped_with_a_line_in_the_log() {
    const SUBJECTS_MAX: usize = 4096;
    let gated = Gated::new();
    let old = |subject: &str| {
        let claims = claims(subject, &format!(r#","role":"user","iat":{}"#, now() - 1));
        hs256(&claims)
    };
    let mut operator = Client::tcp(gated.admin.address());
    let mut requests = 0;
    let mut sign_out = |subject: &str| {
        if requests == HTTP_REQUESTS_MAX {
            (operator, requests) = (Client::tcp(gated.admin.address()), 0);
        }
        requests += 1;
        let path = format!("/auth/users/users/{subject}");
        operator.raw(format!("DELETE {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(status_of(&operator.answer().0), 202);
    };
    for number in 0..SUBJECTS_MAX {
        sign_out(&format!("user-{number}"));
    }
    assert_eq!(gated.open(&old("user-0")).0, 401);
    sign_out("one-more");
    assert_eq!(gated.open(&old("user-0")).0, 101, "it is not known any more");
    for subject in ["user-1", "one-more"] {
        assert_eq!(gated.open(&old(subject)).0, 401);
    }
    let log = gated.process.stop();
    let text = "too many subjects were signed out: older tokens of this one are accepted again";
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(text)).collect();
    assert!(lines.len() == 1 && lines[0].contains("WARN"), "{lines:?}");
    assert!(lines[0].contains("subject=user-0"), "{lines:?}");
}

/// `weir check` reads the files, and a secret that others can read is a warning.
#[test]
fn files_of_gates_are_checked_before_the_start() {
    let check = |secret: &str, mode: u32| {
        let secret = TestFile::new(secret);
        std::fs::set_permissions(&secret.0, Permissions::from_mode(mode)).unwrap();
        let file = File::new(&format!(
            "[[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = {:?}\n\
             [[route]]\npath = '/'\nservice = 'echo'\nauth = 'users'\n",
            secret.0
        ));
        let mut process = Process::spawn(&mut weir(["check", "--config", file.path()]));
        (process.wait(), process.whole_log())
    };
    for (mode, is_public) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        let (code, log) = check(SECRET, mode);
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.contains("secret_file: other users can read"), is_public, "{mode:o}: {log}");
    }
    let (code, log) = check("short", 0o600);
    assert_ne!(code, Some(0));
    assert!(log.contains(":5: secret_file: ") && log.contains("at least 32 bytes"), "{log}");
}

#[test]
fn operators_see_the_subject_in_the_log_and_in_the_list_of_connections() {
    let server = "log = 'debug'\nlimits_dry_run = ['subject_full']";
    let gated = Gated::with(server, "connections_per_subject = 1");
    let (_, ann) = gated.open(&user(""));
    assert_eq!(gated.open(&user("")).0, 101, "a dry run");
    let listed = gated.admin.pages("subject=ann").concat();
    assert!(!listed.is_empty() && listed.iter().all(|conn| conn["subject"] == "ann"), "{listed:?}");
    drop(ann);
    let log = gated.process.stop();
    for line in ["opened", "dry run: the limit subject_full is reached", "ended: "] {
        let with = |logged: &&str| logged.contains(line) && logged.contains("subject=ann");
        assert!(log.lines().any(|logged| with(&logged)), "{line}: {log}");
    }
}
