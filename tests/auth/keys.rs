//! Keys from a server by https: fetched at the start, for an unknown `kid`, and kept after a failure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use weir::protocol::Message;
use weir::protocol::handshake::Response;
use weir::reactor::settings::{CertificateFiles, Rate, RouteSettings, Settings, TlsSettings};
use weir::reactor::{ConnId, Context, HttpRequest, Service};
use weir::services::auth::JwtSettings;
use weir::services::auth::settings::{Algorithm, Audience, KeySource};
use weir_authority::{Authority, Files};

use super::gated::{TestFile, add, gated, response, status, status_of};
use super::tokens::{Ed25519, claims, jwks};
use crate::support::{Server, eventually};

const PATH: &str = "/keys/secret";

/// A server of keys: status and body of its answer, and the number of requests.
#[derive(Clone)]
struct KeyServer {
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Service for KeyServer {
    fn methods(&self) -> &'static [&'static str] {
        &["GET"]
    }

    fn on_http(&mut self, _: &mut Context<'_>, _: ConnId, _: &HttpRequest<'_>) -> Option<Response> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (status, body) = self.answer.lock().unwrap().clone();
        let response = Response::new(status, "application/json", body.into_bytes());
        let redirect = (300..400).contains(&status);
        Some(if redirect { response.header("Location", PATH).unwrap() } else { response })
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

impl KeyServer {
    fn new(status: u16, body: String) -> KeyServer {
        KeyServer { answer: Arc::new(Mutex::new((status, body))), asked: Arc::default() }
    }

    fn start(&self, files: &Files) -> (Server, String) {
        let service = self.clone();
        let files = CertificateFiles::new(files.chain.clone(), files.key.clone());
        let server = Server::secure(TlsSettings::new(files), Settings::default(), |reactor| {
            let service = reactor.add_service(service).unwrap();
            reactor.add_route(PATH, service, RouteSettings::default()).unwrap();
        });
        let url = format!("https://127.0.0.1:{}{PATH}", server.address.port());
        (server, url)
    }

