//! Identities of open connections: limits per subject, expiry, change and sign-out.

use std::time::{Duration, Instant};

use weir::protocol::CloseCode;
use weir::reactor::CloseReason;
use weir::reactor::settings::{GateSettings, Limit, OverRate, Rate, RouteSettings, Settings};

use super::{Noted, gated, next_after_asked};
use crate::support::{Client, Server, TEXT, upgrade};

fn open(server: &Server, token: &str) -> Client {
    Client::open_with(server.address, "/", &format!("X-Token: {token}\r\n")).0
}

fn ask(client: &mut Client, text: &str) -> String {
    client.text(text);
    let answer = client.frame();
    assert_eq!(answer.opcode, TEXT);
    String::from_utf8(answer.payload).unwrap()
}

/// The reason of the next `on_close` of the service.
fn closed(noted: &std::sync::mpsc::Receiver<Noted>) -> CloseReason {
    loop {
        if let Noted::Closed(why) = next_after_asked(noted) {
            return why;
        }
    }
}

#[test]
fn a_subject_has_at_most_connections_per_subject() {
    let gate = GateSettings::default().connections_per_subject(2);
    let (server, noted) = gated(Settings::default(), gate, RouteSettings::default());
    let mut first = open(&server, "ann");
    let second = open(&server, "later ann");
    let mut third = Client::tcp(server.address);
    let head = third.request(&upgrade("/", "X-Token: ann\r\n"));
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let _other = open(&server, "bob");
    // A request without upgrade does not count.
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Token: ann\r\n\r\n";
    assert!(Client::tcp(server.address).request(request).starts_with("HTTP/1.1 200 "));
    assert_eq!(ask(&mut first, "count ann"), "2");
    drop(second);
    assert_eq!(closed(&noted), CloseReason::PeerGone);
    let _again = open(&server, "ann");
    assert_eq!(ask(&mut first, "count ann"), "2");
    assert_eq!(ask(&mut first, "be bob"), "Ok(())");
    assert_eq!(ask(&mut first, "be carl"), "Ok(())");
    let _second_of_bob = open(&server, "bob");
    assert_eq!(ask(&mut first, "be bob"), "Err(SubjectFull)");
    assert_eq!(ask(&mut first, "who"), "carl", "the present identity stays");
    drop(third);
    let metrics = server.stop();
    assert_eq!(metrics.refusals["subject_full"], 1);
}

#[test]
fn a_connection_ends_when_its_identity_expires() {
    let code = CloseCode::new(4001).unwrap();
    for (gate, expected) in [
        (GateSettings::default(), CloseCode::UNAUTHORIZED),
        (GateSettings::default().expired_code(code), code),
        (GateSettings::default().expired_code(CloseCode::POLICY), CloseCode::POLICY),
    ] {
        let gate = gate.expired_grace(Duration::from_millis(100));
        let (server, noted) = gated(Settings::default(), gate, RouteSettings::default());
        let mut other = open(&server, "ann;exp=60000");
        let started = Instant::now();
        let mut client = open(&server, "ann;exp=200");
        assert_eq!(client.expect_close(), (expected.get(), "token expired".to_owned()));
        assert!(started.elapsed() >= Duration::from_millis(300), "never early");
        client.close(expected.get(), "");
        assert_eq!(closed(&noted), CloseReason::Expired(expected));
        assert_eq!(ask(&mut other, "count ann"), "1");
    }
}

#[test]
fn a_new_identity_brings_its_own_expiry() {
    let (server, noted) =
        gated(Settings::default(), GateSettings::default(), RouteSettings::default());
    let mut client = open(&server, "ann;exp=1000");
    let mut never = open(&server, "bob;exp=1000");
    assert_eq!(ask(&mut client, "be ann;exp=60000"), "Ok(())");
    assert_eq!(ask(&mut never, "be carl"), "Ok(())");
    let mut sooner = open(&server, "dan");
    assert_eq!(ask(&mut sooner, "be dan;exp=1500"), "Ok(())");
    let (code, _) = sooner.expect_close();
    assert_eq!(code, 3000);
    drop(sooner);
    assert_eq!(closed(&noted), CloseReason::Expired(CloseCode::UNAUTHORIZED));
    assert_eq!((ask(&mut client, "who"), ask(&mut never, "who")), ("ann".into(), "carl".into()));
}

