use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::super::settings::{Algorithm, Audience};
use super::super::testing::Signer;
use super::super::token::parse::Unverified;
use super::*;
use crate::protocol::handshake::{EMPTY_SLOTS, Request};
use crate::reactor::budget::SERVICE_TIMERS_MAX;
use crate::reactor::settings::Rate;
use crate::reactor::{Reactor, ServiceId};
use crate::services::auth::testing::reactor;

const DEADLINE: Duration = Duration::from_secs(20);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A gate for EdDSA with the keys of this file.
fn gate(path: &Path) -> Jwt {
    let settings = JwtSettings::new(vec![Algorithm::EdDsa]);
    let settings = settings.keys(KeySource::File(path.to_owned())).audience(Audience::Any);
    Jwt::new("users", &settings).unwrap()
}

fn token(signer: &Signer, kid: &str, subject: usize) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"ed{kid}"}}"#);
    signer.token(Algorithm::EdDsa, &header, &format!(r#"{{"sub":"{subject}","exp":9e9}}"#))
}

fn is_valid(jwt: &mut Jwt, cx: &mut Context<'_>, token: &str) -> bool {
    matches!(jwt.checker.check(cx, token, CLIENT), Checked::Valid(_))
}

/// Loads the keys as the timer does, and waits until the gate has noticed the outcome.
fn reload(jwt: &mut Jwt, reactor: &mut Reactor, service: ServiceId) {
    let outcomes = |jwt: &Jwt| jwt.counts.keys_loaded.get() + jwt.counts.keys_failed.get();
    let (before, started) = (outcomes(jwt), Instant::now());
    jwt.on_timer(&mut reactor.context(service), LOAD_TIMER);
    while outcomes(jwt) == before {
        assert!(started.elapsed() < DEADLINE, "the keys were not loaded");
        thread::sleep(Duration::from_millis(1));
        jwt.on_mail(&mut reactor.context(service));
    }
}

#[test]
fn keys_of_a_file_are_read_again_and_kept_if_that_fails() {
    let path = std::env::temp_dir().join(format!("weir-jwks-{}", std::process::id()));
    let (old, new) = (Signer::new(), Signer::new());
    fs::write(&path, old.jwks("1")).unwrap();
    let (mut reactor, service) = reactor();
    let mut jwt = gate(&path);
    jwt.on_start(&mut reactor.context(service));
    let [first, second, third] = [token(&old, "1", 1), token(&new, "2", 2), token(&new, "2", 3)];
    assert!(is_valid(&mut jwt, &mut reactor.context(service), &first));
    assert!(!is_valid(&mut jwt, &mut reactor.context(service), &second));

    fs::write(&path, new.jwks("2")).unwrap();
    reload(&mut jwt, &mut reactor, service);
    assert!(is_valid(&mut jwt, &mut reactor.context(service), &second));
    assert!(!is_valid(&mut jwt, &mut reactor.context(service), &first), "its key was removed");

    fs::write(&path, "{").unwrap();
    reload(&mut jwt, &mut reactor, service);
    fs::remove_file(&path).unwrap();
    reload(&mut jwt, &mut reactor, service);
    assert_eq!(jwt.counts.keys_failed.get(), 2);
    assert!(is_valid(&mut jwt, &mut reactor.context(service), &third));
}

/// Services share a number of timers: those that a test cannot set are in use.
fn timers_in_use(reactor: &mut Reactor, service: ServiceId) -> usize {
    let mut cx = reactor.context(service);
    let mut free = Vec::new();
    while let Some(timer) = cx.schedule(Duration::from_secs(3600), 1) {
        free.push(timer);
    }
    let used = SERVICE_TIMERS_MAX - free.len();
    free.into_iter().for_each(|timer| assert!(cx.cancel(timer)));
    used
}

/// Each load sets the time of the next one, also a load that a token causes.
#[test]
fn a_gate_has_one_timer_however_often_keys_are_loaded() {
    let path = std::env::temp_dir().join(format!("weir-jwks-timers-{}", std::process::id()));
    fs::write(&path, Signer::new().jwks("1")).unwrap();
    let (mut reactor, service) = reactor();
    let mut jwt = gate(&path);
    jwt.on_start(&mut reactor.context(service));
    assert_eq!(timers_in_use(&mut reactor, service), 1);
    for _ in 0..5 {
        reload(&mut jwt, &mut reactor, service);
        assert_eq!(timers_in_use(&mut reactor, service), 1);
    }
    fs::remove_file(&path).unwrap();
}

/// Whether the loop, which has no other timer, looks at the keys after this time.
fn is_about(wait: Duration, seconds: u64) -> bool {
    // A timer fires up to 128 ms late.
    let expected = Duration::from_secs(seconds);
    expected <= wait && wait < expected + Duration::from_millis(200)
}

#[test]
fn a_file_is_read_each_minute_and_a_server_asked_each_10_s_without_keys() {
    let path = std::env::temp_dir().join(format!("weir-jwks-next-{}", std::process::id()));
    fs::write(&path, Signer::new().jwks("1")).unwrap();
    let (mut reactor, service) = reactor();
    let mut jwt = gate(&path);
    fs::remove_file(&path).unwrap();
    jwt.on_start(&mut reactor.context(service));
    assert!(is_about(reactor.wait(), 60), "{:?}", reactor.wait());

    // Nobody serves these keys.
    let settings = JwtSettings::new(vec![Algorithm::EdDsa]).audience(Audience::Any);
    let settings = settings.keys("https://127.0.0.1:1/".parse::<KeySource>().unwrap());
    let (mut reactor, service) = self::reactor();
    let mut jwt = Jwt::new("users", &settings).unwrap();
    jwt.on_start(&mut reactor.context(service));
    reload(&mut jwt, &mut reactor, service);
    assert!(is_about(reactor.wait(), 10), "{:?}", reactor.wait());
}

#[test]
fn signatures_of_one_turn_are_bounded_and_known_tokens_need_none() {
    let path = std::env::temp_dir().join(format!("weir-turn-{}", std::process::id()));
    let signer = Signer::new();
    fs::write(&path, signer.jwks("")).unwrap();
    let (mut reactor, service) = reactor();
    let mut jwt = gate(&path);
    fs::remove_file(&path).unwrap();
    let tokens: Vec<String> = (0..20).map(|subject| token(&signer, "", subject)).collect();
    let mut turn = reactor.context(service);
    for token in &tokens[..16] {
        assert!(is_valid(&mut jwt, &mut turn, token));
    }
    for token in &tokens[16..] {
        assert_eq!(jwt.checker.check(&mut turn, token, CLIENT), Checked::NextTurn);
    }
    assert!(is_valid(&mut jwt, &mut turn, &tokens[0]), "from the cache");
    let mut next = reactor.context(service);
    for token in &tokens {
        assert!(is_valid(&mut jwt, &mut next, token));
    }
    assert_eq!((jwt.counts.cache_misses.get(), jwt.counts.cache_hits.get()), (20, 17));
}

/// A token of this client that waits.
fn waiting(slot: usize) -> Waiting {
    let (conn, client) = (ConnId::numbered(slot), (CLIENT, 0).into());
    Waiting::new(conn, "", client, Purpose::Admission, Instant::now())
}

#[test]
fn a_client_that_ends_frees_the_place_of_its_token_at_once() {
    let path = std::env::temp_dir().join(format!("weir-jwks-ended-{}", std::process::id()));
    fs::write(&path, Signer::new().jwks("1")).unwrap();
    let (mut reactor, service) = reactor();
    let mut jwt = gate(&path);
    fs::remove_file(&path).unwrap();
    jwt.keyless.extend((0..WAITING_MAX).map(waiting));
    jwt.ready.extend((0..WAITING_MAX).map(waiting));
    let mut cx = reactor.context(service);
    for slot in 0..WAITING_MAX {
        assert_eq!((jwt.keyless.len(), jwt.ready.len()), (WAITING_MAX - slot, WAITING_MAX - slot));
        jwt.on_close(&mut cx, ConnId::numbered(slot), CloseReason::PeerGone);
    }
    assert!(jwt.keyless.is_empty() && jwt.ready.is_empty());
}

#[test]
fn a_token_without_a_place_to_wait_for_keys_gets_503_and_is_no_failure() {
    let settings = JwtSettings::new(vec![Algorithm::EdDsa])
        .keys("https://127.0.0.1:1/jwks".parse::<KeySource>().unwrap())
        .audience(Audience::Any)
        .failures_per_address(Rate { per_second: 0.001, burst: 1 });
    let (mut reactor, service) = reactor();
    let mut jwt = Jwt::new("users", &settings).unwrap();
    let mut cx = reactor.context(service);
    // The fetch runs until the gate takes its result, which it does not here.
    jwt.on_start(&mut cx);
    let signer = Signer::new();
    jwt.checker.set_keys(KeySet::parse(signer.jwks("1").as_bytes()).unwrap());
    let conn = ConnId::numbered(0);
    let client = "192.0.2.1:1".parse().unwrap();
    let check = |jwt: &mut Jwt, cx: &mut Context<'_>, token: &str| {
        let waiting = Waiting::new(conn, token, client, Purpose::Admission, Instant::now());
        jwt.check(cx, waiting).map(|(_, checked)| checked)
    };
    let unknown = token(&signer, "2", 1);
    for _ in 0..WAITING_MAX {
        assert_eq!(check(&mut jwt, &mut cx, &unknown), None);
    }
    for _ in 0..3 {
        let checked = check(&mut jwt, &mut cx, &unknown).unwrap();
        let verdict = jwt.verdict(&mut cx, conn, Instant::now(), checked);
        assert_eq!(verdict, Verdict::Refuse(Refusal::GateFailed, None));
    }
    assert_eq!(jwt.keyless.len(), WAITING_MAX);
    let known = check(&mut jwt, &mut cx, &token(&signer, "1", 1));
    assert!(matches!(known, Some(Checked::Valid(_))), "{known:?}");
}