    fn set(&self, status: u16, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn settings(url: &str, authority: &Authority) -> JwtSettings {
    JwtSettings::new(vec![Algorithm::EdDsa])
        .keys(url.parse::<KeySource>().unwrap())
        .ca_file(authority.file())
        .audience(Audience::Any)
}

#[test]
fn keys_rotate_by_https() {
    let authority = Authority::new();
    let (old, new) = (Ed25519::new("old"), Ed25519::new("new"));
    let keys = KeyServer::new(200, jwks(&[&old]));
    let (_keys, url) = keys.start(&authority.server(&["127.0.0.1"]));
    let (server, _seen) = gated(settings(&url, &authority));
    let token = old.token(&claims("ann", ""));
    eventually(|| status(&server, &token) == 101, "the keys are loaded");
    assert_eq!(keys.asked(), 1);

    // The last fetch was less than 10 s ago: nobody can make weir fetch more often.
    keys.set(200, jwks(&[&old, &new]));
    let rotated = new.token(&claims("ann", ""));
    for _ in 0..20 {
        assert_eq!(status(&server, &rotated), 401);
    }
    assert_eq!(keys.asked(), 1);
    // 10 s after it, a token with a new kid waits for the fetch that it causes.
    eventually(|| status(&server, &rotated) == 101, "the new key is fetched");
    assert_eq!(keys.asked(), 2);
    assert_eq!(status(&server, &token), 101, "the old key is still in the set");
}

#[test]
fn old_keys_stay_if_their_server_fails() {
    let authority = Authority::new();
    let (old, new) = (Ed25519::new("old"), Ed25519::new("new"));
    let keys = KeyServer::new(200, jwks(&[&old]));
    let (_keys, url) = keys.start(&authority.server(&["127.0.0.1"]));
    let (server, _seen) = gated(settings(&url, &authority));
    eventually(|| status(&server, &old.token(&claims("ann", ""))) == 101, "the keys are loaded");
    keys.set(500, jwks(&[&new]));
    let rotated = new.token(&claims("ann", ""));
    let mut attempts = 0;
    let mut look = || {
        attempts += 1;
        let is_fetched = status(&server, &rotated) == 503;
        assert_eq!(keys.asked(), 1 + usize::from(is_fetched), "503 only after a failed fetch");
        is_fetched
    };
    eventually(&mut look, "the keys are fetched for the new kid");
    // The key may exist: its token is not refused, it has to come again.
    assert_eq!(status(&server, &rotated), 503);
    // A token that was not seen before, by the old key.
    assert_eq!(status(&server, &old.token(&claims("bob", ""))), 101, "after {attempts} attempts");
}

/// Loopback is exempt; a trusted proxy states the address of each client.
#[test]
fn a_key_that_was_not_fetched_is_no_failure_of_the_client() {
    let authority = Authority::new();
    let (old, new) = (Ed25519::new("old"), Ed25519::new("new"));
    let keys = KeyServer::new(200, jwks(&[&old]));
    let (_keys, url) = keys.start(&authority.server(&["127.0.0.1"]));
    let settings =
        settings(&url, &authority).failures_per_address(Rate { per_second: 0.001, burst: 2 });
    let trusting = Settings::default().trusted_proxies(vec!["127.0.0.1".parse().unwrap()]);
    let (sender, receiver) = channel();
    let server = Server::start(trusting, move |reactor| {
        sender.send(add(reactor, &settings, RouteSettings::default())).unwrap();
    });
    let _seen = receiver.recv().unwrap();
    let status = |token: &str| {
        let lines = format!("X-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer {token}\r\n");
        status_of(&response(&server, "/", &lines))
    };
    eventually(|| status(&old.token(&claims("ann", ""))) == 101, "the keys are loaded");
    let rotated = new.token(&claims("ann", ""));
    // Fetched a moment ago, and without this key.
    (0..5).for_each(|_| assert_eq!(status(&rotated), 401));
    assert_eq!((status(&old.token(&claims("bob", ""))), keys.asked()), (101, 1));
    keys.set(500, String::new());
    eventually(|| status(&rotated) == 503, "the keys are fetched for the new kid");
    (0..5).for_each(|_| assert_eq!(status(&rotated), 503));
    assert_eq!((status(&old.token(&claims("carl", ""))), keys.asked()), (101, 2));
    // A fetch that brings no such key is one of its failures.
    keys.set(200, jwks(&[&old]));
    eventually(|| status(&rotated) == 401, "the keys are fetched");
    assert_eq!(keys.asked(), 3);
    assert_eq!(status("forged"), 401);
    assert_eq!(status(&old.token(&claims("dan", ""))), 429);
}

#[test]
fn without_keys_requests_are_refused_with_503() {
    let authority = Authority::new();
    let key = Ed25519::new("a");
    let many = jwks(&[&key]).replace("]}", &format!(",{}]}}", " ".repeat(65_536)));
    let redirected = KeyServer::new(302, jwks(&[&key]));
    for (what, keys, trusted) in [
        ("an error", KeyServer::new(500, jwks(&[&key])), true),
        ("a redirect", redirected, true),
        ("no JSON", KeyServer::new(200, "<html>".to_owned()), true),
        ("no key", KeyServer::new(200, r#"{"keys":[]}"#.to_owned()), true),
        ("more than 64 KiB", KeyServer::new(200, many), true),
        ("a certificate of another authority", KeyServer::new(200, jwks(&[&key])), false),
    ] {
        let (_keys, url) = keys.start(&authority.server(&["127.0.0.1"]));
        let other = Authority::new();
        let (server, _seen) = gated(settings(&url, if trusted { &authority } else { &other }));
        if trusted {
            eventually(|| keys.asked() > 0, "the keys are fetched");
        }
        for _ in 0..5 {
            assert_eq!(status(&server, &key.token(&claims("ann", ""))), 503, "{what}");
        }
        assert!(keys.asked() <= 1, "{what}: a redirect is not followed, and 10 s have not passed");
    }
}

#[test]
fn keys_of_a_file_are_there_at_the_start() {
    let (key, other) = (Ed25519::new("a"), Ed25519::new("b"));
    let file = TestFile::new(jwks(&[&key]));
    let settings = JwtSettings::new(vec![Algorithm::EdDsa]).keys(KeySource::File(file.0.clone()));
    let (server, _seen) = gated(settings);
    assert_eq!(status(&server, &key.token(&claims("ann", ""))), 101);
    assert_eq!(status(&server, &other.token(&claims("ann", ""))), 401);
}
