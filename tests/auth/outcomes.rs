//! All outcomes of gates, as the metrics of the real binary show them.

use super::gated::{TestFile, status_of};
use super::hook_server::{Answer, HookServer, refusing};
use super::tokens::{Ed25519, SECRET, claims, hs256, jwks, now, signed};
use crate::binary::File;
use crate::support::{Admin, Client, Process, upgrade, weir};

/// A server with an echo behind each gate: `users` with a secret and keys, `hook`, and `remote`, whose
/// keys no server has.
struct Gates {
    process: Process,
    address: std::net::SocketAddr,
    admin: Admin,
    _files: [TestFile; 2],
}

impl Gates {
    fn new(hook: &HookServer, key: &Ed25519) -> Gates {
        let (secret, keys) = (TestFile::new(SECRET), TestFile::new(jwks(&[key])));
        let route = |path: &str, gate: &str, more: &str| {
            format!("[[route]]\npath = '{path}'\nservice = 'echo'\nauth = '{gate}'\n{more}\n")
        };
        let file = File::new(&format!(
            "listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nlevels = false\n\
             trusted_proxies = ['127.0.0.1']\nhandshake_timeout = '120s'\n\
             [[auth]]\nname = 'users'\nkind = 'jwt'\nalgorithms = ['HS256', 'EdDSA']\n\
             secret_file = {:?}\nkeys = {:?}\naudience = ['chat']\nissuer = 'id'\nclaims = ['role']\n\
             failures_per_address = '1/min burst 2'\n\
             [[auth]]\nname = 'hook'\nkind = 'http'\nurl = '{}'\ntimeout = '100s'\nconcurrency = 1\n\
             headers = ['x-long']\n\
             [[auth]]\nname = 'remote'\nkind = 'jwt'\nalgorithms = ['EdDSA']\n\
             keys = 'https://127.0.0.1:1/keys'\naudience = ['chat']\n\
             {}{}{}",
            secret.0,
            keys.0,
            hook.url,
            route("/", "users", "require = ['role=user']"),
            route("/hook", "hook", ""),
            route("/remote", "remote", ""),
        ));
        let process = Process::spawn(&mut weir(["--config", file.path()]));
        let address = process.address();
        let admin = Admin::of(&process);
        Gates { process, address, admin, _files: [secret, keys] }
    }

    fn ask(&self, path: &str, lines: &str) -> u16 {
        status_of(&Client::tcp(self.address).request(&upgrade(path, lines)))
    }

    fn present(&self, token: &str) -> u16 {
        self.ask("/", &format!("Authorization: Bearer {token}\r\n"))
    }

    /// Requests at a gate with this outcome.
    fn count(&self, gate: &str, outcome: &str) -> f64 {
        let labels = [format!("gate=\"{gate}\""), format!("outcome=\"{outcome}\"")];
        self.admin.metric("weir_auth_total", &labels.each_ref().map(String::as_str))
    }
}

/// Claims that the gate accepts, with further ones.
fn user(more: &str) -> String {
    claims("ann", &format!(r#","aud":"chat","iss":"id","role":"user"{more}"#))
}

#[test]
fn each_outcome_of_a_token_is_counted() {
    let key = Ed25519::new("a");
    let gates = Gates::new(&HookServer::new(Answer::End), &key);
    let valid = user("");
    let old = format!(r#"{{"sub":"a","aud":"chat","iss":"id","exp":{}}}"#, now() - 60);
    for (outcome, token, status) in [
        ("ok", hs256(&valid), 101),
        ("ok", key.token(&valid), 101),
        ("malformed", hs256("{}"), 401),
        ("signature", hs256(&valid) + "AAAA", 401),
        ("algorithm", signed(r#"{"alg":"none"}"#, &valid), 401),
        ("expired", hs256(&old), 401),
        ("early", hs256(&user(&format!(r#","nbf":{}"#, now() + 60))), 401),
        ("audience", hs256(&claims("ann", r#","aud":"x","iss":"id""#)), 401),
        ("issuer", hs256(&claims("ann", r#","aud":"chat","iss":"x""#)), 401),
        ("unknown_key", Ed25519::new("b").token(&valid), 401),
        ("require", hs256(&claims("ann", r#","aud":"chat","iss":"id""#)), 403),
    ] {
        let before = gates.count("users", outcome);
        assert_eq!(gates.present(&token), status, "{outcome}");
        assert_eq!(gates.count("users", outcome), before + 1.0, "{outcome}");
    }
    assert_eq!((gates.ask("/", ""), gates.count("users", "missing")), (401, 1.0));

    let mut operator = Client::tcp(gates.admin.address());
    operator.raw(b"DELETE /auth/users/users/ann HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(&operator.answer().0), 202);
    assert_eq!((gates.present(&hs256(&valid)), gates.count("users", "signed_out")), (401, 1.0));

    // Loopback has no limit; a trusted proxy states another address.
    let forged = "X-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer forged\r\n";
    assert_eq!([(); 3].map(|()| gates.ask("/", forged)), [401, 401, 429]);
    assert_eq!(gates.count("users", "failures"), 1.0);
    gates.process.stop();
}

#[test]
fn each_outcome_of_a_hook_is_counted() {
    let hook = HookServer::new(refusing("403 Forbidden", ""));
    let gates = Gates::new(&hook, &Ed25519::new("a"));
    assert_eq!((gates.ask("/hook", ""), gates.count("hook", "hook_no")), (403, 1.0));
    hook.set(refusing("500 Internal Server Error", ""));
    assert_eq!((gates.ask("/hook", ""), gates.count("hook", "hook_failed")), (503, 1.0));
    hook.set(refusing("302 Found", ""));
    assert_eq!((gates.ask("/hook", ""), gates.count("hook", "hook_failed")), (503, 2.0));
    hook.set(Answer::Hang);
    // 4 MiB of requests wait; the 300th is too much.
    let long = upgrade("/hook", &format!("X-Long: {}\r\n", "c".repeat(15 * 1024)));
    let ask = |_| {
        let mut client = Client::tcp(gates.address);
        client.raw(long.as_bytes());
        client
    };
    let waiting: Vec<Client> = (0..300).map(ask).collect();
    crate::support::eventually(|| gates.count("hook", "hook_full") > 0.0, "the queue is full");
    drop(waiting);
    let log = gates.process.stop();
    assert!(log.contains("after an answer of the hook: status 302 is no decision"), "{log}");
}

#[test]
fn loads_of_keys_are_counted() {
    let gates = Gates::new(&HookServer::new(Answer::End), &Ed25519::new("a"));
    let loads = |gate: &str, outcome: &str| {
        let labels = [format!("gate=\"{gate}\""), format!("outcome=\"{outcome}\"")];
        gates.admin.metric("weir_auth_keys_total", &labels.each_ref().map(String::as_str))
    };
    assert_eq!((loads("users", "success"), loads("users", "failure")), (1.0, 0.0));
    crate::support::eventually(|| loads("remote", "failure") > 0.0, "nobody serves the keys");
    assert_eq!(loads("remote", "success"), 0.0);
    let token = Ed25519::new("a").token(&user(""));
    let lines = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(gates.ask("/remote", &lines), 503);
    assert_eq!(gates.count("remote", "unknown_key"), 1.0);
    gates.process.stop();
}