#[test]
fn debug_output_shows_no_token() {
    let path = std::env::temp_dir().join(format!("weir-debug-{}", std::process::id()));
    let signer = Signer::new();
    fs::write(&path, signer.jwks("1")).unwrap();
    let mut jwt = gate(&path);
    fs::remove_file(&path).unwrap();
    let token = token(&signer, "1", 7);
    let (mut reactor, service) = reactor();
    assert!(is_valid(&mut jwt, &mut reactor.context(service), &token));
    let client = (CLIENT, 0).into();
    let waiting =
        Waiting::new(ConnId::numbered(1), &token, client, Purpose::Refresh, Instant::now());
    jwt.ready.push_back(waiting);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut slots = EMPTY_SLOTS;
    let request = Request::parse(head.as_bytes(), &mut slots).unwrap();
    let found = find(&request, &[TokenPlace::Header]);
    let unverified = Unverified::parse(&token).unwrap();
    let text = format!("{jwt:?} {found:?} {unverified:?}");
    for part in token.split('.') {
        let bytes = format!("{:?}", part.as_bytes());
        assert!(!text.contains(part) && !text.contains(bytes.trim_matches(['[', ']'])), "{text}");
    }
    let signature = format!("{:?}", &unverified.signature[..]);
    assert!(text.contains("Secret") && !text.contains(&signature), "{text}");
}