#[test]
fn a_new_identity_must_meet_what_the_route_requires() {
    let route = RouteSettings::default().require(["role=admin".parse().unwrap()].into());
    let (server, noted) = gated(Settings::default(), GateSettings::default(), route);
    let mut client = open(&server, "ann;role=admin");
    client.text("be ann;role=editor");
    assert_eq!(client.expect_close(), (3003, "signed out".to_owned()));
    client.close(3003, "");
    assert_eq!(closed(&noted), CloseReason::SignedOut(CloseCode::FORBIDDEN));
}

#[test]
fn a_sign_out_informs_the_gate_and_closes_all_connections_of_the_subject() {
    const MANY: usize = 40;
    let settings = Settings::default().connections_per_address(0);
    let (server, noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let mut clients: Vec<Client> = (0..MANY).map(|_| open(&server, "ann")).collect();
    let mut other = open(&server, "bob");
    assert_eq!(ask(&mut other, "out ann"), MANY.to_string());
    for client in &mut clients {
        assert_eq!(client.expect_close(), (3003, "signed out".to_owned()));
        client.close(3003, "");
    }
    let mut left = MANY;
    let mut signed_out = Vec::new();
    while left > 0 {
        match next_after_asked(&noted) {
            Noted::Closed(why) => {
                assert_eq!(why, CloseReason::SignedOut(CloseCode::FORBIDDEN));
                left -= 1;
            }
            Noted::SignedOut(subject) => signed_out.push(subject),
            _ => {}
        }
    }
    assert_eq!(signed_out, ["ann"]);
    assert_eq!((ask(&mut other, "out ann"), ask(&mut other, "who")), ("0".into(), "bob".into()));
    assert_eq!(next_after_asked(&noted), Noted::SignedOut("ann".to_owned()));
}

#[test]
fn many_identities_that_expire_at_once_end_in_time() {
    const MANY: usize = 300;
    let _crowd = crate::support::crowd();
    let settings = Settings::default().connections_per_address(0).connections_max(2 * MANY + 10);
    let (server, noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let started = Instant::now();
    let left = Duration::from_millis(2000 + 2 * MANY as u64);
    let mut clients = Vec::new();
    for number in 0..MANY {
        let left = left.saturating_sub(started.elapsed()).as_millis();
        clients.push(open(&server, &format!("s{number};exp={left}")));
    }
    let mut other = open(&server, "other");
    for client in &mut clients {
        assert_eq!(client.expect_close().0, 3000);
        client.close(3000, "");
    }
    assert_eq!(ask(&mut other, "who"), "other");
    for _ in 0..MANY {
        assert_eq!(closed(&noted), CloseReason::Expired(CloseCode::UNAUTHORIZED));
    }
    drop((clients, other));
    server.stop_clean();
}

#[test]
fn requests_of_several_clients_on_one_connection_have_their_own_identities() {
    let loopback = "127.0.0.0/8".parse().unwrap();
    let settings = Settings::default().trusted_proxies(vec![loopback]);
    let (server, noted) = gated(settings, GateSettings::default(), RouteSettings::default());
    let mut front = Client::tcp(server.address);
    for (token, status, subject) in [
        ("X-Token: ann\r\n", "200", Some("ann")),
        ("X-Token: later bob\r\n", "200", Some("bob")),
        ("", "401", None),
        ("X-Token: forbid\r\n", "403", None),
        ("X-Token: none\r\n", "200", None),
        ("X-Token: carl\r\n", "200", Some("carl")),
    ] {
        let lines = format!("X-Forwarded-For: 192.0.2.7\r\n{token}");
        front.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
        let (head, _) = front.answer();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        if status == "200" {
            let Noted::Passed { subject: found, .. } = next_after_asked(&noted) else { panic!() };
            assert_eq!(found.as_deref(), subject);
        }
    }
    // Then an upgrade, whose identity stays.
    let lines = "X-Forwarded-For: 192.0.2.7\r\nX-Token: dan\r\n";
    assert!(front.request(&upgrade("/", lines)).starts_with("HTTP/1.1 101 "));
    assert_eq!(ask(&mut front, "who"), "dan");
}

#[test]
fn a_filter_selects_connections_by_their_subject() {
    let (server, _noted) =
        gated(Settings::default(), GateSettings::default(), RouteSettings::default());
    let mut ann = [open(&server, "ann"), open(&server, "later ann")];
    let (mut bob, mut nobody) = (open(&server, "bob"), open(&server, "none"));
    assert_eq!(ask(&mut bob, "tell ann"), "2");
    for client in &mut ann {
        client.expect(TEXT, b"for you");
    }
    assert_eq!(ask(&mut bob, "be ann"), "Ok(())");
    assert_eq!(ask(&mut nobody, "tell ann"), "3");
    bob.expect(TEXT, b"for you");
}

#[test]
fn a_dry_run_counts_a_full_subject_and_admits_it() {
    let limits = vec![Limit::SubjectFull];
    let settings = Settings::default().limits_dry_run(limits);
    let gate = GateSettings::default().connections_per_subject(1);
    let (server, _noted) = gated(settings, gate, RouteSettings::default());
    let mut clients: Vec<Client> = (0..3).map(|_| open(&server, "ann")).collect();
    assert_eq!(ask(&mut clients[0], "count ann"), "3");
    drop(clients);
    let metrics = server.stop_clean();
    assert_eq!((metrics.refused_dry["subject_full"], metrics.refused), (2, 0));
}

/// A route whose subjects have four messages each.
fn limited() -> RouteSettings {
    let rate = Rate { per_second: 0.0001, burst: 4 };
    let route = RouteSettings::default().messages_rate_per_subject(rate);
    route.over(OverRate::Close).over_grace(Duration::from_millis(50))
}

#[test]
fn connections_of_a_subject_share_a_rate_of_messages() {
    let (server, _noted) = gated(Settings::default(), GateSettings::default(), limited());
    let (mut one, mut two) = (open(&server, "ann"), open(&server, "later ann"));
    let mut other = open(&server, "bob");
    for _ in 0..2 {
        assert_eq!(ask(&mut one, "who"), "ann");
        assert_eq!(ask(&mut two, "who"), "ann");
    }
    one.text("one too many");
    assert_eq!(one.expect_close(), (1008, "too many messages".into()));
    for _ in 0..4 {
        assert_eq!(ask(&mut other, "who"), "bob");
    }
    let mut nobody = open(&server, "none");
    for _ in 0..9 {
        assert_eq!(ask(&mut nobody, "who"), "");
    }
    let metrics = server.stop();
    assert_eq!(metrics.throttled["/"]["messages_per_subject"], 1);
    assert_eq!(metrics.rate_tables["messages_per_subject"], 2);
}

#[test]
fn a_connection_with_another_identity_has_the_rate_of_that_subject() {
    let (server, _noted) = gated(Settings::default(), GateSettings::default(), limited());
    let (mut one, mut two) = (open(&server, "ann"), open(&server, "bob"));
    for _ in 0..2 {
        assert_eq!(ask(&mut two, "who"), "bob");
    }
    for _ in 0..3 {
        assert_eq!(ask(&mut one, "who"), "ann");
    }
    // The message that changes it takes a token of the new subject.
    assert_eq!(ask(&mut one, "be bob"), "Ok(())");
    assert_eq!(ask(&mut one, "who"), "bob");
    two.text("one too many");
    assert_eq!(two.expect_close().0, 1008);
}

#[test]
fn a_first_identity_brings_the_rate_of_its_subject() {
    let (server, _noted) = gated(Settings::default(), GateSettings::default(), limited());
    let mut client = open(&server, "none");
    for _ in 0..9 {
        assert_eq!(ask(&mut client, "who"), "");
    }
    // The message that changes it takes a token of the subject.
    assert_eq!(ask(&mut client, "be ann"), "Ok(())");
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "who"), "ann");
    }
    client.text("one too many");
    assert_eq!(client.expect_close().0, 1008);
}

/// The bucket of the old subject is full: nobody needs it any more.
#[test]
fn a_connection_with_another_identity_leaves_the_bucket_of_its_old_subject() {
    let (server, _noted) = gated(Settings::default(), GateSettings::default(), limited());
    let mut client = open(&server, "ann");
    assert_eq!(ask(&mut client, "be bob"), "Ok(())");
    assert_eq!(ask(&mut client, "who"), "bob");
    drop(client);
    assert_eq!(server.stop_clean().rate_tables["messages_per_subject"], 1);
}
